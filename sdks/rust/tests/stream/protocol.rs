//! The stream itself: opening, malformed works, cancellation, timeouts, order, drain.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering as Atomic},
    },
    time::Duration,
};

use crate::common::{SOON, WHOLE, batch, column, open, serve, soon, start, try_open};
use meshloom::{Batch, Context, Emitter, Event, Node, Output, Result, node, reject, retry};
use meshloom_proto::v1::{OpenProcess, Ordering, Work, process_request};
use tokio::sync::Notify;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;

async fn pass(event: Event) -> Event {
    event
}

#[tokio::test]
async fn malformed_work_is_answered_and_the_stream_goes_on() {
    let (_served, mut stream) = start(node("m").map(pass), "").await;
    let mut no_uid = batch(&["a"]);
    no_uid.uid = bytes::Bytes::new();
    assert_eq!(stream.run(no_uid).await.reasons(), [(WHOLE, "BATCH_MALFORMED")]);
    for wrong in [crate::common::attempts(&[1, 2]), crate::common::attempts(&[0])] {
        let sequence = stream.send_work(Work { batch: Some(batch(&["a"])), attempts: wrong, ..Work::default() }).await;
        assert_eq!(stream.answer(sequence).await.reasons(), [(WHOLE, "BATCH_MALFORMED")]);
    }
    let sequence = stream.send_work(Work::default()).await;
    assert_eq!(stream.answer(sequence).await.reasons(), [(WHOLE, "BATCH_MALFORMED")]);
    assert_eq!(stream.run(batch(&["a"])).await.outputs, [(0, None)]);
}

fn violation() -> (Code, String, String) {
    (Code::InvalidArgument, "PROTOCOL_VIOLATION".to_owned(), "meshloom".to_owned())
}

#[tokio::test]
async fn a_violation_of_the_protocol_ends_the_stream() {
    let (served, mut stream) = start(node("m").map(pass), "").await;
    stream.request(process_request::Request::Open(open(""))).await;
    let status = stream.end().await.expect_err("violated");
    let info = status.get_details_error_info().expect("ErrorInfo");
    assert_eq!((status.code(), info.reason, info.domain), violation());
    let (_served, mut stream) = start(node("m").map(sleep), "").await;
    stream
        .request(process_request::Request::Work(Work {
            sequence: 7,
            batch: Some(batch(&["sleep"])),
            ..Work::default()
        }))
        .await;
    stream
        .request(process_request::Request::Work(Work { sequence: 7, batch: Some(batch(&["a"])), ..Work::default() }))
        .await;
    let status = stream.end().await.expect_err("violated");
    let info = status.get_details_error_info().expect("ErrorInfo");
    assert_eq!((status.code(), info.reason, info.domain), violation());
    assert_eq!(try_open(&served, open("")).await.expect("a new stream").run(batch(&["a"])).await.outputs.len(), 1);
}

async fn sleep(event: Event, context: Context) -> Result<Event> {
    match event.text()? {
        "sleep" => tokio::time::sleep(Duration::from_secs(60)).await,
        "block" => {
            let cancelled = context.cancelled().clone();
            while !cancelled.is_cancelled() {
                std::thread::sleep(Duration::from_millis(5));
            }
            // Goes on well after the work was taken back, as blocking code does.
            std::thread::sleep(Duration::from_millis(1500));
        }
        _ => {}
    }
    Ok(event)
}

#[tokio::test]
async fn a_call_past_its_timeout_is_a_retry_of_its_event_alone() {
    let (_served, mut stream) = start(node("m").map(sleep), "").await;
    let timeout = Duration::from_millis(30).try_into().expect("short");
    let sequence = stream
        .send_work(Work { batch: Some(batch(&["a", "sleep", "b"])), timeout: Some(timeout), ..Work::default() })
        .await;
    let answer = stream.answer(sequence).await;
    assert_eq!(answer.reasons(), [(1, "TIMEOUT")]);
    assert_eq!(answer.outputs, [(0, None), (2, None)]);
}

