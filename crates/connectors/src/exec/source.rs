//! A program without input: a source. What it writes cannot come again.

use std::time::{Duration, Instant};

use meshloom_config::{
    connector::ReadFormat,
    exec::{Envelope, ExecMode},
};
use meshloom_core::exchange::{Failure, FromSource, ToSource};
use tokio::{io::AsyncRead, sync::mpsc};

use super::{
    collect, files,
    program::{Occasion, Run, SharedProgram},
    site::{self, Site},
};
use crate::{
    BoxFuture, NodeError, OpenError, SourceNode,
    feed::{Feed, FeedError, Reading},
    formats::Decoder,
    link::Link,
};

/// A program that makes events.
pub(super) struct ExecSource {
    program: SharedProgram,
}

/// Why a run ended early.
enum Ended {
    Stopped,
    Failed(Failure),
}

impl From<FeedError> for Ended {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Stopped => Self::Stopped,
            FeedError::Bad(error) => Self::Failed(crate::calls::whole(error.code, error.to_string())),
            FeedError::Unreadable(error) => Self::Failed(crate::calls::whole("READ_FAILED", error)),
        }
    }
}

impl ExecSource {
    pub(super) fn open(program: SharedProgram) -> Result<Self, OpenError> {
        if program.spec.mode == ExecMode::Files {
            if program.spec.output.is_none() {
                return Err(OpenError::new(
                    "OUTPUT_MISSING",
                    format!("node {}: a source in mode files has no output to read", program.context.node),
                    "name it with `output`",
                ));
            }
            files::claim_output(&program)?;
        }
        Ok(Self { program })
    }

    fn reading(&self) -> Reading {
        let spec = &self.program.spec;
        let content_type = (spec.mode != ExecMode::Lines).then_some("application/json");
        Reading { envelope: spec.envelope, content_type, skip_null: true, check_json: spec.mode != ExecMode::Lines }
    }

    fn decoder(&self) -> Decoder {
        let limit = usize::try_from(self.program.context.max_event).unwrap_or(usize::MAX);
        match (self.program.spec.mode, self.program.spec.envelope) {
            (ExecMode::Lines, Envelope::Data) => Decoder::new(ReadFormat::Text, limit),
            (ExecMode::Lines, Envelope::CloudEvents) => Decoder::new(ReadFormat::Ndjson, limit),
            _ => collect::decoder(&self.program.spec, limit),
        }
    }

    async fn once(&self, link: &mut Link) -> Result<(), Ended> {
        let occasion = Occasion { attempt: Some(1), ..Occasion::default() };
        if self.program.spec.mode == ExecMode::Files {
            return self.once_with_files(link, &occasion).await;
        }
        let Run { stdin, stdout, mut end } = self.program.start_in_dir(&occasion).await.map_err(Ended::Failed)?;
        drop(stdin);
        if let Err(ended) = self.feed(link, stdout).await {
            let exit = end.terminate().await;
            return Err(match ended {
                Ended::Failed(failure) if exit.is_some() => {
                    Ended::Failed(end.failure("BAD_OUTPUT", format!("wrote bad output: {}", failure.message)).await)
                }
                other => other,
            });
        }
        end.wait().await.map_err(Ended::Failed)
    }

    async fn once_with_files(&self, link: &mut Link, occasion: &Occasion) -> Result<(), Ended> {
        let failed = |what: String| Ended::Failed(crate::calls::whole("FILES_FAILED", what));
        let site = Site::of_source(&self.program).map_err(|error| failed(error.to_string()))?;
        let mut run = site::start(&self.program, &site, occasion).await.map_err(Ended::Failed)?;
        let ended = {
            let mut wait = std::pin::pin!(site::wait(&self.program, &mut run));
            loop {
                tokio::select! {
                    ended = &mut wait => break Some(ended),
                    heard = link.hear() => if heard.is_err() {
                        break None;
                    }
                }
            }
        };
        let Some(ended) = ended else {
            run.end.terminate().await;
            return Err(Ended::Stopped);
        };
        ended.map_err(Ended::Failed)?;
        let Some(path) = &site.output else {
            return Ok(());
        };
        let read = match tokio::fs::File::open(path).await {
            Ok(file) => self.feed(link, Box::new(file)).await,
            Err(error) => {
                let what = format!("ended well but its output cannot be read: {}: {error}", path.display());
                Err(Ended::Failed(run.end.failure("OUTPUT_MISSING", what).await))
            }
        };
        if let Err(error) = tokio::fs::remove_dir_all(&site.scratch).await {
            self.program.context.say(format!("{} could not be removed: {error}", site.scratch.display())).await;
        }
        read
    }

    async fn feed(&self, link: &mut Link, reader: Box<dyn AsyncRead + Send + Unpin>) -> Result<(), Ended> {
        let mut feed = Feed::new(self.decoder(), self.reading());
        feed.pump(link, reader).await.map_err(Ended::from)
    }

    async fn produce(self, mut link: Link) -> Result<(), NodeError> {
        loop {
            let started = Instant::now();
            match self.once(&mut link).await {
                Ok(()) => {}
                Err(Ended::Stopped) => return Ok(()),
                Err(Ended::Failed(failure)) => {
                    let remedy = "the source is started again after the node's `restart` time";
                    return Err(NodeError::new(
                        "SOURCE_FAILED",
                        format!("{}: {}", failure.reason, failure.message),
                        remedy,
                    ));
                }
            }
            let Some(every) = self.program.spec.every else {
                link.exhausted().await;
                return Ok(());
            };
            if pause(&mut link, every.saturating_sub(started.elapsed())).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Waits, and hears meanwhile.
async fn pause(link: &mut Link, time: Duration) -> Result<(), crate::link::Stopped> {
    let until = tokio::time::Instant::now() + time;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(until) => return Ok(()),
            heard = link.hear() => heard.map(|_| ())?,
        }
    }
}

impl SourceNode for ExecSource {
    fn replays(&self) -> bool {
        false
    }

    fn run(
        self: Box<Self>,
        input: mpsc::Receiver<ToSource>,
        output: mpsc::Sender<FromSource>,
    ) -> BoxFuture<'static, Result<(), NodeError>> {
        Box::pin(self.produce(Link::new(input, output)))
    }
}
