//! A transform. `obeys` reads one JSON payload `{"n": N, "do": WHAT}` of each work and answers as it says:
//! - `pass`: the payload unchanged;
//! - `unknown-sequence`: in its first life (until file `lived` is in its folder) a result for a sequence that nobody
//!   sent; then `pass`;
//! - `twice`: names its first input in two outputs and a failure; `forgets`: closes nothing; `miscounts`: consumed too high;
//! - `unwired`: an output with a route that nothing is wired to;
//! - anything else: the malformed answer of that name, see `malformed.rs`.

use std::fs;

use meshloom_proto::v1::{self, process_request::Request, process_response::Response};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::{Answers, malformed, opened};

pub(crate) struct Mood {
    pub(crate) hangs: bool,
    pub(crate) protocol: u32,
}

pub(crate) fn answer(mood: Mood, mut requests: Streaming<v1::ProcessRequest>) -> Answers<v1::ProcessResponse> {
    let (sender, answers) = mpsc::channel(64);
    tokio::spawn(async move {
        while let Ok(Some(message)) = requests.message().await {
            let replies = match message.request {
                Some(Request::Open(_)) => vec![Response::Opened(opened(mood.protocol))],
                Some(Request::Work(_)) if mood.hangs => Vec::new(),
                Some(Request::Work(work)) => results(&work).into_iter().map(Response::Result).collect(),
                _ => Vec::new(),
            };
            for reply in replies {
                let reply: Result<_, Status> = Ok(v1::ProcessResponse { response: Some(reply) });
                if sender.send(reply).await.is_err() {
                    return;
                }
            }
        }
        if mood.hangs {
            // Not even the end of the stream is noticed.
            std::future::pending::<()>().await;
        }
    });
    ReceiverStream::new(answers)
}

fn results(work: &v1::Work) -> Vec<v1::WorkResult> {
    let batch = work.batch.clone().unwrap_or_default();
    let payload = batch.payload.unwrap_or_default();
    let first = payload.ends.first_chunk::<4>().map_or(0, |end| u32::from_le_bytes(*end) as usize);
    let command: serde_json::Value = serde_json::from_slice(&payload.data[..first]).unwrap_or_default();
    let what = command["do"].as_str().unwrap_or("pass");
    let last = v1::WorkResult { sequence: work.sequence, last: true, ..v1::WorkResult::default() };
    let pass = v1::Outputs { count: batch.count, ..v1::Outputs::default() };
    let passed = v1::WorkResult { outputs: Some(pass.clone()), ..last.clone() };
    match what {
        "pass" => vec![passed],
        "unknown-sequence" if fs::exists("lived").is_ok_and(|lived| lived) => vec![passed],
        "unknown-sequence" => {
            fs::write("lived", "once").expect("its folder can be written");
            vec![v1::WorkResult { sequence: work.sequence + 1_000_000, ..passed }]
        }
        "twice" => {
            let failure = malformed::failure(0, "TEST", "named twice");
            vec![v1::WorkResult { failures: vec![failure], ..passed }]
        }
        "forgets" => vec![last],
        "miscounts" => vec![v1::WorkResult { consumed: batch.count + 1, ..last }],
        "unwired" => {
            let route = Some(malformed::strings(&["side"]));
            vec![v1::WorkResult { outputs: Some(v1::Outputs { route, ..pass }), ..last }]
        }
        other => vec![malformed::result(other, last, pass)],
    }
}
