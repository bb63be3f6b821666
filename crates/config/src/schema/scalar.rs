//! Scalars with a form of their own. Each may also have a `${...}` in it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

const INTERPOLATION: &str = r"\$\{";

macro_rules! scalar {
    ($name:ident, $doc:literal, $schema:tt) => {
        #[doc = $doc]
        pub(super) struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

scalar!(Count, "A whole number.", {
    "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": INTERPOLATION }]
});
scalar!(Number, "A number.", {
    "anyOf": [{ "type": "number", "minimum": 0 }, { "type": "string", "pattern": INTERPOLATION }]
});
scalar!(Switch, "True or false.", {
    "anyOf": [{ "type": "boolean" }, { "type": "string", "pattern": INTERPOLATION }]
});
scalar!(Time, "A time with its unit.", {
    "anyOf": [
        { "type": "string", "pattern": r"^[0-9.]+ *(ns|us|ms|s|m|h|d)$|\$\{", "examples": ["10s", "50ms"] },
        { "const": 0 }
    ]
});
scalar!(Size, "A size with its unit.", {
    "type": "string", "pattern": r"^[0-9.]+ *([KMGT]i?)?B$|\$\{", "examples": ["64MiB"]
});
scalar!(PerTime, "So many per time.", {
    "type": "string", "pattern": r"^[0-9.]+ */ *[smhd]$|\$\{", "examples": ["1/s"]
});
scalar!(Words, "A string, split into words without a shell, or a list of words.", {
    "anyOf": [
        { "type": "string", "minLength": 1 },
        { "type": "array", "items": { "type": ["string", "number", "boolean"] }, "minItems": 1 }
    ]
});
scalar!(Texts, "A text or a list of texts.", {
    "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }]
});
scalar!(Variables, "Variables by name.", {
    "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] }
});
scalar!(Anything, "The node's or connector's own config.", {
    "anyOf": [{ "type": "object" }, { "const": null }]
});
scalar!(Discards, "Routes that are discarded on purpose.", {
    "type": "object",
    "propertyNames": { "pattern": "^[a-z][a-z0-9_-]*$" },
    "additionalProperties": { "const": "discard" }
});

scalar!(Connector, "A built-in connector.", {
    "anyOf": [
        { "type": "string", "enum": ["file", "stdin", "stdout", "generate", "null", "http", "grpc", "tcp", "webhook"] },
        { "const": null }
    ]
});
