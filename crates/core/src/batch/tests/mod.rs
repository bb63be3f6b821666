mod limits;
pub(crate) mod model;
mod operations;
mod rules;
