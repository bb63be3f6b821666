//! Mode `batch`: a process per batch, events on its standard input, outputs on its standard output.

use std::io;

use meshloom_core::{
    batch::Batch,
    exchange::{FromNode, Limits, ToNode, Work},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

use super::{
    collect::{Collector, encoder},
    program::{Occasion, Run, SharedProgram},
};
use crate::{
    BoxFuture, NodeError, ProcessNode,
    calls::{self, Answer, Handler, Reply, whole},
    formats::Encoder,
};

/// Bytes written or read at a time.
pub(super) const CHUNK: usize = 64 << 10;

/// A program that is run for each batch.
pub(super) struct Batches {
    program: SharedProgram,
    encoder: Encoder,
}

impl Batches {
    pub(super) fn new(program: SharedProgram) -> Self {
        Self { encoder: encoder(&program.spec), program }
    }

    async fn run_batch(&self, work: &Work, reply: &Reply) -> Answer {
        let (batch, rejected) = self.encoder.split(&work.batch);
        if batch.is_empty() {
            return Answer::consumed_but(work.batch.len(), rejected);
        }
        let occasion = Occasion::of(&self.program.context.node, work);
        let Run { stdin, mut stdout, mut end } = match self.program.start_in_dir(&occasion).await {
            Ok(run) => run,
            Err(failure) => return Answer::Failed(failure),
        };
        let mut collector = Collector::new(&self.program.spec, &work.batch, reply);
        let mut bad_output = None;
        let exchange = async {
            let write = write_events(&self.encoder, &batch, stdin);
            let read = async {
                let mut chunk = vec![0; CHUNK];
                loop {
                    match stdout.read(&mut chunk).await {
                        Ok(0) | Err(_) => break,
                        Ok(read) if bad_output.is_none() => {
                            bad_output = collector.feed(&chunk[..read]).await.err();
                        }
                        // It may still say why it went wrong, by its exit status: let it end.
                        Ok(_) => {}
                    }
                }
            };
            let (written, (), ended) = tokio::join!(write, read, end.wait());
            ended.map(|()| written)
        };
        let ended = tokio::select! {
            ended = exchange => ended,
            () = reply.cancelled() => {
                end.terminate().await;
                return Answer::Interrupted;
            }
        };
        let finished = match (ended, bad_output) {
            (Err(failure), _) => Err(failure),
            (Ok(_), Some(bad)) => Err(end.failure("BAD_OUTPUT", bad).await),
            (Ok(Err(error)), None) => Err(whole("WRITE_FAILED", format!("the program's standard input: {error}"))),
            (Ok(Ok(())), None) => match collector.finish().await {
                Ok(outputs) => Ok(outputs),
                Err(bad) => Err(end.failure("BAD_OUTPUT", bad).await),
            },
        };
        match finished {
            Err(failure) => Answer::Failed(failure),
            Ok(outputs) => {
                let consumed = u32::try_from(batch.len()).unwrap_or(u32::MAX);
                Answer::Done { outputs, failures: rejected, consumed }
            }
        }
    }
}

/// Writes the events, then closes the input. A program that does not care to read them all is no failure.
async fn write_events(
    encoder: &Encoder,
    batch: &Batch,
    stdin: Option<Box<dyn tokio::io::AsyncWrite + Send + Unpin>>,
) -> io::Result<()> {
    let Some(mut stdin) = stdin else {
        return Ok(());
    };
    let mut chunk = Vec::with_capacity(CHUNK);
    let done = async {
        encoder.begin(&mut chunk);
        for row in 0..batch.len() {
            encoder.write(batch, row, row == 0, &mut chunk);
            if chunk.len() >= CHUNK {
                stdin.write_all(&chunk).await?;
                chunk.clear();
            }
        }
        encoder.end(&mut chunk);
        stdin.write_all(&chunk).await?;
        stdin.shutdown().await
    };
    match done.await {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

impl Handler for Batches {
    async fn call(&self, work: Work, reply: &Reply) -> Result<Answer, NodeError> {
        Ok(self.run_batch(&work, reply).await)
    }
}

impl ProcessNode for Batches {
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
