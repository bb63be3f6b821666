//! Each kind of handler over a real stream: outputs, verdicts, accounting.

use std::time::Duration;

use crate::common::{WHOLE, batch, column, start, texts};
use meshloom::{Batch, Context, Emitter, Event, Json, Output, Result, node, reject, retry_after, stream};
use meshloom_proto::v1::Work;
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize, Serialize)]
struct Reading {
    celsius: f64,
}

async fn by_text(event: Event) -> Result<Option<Output>> {
    match event.text()? {
        "drop" => Ok(None),
        "reject" => Err(reject("no good", "why not")),
        "retry" => Err(retry_after(Duration::from_secs(3), "later")),
        "error" => Err(std::io::Error::other("disk gone").into()),
        "panic" => panic!("boom"),
        "same" => Ok(Some(Output::unchanged())),
        "side" => Ok(Some(Output::text("S").route("side").key("k").subject("s").extension("site", "north"))),
        "wait" => {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(Some(Output::text("waited")))
        }
        other => Ok(Some(Output::text(other.to_uppercase()))),
    }
}

#[tokio::test]
async fn every_verdict_of_a_map() {
    let (served, mut stream) = start(node("m").map(by_text), "").await;
    let answer = stream.run(batch(&["a", "drop", "reject", "wait", "retry", "error", "panic", "same", "side"])).await;
    let texts_of = |text: &str| Some(text.to_owned());
    assert_eq!(
        answer.outputs,
        [(0, texts_of("A")), (3, texts_of("waited")), (7, texts_of("same")), (8, texts_of("S"))]
    );
    assert_eq!(answer.reasons(), [(2, "NO_GOOD"), (4, "RETRY"), (5, "HANDLER_ERROR"), (6, "PANIC")]);
    assert_eq!(answer.failures.iter().filter(|(.., reject)| *reject).count(), 1);
    assert!(answer.retry_after.contains(&Some(Duration::from_secs(3))));
    assert!(answer.messages.iter().any(|message| message.contains("boom")));
    assert_eq!(answer.consumed, 1);
    assert!(answer.busy >= Duration::from_millis(5));
    let part = &answer.parts[0];
    assert_eq!(texts(part.route.as_ref(), 4), [None, None, None, texts_of("side")]);
    assert_eq!(texts(part.key.as_ref(), 4), [None, None, None, texts_of("k")]);
    let plain = texts_of("text/plain");
    assert_eq!(texts(part.content_type.as_ref(), 4), [plain.clone(), plain.clone(), None, plain]);
    assert_eq!(part.extensions.len(), 1);
    // The stream goes on after all that.
    assert_eq!(stream.run(batch(&["b"])).await.outputs, [(0, texts_of("B"))]);
    served.ended().await.expect("drained");
}

