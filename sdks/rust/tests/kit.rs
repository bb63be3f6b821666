//! The test kit that users write their tests with.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use meshloom::{
    Batch, Checkpoint, Config, ConfigError, Context, Emitter, Event, ExtensionValue, Json, Output, Record, Result,
    node, reject, retry_after, stream,
    testing::{self, TestError},
};
use serde::Deserialize;
use tokio::sync::Notify;

async fn every(event: Event) -> Result<Option<Output>> {
    match event.text()? {
        "drop" => Ok(None),
        "reject" => Err(reject("BAD", "bad")),
        "retry" => Err(retry_after(Duration::from_secs(2), "busy")),
        text => Ok(Some(Output::text(text.to_uppercase()))),
    }
}

#[tokio::test]
async fn verdicts() {
    let run = testing::run(node("m").map(every), ["a", "drop", "reject", "retry", "b"]).await.unwrap();
    assert_eq!(run.texts(), ["A", "B"]);
    assert_eq!(run.outputs_of(4).count(), 1);
    assert_eq!(run.dropped, [1]);
    assert_eq!((run.rejected[0].index, run.rejected[0].reason.as_str()), (Some(2), "BAD"));
    assert_eq!((run.retried[0].index, run.retried[0].after), (Some(3), Some(Duration::from_secs(2))));
}

#[tokio::test]
async fn attributes_are_set_inherited_and_cleared() {
    async fn change(event: Event) -> Output {
        match event.data() {
            b"change" => {
                Output::json(1).subject("s").time_ns(9).key("").without_extension("site").extension("new", true)
            }
            b"clear" => Output::unchanged().no_time().kind(""),
            _ => Output::unchanged(),
        }
    }
    let event = |text: &'static str| {
        let event = Output::text(text).key("k").kind("t").time_ns(7).data_schema("d");
        event.extension("site", "north").extension("floor", 3)
    };
    let events = [event("same"), event("change"), event("clear")];
    let outputs = testing::run(node("m").map(change), events).await.unwrap().outputs;
    let same = &outputs[0];
    assert_eq!((same.key.as_deref(), same.kind.as_deref(), same.time_ns), (Some("k"), Some("t"), Some(7)));
    assert_eq!(same.extensions["site"], ExtensionValue::from("north"));
    assert_eq!((same.content_type.as_deref(), same.data_schema.as_deref()), (Some("text/plain"), Some("d")));
    let changed = &outputs[1];
    assert_eq!((changed.key.as_deref(), changed.subject.as_deref(), changed.time_ns), (None, Some("s"), Some(9)));
    assert_eq!(changed.extensions.keys().collect::<Vec<_>>(), ["floor", "new"]);
    assert_eq!(changed.content_type.as_deref(), Some("application/json"));
    assert_eq!((outputs[2].time_ns, outputs[2].kind.as_deref()), (None, None));
}

#[tokio::test]
async fn events_that_come_twice() {
    let run = testing::run(node("m").map(every), ["a", "drop", "reject"]).redeliver().await.unwrap();
    run.assert_idempotent();
    let count = AtomicUsize::new(0);
    let counting = move |_: Event| {
        let n = count.fetch_add(1, Ordering::SeqCst);
        async move { Output::json(n) }
    };
    let run = testing::run(node("m").map(counting), ["a"]).redeliver().await.unwrap();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.assert_idempotent()));
    assert!(caught.is_err(), "a counter gives something else the second time");
}

#[tokio::test]
async fn batches_cut_at_random() {
    let sizes = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&sizes);
    let handle = move |batch: Batch, mut out: Emitter| {
        seen.lock().unwrap().push(batch.len());
        out.pass(0..batch.len());
        async {}
    };
    let run = testing::run(node("b").batch(handle), vec!["x"; 500]).random_splits().await.unwrap();
    assert_eq!(run.outputs.len(), 500);
    assert_eq!(sizes.lock().unwrap().iter().sum::<usize>(), 500);
}

