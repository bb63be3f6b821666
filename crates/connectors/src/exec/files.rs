//! Mode `files`: a process per batch, for programs that read and write files.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use meshloom_config::exec::ExecCwd;
use meshloom_core::{
    batch::Batch,
    exchange::{Failure, FromNode, Limits, ToNode, Work},
    outputs::Outputs,
};
use tokio::{io::AsyncReadExt, sync::mpsc};

use super::{
    batch::CHUNK,
    collect::{Collector, encoder},
    program::{Occasion, SharedProgram},
    record,
    site::{Site, ignore_missing, start, wait},
};
use crate::{
    BoxFuture, NodeError, OpenError, ProcessNode,
    calls::{self, Answer, Handler, Reply, whole},
    formats::Encoder,
};

/// A program that is run for each batch, on files.
pub(super) struct Files {
    program: SharedProgram,
    folders: Folders,
    encoder: Encoder,
}

/// Where a node keeps the folders of its runs.
struct Folders {
    scratch: PathBuf,
    kept: PathBuf,
}

impl Files {
    pub(super) fn open(program: SharedProgram) -> Result<Self, OpenError> {
        let context = &program.context;
        if program.spec.cwd == ExecCwd::Dir && (context.replicas > 1 || context.concurrency.unwrap_or(1) > 1) {
            return Err(OpenError::new(
                "SHARED_FOLDER",
                format!(
                    "node {}: several runs at once would share the files in {}",
                    context.node,
                    context.dir.display()
                ),
                "set `cwd: scratch`, or `replicas` and `concurrency` to 1",
            ));
        }
        claim_output(&program)?;
        let scratch = context.state_dir.join("scratch").join(&context.node).join(context.replica.to_string());
        // What a crash has left.
        match fs::remove_dir_all(&scratch) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(record::state_error(&scratch, &error));
            }
            _ => {}
        }
        fs::create_dir_all(&scratch).map_err(|error| record::state_error(&scratch, &error))?;
        let kept = context.state_dir.join("failed").join(&context.node);
        let encoder = encoder(&program.spec);
        Ok(Self { folders: Folders { scratch, kept }, encoder, program })
    }

    /// Lays out the files of a run: those of an earlier one are removed, inputs are written.
    async fn prepare(&self, batch: &Batch, name: &str, attempt: u32) -> Result<Site, Failure> {
        let spec = &self.program.spec;
        let scratch = self.folders.scratch.join(format!("{name}-{attempt}"));
        let cwd = match spec.cwd {
            ExecCwd::Dir => self.program.context.dir.clone(),
            ExecCwd::Scratch => scratch.clone(),
        };
        let inputs: Vec<PathBuf> = spec.inputs.iter().map(|input| cwd.join(&input.file)).collect();
        let output = spec.output.as_ref().map(|file| cwd.join(file));
        let site = Site { scratch, cwd, inputs, output };
        let rows = self.rows_by_upstream(batch)?;
        let (encoder, batch) = (self.encoder, batch.clone());
        let laid_out = tokio::task::spawn_blocking(move || {
            let result = site.lay_out(encoder, &batch, &rows);
            result.map(|()| site).map_err(|(path, error)| format!("{}: {error}", path.display()))
        });
        let laid_out = laid_out.await.unwrap_or_else(|panic| Err(panic.to_string()));
        laid_out.map_err(|error| whole("FILES_FAILED", format!("the files of the run could not be written: {error}")))
    }

    fn rows_by_upstream(&self, batch: &Batch) -> Result<Vec<Vec<usize>>, Failure> {
        let names: Vec<String> = self.program.spec.inputs.iter().map(|input| input.upstream.to_string()).collect();
        let mut rows = vec![Vec::new(); names.len()];
        for row in 0..batch.len() {
            let place = match batch.from(row) {
                None if names.len() == 1 => Some(0),
                None => None,
                Some(from) => names.iter().position(|name| name == from),
            };
            match place {
                Some(place) => rows[place].push(row),
                None => {
                    let from = batch.from(row).unwrap_or("nobody");
                    return Err(whole(
                        "UNKNOWN_UPSTREAM",
                        format!("an event is from {from}, which is no input of this node"),
                    ));
                }
            }
        }
        Ok(rows)
    }

    async fn run_batch(&self, work: &Work, reply: &Reply) -> Answer {
        let (batch, rejected) = self.encoder.split(&work.batch);
        if batch.is_empty() {
            return Answer::consumed_but(work.batch.len(), rejected);
        }
        let occasion = Occasion::of(&self.program.context.node, work);
        let name = occasion.batch.clone().unwrap_or_default();
        let site = match self.prepare(&batch, &name, occasion.attempt.unwrap_or(1)).await {
            Ok(site) => site,
            Err(failure) => return Answer::Failed(failure),
        };
        let result = self.run_program(&site, &occasion, &work.batch, reply).await;
        self.tidy(&site, matches!(result, Err(Some(_)))).await;
        match result {
            Ok(outputs) => {
                let consumed = u32::try_from(batch.len()).unwrap_or(u32::MAX);
                Answer::Done { outputs, failures: rejected, consumed }
            }
            Err(Some(failure)) => Answer::Failed(failure),
            Err(None) => Answer::Interrupted,
        }
    }

    /// `Err(None)`: interrupted.
    async fn run_program(
        &self,
        site: &Site,
        occasion: &Occasion,
        input: &Batch,
        reply: &Reply,
    ) -> Result<Option<Outputs>, Option<Failure>> {
        let mut run = start(&self.program, site, occasion).await.map_err(Some)?;
        let ended = tokio::select! {
            ended = wait(&self.program, &mut run) => ended,
            () = reply.cancelled() => {
                run.end.terminate().await;
                return Err(None);
            }
        };
        ended.map_err(Some)?;
        let Some(output) = &site.output else {
            return Ok(None);
        };
        match read_output(Collector::new(&self.program.spec, input, reply), output).await {
            Ok(outputs) => Ok(outputs),
            Err((reason, what)) => Err(Some(run.end.failure(reason, what).await)),
        }
    }

    async fn tidy(&self, site: &Site, failed: bool) {
        let context = &self.program.context;
        if failed && self.program.spec.keep_failed && self.program.spec.cwd == ExecCwd::Scratch {
            let kept = self.folders.kept.join(site.scratch.file_name().unwrap_or_default());
            let moved = fs::create_dir_all(&self.folders.kept)
                .and_then(|()| fs::remove_dir_all(&kept).or_else(ignore_missing))
                .and_then(|()| fs::rename(&site.scratch, &kept));
            match moved {
                Ok(()) => context.say(format!("the folder of the failed batch is kept: {}", kept.display())).await,
                Err(error) => {
                    let place = site.scratch.display();
                    context.say(format!("the folder of the failed batch stays at {place}: {error}")).await;
                }
            }
        } else if let Err(error) = tokio::fs::remove_dir_all(&site.scratch).await.or_else(ignore_missing) {
            context.say(format!("{} could not be removed: {error}", site.scratch.display())).await;
        }
    }
}

