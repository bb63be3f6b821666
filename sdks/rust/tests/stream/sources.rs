//! Sources over a real stream: credit, checkpoints, ids, settlement, ends.

use std::{sync::Arc, time::Duration};

use crate::common::{open_source, produce, serve, soon, texts, value};
use meshloom::stream::StreamExt as _;
use meshloom::{Checkpoint, Output, Record, Result, node, stream};
use meshloom_proto::v1::{
    OpenProduce, Produced, Settled as WireSettled, Stop, TraceSampling, produce_request::Request,
    produce_response::Response, trace_sampling::Rule,
};
use tokio::sync::mpsc;
use tonic::Code;

fn count(to: u64) -> impl Fn(Checkpoint<u64>) -> stream::Iter<std::vec::IntoIter<Record>> + Send + Sync + 'static {
    // Every second record carries a checkpoint.
    move |Checkpoint(done)| {
        let first = done.unwrap_or(0) + 1;
        let records = (first..=to).map(|n| {
            let output = Output::text(n.to_string());
            if n % 2 == 0 { output.checkpoint(n) } else { output.into() }
        });
        stream::iter(records.collect::<Vec<Record>>())
    }
}

fn payloads(frame: &Produced) -> Vec<String> {
    let batch = frame.batch.as_ref().expect("a batch");
    let column = batch.payload.as_ref().expect("payloads");
    (0..batch.count as usize).map(|i| String::from_utf8_lossy(value(column, i)).into_owned()).collect()
}

fn ids(frame: &Produced) -> Vec<String> {
    let batch = frame.batch.as_ref().expect("a batch");
    texts(batch.id.as_ref(), batch.count as usize).into_iter().map(|id| id.expect("an id")).collect()
}

fn untraced() -> OpenProduce {
    OpenProduce { trace: Some(TraceSampling { rule: Some(Rule::Ratio(0.0)) }), ..produce() }
}

#[tokio::test]
async fn a_source_sends_what_credit_allows_and_ends() {
    let served = serve([node("s").source(count(7))]).await;
    let mut source = open_source(&served, untraced()).await.expect("opened");
    source.demand(3, 1000).await;
    let first = source.frame().await;
    assert_eq!((payloads(&first), first.sequence), (vec!["1".to_owned(), "2".to_owned(), "3".to_owned()], 1));
    assert_eq!(first.checkpoint.as_deref(), Some(&b"2"[..]));
    assert_eq!(ids(&first), ["#1", "#2", "2#1"]);
    assert!(first.batch.as_ref().expect("a batch").uid.is_empty());
    source.demand(100, 0).await;
    let second = source.frame().await;
    assert_eq!((payloads(&second), second.sequence), (["4", "5", "6", "7"].map(str::to_owned).to_vec(), 2));
    assert_eq!(second.checkpoint.as_deref(), Some(&b"6"[..]));
    assert!(matches!(source.next().await.expect("no error"), Some(Response::Exhausted(_))));
    source.send(Request::Stop(Stop {})).await;
    assert!(source.next().await.expect("ends OK").is_none());
}

#[tokio::test]
async fn a_source_that_does_not_replay_makes_up_no_ids() {
    let served = serve([node("s").source(count(3)).replays(false)]).await;
    let mut source = open_source(&served, untraced()).await.expect("opened");
    source.demand(3, 1000).await;
    let frame = source.frame().await;
    assert_eq!(frame.batch.expect("a batch").id, None, "after a restart they would be those of other events");
}

#[tokio::test]
async fn a_frame_never_goes_beyond_its_credit_in_bytes() {
    fn sizes(_: Checkpoint<u64>) -> stream::Iter<std::vec::IntoIter<Output>> {
        stream::iter([6, 6, 100, 3, 3].map(|size| Output::text("x".repeat(size))).to_vec())
    }
    let served = serve([node("s").source(sizes)]).await;
    let mut source = open_source(&served, untraced()).await.expect("opened");
    source.demand(100, 10).await;
    assert_eq!(payloads(&source.frame().await).len(), 1, "two of six are more than ten");
    // Four bytes are left: the next six go alone, and then nothing is left.
    assert_eq!(payloads(&source.frame().await).len(), 1);
    source.demand(0, 5).await;
    assert_eq!(payloads(&source.frame().await)[0].len(), 100);
    source.demand(0, 50).await;
    assert_eq!(payloads(&source.frame().await).len(), 2);
}

