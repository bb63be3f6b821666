//! One publisher's stream: what it says is checked and taken while there is room, what it is told is in its outbox.

use std::sync::Arc;

use meshloom_core::batch::Batch;
use meshloom_proto::v1::{self, publish_request::Request};
use meshloom_wire::ingress;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::{outbox::Outbox, service::Shared};
use crate::intake::Delivery;

/// Reads until the publisher's end, a fault, or the source's stop.
pub(super) async fn read(mut requests: Streaming<v1::PublishRequest>, shared: &Shared, outbox: &Arc<Outbox>) {
    let reading = async {
        let ended = receive(&mut requests, shared, outbox).await;
        outbox.end(ended);
    };
    tokio::select! {
        () = shared.stages.stopping.cancelled() => {}
        () = reading => {}
    }
}

async fn receive(
    requests: &mut Streaming<v1::PublishRequest>,
    shared: &Shared,
    outbox: &Arc<Outbox>,
) -> Result<(), Status> {
    let settings = &shared.settings;
    let Some(Request::Open(open)) = requests.message().await?.and_then(|message| message.request) else {
        return Err(Status::invalid_argument("the first message of a Publish stream must be `open`"));
    };
    let protocol = ingress::decode_open(&open, &settings.pipeline, &settings.node)?;
    outbox.opened(v1::OpenedPublish { protocol, max_event_bytes: settings.max_event });
    while let Some(message) = requests.message().await? {
        let publication = match message.request {
            Some(Request::Publication(publication)) => publication,
            Some(Request::Open(_)) => {
                return Err(Status::invalid_argument("`open` is the first message of a stream, and comes once"));
            }
            // A kind of a later protocol.
            None => continue,
        };
        let sequence = publication.sequence;
        let batch = ingress::decode_publication(publication).map_err(|error| {
            Status::invalid_argument(format!("publication {sequence} is refused, nothing of it accepted: {error}"))
        })?;
        let receipt = outbox
            .accept(sequence, batch.len() as u64, batch.payload_size() as u64)
            .map_err(|why| Status::resource_exhausted(format!("CREDIT_EXCEEDED: {why}")))?;
        let failures = too_large(&batch, settings.max_event);
        if !failures.is_empty() {
            receipt.refuse(failures);
            continue;
        }
        // Detached: a slice of the connection's buffer would keep what came with it in memory.
        let delivery = Delivery { batch: batch.detach(), receipt };
        if shared.door.deliveries.send(delivery).await.is_err() {
            // The source stops; what was taken before may still be acknowledged.
            std::future::pending::<()>().await;
        }
    }
    Ok(())
}

fn too_large(batch: &Batch, max_event: u64) -> Vec<v1::EventFailure> {
    if batch.bytes() as u64 <= max_event {
        return Vec::new();
    }
    let sizes = (0..batch.len()).map(|row| (row, batch.bytes_of(row) as u64));
    let failures = sizes.filter(|(_, bytes)| *bytes > max_event).map(|(row, bytes)| v1::EventFailure {
        index: row as u32,
        action: v1::FailureAction::Reject.into(),
        reason: "EVENT_TOO_LARGE".into(),
        message: format!("the event has {bytes} bytes, `max_event` allows {max_event}: raise it at the source"),
        retry_after: None,
    });
    failures.collect()
}

/// Says what there is to say, until the stream is at its end.
pub(super) async fn write(
    responses: &mpsc::Sender<Result<v1::PublishResponse, Status>>,
    shared: &Shared,
    outbox: &Outbox,
) {
    let stages = &shared.stages;
    let mut open = shared.door.open.clone();
    loop {
        // Asked before what is taken: what comes in between must not be left unsaid.
        let (stops, over) = (stages.stopping.is_cancelled(), stages.over.is_cancelled());
        let room = *open.borrow_and_update() && !stops;
        let outgoing = outbox.take(room);
        for message in outgoing.messages {
            if responses.send(Ok(message)).await.is_err() {
                return;
            }
        }
        let end = match outgoing.ended {
            Some(end) => Some(end),
            None if over || (stops && outgoing.settled) => Some(Err(stopping())),
            None => None,
        };
        if let Some(end) = end {
            if let Err(status) = end {
                // Whoever has gone needs no status.
                let _ = responses.send(Err(status)).await;
            }
            return;
        }
        tokio::select! {
            () = outbox.changed() => {}
            Ok(()) = open.changed() => {}
            () = stages.stopping.cancelled(), if !stops => {}
            () = stages.over.cancelled() => {}
            () = responses.closed() => return,
        }
    }
}

fn stopping() -> Status {
    Status::unavailable(
        "the pipeline is stopping: what was not acknowledged may be lost; publish it again with the same ids when it \
         runs again",
    )
}
