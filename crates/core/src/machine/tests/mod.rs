//! The node machine under a virtual clock: one test per rule, and a row-by-row model under random events.

mod batching;
mod breaker;
mod choice;
mod failures;
mod hops;
mod model;
mod ordering;
mod ordering_model;
mod outage;
mod outage_model;
mod patience;
mod pause;
mod poison;
mod rest;
mod stage;
mod stall;
mod trouble;
mod verdicts;
