//! Programs of the adapter, under the coordinator's guard.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use meshloom_config::NodeSpec;
use meshloom_connectors::{self as connectors, BoxFuture, Child, CommandLine, Spawner};

use super::launch::Host;
use crate::process::{
    self, DEFAULT_GRACE, Environment, ProcessName, ProcessSpec, Processes, Status, Stderr, Stdin, Stdout,
};

/// Starts an adapter's programs, each under a lock of its own.
pub(super) struct GuardedSpawner {
    processes: Processes,
    name: ProcessName,
    telemetry: Environment,
    slots: Arc<Mutex<BTreeSet<u32>>>,
}

impl GuardedSpawner {
    pub(super) fn new(host: &Host, spec: &NodeSpec, replica: u32) -> Self {
        let mut telemetry = Environment::default();
        host.set_telemetry(&mut telemetry, spec, replica);
        Self {
            processes: host.processes.clone(),
            name: ProcessName::new(spec.name.as_str(), replica),
            telemetry,
            slots: Arc::default(),
        }
    }
}

impl Spawner for GuardedSpawner {
    fn spawn(&self, command: CommandLine) -> BoxFuture<'static, io::Result<Child>> {
        let slot = Slot::take(&self.slots);
        let spec = ProcessSpec {
            name: self.name.clone().with_slot(slot.number),
            program: command.program,
            args: command.args,
            dir: command.dir,
            // The adapter's environment is complete; the user's own OTEL_* variables come last in it.
            env: self.telemetry.clone().with(command.env),
            stdin: Stdin::Piped,
            stdout: Stdout::Piped,
            stderr: Stderr::Piped,
        };
        let processes = self.processes.clone();
        Box::pin(async move {
            let mut process = processes.spawn(spec).await.map_err(io::Error::other)?;
            let missing = || io::Error::other("a stream of the program was not piped");
            Ok(Child {
                stdin: Box::new(process.take_stdin().ok_or_else(missing)?),
                stdout: Box::new(process.take_stdout().ok_or_else(missing)?),
                stderr: Box::new(process.take_stderr().ok_or_else(missing)?),
                process: Box::new(Guarded { process, _slot: slot }),
            })
        })
    }
}

struct Guarded {
    process: process::Process,
    _slot: Slot,
}

impl connectors::Process for Guarded {
    fn wait(&mut self) -> BoxFuture<'_, io::Result<connectors::Exit>> {
        Box::pin(async {
            let exit = self.process.exited().await;
            self.process.gone().await;
            Ok(match exit.status {
                Status::Code(code) => connectors::Exit::Code(code),
                Status::Signal(signal) => connectors::Exit::Signal(signal),
            })
        })
    }

    fn terminate(&mut self) -> BoxFuture<'_, io::Result<connectors::Exit>> {
        self.process.terminate(DEFAULT_GRACE);
        self.wait()
    }
}

/// The lowest free number: a lock's name.
struct Slot {
    number: u32,
    taken: Arc<Mutex<BTreeSet<u32>>>,
}

impl Slot {
    fn take(taken: &Arc<Mutex<BTreeSet<u32>>>) -> Self {
        let mut slots = taken.lock().unwrap_or_else(PoisonError::into_inner);
        let number = (0..).find(|number| !slots.contains(number)).unwrap_or_default();
        slots.insert(number);
        drop(slots);
        Self { number, taken: taken.clone() }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}
