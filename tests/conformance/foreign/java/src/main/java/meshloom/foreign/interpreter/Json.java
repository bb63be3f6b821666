package meshloom.foreign.interpreter;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.cfg.JsonNodeFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.google.protobuf.ByteString;
import java.util.Optional;
import meshloom.foreign.ProtocolLimits;
import meshloom.foreign.Reason;
import meshloom.foreign.work.Failure;

/** JSON in and out, numbers as they were written. */
final class Json {
    private static final ObjectMapper MAPPER = JsonMapper.builder(JsonFactory.builder()
                    .streamReadConstraints(StreamReadConstraints.builder()
                            .maxStringLength(ProtocolLimits.MESSAGE_BYTES)
                            .maxNameLength(ProtocolLimits.MESSAGE_BYTES)
                            .build())
                    .build())
            .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
            .enable(DeserializationFeature.USE_BIG_DECIMAL_FOR_FLOATS)
            .disable(JsonNodeFeature.STRIP_TRAILING_BIGDECIMAL_ZEROES)
            .build();

    private Json() {}

    static ObjectNode object() {
        return MAPPER.createObjectNode();
    }

    /** The object that the bytes are in UTF-8 JSON; empty: they are none. */
    static Optional<ObjectNode> parseObject(ByteString bytes) {
        if (!bytes.isValidUtf8()) {
            return Optional.empty();
        }
        try {
            // As text: from bytes Jackson would also take UTF-16 and UTF-32.
            return MAPPER.readTree(bytes.toStringUtf8()) instanceof ObjectNode object ? Optional.of(object) : Optional.empty();
        } catch (JsonProcessingException notJson) {
            return Optional.empty();
        }
    }

    static ByteString write(JsonNode value) throws Failure {
        try {
            return ByteString.copyFrom(MAPPER.writeValueAsBytes(value));
        } catch (JsonProcessingException unwritable) {
            throw Failure.reject(Reason.OUTPUT_INVALID, "an output cannot be written as JSON: " + unwritable.getOriginalMessage());
        }
    }
}
