//! Standard input as a source, standard output as a sink.

use std::{io, time::Duration};

use meshloom_config::connector::{ReadFormat, StdinSource, StdoutSink};
use meshloom_core::exchange::{FromNode, FromSource, Limits, ToNode, ToSource, Work};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::{Mutex, mpsc},
};

use crate::{
    BoxFuture, NodeError, OpenContext, ProcessNode, SourceNode,
    calls::{self, Answer, Handler, Reply},
    feed::{Feed, FeedError, Reading},
    file::encoder,
    formats::{Decoder, Encoder},
    link::Link,
};

/// Reads a stream that cannot be read again. It is read on only as demand allows, and only so far ahead of what is
/// durable: a crash loses no more.
pub(crate) struct Stdin {
    spec: StdinSource,
    max_event: u64,
    reader: Box<dyn AsyncRead + Send + Unpin>,
}

impl Stdin {
    pub(crate) fn open(spec: StdinSource, context: &OpenContext) -> Self {
        Self::from_reader(spec, context.max_event, Box::new(tokio::io::stdin()))
    }

    pub(crate) fn from_reader(spec: StdinSource, max_event: u64, reader: Box<dyn AsyncRead + Send + Unpin>) -> Self {
        Self { spec, max_event, reader }
    }

    async fn produce(self, mut link: Link) -> Result<(), NodeError> {
        let content_type = if self.spec.format == ReadFormat::Text { "text/plain" } else { "application/json" };
        let reading = Reading { content_type: Some(content_type), ..Reading::default() };
        let decoder = Decoder::new(self.spec.format, usize::try_from(self.max_event).unwrap_or(usize::MAX));
        match Feed::new(decoder, reading).pump(&mut link, self.reader).await {
            Ok(()) => {
                link.exhausted().await;
                Ok(())
            }
            Err(FeedError::Stopped) => Ok(()),
            Err(FeedError::Unreadable(error)) => {
                Err(NodeError::new("READ_FAILED", format!("standard input: {error}"), ""))
            }
            Err(FeedError::Bad(error)) => Err(NodeError::new(
                error.code,
                format!("standard input: {error}"),
                if error.code == "EVENT_TOO_LARGE" {
                    "raise `max_event`, or cut the event up before"
                } else {
                    "choose another `format`, or repair what is piped in"
                },
            )),
        }
    }
}

impl SourceNode for Stdin {
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

/// Writes each event as a line.
pub(crate) struct Stdout {
    encoder: Encoder,
    writer: Mutex<Box<dyn AsyncWrite + Send + Unpin>>,
}

impl Stdout {
    pub(crate) fn open(spec: StdoutSink) -> Self {
        Self::to_writer(spec, Box::new(tokio::io::stdout()))
    }

    pub(crate) fn to_writer(spec: StdoutSink, writer: Box<dyn AsyncWrite + Send + Unpin>) -> Self {
        Self { encoder: encoder(spec.format), writer: Mutex::new(writer) }
    }
}

impl Handler for Stdout {
    /// # Errors
    /// Once nobody reads any more: no later attempt can do better.
    async fn call(&self, work: Work, _reply: &Reply) -> Result<Answer, NodeError> {
        let (batch, rejected) = self.encoder.split(&work.batch);
        let mut lines = Vec::with_capacity(batch.bytes());
        for row in 0..batch.len() {
            self.encoder.write(&batch, row, row == 0, &mut lines);
        }
        let mut writer = self.writer.lock().await;
        let written = async {
            writer.write_all(&lines).await?;
            writer.flush().await
        };
        written.await.map_err(|error: io::Error| {
            NodeError::new(
                "STDOUT_CLOSED",
                format!("standard output: {error}"),
                "keep what reads it running to the end",
            )
        })?;
        Ok(Answer::consumed_but(work.batch.len(), rejected))
    }
}

impl ProcessNode for Stdout {
    fn limits(&self) -> Limits {
        Limits { works: 1, ..Limits::default() }
    }

