//! What the SDK costs: a typed JSON map behind its stream, against the same function in a plain loop with the same codec.
//!
//! `cargo bench -p meshloom` says events/s of both, round by round, and the ratio. The stream is a Unix socket, its client
//! stands in the same process. As a test it makes one short round.

#[path = "../tests/common/mod.rs"]
mod common;

use std::{hint::black_box, time::Instant};

use common::{Stream, batch, start};
use meshloom::{Json, node};
use meshloom_proto::v1::Batch;
use serde::{Deserialize, Serialize};

/// Events per work, and works in flight: what the coordinator sends when there is much to do.
const EVENTS: usize = 4096;
const IN_FLIGHT: usize = 8;

#[derive(Deserialize)]
struct Reading {
    sensor: String,
    celsius: f64,
}

#[derive(Serialize)]
struct Scored {
    sensor: String,
    celsius: f64,
    hot: bool,
}

fn score(reading: Reading) -> Scored {
    Scored { hot: reading.celsius > 30.0, sensor: reading.sensor, celsius: reading.celsius }
}

/// Events a second of the plain loop.
fn plain(payloads: &[String], works: usize) -> f64 {
    let begun = Instant::now();
    for _ in 0..works {
        for payload in payloads {
            let scored = score(serde_json::from_slice(payload.as_bytes()).expect("a reading"));
            black_box(serde_json::to_vec(&scored).expect("JSON"));
        }
    }
    (works * payloads.len()) as f64 / begun.elapsed().as_secs_f64()
}

/// Events a second through the node.
async fn meshed(stream: &mut Stream, events: &Batch, works: usize) -> f64 {
    let begun = Instant::now();
    let mut sent = 0;
    let mut answered = 0;
    while answered < works {
        while sent < works && sent - answered < IN_FLIGHT {
            stream.send(events.clone()).await;
            sent += 1;
        }
        let result = stream.result().await;
        assert!(result.failures.is_empty());
        answered += usize::from(result.last);
    }
    (works * EVENTS) as f64 / begun.elapsed().as_secs_f64()
}

#[tokio::main]
async fn main() {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let (rounds, works) = if is_bench { (7, 500) } else { (1, 2) };
    let payloads: Vec<String> =
        (0..EVENTS).map(|n| format!(r#"{{"sensor":"roof-{}","celsius":{}.5}}"#, n % 100, n % 40)).collect();
    let texts: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let events = batch(&texts);
    async fn handle(Json(reading): Json<Reading>) -> Json<Scored> {
        Json(score(reading))
    }
    let (served, mut stream) = start(node("score").map(handle), "").await;
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let (alone, through) = (plain(&payloads, works), meshed(&mut stream, &events, works).await);
        ratios.push(through / alone);
        println!(
            "round {round}: plain {alone:.0} events/s, meshloom {through:.0} events/s, ratio {:.2}",
            through / alone
        );
    }
    ratios.sort_unstable_by(f64::total_cmp);
    println!("typed JSON map: ratio {:.2} ({:.2} to {:.2})", ratios[rounds / 2], ratios[0], ratios[rounds - 1]);
    drop(stream);
    served.ended().await.expect("drained");
}
