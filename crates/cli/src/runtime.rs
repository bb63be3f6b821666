//! The runtime of a command.

use std::{future::Future, time::Duration};

use anyhow::Context as _;

/// Time for tasks to be dropped, and with them their sockets and folders.
const GOODBYE: Duration = Duration::from_millis(500);

/// Runs a command to its end. A thread that still reads standard input is left behind.
pub(crate) fn block_on<T>(command: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("threads cannot be started; look at the limits of this process (ulimit -a)")?;
    let done = runtime.block_on(command);
    runtime.shutdown_timeout(GOODBYE);
    Ok(done)
}
