//! The interpreter under the SDK's own test kit.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use meshloom::{
    Json, Node, Output,
    testing::{self, Run},
};
use serde_json::{Value, json};

use crate::nodes;

fn handler(name: &str) -> Node {
    nodes().into_iter().find(|node| node.name() == name).expect("it is served")
}

async fn run(name: &str, commands: impl IntoIterator<Item = Value>) -> Run {
    testing::run(handler(name), commands.into_iter().map(Json)).await.expect("it runs")
}

fn reasons(run: &Run) -> Vec<(Option<usize>, &str)> {
    run.rejected.iter().chain(&run.retried).map(|failure| (failure.index, failure.reason.as_str())).collect()
}

#[tokio::test]
async fn a_map_answers_as_it_is_told() {
    let commands = [
        json!({"do": "pass"}),
        json!({"do": "drop"}),
        json!({"do": "emit", "outputs": [{"text": "t", "key": "k", "route": "left"}]}),
        json!({"do": "emit", "outputs": []}),
        json!({"do": "reject", "reason": "BAD", "message": "m"}),
        json!({"do": "retry", "after_ms": 5}),
        json!({"do": "throw", "message": "thrown"}),
        json!({"do": "panic", "message": "panicked"}),
        json!({"do": "nothing"}),
        json!({"do": "what"}),
        json!({"do": "sleep", "ms": 1}),
        json!({"do": "note", "n": 1}),
        json!({"do": "emit", "outputs": [{"value": null}]}),
    ];
    let run = run("map", commands.clone()).await;
    assert_eq!(
        run.texts(),
        [
            commands[0].to_string(),
            "t".to_owned(),
            commands[10].to_string(),
            commands[11].to_string(),
            "null".to_owned()
        ]
    );
    assert_eq!((run.outputs[1].key.as_deref(), run.outputs[1].route.as_deref()), (Some("k"), Some("left")));
    assert_eq!(run.dropped, [1]);
    let mut reasons = reasons(&run);
    reasons.sort_unstable();
    let expected = [
        (3, "UNWRITABLE"),
        (4, "BAD"),
        (5, "RETRY"),
        (6, "HANDLER_ERROR"),
        (7, "PANIC"),
        (8, "UNWRITABLE"),
        (9, "PAYLOAD_MISMATCH"),
    ];
    assert_eq!(reasons, expected.map(|(index, reason)| (Some(index), reason)));
}

#[tokio::test]
async fn until_says_at_which_attempt_it_passes() {
    let events =
        [json!({"do": "retry", "until": 3, "reason": "BUSY"}), json!({"do": "throw", "message": "m", "until": 2})];
    let run = testing::run(handler("map"), events.map(Json)).attempts(3).await.expect("it runs");
    assert_eq!(run.outputs.len(), 2);
    assert_eq!(reasons(&run), [(Some(0), "BUSY"), (Some(1), "HANDLER_ERROR"), (Some(0), "BUSY")]);
}

#[tokio::test]
async fn the_context_and_a_copy_are_what_was_read() {
    let event = |what: &str| {
        let payload = Output::json(json!({ "do": what })).key("k").kind("t").id("i").time_ns(7);
        payload.extension("part", 3).extension("flag", true)
    };
    let run = testing::run(handler("map"), [event("context"), event("copy")])
        .config(json!({"label": "L", "wait": "250ms", "room": "2KiB"}))
        .await
        .expect("it runs");
    let context: Value = run.outputs[0].json().expect("JSON");
    let expected = json!({
        "id": "i", "type": "t", "key": "k", "time": "7", "subject": null, "attempt": 1, "node": "map", "replica": "map/0",
        "label": "L", "deadline_ms": null, "wait_ms": 250, "room_bytes": 2048, "trace": null,
        "extensions": {"part": {"type": "integer", "value": 3}, "flag": {"type": "boolean", "value": true}},
        "payload": BASE64_STANDARD.encode(r#"{"do":"context"}"#),
    });
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&context[name], value, "{name}");
    }
    let copied = &run.outputs[1];
    assert_eq!(
        (copied.key.as_deref(), copied.id.as_deref(), copied.kind.as_deref()),
        (Some("k"), Some("i"), Some("t"))
    );
    assert_eq!(&copied.payload[..], br#"{"do":"copy"}"#);
}

