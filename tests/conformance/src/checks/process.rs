//! O4, O5, T1, T8, W8: config in full, set-up and tear-down, the process and what it holds.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value as Json, json};
use tonic::Code;

use super::{
    batch::told,
    fared, patiently, patiently_fresh, refuses,
    serve::{exits, in_hand, one_thread, still_busy},
};
use crate::{
    check::area,
    client::{Work, describe},
    context::Context,
    event::Event,
    fault::{Fault, Outcome, holds, same},
};

area! {
    "config.durations-and-sizes" Full Shared ["O4"] "durations and sizes are read as they are written" => durations;
    "config.violations" Full Shared ["O4"] "a value that is none is refused by its path" => violations;
    "setup.once" Full Fresh ["O5"] "set-up runs once per config, and its result is shared" => once;
    "setup.tear-down" Full Fresh ["O5", "T8"] "tear-down runs once after drain" => tear_down;
    "process.listens-on-tcp" Full Fresh ["T1"] "MESHLOOM_LISTEN=HOST:PORT" => tcp;
    "process.exit" Full Fresh ["W20"] "a process that ends takes its streams with it" => exit;
    "process.second-sigterm" Full Fresh ["T8"] "works that arrive while a node drains hold it up no longer" => second;
    "process.spinning-handler" Full Shared ["T9", "W15"] "health, Describe and new streams go on beside a handler that computes" => spinning;
    "process.million-events" Full Fresh ["L2"] "threads, files and memory stay flat over a million events" => million;
    "process.streams-come-and-go" Full Fresh ["T7", "W20"] "threads and files stay flat over streams that end and break" => streams;
}

async fn durations(context: &Context) -> Outcome {
    let cases = [
        (json!({}), 0, 1024),
        (json!({"wait": "10s", "room": "64MiB"}), 10_000, 64 << 20),
        (json!({"wait": "250ms", "room": "1KiB"}), 250, 1024),
        (json!({"wait": "2m", "room": "3GiB"}), 120_000, 3_u64 << 30),
    ];
    for (config, wait, room) in cases {
        let mut stream = context.open("map").config(&config).start().await?;
        let answer = stream.work(Work::commands(&[json!({"do": "context"})])).await?;
        let told = told(&answer, 1)?.remove(0);
        let found = (told["wait_ms"].as_f64(), told["room_bytes"].as_f64());
        same(&format!("`wait_ms` and `room_bytes` of {config}"), &(Some(f64::from(wait)), Some(room as f64)), &found)?;
        stream.finish().await?;
    }
    Ok(())
}

async fn violations(context: &Context) -> Outcome {
    let cases: [(Json, &[&str]); 6] = [
        (json!({"wait": "soon"}), &["wait"]),
        (json!({"room": "much", "wait": "10 parsecs"}), &["room", "wait"]),
        (json!({"room": []}), &["room"]),
        (json!({"program": {"count": "x"}}), &["program.count"]),
        (json!({"program": {"nothing": 1}}), &["program.nothing"]),
        (json!({"program": 5}), &["program"]),
    ];
    for (config, fields) in cases {
        let place = config.to_string();
        let status = context.open("map").config(&config).refused().await.map_err(|fault| fault.at(&place))?;
        refuses(&status, fields).map_err(|fault| fault.at(&place))?;
    }
    Ok(())
}

async fn setups(context: &Context) -> Outcome<u64> {
    Ok(context.report().await?["setups"].as_u64().unwrap_or_default())
}

async fn once(context: &Context) -> Outcome {
    context.report().await?;
    let before = setups(context).await?;
    let config = json!({"label": "shared"});
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(context.open("map").config(&config).start().await?);
    }
    same("set-ups for three streams of one config", &(before + 1), &setups(context).await?)?;
    let again = context.open("map").config(&config).start().await?;
    same("set-ups after another stream of it", &(before + 1), &setups(context).await?)?;
    let other = context.open("map").config(&json!({"label": "other"})).start().await?;
    same("set-ups after a stream of another config", &(before + 2), &setups(context).await?)?;
    for stream in open.into_iter().chain([again, other]) {
        stream.finish().await?;
    }
    Ok(())
}

async fn tear_down(context: &Context) -> Outcome {
    patiently_fresh!(context, slow => tear_down_within(context, 2500 * slow))
}

async fn tear_down_within(context: &Context, ms: u32) -> Outcome {
    let folder = tempfile::tempdir().map_err(|error| Fault::NotCheckable(format!("no temporary folder: {error}")))?;
    let file = folder.path().join("log");
    let config = |label: &str| json!({"label": label, "log": file});
    let mut first = context.open("map").config(&config("a")).start().await?;
    let second = context.open("map").config(&config("a")).start().await?;
    let third = context.open("filter").config(&config("b")).start().await?;
    let work = first.send(Work::commands(&[json!({"do": "sleep", "ms": ms})]));
    in_hand(&first, work).await?;
    context.process()?.signal(Signal::TERM);
    fared("the work in hand at SIGTERM", &first.answer(work).await?, &["out"])?;
    for stream in [&first, &second, &third] {
        let status = stream.ended().await?;
        holds(status.code() == Code::Ok, "streams that end OK after SIGTERM", || describe(&status))?;
    }
    exits(context).await?;
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    same("the log, sorted", &vec!["setup a", "setup b", "teardown a", "teardown b"], &lines)
}

async fn tcp(context: &Context) -> Outcome {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let free = free.map_err(|error| Fault::NotCheckable(format!("no port: {error}")))?;
    let other = context.elsewhere(&free.to_string()).await?;
    let mut stream = other.open("map").start().await?;
    fared("`pass` over TCP", &stream.work(Work::commands(&[json!({"do": "pass"})])).await?, &["out"])?;
    stream.finish().await
}

