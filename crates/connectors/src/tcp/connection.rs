//! One connection: bytes in, batches out, as fast as they are taken.

use std::io;

use meshloom_config::connector::{Framing, ReadFormat, TcpSource};
use meshloom_core::exchange::NotAccepted;
use tokio::net::TcpStream;

use crate::{
    feed::{Feed, Reading},
    formats::{Decoder, FormatError},
    intake::{Delivery, Door, Receipt},
    link::Credit,
};

/// Bytes read at a time.
const CHUNK: usize = 16 << 10;
/// A frame takes all that was read: the coordinator's credit is heeded where frames are sent.
const ALL: Credit = Credit { events: u64::MAX, bytes: u64::MAX };

/// Nobody is told what becomes of a batch.
pub(super) struct Unacknowledged;

impl Receipt for Unacknowledged {
    fn forwarded(&self) {}
    fn settled(&self) {}
    // Its frames wait for the journal.
    fn refused(&self, _why: NotAccepted) {}
}

/// What ended a connection before its time, in words.
pub(super) struct Fault(pub(super) String);

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self(format!("the connection broke, and a record that was not complete is lost: {error}"))
    }
}

impl From<FormatError> for Fault {
    fn from(error: FormatError) -> Self {
        let remedy = match error.code {
            "EVENT_TOO_LARGE" => "raise `max_event`, or check that `framing` is what the client sends",
            _ => "check that `framing` and `format` are what the client sends",
        };
        let code = error.code;
        Self(format!("{code}: {error}; the records before it were taken and the connection is closed: {remedy}"))
    }
}

/// Reads to the end of the connection; `Ok` too when nobody takes batches any more.
pub(super) async fn serve(
    stream: &TcpStream,
    spec: &TcpSource,
    max_event: usize,
    mut door: Door<Unacknowledged>,
) -> Result<(), Fault> {
    let decoder = match spec.framing {
        Framing::Lines => Decoder::new(spec.format, max_event),
        Framing::Length => Decoder::of_lengths(max_event),
    };
    let content_type = if spec.format == ReadFormat::Text { "text/plain" } else { "application/json" };
    let mut feed = Feed::new(decoder, Reading { content_type: Some(content_type), ..Reading::default() });
    let mut ended = false;
    loop {
        while let Some(frame) = feed.frame(ALL)? {
            let delivery = Delivery { batch: frame.batch, receipt: Unacknowledged };
            if door.deliveries.send(delivery).await.is_err() {
                return Ok(());
            }
        }
        if ended {
            return Ok(());
        }
        feed.decoder.shrink();
        // What is not read stays with the client, which is how it is held back.
        if door.open.wait_for(|open| *open).await.is_err() {
            return Ok(());
        }
        stream.readable().await?;
        match read(stream, &mut feed) {
            Ok(0) => {
                feed.decoder.finish();
                ended = true;
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads what there is. The chunk is on the stack, so that a silent connection has none.
fn read(stream: &TcpStream, feed: &mut Feed) -> io::Result<usize> {
    let mut chunk = [0; CHUNK];
    let read = stream.try_read(&mut chunk)?;
    feed.decoder.feed(&chunk[..read]);
    Ok(read)
}
