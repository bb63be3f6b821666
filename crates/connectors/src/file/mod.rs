//! Files: a source that knows them by what they begin with, and a sink that has what it acknowledges on the disk.

mod book;
mod identify;
mod position;
mod rotate;
mod scan;
mod sink;
mod source;

pub(crate) use sink::{FileSinkNode, encoder};
pub(crate) use source::FileSourceNode;
