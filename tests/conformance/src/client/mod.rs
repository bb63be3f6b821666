//! A client of nodes that can say what no coordinator would, and that looks at everything that comes back.

mod codec;
mod process;
mod produce;
mod record;

pub(crate) use self::{
    process::{Open, Process, Shared, Work, describe},
    produce::{Frame, OpenSource, Produce},
    record::{Answer, Verdict, duration},
};