#[tokio::test]
async fn a_cancelled_work_is_answered_with_what_is_done() {
    let (_served, mut stream) = start(node("m").map(sleep).concurrency(2), "").await;
    let sequence = stream.send(batch(&["a", "sleep", "sleep", "b"])).await;
    let progress = stream.progress().await;
    assert_eq!(
        progress.calls.iter().map(|call| (call.sequence, call.index)).collect::<Vec<_>>(),
        [(sequence, 1), (sequence, 2)]
    );
    stream.cancel(sequence).await;
    let answer = stream.answer(sequence).await;
    assert_eq!(answer.outputs, [(0, None)]);
    assert_eq!(answer.reasons(), [(1, "CANCELLED"), (2, "CANCELLED"), (3, "CANCELLED")]);
    // Its calls gave their places back.
    assert_eq!(stream.run(batch(&["c", "d"])).await.outputs.len(), 2);
    stream.cancel(99).await;
    assert_eq!(stream.run(batch(&["e"])).await.outputs.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_handler_that_blocks_its_thread_stalls_neither_health_nor_progress_nor_cancel() {
    // The nodes' runtime is their own, so that the test's client is not what the handler blocks.
    let (address, served) = std::sync::mpsc::channel();
    let node_thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut node = serve([node("m").map(sleep)]).await;
            let (done, wait) = tokio::sync::oneshot::channel::<()>();
            address.send((node.path.clone(), done)).expect("told");
            let _ = wait.await;
            node.drain();
            node.ended().await
        })
    });
    let (path, done) = served.recv_timeout(SOON).expect("an address");
    let connect = || async {
        let path = path.clone();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
        });
        soon(async {
            loop {
                match tonic::transport::Endpoint::from_static("http://node")
                    .connect_with_connector(connector.clone())
                    .await
                {
                    Ok(channel) => return channel,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        })
        .await
    };
    let mut stream = crate::common::open_channel(connect().await, open("")).await.expect("opened");
    let timeout = Duration::from_millis(900).try_into().expect("short");
    let sequence = stream
        .send_work(Work { batch: Some(batch(&["a", "block", "b"])), timeout: Some(timeout), ..Work::default() })
        .await;
    let progress = stream.progress().await;
    assert_eq!((progress.calls[0].index, progress.calls.len()), (1, 1));
    let mut health = HealthClient::new(connect().await);
    let status =
        soon(health.check(HealthCheckRequest { service: String::new() })).await.expect("healthy").into_inner().status;
    assert_eq!(status, 1);
    stream.cancel(sequence).await;
    let answer = stream.answer(sequence).await;
    assert_eq!(answer.reasons(), [(0, "CANCELLED"), (1, "TIMEOUT"), (2, "CANCELLED")]);
    // The late answer of the work that was taken back is not sent.
    assert_eq!(stream.run(batch(&["c"])).await.outputs, [(0, None)]);
    drop(stream);
    done.send(()).expect("running");
    node_thread.join().expect("no panic").expect("drained");
}

