mod limits;
pub(crate) mod model;
mod operations;
pub(crate) mod rules;