#[tokio::test]
async fn a_config_that_does_not_fit_is_refused() {
    for config in [
        json!({"label": 1}),
        json!({"wait": 3}),
        json!({"room": "much"}),
        json!({"setup": "refuse"}),
        json!({"setup": "what"}),
        json!({"command": null}),
        json!({"program": {"cont": 1}}),
        json!({"more": 1}),
    ] {
        let refused = testing::run(handler("map"), [Json(1)]).config(&config).await;
        assert!(matches!(refused, Err(testing::TestError::Config(_))), "{config}: {refused:?}");
    }
    let failed = testing::run(handler("map"), [Json(1)]).config(json!({"setup": "fail"})).await;
    assert!(matches!(failed, Err(testing::TestError::Setup(_))), "{failed:?}");
}

#[tokio::test]
async fn a_command_of_the_config_stands_for_the_payload() {
    let config = json!({"command": {"do": "drop"}});
    let run = testing::run(handler("filter"), [Output::text("no JSON")]).config(config).await.expect("it runs");
    assert_eq!(run.dropped, [0]);
}

#[tokio::test]
async fn a_flat_map_streams() {
    let commands = [
        json!({"do": "stream", "count": 3, "bytes": 2}),
        json!({"do": "stream", "count": 3, "bytes": 1, "fail_after": 1}),
        json!({"do": "drop"}),
        json!({"do": "emit", "outputs": [{"text": "a"}, {"text": "b"}]}),
    ];
    let run = run("flat_map", commands).await;
    // What was held of the one that failed is not sent.
    assert_eq!(run.texts(), ["xx", "xx", "xx", "a", "b"]);
    assert_eq!((run.dropped.as_slice(), reasons(&run)), (&[2][..], vec![(Some(1), "HANDLER_ERROR")]));
}

#[tokio::test]
async fn a_batch_answers_row_by_row() {
    let rows = [
        json!({"do": "pass"}),
        json!({"do": "drop"}),
        json!({"do": "emit", "outputs": [{"text": "a"}, {"text": "b"}]}),
        json!({"do": "reject", "reason": "BAD"}),
        json!({"do": "nothing"}),
        json!(1),
    ];
    let run = run("batch", rows).await;
    assert_eq!((run.outputs.len(), run.dropped.as_slice()), (3, &[1][..]));
    let mut reasons = reasons(&run);
    reasons.sort_unstable();
    assert_eq!(reasons, [(Some(3), "BAD"), (Some(4), "UNACCOUNTED"), (Some(5), "PAYLOAD_MISMATCH")]);
}

#[tokio::test]
async fn a_batch_can_be_misused() {
    for what in ["twice", "misname"] {
        let run = run("batch", [json!({"do": "pass"}), json!({"do": what})]).await;
        assert_eq!((run.outputs.len(), reasons(&run)), (0, vec![(None, "RESULT_INDEX_REPEATED")]), "{what}");
    }
}

#[tokio::test]
async fn an_output_of_the_whole_batch_has_no_parent() {
    let run = run("batch", [json!({"do": "whole", "outputs": [{"text": "all"}]})]).await;
    assert_eq!((run.outputs[0].parent, run.dropped.as_slice()), (None, &[0][..]));
}

#[tokio::test]
async fn a_source_follows_its_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let program = json!({"count": 4, "checkpoint_every": 2, "attributes": true, "bytes": 2});
    let config = json!({"label": "L", "log": log, "program": program});
    let produced = testing::produce(handler("source")).config(&config).after(1).await.expect("it produces");
    assert!(produced.exhausted);
    assert_eq!(produced.outputs[0].json::<Value>().expect("JSON"), json!({"n": 2, "fill": "xx"}));
    assert_eq!(
        produced.outputs.iter().map(|output| output.key.as_deref()).collect::<Vec<_>>(),
        [Some("k2"), Some("k0"), Some("k1")]
    );
    assert_eq!(produced.checkpoints, [Some(json!(2)), None, Some(json!(4))]);
    let written = std::fs::read_to_string(log).expect("written");
    let expected =
        ["setup L", "receipt 2", "settled 2", "receipt 3", "settled 2", "receipt 4", "settled 4", "teardown L"];
    assert_eq!(written.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_source_writes_checkpoints_in_digits() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let config = json!({"log": log, "program": {"count": 3, "checkpoint_digits": 4}});
    let produced = testing::produce(handler("source")).config(&config).after("0001").await.expect("it produces");
    assert_eq!(produced.checkpoints, [Some(json!("0002")), Some(json!("0003"))]);
    let ids: Vec<_> = produced.outputs.iter().map(|output| output.id.as_deref()).collect();
    assert_eq!(ids, [Some("\"0001\"#1"), Some("\"0002\"#1")]);
    let written = std::fs::read_to_string(log).expect("written");
    assert!(written.lines().any(|line| line == "settled 3"), "{written}");
}
