package meshloom.foreign.interpreter;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Base64;
import meshloom.foreign.Reason;
import meshloom.foreign.work.Failure;

/**
 * Reads members of a JSON object with their types; another type is a PAYLOAD_MISMATCH that names the field.
 *
 * @param path of the object in the payload, with a dot behind it; empty: the payload itself
 */
record Arguments(ObjectNode object, String path) {

    static Failure mismatch(String field, String problem) {
        return Failure.reject(Reason.PAYLOAD_MISMATCH, "`" + field + "` " + problem);
    }

    boolean has(String name) {
        return object.has(name);
    }

    JsonNode any(String name) throws Failure {
        JsonNode value = object.get(name);
        if (value == null) {
            throw mismatch(path + name, "is missing");
        }
        return value;
    }

    String text(String name) throws Failure {
        JsonNode value = any(name);
        if (!value.isTextual()) {
            throw mismatch(path + name, "must be a string");
        }
        return value.textValue();
    }

    String textOr(String name, String absent) throws Failure {
        return has(name) ? text(name) : absent;
    }

    /** A whole number that is not negative. */
    long number(String name) throws Failure {
        JsonNode value = any(name);
        if (!value.isIntegralNumber() || !value.canConvertToLong() || value.longValue() < 0) {
            throw mismatch(path + name, "must be a whole number of 0 or more");
        }
        return value.longValue();
    }

    /** As {@link #number}; null: it is absent. */
    Long numberOrNull(String name) throws Failure {
        return has(name) ? Long.valueOf(number(name)) : null;
    }

    ArrayNode array(String name) throws Failure {
        if (any(name) instanceof ArrayNode array) {
            return array;
        }
        throw mismatch(path + name, "must be an array");
    }

    byte[] base64(String name) throws Failure {
        try {
            return Base64.getDecoder().decode(text(name));
        } catch (IllegalArgumentException notBase64) {
            throw mismatch(path + name, "must be base64: " + notBase64.getMessage());
        }
    }

    /** Nanoseconds since 1970 in decimal digits in a string. */
    long nanos(String name) throws Failure {
        try {
            return Long.parseLong(text(name));
        } catch (NumberFormatException notANumber) {
            throw mismatch(path + name, "must be nanoseconds since 1970 that 64 bits hold, in digits in a string");
        }
    }
}
