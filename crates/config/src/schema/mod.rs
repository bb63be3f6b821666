//! The JSON Schema of the pipeline file, for editors. Generated from the types of [`file`]; the committed copy is
//! `schema/pipeline.schema.json`.

mod file;
mod node;
mod scalar;

use schemars::{Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::Value;

/// The schema, draft-07.
pub fn json_schema() -> Value {
    SchemaSettings::draft07()
        .with_transform(RecursiveTransform(without_null))
        .into_generator()
        .into_root_schema_for::<file::File>()
        .to_value()
}

/// A key that may be left out is not one that may be null.
fn without_null(schema: &mut Schema) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(words)) = schema.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    let Some(Value::Array(choices)) = schema.get_mut("anyOf") else {
        return;
    };
    choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
    if let [Value::Object(only)] = choices.as_slice() {
        let only = only.clone();
        schema.remove("anyOf");
        for (key, value) in only {
            // A reference to a definition stands alone in draft-07; a description beside it does no harm.
            schema.ensure_object().entry(key).or_insert(value);
        }
    }
}

#[cfg(test)]
mod tests;
