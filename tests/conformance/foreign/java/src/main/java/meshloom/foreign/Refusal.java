package meshloom.foreign;

import com.google.protobuf.Any;
import com.google.rpc.BadRequest;
import com.google.rpc.BadRequest.FieldViolation;
import com.google.rpc.Code;
import com.google.rpc.ErrorInfo;
import com.google.rpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.List;
import java.util.Map;

/** The statuses that end a stream, with their details in grpc-status-details-bin. */
public final class Refusal {
    private static final String DOMAIN = "meshloom"; // O8
    /** Details and message go in the trailers, of which gRPC libraries take 8 KiB, and Base64 adds a third. */
    private static final int DETAIL_BYTES = 4 << 10;
    private static final int BRIEF_CHARACTERS = 200;

    /** A violation of one field; an empty field is the whole. */
    public record Violation(String field, String description) {}

    private Refusal() {}

    public static StatusRuntimeException violation(String message) {
        return of(Code.INVALID_ARGUMENT, Reason.PROTOCOL_VIOLATION, message, Map.of());
    }

    public static StatusRuntimeException of(Code code, String reason, String message) {
        return of(code, reason, message, Map.of());
    }

    public static StatusRuntimeException of(Code code, String reason, String message, Map<String, String> metadata) {
        ErrorInfo info = ErrorInfo.newBuilder().setDomain(DOMAIN).setReason(reason).putAllMetadata(metadata).build();
        return status(code, message, Any.pack(info));
    }

    /** INVALID_ARGUMENT with one violation per field (O2, O4). */
    public static StatusRuntimeException badRequest(String message, List<Violation> violations) {
        BadRequest.Builder detail = BadRequest.newBuilder();
        for (Violation violation : violations) {
            FieldViolation added = FieldViolation.newBuilder()
                    .setField(brief(violation.field()))
                    .setDescription(violation.description())
                    .build();
            if (detail.build().getSerializedSize() + added.getSerializedSize() > DETAIL_BYTES) {
                break;
            }
            detail.addFieldViolations(added);
        }
        return status(Code.INVALID_ARGUMENT, message, Any.pack(detail.build()));
    }

    /** What somebody else wrote, as far as there is room for it. */
    public static String brief(String text) {
        return text.length() <= BRIEF_CHARACTERS ? text : text.substring(0, BRIEF_CHARACTERS) + "...";
    }

    private static StatusRuntimeException status(Code code, String message, Any detail) {
        return StatusProto.toStatusRuntimeException(Status.newBuilder()
                .setCode(code.getNumber())
                .setMessage(message)
                .addDetails(detail)
                .build());
    }
}
