//! A source. What it sends once it has credit:
//! - `greedy`: a frame far beyond its credit, in each of its lives;
//! - `huge`: a small event, one over `max_event`, a small one, then its end;
//! - anything else: a frame that breaks the rule of that name; from its second life on (file `lived`) one good event.

use std::fs;

use bytes::Bytes;
use meshloom_proto::v1::{self, produce_request::Request, produce_response::Response};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::{Answers, malformed, opened};

pub(crate) fn answer(what: String, mut requests: Streaming<v1::ProduceRequest>) -> Answers<v1::ProduceResponse> {
    let (sender, answers) = mpsc::channel(64);
    tokio::spawn(async move {
        let mut sent = false;
        while let Ok(Some(message)) = requests.message().await {
            let replies = match message.request {
                Some(Request::Open(_)) => vec![Response::Opened(opened(1))],
                Some(Request::Demand(_)) if !sent => {
                    sent = true;
                    frames(&what)
                }
                // Half-closing is how a source ends after Stop.
                Some(Request::Stop(_)) => return,
                _ => Vec::new(),
            };
            for reply in replies {
                let reply: Result<_, Status> = Ok(v1::ProduceResponse { response: Some(reply) });
                if sender.send(reply).await.is_err() {
                    return;
                }
            }
        }
    });
    ReceiverStream::new(answers)
}

fn frames(what: &str) -> Vec<Response> {
    let end = Response::Exhausted(v1::Exhausted {});
    match what {
        "greedy" => vec![frame(1, batch(&["x"; 65_536]), "c")],
        "huge" => {
            let huge = "x".repeat(3 << 20);
            vec![frame(1, batch(&["1"]), "1"), frame(2, batch(&[&huge]), "2"), frame(3, batch(&["3"]), "3"), end]
        }
        _ if fs::exists("lived").is_ok_and(|lived| lived) => vec![frame(1, batch(&["1"]), "1"), end],
        rule => {
            fs::write("lived", "once").expect("its folder can be written");
            vec![broken(rule), end]
        }
    }
}

fn broken(rule: &str) -> Response {
    let good = batch(&["1", "2"]);
    let span = |trace: &[u8], id: &[u8]| v1::SpanContext {
        index: 0,
        trace_id: Bytes::copy_from_slice(trace),
        span_id: Bytes::copy_from_slice(id),
        flags: 1,
        trace_state: String::new(),
    };
    let batch = match rule {
        "no-id" => v1::Batch { id: None, ..good },
        "uid-set" => v1::Batch { uid: Bytes::from_static(&[7; 32]), ..good },
        "count-zero" => v1::Batch { count: 0, payload: None, id: None, ..good },
        "count-high" => v1::Batch { count: 65_537, payload: None, id: None, ..good },
        "payload-length" => v1::Batch { count: 3, ..good },
        "time-length" => v1::Batch { time: Bytes::from_static(&[0; 8]), ..good },
        "untyped" => {
            let column =
                v1::Extension { r#type: v1::ExtensionType::Unspecified.into(), ..malformed::text("name", &[]) };
            v1::Batch { extensions: vec![column], ..good }
        }
        "trace-id" => v1::Batch { spans: vec![span(&[1; 15], &[1; 8])], ..good },
        "span-id" => v1::Batch { spans: vec![span(&[1; 16], &[1; 7])], ..good },
        "span-zero" => v1::Batch { spans: vec![span(&[0; 16], &[1; 8])], ..good },
        "span-order" => v1::Batch { spans: vec![span(&[1; 16], &[1; 8]), span(&[1; 16], &[1; 8])], ..good },
        "checkpoint-large" => return frame(1, good, &"c".repeat(65 * 1024)),
        other => panic!("no rule `{other}`"),
    };
    frame(1, batch, "c")
}

fn batch(payloads: &[&str]) -> v1::Batch {
    let ids: Vec<String> = payloads.iter().enumerate().map(|(n, payload)| format!("{n}-{payload:.8}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    v1::Batch {
        count: payloads.len() as u32,
        payload: Some(malformed::values(payloads)),
        id: Some(malformed::strings(&ids)),
        ..v1::Batch::default()
    }
}

fn frame(sequence: u64, batch: v1::Batch, checkpoint: &str) -> Response {
    let checkpoint = Some(Bytes::copy_from_slice(checkpoint.as_bytes()));
    Response::Produced(v1::Produced { sequence, batch: Some(batch), checkpoint })
}
