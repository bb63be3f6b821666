//! The actor of one transform or sink: one task, one writer, around core's pure machine.

mod actor;
mod books;
mod meters;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    actor::{FromReplica, NodeActor, ReplicaLink, Wiring},
    books::NodeBooks,
    meters::NodeMeters,
};
