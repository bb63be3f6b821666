//! The actor of one source: takes frames in, gives them identity and an origin, and moves the source's position when
//! all that came from a frame has settled.

mod actor;
mod admission;
mod books;
mod credit;
mod frames;
mod ledger;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    actor::{FromStream, SourceActor, SourceWiring},
    admission::Admission,
    books::SourceBooks,
    credit::Window,
    ledger::FrameLedger,
};