#[tokio::test]
async fn cancellation_reaches_a_handler_that_waits() {
    let (begun, gone) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    struct Tell(Arc<AtomicUsize>);
    impl Drop for Tell {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (tell, count) = (Arc::clone(&begun), Arc::clone(&gone));
    let wait = move |_: Event| {
        let (tell, guard) = (Arc::clone(&tell), Tell(Arc::clone(&count)));
        async move {
            let _guard = guard;
            tell.notify_one();
            std::future::pending::<()>().await;
        }
    };
    let run = testing::run(node("s").sink(wait), ["a"]).cancel_on(async move { begun.notified().await }).await.unwrap();
    assert_eq!(run.retried[0].reason, "CANCELLED");
    assert_eq!(gone.load(Ordering::SeqCst), 1, "the call was dropped");
}

#[tokio::test]
async fn a_call_beyond_the_timeout() {
    async fn forever(_: Event, context: Context) -> Result<()> {
        assert!(context.deadline().is_some());
        std::future::pending().await
    }
    let run = testing::run(node("s").sink(forever), ["a"]).timeout(Duration::from_millis(10)).await.unwrap();
    assert_eq!(run.retried[0].reason, "TIMEOUT");
}

#[derive(Deserialize)]
struct Settings {
    limit: f64,
}

#[tokio::test]
async fn config_set_up_and_tear_down() {
    async fn open(settings: Config<Settings>) -> Result<f64> {
        if settings.limit < 0.0 {
            return Err(ConfigError::field("limit", "is below 0").into());
        }
        if settings.limit > 100.0 { Err(std::io::Error::other("no table").into()) } else { Ok(settings.limit) }
    }
    async fn above(Json(n): Json<f64>, context: Context<f64>) -> bool {
        n > *context.state()
    }
    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    let close = move |_: Arc<f64>| {
        count.fetch_add(1, Ordering::SeqCst);
        async {}
    };
    let node = node("f").setup(open).teardown(close).filter(above);
    let run =
        |limit: f64| testing::run(node.clone(), [1.0, 9.0].map(Json)).config(serde_json::json!({ "limit": limit }));
    assert_eq!(run(5.0).await.unwrap().dropped, [0]);
    assert_eq!(closed.load(Ordering::SeqCst), 1);
    match run(-1.0).await {
        Err(TestError::Config(refused)) => assert_eq!(refused.violations().next(), Some(("limit", "is below 0"))),
        other => panic!("{other:?}"),
    }
    assert!(matches!(run(101.0).await, Err(TestError::Setup(why)) if why.contains("no table")));
}

#[tokio::test]
async fn spans_of_the_node_and_of_its_handler() {
    async fn look_up(event: Event) -> Result<Event> {
        tracing::info_span!("lookup").in_scope(|| {});
        if event.data() == b"bad" { Err(reject("BAD", "bad")) } else { Ok(event) }
    }
    let run = testing::run(node("m").map(look_up), ["a", "bad"]).traced().await.unwrap();
    let seen: Vec<_> = run.spans.iter().map(|span| (span.name.as_str(), span.event, span.parent.as_deref())).collect();
    let own = "process m";
    assert_eq!(
        seen,
        [("lookup", Some(0), Some(own)), (own, Some(0), None), ("lookup", Some(1), Some(own)), (own, Some(1), None)]
    );
    assert_eq!(run.spans[1].attributes["meshloom.verdict"], "delivered");
    assert_eq!((run.spans[3].attributes["error.type"].as_str(), run.spans[3].error.as_deref()), ("BAD", Some("bad")));
    async fn all(batch: Batch, mut out: Emitter) {
        tracing::info_span!("score").in_scope(|| {});
        out.pass(0..batch.len());
    }
    let run = testing::run(node("b").batch(all), ["a", "b"]).traced().await.unwrap();
    let score = run.spans.iter().find(|span| span.name == "score").expect("it ended");
    assert_eq!((score.event, score.parent.as_deref()), (None, Some("process b")));
    assert_eq!(run.spans.iter().filter(|span| span.name == "process b").count(), 3);
}

#[tokio::test]
async fn a_source_with_what_it_settles() {
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (receipts, hook) = (Arc::clone(&told), Arc::clone(&told));
    let queue = move |Checkpoint(done): Checkpoint<u64>| {
        let receipts = Arc::clone(&receipts);
        stream::iter((done.unwrap_or(0) + 1..=4).map(move |n| {
            let receipts = Arc::clone(&receipts);
            let record = Record::from(Output::json(n)).on_settled(async move {
                receipts.lock().unwrap().push(format!("receipt {n}"));
                if n == 3 { Err(std::io::Error::other("lost")) } else { Ok(()) }
            });
            if n % 2 == 0 { record.checkpoint(n) } else { record }
        }))
    };
    let commit = move |checkpoint: u64, _: Arc<()>| {
        hook.lock().unwrap().push(format!("checkpoint {checkpoint}"));
        async {}
    };
    let node = node("s").on_settled(commit).source(queue);
    let produced = testing::produce(node.clone()).await.unwrap();
    assert_eq!(produced.texts(), ["1", "2", "3", "4"]);
    assert_eq!(produced.checkpoints, [None, Some(2.into()), None, Some(4.into())]);
    assert!(produced.exhausted && produced.failed.is_none());
    assert_eq!(produced.settle_errors, ["lost"]);
    let expected = ["receipt 1", "receipt 2", "checkpoint 2", "receipt 3", "checkpoint 2", "receipt 4", "checkpoint 4"];
    assert_eq!(*told.lock().unwrap(), expected);
    told.lock().unwrap().clear();
    let rest = testing::produce(node).after(2).most(1).unsettled().await.unwrap();
    assert_eq!((rest.texts(), rest.exhausted), (vec!["3".to_owned()], false));
    assert_eq!(rest.outputs[0].id.as_deref(), Some("2#1"));
    assert!(told.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_source_that_fails() {
    fn failing() -> stream::Iter<std::vec::IntoIter<Result<Output>>> {
        stream::iter(vec![Ok(Output::json(1)), Err(std::io::Error::other("cable cut").into())])
    }
    let produced = testing::produce(node("s").source(failing)).await.unwrap();
    assert_eq!((produced.outputs.len(), produced.failed.as_deref()), (1, Some("cable cut")));
}
