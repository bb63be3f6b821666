//! The CEL environment: the standard library and `json(x)`, which writes any value as JSON text.

use std::sync::{Arc, LazyLock};

use cel::{
    Env, ExecutionError, Value,
    common::{
        types::{CelString, DYN_TYPE},
        value::{CowVal, Val},
    },
};

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    env.add_overload("json", "json(dyn)", vec![DYN_TYPE], json)
        .expect("the standard library has no function of that name");
    Arc::new(env)
});

/// The one environment that expressions are compiled and run in.
pub(super) fn environment() -> Arc<Env> {
    ENVIRONMENT.clone()
}

fn json<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [argument] = arguments.as_slice() else {
        return Err(ExecutionError::invalid_argument_count(1, arguments.len()));
    };
    let text = json_text(argument.as_ref()).map_err(|message| ExecutionError::function_error("json", message))?;
    Ok(CowVal::owned(CelString::from(text)))
}

/// A value as JSON.
pub(super) fn json_text(value: &dyn Val) -> Result<String, String> {
    let owned = Value::try_from(value).map_err(|error| error.to_string())?;
    let json = owned.json().map_err(|error| error.to_string())?;
    Ok(json.to_string())
}

/// A number or truth value as text; `None` for anything else.
pub(super) fn scalar_text(value: &dyn Val) -> Option<String> {
    match Value::try_from(value).ok()? {
        Value::Int(number) => Some(number.to_string()),
        Value::UInt(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}
