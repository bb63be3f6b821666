//! `meshloom restart`.

use std::{collections::HashMap, path::PathBuf, process::ExitCode};

use meshloom_coordinator::connect_admin;
use meshloom_proto::v1::{PipelineStatus, ReplicaStatus, RestartRequest, WatchRequest};

use crate::{failure::Failure, place::StateOf, runtime, text};

/// Restart the processes of a node, one after the other, each once it has nothing in hand; no event is lost or tried again
///
/// The command ends when all of them are up again. Interrupted, it stops after the replica that it is at.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node
    node: String,
    /// The pipeline file [default: ./meshloom.yaml, then ./pipeline.yaml]
    #[arg(long, value_name = "FILE", env = "MESHLOOM_FILE")]
    file: Option<PathBuf>,
    /// The state directory, when the run was given another than .meshloom/PIPELINE beside the pipeline file
    #[arg(long, value_name = "DIR", env = "MESHLOOM_STATE")]
    state: Option<PathBuf>,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode, Failure> {
    let state = StateOf::new(args.file.clone(), args.state.clone()).path()?;
    let restarted = runtime::block_on(async {
        let mut admin = connect_admin(&state).await?;
        let mut watcher = admin.clone();
        let mut changes = watcher.watch(WatchRequest {}).await.map_err(super::refused)?.into_inner();
        let request = RestartRequest { node: args.node.clone() };
        let mut progress = Progress::default();
        let restart = admin.restart(request);
        tokio::pin!(restart);
        let mut watching = true;
        loop {
            tokio::select! {
                answer = &mut restart => return answer.map(|answer| answer.into_inner().restarted).map_err(super::refused_with_reason),
                change = changes.message(), if watching => match change {
                    Ok(Some(change)) => {
                        let status = change.status.unwrap_or_default();
                        progress.look(&status, &args.node).iter().for_each(|line| eprintln!("{line}"));
                    }
                    // What it comes to is said by the answer.
                    Ok(None) | Err(_) => watching = false,
                },
            }
        }
    })??;
    eprintln!("{} of {} restarted", text::plural(restarted.into(), "replica"), args.node);
    Ok(ExitCode::SUCCESS)
}

/// What was said of each replica last.
#[derive(Debug, Default)]
struct Progress(HashMap<u32, (String, u32)>);

impl Progress {
    /// A line for each replica of which there is news. What is there at first is none.
    fn look(&mut self, status: &PipelineStatus, node: &str) -> Vec<String> {
        let replicas = status.nodes.iter().filter(|status| status.name == node).flat_map(|status| &status.replicas);
        let news = replicas.filter_map(|replica| {
            let before = self.0.insert(replica.index, (replica.state.clone(), replica.pid))?;
            (before != (replica.state.clone(), replica.pid)).then(|| describe(node, replica))
        });
        news.collect()
    }
}

fn describe(node: &str, replica: &ReplicaStatus) -> String {
    let detail = match replica.state.as_str() {
        "down" => format!(": {}", replica.last_error),
        "up" if replica.pid != 0 => format!(", process {}", replica.pid),
        _ => String::new(),
    };
    format!("{node}[{}] {}{detail}", replica.index, replica.state)
}

#[test]
fn progress_is_told_by_replica_and_only_once() {
    let mut status = crate::books::tests::sample();
    let mut progress = Progress::default();
    assert!(progress.look(&status, "filter").is_empty());
    status.nodes[1].replicas[0].state = "starting".into();
    assert_eq!(progress.look(&status, "filter"), ["filter[0] starting"]);
    assert!(progress.look(&status, "filter").is_empty());
    status.nodes[1].replicas[0] = ReplicaStatus { state: "up".into(), pid: 7, ..status.nodes[1].replicas[0].clone() };
    status.nodes[2].replicas[0].state = "up".into();
    assert_eq!(progress.look(&status, "filter"), ["filter[0] up, process 7"]);
    status.nodes[1].replicas[0] =
        ReplicaStatus { state: "down".into(), last_error: "DIED".into(), ..status.nodes[1].replicas[0].clone() };
    assert_eq!(progress.look(&status, "filter"), ["filter[0] down: DIED"]);
}