#[tokio::test]
async fn a_payload_that_does_not_fit_is_rejected_with_its_field() {
    async fn pass(Json(reading): Json<Reading>) -> Json<Reading> {
        Json(reading)
    }
    let (_served, mut stream) = start(node("m").map(pass), "").await;
    let answer = stream.run(batch(&[r#"{"celsius": 1.5}"#, r#"{"celsius": "hot"}"#, "{", "{}"])).await;
    assert_eq!(answer.outputs, [(0, Some(r#"{"celsius":1.5}"#.to_owned()))]);
    assert_eq!(answer.reasons(), [(1, "PAYLOAD_MISMATCH"), (2, "PAYLOAD_MISMATCH"), (3, "PAYLOAD_MISMATCH")]);
    assert!(answer.failures.iter().all(|(.., reject)| *reject));
    assert!(answer.messages[0].contains("`celsius`"), "{}", answer.messages[0]);
    assert!(answer.messages[2].contains("missing field `celsius`"), "{}", answer.messages[2]);
    assert_eq!(texts(answer.parts[0].content_type.as_ref(), 1), [Some("application/json".to_owned())]);
}

#[tokio::test]
async fn a_filter_answers_with_indexes_alone() {
    async fn odd(event: Event) -> bool {
        event.data().len() % 2 == 1
    }
    let (_served, mut stream) = start(node("f").filter(odd), "").await;
    let answer = stream.run(batch(&["a", "bb", "ccc"])).await;
    assert_eq!(answer.outputs, [(0, None), (2, None)]);
    assert_eq!(answer.consumed, 1);
    assert!(answer.parts[0].payload.is_none());
}

#[tokio::test]
async fn a_sink_consumes() {
    async fn deliver(event: Event) -> Result<()> {
        if event.data() == b"bad" { Err(reject("BAD", "bad")) } else { Ok(()) }
    }
    let (_served, mut stream) = start(node("s").sink(deliver), "").await;
    let answer = stream.run(batch(&["a", "bad", "c"])).await;
    assert!(answer.outputs.is_empty());
    assert_eq!((answer.consumed, answer.reasons()), (2, vec![(1, "BAD")]));
}

#[tokio::test]
async fn flat_map_yields_any_number() {
    fn split(event: Event) -> impl stream::Stream<Item = Result<Output>> {
        let text = event.text().unwrap_or_default().to_owned();
        stream::iter(
            text.chars()
                .map(|c| if c == '!' { Err(reject("BANG", "!")) } else { Ok(Output::text(c)) })
                .collect::<Vec<_>>(),
        )
    }
    let (_served, mut stream) = start(node("f").flat_map(split), "").await;
    let answer = stream.run(batch(&["ab", "", "c", "d!"])).await;
    let outputs: Vec<(u32, &str)> =
        answer.outputs.iter().map(|(parent, text)| (*parent, text.as_deref().expect("text"))).collect();
    assert_eq!(outputs, [(0, "a"), (0, "b"), (2, "c")]);
    assert_eq!((answer.consumed, answer.reasons()), (1, vec![(3, "BANG")]));
}

#[tokio::test]
async fn outputs_of_one_input_beyond_a_mebibyte_go_on_in_the_next_result() {
    fn many(event: Event) -> impl stream::Stream<Item = Result<Output>> {
        let count: usize = event.text().unwrap_or_default().parse().expect("a number");
        stream::unfold(0, move |at| async move {
            // Waits, so that the inputs run at one time.
            tokio::task::yield_now().await;
            (at < count).then(|| (Ok(Output::bytes(vec![b'x'; 400_000]).key(at.to_string())), at + 1))
        })
    }
    let (_served, mut stream) = start(node("f").flat_map(many), "").await;
    let answer = stream.run(batch(&["7", "1", "9", "3"])).await;
    for (parent, count) in [(0, 7), (1, 1), (2, 9), (3, 3)] {
        assert_eq!(answer.outputs.iter().filter(|(of, _)| *of == parent).count(), count, "outputs of {parent}");
    }
    assert!(answer.failures.is_empty());
    assert_eq!(answer.consumed, 0);
    let mut goes_on = None;
    let mut parts = 0;
    for part in &answer.parts {
        let parents: Vec<u32> = (0..part.count as usize)
            .map(|i| if part.parent.is_empty() { i as u32 } else { crate::common::at(&part.parent, i) })
            .collect();
        assert!(parents.is_sorted());
        if let Some(parent) = goes_on {
            assert_eq!(parents[0], parent, "the next result goes on with the input");
        }
        goes_on = part.continued.then(|| parents[parents.len() - 1]);
        parts += usize::from(part.continued);
        assert!(part.payload.as_ref().expect("payloads").data.len() <= 2 << 20);
    }
    assert!(goes_on.is_none() && parts >= 3, "{parts} parts");
}

#[tokio::test]
async fn a_declared_node_may_name_only_its_routes() {
    let (_served, mut stream) = start(node("m").map(by_text).routes(["other"]), "").await;
    let answer = stream.run(batch(&["side", "a"])).await;
    assert_eq!(answer.reasons(), [(0, "ROUTE_UNDECLARED")]);
    assert!(answer.messages[0].contains("`side`") && answer.messages[0].contains("other"));
    assert_eq!(answer.outputs.len(), 1);
}

#[tokio::test]
async fn outputs_that_break_a_limit_are_rejected() {
    async fn wrong(event: Event) -> Result<Output> {
        Ok(match event.text()? {
            "key" => Output::text("x").key("k".repeat(1025)),
            "attribute" => Output::text("x").subject("s".repeat(65_537)),
            "extension" => Output::text("x").extension("Not-Legal", 1),
            "payload" => Output::bytes(vec![0; (16 << 20) + 1]),
            "extensions" => (0..65).fold(Output::text("x"), |output, n| output.extension(format!("e{n}"), 1)),
            "value" => Output::text("x").extension("e", "v".repeat(65_537)),
            "json" => Output::json(std::collections::HashMap::from([((1, 2), 3)])),
            _ => Output::text("fine").key("k".repeat(1024)),
        })
    }
    let (_served, mut stream) = start(node("m").map(wrong), "").await;
    let answer =
        stream.run(batch(&["key", "attribute", "extension", "payload", "json", "extensions", "value", "fine"])).await;
    let reasons = [
        "ATTRIBUTE_TOO_LARGE",
        "ATTRIBUTE_TOO_LARGE",
        "OUTPUT_INVALID",
        "EVENT_TOO_LARGE",
        "OUTPUT_INVALID",
        "TOO_MANY_EXTENSIONS",
        "ATTRIBUTE_TOO_LARGE",
    ];
    assert_eq!(answer.reasons(), (0..).zip(reasons).collect::<Vec<_>>());
    assert!(answer.failures.iter().all(|(.., reject)| *reject));
    assert_eq!(answer.outputs, [(7, Some("fine".to_owned()))]);
}

#[tokio::test]
async fn an_output_of_a_batch_that_breaks_a_limit_rejects_its_row_alone() {
    async fn wrong(batch: Batch, mut out: Emitter) {
        for row in 0..batch.len() {
            out.emit(row, Output::text("fine"));
            if batch.payload(row) == b"bad" {
                out.emit(row, Output::text("x").key("k".repeat(1025)));
                out.emit(row, Output::text("after"));
            }
        }
    }
    let (_served, mut stream) = start(node("b").batch(wrong), "").await;
    let answer = stream.run(batch(&["a", "bad", "c"])).await;
    assert_eq!(answer.failures, [(1, "ATTRIBUTE_TOO_LARGE".to_owned(), true)]);
    assert_eq!(answer.outputs.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [0, 2]);
    async fn whole(_: Batch, mut out: Emitter) {
        out.whole(Output::text("x").subject("s".repeat(65_537)));
    }
    let (_served, mut stream) = start(node("b").batch(whole), "").await;
    assert_eq!(stream.run(batch(&["a", "b"])).await.failures, [(WHOLE, "ATTRIBUTE_TOO_LARGE".to_owned(), true)]);
}

async fn rows(batch: Batch, mut out: Emitter, context: Context) -> Result<()> {
    for row in 0..batch.len() {
        match std::str::from_utf8(batch.payload(row))? {
            "pass" => out.pass([row]),
            "drop" => out.drop([row]),
            "reject" => out.reject(row, "BAD", "bad"),
            "retry" if context.attempt_of(row) == 1 => out.retry(row, "later"),
            "split" => (0..2).for_each(|at| out.emit(row, Output::text(format!("part {at}")))),
            "forget" => {}
            "whole" => out.whole(Output::text("all")),
            "twice" => {
                out.drop([row]);
                out.pass([row]);
            }
            "beyond" => out.pass([99]),
            "error" => return Err(std::io::Error::other("all of it").into()),
            "panic" => panic!("boom"),
            "sleep" => tokio::time::sleep(Duration::from_secs(60)).await,
            other => out.emit(row, Output::text(other.to_uppercase())),
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_verdict_of_a_batch() {
    let (_served, mut stream) = start(node("b").batch(rows), "").await;
    let answer = stream.run(batch(&["x", "pass", "drop", "reject", "retry", "split", "forget"])).await;
    let outputs: Vec<(u32, &str)> =
        answer.outputs.iter().map(|(parent, text)| (*parent, text.as_deref().expect("text"))).collect();
    assert_eq!(outputs, [(0, "X"), (1, "pass"), (5, "part 0"), (5, "part 1")]);
    assert_eq!(answer.reasons(), [(3, "BAD"), (4, "RETRY"), (6, "UNACCOUNTED")]);
    assert_eq!(answer.consumed, 1);
}

#[tokio::test]
async fn an_output_of_the_whole_batch_accounts_for_unnamed_rows() {
    let (_served, mut stream) = start(node("b").batch(rows), "").await;
    let answer = stream.run(batch(&["x", "forget", "whole", "drop"])).await;
    assert_eq!(answer.outputs, [(0, Some("X".to_owned())), (WHOLE, Some("all".to_owned()))]);
    assert_eq!((answer.consumed, answer.failures.len()), (3, 0));
}

#[tokio::test]
async fn what_fails_a_batch_names_no_event() {
    let (_served, mut stream) = start(node("b").batch(rows), "").await;
    for (text, reason) in [
        ("error", "HANDLER_ERROR"),
        ("panic", "PANIC"),
        ("twice", "RESULT_INDEX_REPEATED"),
        ("beyond", "RESULT_INDEX_REPEATED"),
    ] {
        let answer = stream.run(batch(&["x", text])).await;
        assert_eq!((answer.reasons(), answer.outputs.len()), (vec![(WHOLE, reason)], 0), "{text}");
    }
    let sequence = stream
        .send_work(Work {
            batch: Some(batch(&["sleep"])),
            timeout: Some(Duration::from_millis(20).try_into().expect("short")),
            ..Work::default()
        })
        .await;
    assert_eq!(stream.answer(sequence).await.reasons(), [(WHOLE, "TIMEOUT")]);
}

#[tokio::test]
async fn attributes_reach_the_handler() {
    async fn show(event: Event, context: Context) -> Output {
        let text = |text: Option<&str>| text.unwrap_or("-").to_owned();
        Output::json((
            text(event.key()),
            text(event.id()),
            text(event.subject()),
            event.time_ns(),
            event.uid().as_u128(),
            context.attempt(),
            context.pipeline(),
            context.replica(),
        ))
    }
    let (_served, mut stream) = start(node("m").map(show), "").await;
    let mut events = batch(&["a", "b"]);
    events.key = Some(column(&["k0", "k1"]));
    events.id = Some(column(&["only"]));
    events.time = [7i64.to_le_bytes(), i64::MIN.to_le_bytes()].concat().into();
    let sequence = stream
        .send_work(Work { batch: Some(events), attempts: crate::common::attempts(&[1, 4]), ..Work::default() })
        .await;
    let answer = stream.answer(sequence).await;
    assert_eq!(answer.outputs[0].1.as_deref(), Some(r#"["k0","only","-",7,1,1,"p","n/0"]"#));
    assert_eq!(answer.outputs[1].1.as_deref(), Some(r#"["k1","only","-",null,2,4,"p","n/0"]"#));
}