    fn run(
        self: Box<Self>,
        input: mpsc::Receiver<ToNode>,
        output: mpsc::Sender<FromNode>,
    ) -> BoxFuture<'static, Result<(), NodeError>> {
        // A slow reader is back-pressure, not a failure: half a line cannot be taken back.
        Box::pin(calls::run(*self, Duration::MAX, input, output))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use meshloom_config::connector::WriteFormat;
    use meshloom_core::batch::{BatchBuilder, Event};
    use tokio::io::AsyncReadExt;

    use super::*;

    fn stdin(format: ReadFormat, max_event: u64, bytes: &'static [u8]) -> Box<Stdin> {
        Box::new(Stdin::from_reader(StdinSource { format }, max_event, Box::new(bytes)))
    }

    #[tokio::test]
    async fn standard_input_is_read_to_its_end_as_it_is_wanted() {
        let source = stdin(ReadFormat::Csv, 100, b"a\n1\n2\n3\n");
        assert!(!source.replays());
        let (to, input) = mpsc::channel(4);
        let (output, mut from) = mpsc::channel(4);
        let task = tokio::spawn(source.run(input, output));
        to.send(ToSource::Demand { events: 2, bytes: 1000 }).await.unwrap();
        let Some(FromSource::Produced { batch, checkpoint, .. }) = from.recv().await else { panic!("no frame") };
        assert_eq!((batch.len(), checkpoint), (2, None::<Bytes>));
        assert_eq!(batch.payload(1), b"{\"a\":\"2\"}");
        to.send(ToSource::Demand { events: 2, bytes: 1000 }).await.unwrap();
        let Some(FromSource::Produced { batch, .. }) = from.recv().await else { panic!("no frame") };
        assert_eq!(batch.len(), 1);
        assert!(matches!(from.recv().await, Some(FromSource::Exhausted)));
        task.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_event_too_large_is_an_error_behind_what_was_good() {
        let (to, input) = mpsc::channel(4);
        let (output, mut from) = mpsc::channel(4);
        let task = tokio::spawn(stdin(ReadFormat::Text, 4, b"good\nnot good\n").run(input, output));
        to.send(ToSource::Demand { events: 10, bytes: 1000 }).await.unwrap();
        let Some(FromSource::Produced { batch, .. }) = from.recv().await else { panic!("no frame") };
        assert_eq!(batch.payload(0), b"good");
        assert!(from.recv().await.is_none());
        let error = task.await.unwrap().unwrap_err();
        assert_eq!(error.code, "EVENT_TOO_LARGE");
        assert!(error.message.contains("byte 5"), "{error}");
    }

    fn work(payload: &str) -> Work {
        let mut builder = BatchBuilder::new();
        builder.push(Event { payload: payload.as_bytes(), ..Event::default() }).unwrap();
        Work { sequence: 1, batch: builder.finish(), attempts: None, timeout: None }
    }

    #[tokio::test]
    async fn standard_output_has_whole_lines_and_its_end_is_an_error() {
        let (writer, mut reader) = tokio::io::duplex(1000);
        let sink = Box::new(Stdout::to_writer(StdoutSink { format: WriteFormat::Text }, Box::new(writer)));
        let (to, input) = mpsc::channel(4);
        let (output, mut from) = mpsc::channel(4);
        let task = tokio::spawn(sink.run(input, output));
        to.send(ToNode::Work(work("one"))).await.unwrap();
        let Some(FromNode::Result(result)) = from.recv().await else { panic!("no result") };
        assert_eq!((result.consumed, result.last), (1, true));
        let mut line = [0; 4];
        reader.read_exact(&mut line).await.unwrap();
        assert_eq!(&line, b"one\n");
        drop(reader);
        to.send(ToNode::Work(work("two"))).await.unwrap();
        assert_eq!(task.await.unwrap().unwrap_err().code, "STDOUT_CLOSED");
    }
}
