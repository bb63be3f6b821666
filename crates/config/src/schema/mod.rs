//! The JSON Schema of the pipeline file, for editors. Generated from the types of [`file`]; the committed copy is
//! `schema/pipeline.schema.json`.

mod file;
mod node;
mod scalar;

use schemars::generate::SchemaSettings;

/// The schema, draft-07.
pub fn json_schema() -> serde_json::Value {
    let schema = SchemaSettings::draft07()
        .into_generator()
        .into_root_schema_for::<file::File>();
    schema.to_value()
}

#[cfg(test)]
mod tests;