/// Refuses a foreign output file, where runs share a folder.
pub(super) fn claim_output(program: &SharedProgram) -> Result<(), OpenError> {
    let context = &program.context;
    match &program.spec.output {
        // In a folder of its own there can be nobody else's file, unless it was named from the root.
        Some(file) if program.spec.cwd == ExecCwd::Dir || Path::new(file).is_absolute() => {
            record::claim(context, &context.dir.join(file))
        }
        _ => Ok(()),
    }
}

async fn read_output(mut collector: Collector<'_>, path: &Path) -> Result<Option<Outputs>, (&'static str, String)> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            ("OUTPUT_MISSING", format!("ended well but did not write its output {}", path.display()))
        }
        _ => ("OUTPUT_UNREADABLE", format!("wrote an output that cannot be read: {}: {error}", path.display())),
    };
    let bad = |what: String| ("BAD_OUTPUT", format!("{what} of {}", path.display()));
    let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = file.read(&mut chunk).await.map_err(failed)?;
        if read == 0 {
            return collector.finish().await.map_err(bad);
        }
        collector.feed(&chunk[..read]).await.map_err(bad)?;
    }
}

impl Handler for Files {
    async fn call(&self, work: Work, reply: &Reply) -> Result<Answer, NodeError> {
        Ok(self.run_batch(&work, reply).await)
    }
}

impl ProcessNode for Files {
    fn limits(&self) -> Limits {
        super::per_batch_limits(self.program.context.concurrency)
    }

    fn run(
        self: Box<Self>,
        input: mpsc::Receiver<ToNode>,
        output: mpsc::Sender<FromNode>,
    ) -> BoxFuture<'static, Result<(), NodeError>> {
        let limit = self.program.context.timeout;
        Box::pin(calls::run(*self, limit, input, output))
    }
}