#[tokio::test]
async fn one_keys_events_run_in_sequence_and_wait_behind_a_retry() {
    // The empty key is one like others.
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    async fn handle(event: Event) -> Result<Output> {
        let text = event.text()?.to_owned();
        if event.key() == Some("") {
            assert_eq!(RUNNING.fetch_add(1, Atomic::SeqCst), 0, "two events of the empty key at one time");
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
        if event.key() == Some("") {
            RUNNING.fetch_sub(1, Atomic::SeqCst);
        }
        match text.as_str() {
            "retry" => Err(retry("later")),
            "reject" => Err(reject("BAD", "bad")),
            _ => Ok(Output::text(text)),
        }
    }
    let served = serve([node("m").map(handle)]).await;
    let mut stream =
        try_open(&served, OpenProcess { ordering: Ordering::Key.into(), ..open("") }).await.expect("opened");
    let mut events = batch(&["1", "reject", "2", "x", "retry", "3", "4", "y"]);
    events.key = Some(column(&["", "", "", "b", "", "", "", "b"]));
    let answer = stream.run(events).await;
    assert_eq!(answer.reasons(), [(1, "BAD"), (4, "RETRY"), (5, "KEY_HELD"), (6, "KEY_HELD")]);
    assert_eq!(answer.outputs.iter().map(|(parent, _)| *parent).collect::<Vec<_>>(), [0, 2, 3, 7]);
    let mut all = try_open(&served, OpenProcess { ordering: Ordering::All.into(), ..open("") }).await.expect("opened");
    assert_eq!(all.opened.limits.expect("limits").max_in_flight_works, 1);
    let answer = all.run(batch(&["1", "retry", "2"])).await;
    assert_eq!(answer.reasons(), [(1, "RETRY"), (2, "KEY_HELD")]);
}

#[tokio::test]
async fn concurrency_bounds_the_calls_of_a_stream() {
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    async fn handle(event: Event) -> Event {
        MOST.fetch_max(RUNNING.fetch_add(1, Atomic::SeqCst) + 1, Atomic::SeqCst);
        tokio::time::sleep(Duration::from_millis(2)).await;
        RUNNING.fetch_sub(1, Atomic::SeqCst);
        event
    }
    let served = serve([node("m").map(handle).concurrency(7)]).await;
    let mut stream = try_open(&served, OpenProcess { concurrency: 3, ..open("") }).await.expect("opened");
    let payloads = vec!["x"; 20];
    let sequences = [stream.send(batch(&payloads)).await, stream.send(batch(&payloads)).await];
    let mut done = 0;
    while done < sequences.len() {
        let result = stream.result().await;
        assert!(sequences.contains(&result.sequence) && result.failures.is_empty());
        done += usize::from(result.last);
    }
    assert_eq!(MOST.load(Atomic::SeqCst), 3);
}

#[tokio::test]
async fn more_works_than_the_limits_allow_are_given_back() {
    let (_served, mut stream) =
        start(node("m").map(sleep).max_in_flight_works(1).max_batch_events(2).max_batch_bytes(1000), "").await;
    let held = stream.send(batch(&["sleep"])).await;
    let second = stream.send(batch(&["a"])).await;
    assert_eq!(stream.answer(second).await.reasons(), [(WHOLE, "LIMITS_EXCEEDED")]);
    stream.cancel(held).await;
    assert_eq!(stream.answer(held).await.reasons(), [(0, "CANCELLED")]);
    assert_eq!(stream.run(batch(&["a", "b", "c"])).await.reasons(), [(WHOLE, "BATCH_TOO_LARGE")]);
    assert_eq!(stream.run(batch(&["x".repeat(2000).as_str()])).await.reasons(), [(WHOLE, "BATCH_TOO_LARGE")]);
}

#[tokio::test]
async fn half_close_answers_what_is_held_and_ends_well() {
    async fn slow(event: Event) -> Event {
        tokio::time::sleep(Duration::from_millis(30)).await;
        event
    }
    let (_served, mut stream) = start(node("m").map(slow), "").await;
    let sequence = stream.send(batch(&["a"])).await;
    stream.half_close();
    assert_eq!(stream.answer(sequence).await.outputs.len(), 1);
    stream.end().await.expect("OK");
}

/// Waits until health says NOT_SERVING.
async fn not_serving(health: &mut HealthClient<tonic::transport::Channel>) {
    let service = || HealthCheckRequest { service: String::new() };
    soon(async {
        while health.check(service()).await.expect("health answers").into_inner().status != 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_work_can_be_taken_back_while_the_node_drains() {
    let (mut served, mut stream) = start(node("m").map(sleep), "").await;
    let mut health = HealthClient::new(served.channel().await);
    let sequence = stream.send(batch(&["sleep"])).await;
    assert_eq!(stream.progress().await.calls.len(), 1);
    served.drain();
    not_serving(&mut health).await;
    // The stream has looked up from what it did since then.
    assert_eq!(stream.progress().await.calls.len(), 1);
    stream.cancel(sequence).await;
    assert_eq!(stream.answer(sequence).await.reasons(), [(0, "CANCELLED")]);
    stream.end().await.expect("OK");
    served.ended().await.expect("drained");
}

#[tokio::test]
async fn a_drain_says_so_answers_what_is_held_and_ends() {
    static GO: tokio::sync::Notify = tokio::sync::Notify::const_new();
    async fn wait(event: Event) -> Event {
        GO.notified().await;
        event
    }
    let (mut served, mut stream) = start(node("m").map(wait), "").await;
    let path = served.path.clone();
    let mut health = HealthClient::new(served.channel().await);
    let sequence = stream.send(batch(&["a"])).await;
    assert_eq!(stream.progress().await.calls.len(), 1);
    served.drain();
    not_serving(&mut health).await;
    GO.notify_one();
    assert_eq!(stream.answer(sequence).await.outputs.len(), 1);
    stream.end().await.expect("OK");
    served.ended().await.expect("drained");
    assert!(!path.exists(), "the socket is removed");
}

/// A sink that waits for ever, and tells when it is dropped.
fn endless(dropped: &Arc<Notify>) -> Node {
    struct Tell(Arc<Notify>);
    impl Drop for Tell {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let dropped = Arc::clone(dropped);
    node("s").sink(move |_: Event| {
        let tell = Tell(Arc::clone(&dropped));
        async move {
            let _tell = tell;
            std::future::pending::<()>().await;
        }
    })
}

#[tokio::test]
async fn a_client_that_vanishes_cancels_its_works() {
    let dropped = Arc::new(Notify::new());
    let (_served, mut stream) = start(endless(&dropped), "").await;
    stream.send(batch(&["a"])).await;
    assert_eq!(stream.progress().await.calls.len(), 1);
    drop(stream);
    soon(dropped.notified()).await;
}

#[tokio::test]
async fn a_stream_that_ends_by_a_violation_cancels_its_works() {
    let dropped = Arc::new(Notify::new());
    let (_served, mut stream) = start(endless(&dropped), "").await;
    let sequence = stream.send(batch(&["a"])).await;
    assert_eq!(stream.progress().await.calls.len(), 1);
    stream
        .request(process_request::Request::Work(Work { sequence, batch: Some(batch(&["b"])), ..Work::default() }))
        .await;
    assert_eq!(stream.end().await.expect_err("a violation").code(), Code::InvalidArgument);
    soon(dropped.notified()).await;
}

#[tokio::test]
async fn nodes_that_cannot_be_served_say_why() {
    let start = |nodes: Vec<meshloom::Node>, address: &str| {
        meshloom::Server::new(nodes).listen(address).serve_with_shutdown(std::future::pending())
    };
    let why = async |nodes, address: &str| soon(start(nodes, address)).await.expect_err("refused");
    assert!(why(vec![], "127.0.0.1:0").await.to_string().contains("no node"));
    assert!(why(vec![node("Not Legal").map(pass)], "127.0.0.1:0").await.to_string().contains("[a-z]"));
    assert!(why(vec![node("a").map(pass), node("a").map(pass)], "127.0.0.1:0").await.to_string().contains("two nodes"));
    let open = why(vec![node("a").map(pass)], "0.0.0.0:0").await;
    assert!(open.to_string().contains("MESHLOOM_INSECURE=1") && open.exit_code() == 78, "{open}");
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let taken = why(vec![node("a").map(pass)], &held.local_addr().expect("an address").to_string()).await;
    assert_eq!(taken.exit_code(), 69);
}

#[tokio::test]
async fn rows_of_a_batch_behind_one_that_comes_again_are_held() {
    async fn handle(batch: Batch, mut out: Emitter) -> Result<()> {
        for row in 0..batch.len() {
            match std::str::from_utf8(batch.payload(row)).unwrap() {
                "retry" => out.retry(row, "later"),
                "reject" => out.reject(row, "BAD", "bad"),
                "drop" => out.drop([row]),
                "forget" => {}
                text => {
                    out.emit(row, Output::text(text.to_owned()).subject("first"));
                    out.emit(row, Output::text(text.to_owned()));
                }
            }
        }
        Ok(())
    }
    let served = serve([node("m").batch(handle)]).await;
    let texts = ["a", "retry", "a", "drop", "reject", "b", "none", "forget", "c", "reject", "d"];
    let keyed = || {
        let mut events = batch(&texts);
        events.key = Some(column(&["a", "a", "a", "a", "a", "b", "e", "c", "c", "d", "d"]));
        events
    };
    let mut stream =
        try_open(&served, OpenProcess { ordering: Ordering::Key.into(), ..open("") }).await.expect("opened");
    let answer = stream.run(keyed()).await;
    let held = "KEY_HELD";
    let mut reasons = answer.reasons();
    reasons.sort_unstable();
    assert_eq!(reasons, [(1, "RETRY"), (2, held), (3, held), (4, held), (7, "UNACCOUNTED"), (8, held), (9, "BAD")]);
    assert_eq!(answer.outputs.iter().map(|(parent, _)| *parent).collect::<Vec<_>>(), [0, 0, 5, 5, 6, 6, 10, 10]);
    assert_eq!(answer.consumed, 0);
    let mut all = try_open(&served, OpenProcess { ordering: Ordering::All.into(), ..open("") }).await.expect("opened");
    assert_eq!(all.run(batch(&["1", "retry", "drop"])).await.reasons(), [(1, "RETRY"), (2, held)]);
    let mut none = try_open(&served, open("")).await.expect("opened");
    assert_eq!(none.run(batch(&["1", "retry", "drop"])).await.reasons(), [(1, "RETRY")]);
}
