//! `meshloom trace`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::anyhow;
use meshloom_coordinator::{AdminError, connect_admin};
use meshloom_core::ids::Uid;
use meshloom_proto::v1::{TraceRequest, trace_request::Which};
use meshloom_telemetry::{Trace, TraceId, TraceStore, waterfall};
use tonic::Code;

use crate::{failure::Failure, place::StateOf, runtime, saved_traces, terminal, wire_trace};

/// Columns of a waterfall that goes into a file or a pipe.
const COLUMNS: usize = 120;
/// The fewest columns that a waterfall can be drawn in.
const MIN_COLUMNS: usize = 60;

/// Show what happened to an event, as a waterfall
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Uid of an event, or id of a trace: 32 hexadecimal digits
    #[arg(required_unless_present = "last", conflicts_with = "last", value_parser = parse_id)]
    uid: Option<[u8; 16]>,
    /// The newest trace
    #[arg(long)]
    last: bool,
    /// The pipeline file [default: ./meshloom.yaml, then ./pipeline.yaml]
    #[arg(long, value_name = "FILE", env = "MESHLOOM_FILE")]
    file: Option<PathBuf>,
    /// The state directory, when the run was given another than .meshloom/PIPELINE beside the pipeline file
    #[arg(long, value_name = "DIR", env = "MESHLOOM_STATE")]
    state: Option<PathBuf>,
}

fn parse_id(written: &str) -> Result<[u8; 16], String> {
    let uid = written.replace('-', "").parse::<Uid>();
    uid.map(|uid| *uid.as_bytes()).map_err(|_| {
        "a uid has 32 hexadecimal digits, as dead letters, logs and sinks show it; --last shows the newest trace"
            .to_owned()
    })
}

pub(crate) fn main(args: &Args) -> Result<ExitCode, Failure> {
    let state = StateOf::new(args.file.clone(), args.state.clone()).path()?;
    let trace = match runtime::block_on(from_coordinator(&state, args.uid))? {
        Ok(trace) => trace,
        Err(Failure::Other(error)) if error.is::<AdminError>() => {
            let trace = from_file(&state, args.uid)?;
            eprintln!("no coordinator runs; this trace was kept by the last run");
            trace
        }
        Err(failure) => return Err(failure),
    };
    let columns = terminal::columns_of_stdout().unwrap_or(COLUMNS).max(MIN_COLUMNS);
    terminal::end_with_the_reader();
    print!("{}", waterfall(&trace, columns, terminal::colour_on_stdout()));
    Ok(ExitCode::SUCCESS)
}

async fn from_coordinator(state: &Path, id: Option<[u8; 16]>) -> Result<Trace, Failure> {
    let mut admin = connect_admin(state).await?;
    let which = match id {
        Some(id) => vec![Which::Uid(id.to_vec().into()), Which::TraceId(id.to_vec().into())],
        None => vec![Which::Last(true)],
    };
    for which in which {
        match admin.trace(TraceRequest { which: Some(which) }).await {
            Ok(answer) => return Ok(wire_trace::decode(&answer.into_inner())?),
            Err(status) if matches!(status.code(), Code::NotFound | Code::InvalidArgument) => {}
            Err(status) => return Err(super::refused(status)),
        }
    }
    Err(not_found("in the coordinator's memory", id).into())
}

fn from_file(state: &Path, id: Option<[u8; 16]>) -> Result<Trace, Failure> {
    let saved = saved_traces::load(state)?;
    let found = saved.and_then(|saved| find(&saved, id));
    found.ok_or_else(|| not_found(&format!("among those that runs have kept in {}", state.display()), id).into())
}

fn find(saved: &TraceStore, id: Option<[u8; 16]>) -> Option<Trace> {
    match id {
        Some(id) => {
            saved.by_uid(id).into_iter().next().or_else(|| TraceId::from_bytes(id).and_then(|trace| saved.get(trace)))
        }
        None => saved.newest(1).into_iter().next(),
    }
}

fn not_found(place: &str, id: Option<[u8; 16]>) -> anyhow::Error {
    match id {
        Some(_) => anyhow!(
            "there is no such trace {place}: the event was not sampled, or newer traces took its place; `trace: {{ ratio: 1 }}` in the pipeline file samples every event, and --otlp keeps all that is sampled"
        ),
        None => anyhow!(
            "there is no trace {place}: no event was sampled; `trace: {{ ratio: 1 }}` in the pipeline file samples every event"
        ),
    }
}

#[test]
fn ids_are_read_with_and_without_dashes() {
    assert_eq!(parse_id("000102030405060708090a0b0c0d0e0f").unwrap()[15], 15);
    assert_eq!(parse_id("00010203-0405-0607-0809-0a0b0c0d0e0f").unwrap()[1], 1);
    assert!(parse_id("xyz").unwrap_err().contains("32 hexadecimal digits"));
}
