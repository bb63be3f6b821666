//! Layers of tower around a handler's calls.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context as Poll_, Poll},
    time::Duration,
};

use meshloom::{
    Batch, Call, CallService, Emitter, Error, Event, Handled, Layer, Output, Result, Service, node, reject, stream,
    testing,
};
use tower::{limit::ConcurrencyLimitLayer, timeout::TimeoutLayer};

use crate::common::{batch, open, serve, try_open};

/// Notes each call and how it ended.
#[derive(Clone, Default)]
struct Metrics(Arc<Mutex<Vec<String>>>);

#[derive(Clone)]
struct Measured {
    inner: CallService,
    metrics: Metrics,
}

impl Layer<CallService> for Metrics {
    type Service = Measured;

    fn layer(&self, inner: CallService) -> Measured {
        Measured { inner, metrics: self.clone() }
    }
}

impl Service<Call> for Measured {
    type Response = Handled;
    type Error = Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Handled>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Poll_<'_>) -> Poll<Result<()>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let event = call.event().map(|event| event.text().unwrap_or_default().to_owned());
        let (what, notes) = (event.unwrap_or_else(|| format!("{} events", call.events())), self.metrics.clone());
        let attempt = call.attempt();
        let called = self.inner.call(call);
        Box::pin(async move {
            let ended = called.await;
            let how = match &ended {
                Ok(handled) if handled.is_consumed() => "consumed".to_owned(),
                Ok(_) => "outputs".to_owned(),
                Err(error) => error.reason().to_owned(),
            };
            notes.0.lock().expect("no panic beside").push(format!("{what} {attempt}: {how}"));
            ended
        })
    }
}

async fn upper(event: Event) -> Result<Option<Output>> {
    match event.text()? {
        "drop" => Ok(None),
        "bad" => Err(reject("BAD", "bad")),
        "panic" => panic!("boom"),
        text => Ok(Some(Output::text(text.to_uppercase()))),
    }
}

#[tokio::test]
async fn a_layer_sees_each_call_and_how_it_ended() {
    let metrics = Metrics::default();
    let served = serve([node("m").map(upper).layer(metrics.clone())]).await;
    let mut stream = try_open(&served, open("")).await.expect("opened");
    let answer = stream.run(batch(&["a", "drop", "bad", "panic"])).await;
    assert_eq!(answer.outputs, [(0, Some("A".to_owned()))]);
    assert_eq!((answer.consumed, answer.reasons()), (1, vec![(2, "BAD"), (3, "PANIC")]));
    assert_eq!(*metrics.0.lock().unwrap(), ["a 1: outputs", "drop 1: consumed", "bad 1: BAD"]);
}

#[tokio::test]
async fn a_limit_holds_for_all_streams_of_the_process() {
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    async fn count(event: Event) -> Event {
        MOST.fetch_max(RUNNING.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        RUNNING.fetch_sub(1, Ordering::SeqCst);
        event
    }
    let served = serve([node("m").map(count).layer(ConcurrencyLimitLayer::new(3))]).await;
    let mut one = try_open(&served, open("")).await.expect("opened");
    let mut two = try_open(&served, open("")).await.expect("opened");
    let texts = ["x"; 40];
    let (first, second) = tokio::join!(one.run(batch(&texts)), two.run(batch(&texts)));
    assert_eq!((first.outputs.len(), second.outputs.len()), (40, 40));
    assert_eq!(MOST.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn an_error_of_the_layer_is_a_retry_and_one_of_the_handler_stays_as_it_is() {
    async fn late(event: Event) -> Result<Event> {
        match event.data() {
            b"bad" => Err(reject("BAD", "bad")),
            b"late" => std::future::pending().await,
            _ => Ok(event),
        }
    }
    let node = node("m").map(late).layer(TimeoutLayer::new(Duration::from_millis(20)));
    let run = testing::run(node, ["a", "bad", "late"]).await.expect("it runs");
    assert_eq!((run.outputs.len(), run.rejected[0].reason.as_str()), (1, "BAD"));
    assert_eq!((run.retried[0].index, run.retried[0].reason.as_str()), (Some(2), "HANDLER_ERROR"));
    assert!(run.retried[0].message.contains("timed out"), "{}", run.retried[0].message);
}

#[tokio::test]
async fn batches_sinks_and_flat_maps_have_layers_too() {
    async fn all(batch: Batch, mut out: Emitter) {
        out.pass(0..batch.len());
    }
    async fn deliver(_: Event) {}
    fn twice(event: Event) -> impl stream::Stream<Item = Output> {
        let text = event.text().unwrap_or_default().to_owned();
        stream::iter([Output::text(text.clone()), Output::bytes(vec![b'x'; 2 << 20]), Output::text(text)])
    }
    let metrics = Metrics::default();
    let batch = testing::run(node("b").batch(all).layer(metrics.clone()), ["a", "b"]).await.expect("it runs");
    assert_eq!(batch.outputs.len(), 2);
    let sink = testing::run(node("s").sink(deliver).layer(metrics.clone()), ["a"]).await.expect("it runs");
    assert_eq!(sink.dropped, [0]);
    let flat = testing::run(node("f").flat_map(twice).layer(metrics.clone()), ["a", "b"]).await.expect("it runs");
    assert_eq!(
        flat.outputs.iter().map(|output| (output.parent, output.payload.len())).collect::<Vec<_>>(),
        [(Some(0), 1), (Some(0), 2 << 20), (Some(0), 1), (Some(1), 1), (Some(1), 2 << 20), (Some(1), 1),]
    );
    assert_eq!(*metrics.0.lock().unwrap(), ["2 events 1: outputs", "a 1: consumed", "a 1: outputs", "b 1: outputs"]);
}

#[tokio::test]
async fn a_source_has_no_calls_for_a_layer() {
    let source = || node("s").source(stream::empty::<Output>).layer(ConcurrencyLimitLayer::new(1));
    let refused =
        meshloom::Server::new([source()]).serve_with_shutdown(std::future::pending()).await.expect_err("refused");
    assert!(refused.to_string().contains("remove `.layer(..)`"), "{refused}");
    assert!(testing::produce(source()).await.is_err());
}