#[tokio::test]
async fn a_source_resumes_after_its_checkpoint_with_the_same_ids() {
    let served = serve([node("s").source(count(9))]).await;
    let mut source =
        open_source(&served, OpenProduce { checkpoint: Some("4".into()), ..untraced() }).await.expect("opened");
    source.demand(100, 1000).await;
    let frame = source.frame().await;
    assert_eq!(payloads(&frame), ["5", "6", "7", "8", "9"]);
    assert_eq!(ids(&frame), ["4#1", "4#2", "6#1", "6#2", "8#1"]);
    let refused = open_source(&served, OpenProduce { checkpoint: Some("\"what\"".into()), ..untraced() }).await;
    let refused = refused.err().expect("refused");
    assert_eq!(refused.code(), Code::InvalidArgument);
    use tonic_types::StatusExt as _;
    assert_eq!(refused.get_details_bad_request().expect("BadRequest").field_violations[0].field, "checkpoint");
}

#[tokio::test]
async fn what_has_settled_is_told_per_event_and_per_checkpoint() {
    let (told, mut heard) = mpsc::unbounded_channel::<String>();
    let hook = {
        let told = told.clone();
        move |checkpoint: u64, _: Arc<()>| {
            let told = told.clone();
            async move { told.send(format!("checkpoint {checkpoint}")) }
        }
    };
    let queue = move |_: Checkpoint<u64>| {
        let told = told.clone();
        stream::iter(1..=4u64).map(move |n| {
            let told = told.clone();
            let record = Output::text(n.to_string()).on_settled(async move {
                told.send(format!("receipt {n}")).expect("listening");
                // What fails is logged, and stops nothing.
                if n == 1 { Err(std::io::Error::other("too late")) } else { Ok(()) }
            });
            if n % 2 == 0 { record.checkpoint(n) } else { record }
        })
    };
    let served = serve([node("s").on_settled(hook).source(queue).replays(false)]).await;
    let mut source = open_source(&served, untraced()).await.expect("opened");
    let mut checkpoints = Vec::new();
    for _ in 0..2 {
        source.demand(2, 1000).await;
        checkpoints.push(source.frame().await.checkpoint);
    }
    let settle = |sequence: u64, checkpoint| Request::Settled(WireSettled { sequence, checkpoint });
    // Out of order, one twice, one that was never sent, one without a checkpoint.
    source.send(settle(2, None)).await;
    source.send(settle(2, checkpoints[1].clone())).await;
    source.send(settle(9, checkpoints[1].clone())).await;
    source.send(settle(1, checkpoints[0].clone())).await;
    let mut lines = Vec::new();
    for _ in 0..5 {
        lines.push(soon(heard.recv()).await.expect("told"));
    }
    assert_eq!(lines, ["receipt 3", "receipt 4", "receipt 1", "receipt 2", "checkpoint 2"]);
    drop(source);
    served.ended().await.expect("drained");
    assert!(heard.recv().await.is_none(), "nothing is told twice");
}

#[tokio::test]
async fn a_drain_waits_for_what_has_settled() {
    static GO: tokio::sync::Notify = tokio::sync::Notify::const_new();
    let (told, heard) = tokio::sync::oneshot::channel();
    let told = std::sync::Mutex::new(Some(told));
    let one = move |_: Checkpoint<u64>| {
        let told = told.lock().unwrap().take();
        stream::iter([Output::text("a").on_settled(async move {
            GO.notified().await;
            told.expect("once").send(()).expect("listening");
        })])
    };
    let served = serve([node("s").source(one)]).await;
    let mut source = open_source(&served, untraced()).await.expect("opened");
    source.demand(1, 1000).await;
    source.frame().await;
    source.send(Request::Settled(WireSettled { sequence: 1, checkpoint: None })).await;
    // The answer to Stop says that what was sent before it has been read.
    source.send(Request::Stop(Stop {})).await;
    while source.next().await.expect("ends OK").is_some() {}
    let ended = tokio::spawn(served.ended());
    GO.notify_one();
    ended.await.expect("no panic").expect("drained");
    soon(heard).await.expect("told before the end");
}