async fn exit(context: &Context) -> Outcome {
    let mut stream = context.open("map").start().await?;
    stream.send(Work::commands(&[json!({"do": "exit", "status": 7})]));
    let status = stream.ended().await?;
    holds(status.code() != Code::Ok, "a stream that breaks", || describe(&status))?;
    let ended = tokio::time::timeout(context.patience, context.process()?.wait()).await;
    same("how the process ends", &Ok("exit status: 7".to_owned()), &ended.map_err(|_| "it lives on"))
}

async fn second(context: &Context) -> Outcome {
    patiently_fresh!(context, slow => second_within(context, 4000 * slow))
}

async fn second_within(context: &Context, ms: u32) -> Outcome {
    let mut stream = context.open("map").start().await?;
    let held = stream.send(Work::commands(&[json!({"do": "sleep", "ms": ms})]));
    in_hand(&stream, held).await?;
    context.process()?.signal(Signal::TERM);
    // Works go on coming; each may be left, or answered.
    while stream.record().ended.is_none() && stream.record().answer(held).is_none() {
        stream.send(Work::commands(&[json!({"do": "pass"})]));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let status = stream.ended().await?;
    holds(status.code() == Code::Ok, "a stream that ends OK after SIGTERM", || describe(&status))?;
    let answer = stream.record().answer(held);
    let answer = answer.ok_or_else(|| Fault::new("the work in hand at SIGTERM is answered", "it is not"))?;
    fared("the work in hand at SIGTERM", &answer, &["out"])?;
    exits(context).await
}

async fn spinning(context: &Context) -> Outcome {
    patiently!(slow => spinning_for(context, 4000 * slow))
}

async fn spinning_for(context: &Context, ms: u32) -> Outcome {
    // Its set-up is done, and shared (O5): what is opened later needs no code of the user's.
    let other = context.open("filter").start().await?;
    let mut busy = context.open("map").concurrency(1).start().await?;
    let work = busy.send(Work::commands(&[json!({"do": "spin", "ms": ms})]));
    in_hand(&busy, work).await?;
    context.describe().await?;
    still_busy(&busy, work, "Describe")?;
    let stream = context.open("filter").start().await?;
    if !one_thread(context) {
        still_busy(&busy, work, "a new stream")?;
    }
    fared("`spin`", &busy.answer(work).await?, &["out"])?;
    stream.finish().await?;
    other.finish().await?;
    busy.finish().await
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    threads: u64,
    files: u64,
    kib: u64,
}

fn held(context: &Context) -> Outcome<Held> {
    let folder = format!("/proc/{}", context.process()?.id());
    let unknown =
        |error: std::io::Error| Fault::NotCheckable(format!("{folder} cannot be read ({error}); it is Linux's"));
    let status = std::fs::read_to_string(format!("{folder}/status")).map_err(unknown)?;
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
    };
    let files = std::fs::read_dir(format!("{folder}/fd")).map_err(unknown)?.count() as u64;
    Ok(Held { threads: number("Threads:"), files, kib: number("VmRSS:") })
}

/// Whether what is held has not grown; a collector may lag behind by a little.
fn flat(what: &str, before: Held, after: Held) -> Outcome {
    const THREADS: u64 = 8;
    const FILES: u64 = 8;
    const KIB: u64 = 64 << 10;
    let threads = after.threads <= before.threads + THREADS;
    let files = after.files <= before.files + FILES;
    let kib = after.kib <= before.kib + before.kib / 2 + KIB;
    let expected = format!("{what}: threads, files and memory (in KiB) as before, {before:?}");
    holds(threads && files && kib, expected, || format!("{after:?}"))
}

async fn million(context: &Context) -> Outcome {
    const WORKS: u32 = 1000;
    const EVENTS: u32 = 1000;
    let limits = context.handler("map")?.limits.unwrap_or_default();
    let width = limits.max_in_flight_works.clamp(1, 4) as usize;
    let mut stream = context.open("map").config(&json!({"command": {"do": "pass"}})).start().await?;
    let event = Event { key: Some("k".into()), ..Event::new(vec![b'x'; 100]) };
    let events = vec![event; EVENTS as usize];
    let (mut flying, mut before) = (std::collections::VecDeque::new(), None);
    for n in 0..WORKS {
        flying.push_back(stream.send(Work::new(events.iter().cloned())));
        while flying.len() >= width || (n + 1 == WORKS && !flying.is_empty()) {
            let work = flying.pop_front().expect("it is not empty");
            let answer = stream.answer(work).await?;
            same("outputs", &(EVENTS as usize), &answer.rows.len())?;
        }
        // By now everything that is made once is there.
        if n == WORKS / 4 {
            before = Some(held(context)?);
        }
    }
    flat("over a million events", before.expect("a quarter has come"), held(context)?)?;
    stream.finish().await
}

async fn streams(context: &Context) -> Outcome {
    let mut before = None;
    for n in 0..200 {
        let mut stream = context.open("map").start().await?;
        match n % 3 {
            0 => {
                stream.send(Work::commands(&[json!({"do": "sleep", "ms": 600_000})]));
            }
            1 => fared("`pass`", &stream.work(Work::commands(&[json!({"do": "pass"})])).await?, &["out"])?,
            _ => stream.finish().await?,
        }
        if n == 60 {
            before = Some(held(context)?);
        }
    }
    let before = before.expect("60 have come");
    // What a broken stream held is let go once the node has seen that it broke.
    let deadline = tokio::time::Instant::now() + context.patience;
    loop {
        let found = flat("over 200 streams", before, held(context)?);
        if found.is_ok() || tokio::time::Instant::now() > deadline {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
