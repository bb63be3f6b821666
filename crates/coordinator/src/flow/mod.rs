//! How events get from one actor to the next: bounded edges, the routing of outputs, and the memory budget.

mod budget;
mod edge;
mod outbox;
mod router;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    budget::{Budget, Charge},
    edge::{Edge, EdgeBooks, Inbox, Input, Room},
    outbox::{LetterNote, Outbox},
    router::{Router, event_of, with_reason},
};