#[tokio::test]
async fn stop_ends_the_stream() {
    fn endless(_: Checkpoint<u64>) -> impl stream::Stream<Item = Record> {
        stream::unfold(0u64, |n| async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Some((Output::text(n.to_string()).checkpoint(n), n + 1))
        })
    }
    let served = serve([node("s").source(endless)]).await;
    let mut source = open_source(&served, untraced()).await.expect("opened");
    source.demand(1000, 100_000).await;
    source.frame().await;
    source.send(Request::Stop(Stop {})).await;
    while let Some(response) = source.next().await.expect("ends OK") {
        assert!(matches!(response, Response::Produced(_)), "{response:?}");
    }
}

#[tokio::test]
async fn a_source_that_fails_says_so_after_what_it_yielded() {
    fn failing(Checkpoint(done): Checkpoint<u64>) -> stream::Iter<std::vec::IntoIter<Result<Record>>> {
        let last = match done {
            Some(0) => Ok(Output::text("again").checkpoint(1)),
            _ => Err(std::io::Error::other("cable cut").into()),
        };
        stream::iter(vec![Ok(Output::text("a").checkpoint(1)), last])
    }
    let served = serve([node("s").source(failing)]).await;
    for (checkpoint, message, reason) in
        [(None, "cable cut", "SOURCE_FAILED"), (Some("0".into()), "checkpoint 1", "CHECKPOINT_REPEATED")]
    {
        let mut source = open_source(&served, OpenProduce { checkpoint, ..untraced() }).await.expect("opened");
        source.demand(10, 1000).await;
        assert_eq!(payloads(&source.frame().await), ["a"]);
        let status = source.next().await.expect_err("failed");
        assert_eq!(status.code(), Code::Aborted);
        assert!(status.message().contains(message), "{}", status.message());
        use tonic_types::StatusExt as _;
        assert_eq!(status.get_details_error_info().expect("ErrorInfo").reason, reason);
    }
}

#[tokio::test]
async fn sampled_events_carry_a_context() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let records = move |_: Checkpoint<u64>| {
        stream::iter(
            [Output::text("a"), Output::text("b").extension("traceparent", parent), Output::text("c")]
                .map(Record::from),
        )
    };
    let served = serve([node("s").source(records)]).await;
    let mut none = open_source(&served, untraced()).await.expect("opened");
    none.demand(10, 1000).await;
    let spans = none.frame().await.batch.expect("a batch").spans;
    assert_eq!(spans.iter().map(|span| span.index).collect::<Vec<_>>(), [1], "only the event that came with a context");
    assert_eq!(spans[0].trace_id[..4], [0x0a, 0xf7, 0x65, 0x19]);
    let mut all =
        open_source(&served, OpenProduce { trace: Some(TraceSampling { rule: Some(Rule::Ratio(1.0)) }), ..produce() })
            .await
            .expect("opened");
    all.demand(10, 1000).await;
    let spans = all.frame().await.batch.expect("a batch").spans;
    assert_eq!(spans.len(), 3);
    assert!(spans.iter().all(|span| span.trace_id.len() == 16 && span.span_id.len() == 8 && span.flags == 1));
    assert_ne!(spans[0].trace_id, spans[2].trace_id);
}

#[tokio::test]
async fn a_drain_ends_a_source_well() {
    fn quiet(_: Checkpoint<u64>) -> stream::Pending<Record> {
        stream::pending()
    }
    let mut served = serve([node("s").source(quiet)]).await;
    let mut source = open_source(&served, untraced()).await.expect("opened");
    source.demand(10, 1000).await;
    served.drain();
    assert!(source.next().await.expect("OK").is_none());
    served.ended().await.expect("drained");
}
