//! The oracle: real coordinators and real nodes in every language, faults at random, and a model that knows what must
//! have become of every event.
//!
//! A [`Plan`](plan::Plan) follows from a seed alone: the languages of the nodes, what each event asks for, and which fault
//! strikes whom or what when so many events have reached the sink. A [`round`] carries it out; [`check`] compares what the
//! sinks, the dead letters and the positions on disk hold with what the [`model`] says. [`storage`] makes trouble below the
//! coordinator's state, [`namespace`] gives it a disk that is full. [`poison`] is about single events that kill the process
//! that handles them.

#![allow(clippy::unwrap_used, reason = "a harness of tests fails by panicking")]

pub mod check;
pub mod client;
pub mod dialled;
pub mod evidence;
pub mod model;
pub mod namespace;
pub mod pipeline;
pub mod plan;
pub mod poison;
pub mod proxy;
pub mod record;
pub mod round;
pub mod storage;
pub mod victims;
