//! `build:` commands, run to their end before the first start.

use std::ffi::OsString;

use meshloom_config::{NodeSpec, spec::Command};

use crate::{
    error::RunError,
    process::{Environment, ProcessName, ProcessSpec, Processes, Status, Stderr, Stdin, Stdout},
};

/// The slot of a node's build among its processes' locks; the adapter counts from zero.
const SLOT: u32 = u32::MAX;

/// Builds the nodes in the order of the file, one after the other: most builds use every core.
pub(crate) async fn build(nodes: &[NodeSpec], processes: &Processes) -> Result<(), RunError> {
    for spec in nodes {
        if let Some(command) = &spec.build {
            tracing::info!("building {}: {command}", spec.name);
            build_one(spec, command, processes).await?;
        }
    }
    Ok(())
}

async fn build_one(spec: &NodeSpec, command: &Command, processes: &Processes) -> Result<(), RunError> {
    let env = Environment::inherit(std::env::vars_os(), spec.env_clear);
    let process = processes
        .spawn(ProcessSpec {
            name: ProcessName::new(spec.name.as_str(), 0).with_slot(SLOT),
            program: command.program.clone().into(),
            args: command.args.iter().map(OsString::from).collect(),
            dir: spec.dir.clone(),
            env: env.with(spec.env.iter().map(|(name, value)| (name, value))),
            stdin: Stdin::Null,
            stdout: Stdout::Log,
            stderr: Stderr::Log,
        })
        .await
        .map_err(|error| RunError::spawn(&spec.name, &error))?;
    let exit = process.exited().await;
    process.gone().await;
    if matches!(exit.status, Status::Code(0)) {
        return Ok(());
    }
    let message = format!("`build: {command}` failed: {}", crate::process_words(&exit));
    Err(RunError::node(&spec.name, "BUILD_FAILED", message).with_remedy("run the command by hand in the node's folder"))
}
