mod apply;
mod identity;
mod rules;
