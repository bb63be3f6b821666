//! How events get from one actor to the next: bounded edges, the routing of outputs, and the memory budget.

mod budget;
mod desk;
mod edge;
mod outbox;
mod router;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    budget::{Budget, Charge},
    desk::{LetterDesk, LetterNote, LettersIn, WeakDesk},
    edge::{Edge, EdgeBooks, Inbox, Input, Room},
    outbox::Outbox,
    router::{Router, event_of, with_reason},
};
