//! Opening a stream: versions, handlers, config, set-up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering as Atomic},
    },
    time::Duration,
};

use meshloom::{Config, ConfigError, Context, Event, Output, Result, node, stream};
use meshloom_proto::v1::{DescribeRequest, OpenProcess, ProtocolRange};
use serde::Deserialize;
use tonic::{Code, Status};
use tonic_types::{ErrorInfo, StatusExt as _};

use crate::common::{batch, open, open_channel, open_source, produce, serve, try_open};

async fn pass(event: Event) -> Event {
    event
}

fn info(status: &Status) -> ErrorInfo {
    let info = status.get_details_error_info().expect("ErrorInfo");
    assert_eq!(info.domain, "meshloom");
    info
}

#[derive(Debug, Deserialize)]
struct Settings {
    label: String,
    #[serde(default)]
    inner: Inner,
}

#[derive(Debug, Default, Deserialize)]
struct Inner {
    #[serde(default)]
    port: u16,
}

async fn labelled(_: Event, settings: Config<Settings>) -> Output {
    Output::text(format!("{}:{}", settings.label, settings.inner.port))
}

async fn refusal(node: meshloom::Node, open: OpenProcess) -> tonic::Status {
    let served = serve([node]).await;
    match try_open(&served, open).await {
        Err(status) => status,
        Ok(_) => panic!("it was opened"),
    }
}

#[tokio::test]
async fn a_refused_config_names_every_field() {
    let status = refusal(node("m").map(labelled), open(r#"{"inner": {"prt": 1, "port": "x"}, "extra": 1}"#)).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_details_bad_request().expect("BadRequest");
    let fields: Vec<&str> = details.field_violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["inner.prt", "inner.port", "extra", "label"]);
    let status = refusal(node("m").map(labelled), open("{}")).await;
    assert_eq!(status.get_details_bad_request().expect("BadRequest").field_violations[0].field, "label");
    let status = refusal(node("m").map(pass), open(r#"{"label": "x"}"#)).await;
    assert_eq!(status.get_details_bad_request().expect("BadRequest").field_violations[0].field, "label");
}

#[tokio::test]
async fn set_up_may_refuse_or_fail() {
    async fn picky(settings: Config<Settings>) -> Result<String> {
        match settings.label.as_str() {
            "refuse" => Err(ConfigError::field("label", "is taken").into()),
            "panic" => panic!("boom"),
            _ => Err(std::io::Error::other("database down").into()),
        }
    }
    let picky = || node("m").setup(picky).map(pass);
    let status = refusal(picky(), open(r#"{"label": "refuse"}"#)).await;
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "config `label`: is taken"));
    let status = refusal(picky(), open(r#"{"label": "fail"}"#)).await;
    assert_eq!((status.code(), info(&status).reason), (Code::Unavailable, "SETUP_FAILED".to_owned()));
    assert!(status.message().contains("database down"));
    assert!(refusal(picky(), open(r#"{"label": "panic"}"#)).await.message().contains("boom"));
}

#[tokio::test]
async fn set_up_runs_once_per_config_and_tear_down_once_after_the_drain() {
    let (made, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, gone) = (Arc::clone(&made), Arc::clone(&ended));
    let setup = move |settings: Config<Settings>| {
        let count = Arc::clone(&count);
        async move {
            count.fetch_add(1, Atomic::SeqCst);
            Ok::<_, meshloom::Error>(settings.label.clone())
        }
    };
    async fn show(_: Event, context: Context<String>) -> String {
        context.state().clone()
    }
    let teardown = move |_: Arc<String>| {
        let gone = Arc::clone(&gone);
        async move {
            gone.fetch_add(1, Atomic::SeqCst);
        }
    };
    let served = serve([node("m").setup(setup).teardown(teardown).map(show)]).await;
    let mut first = try_open(&served, open(r#"{"label": "a"}"#)).await.expect("opened");
    let mut second = try_open(&served, open(r#"{"label": "a"}"#)).await.expect("opened");
    let mut third = try_open(&served, open(r#"{"label": "b"}"#)).await.expect("opened");
    for (stream, label) in [(&mut first, "a"), (&mut second, "a"), (&mut third, "b")] {
        assert_eq!(stream.run(batch(&["x"])).await.outputs, [(0, Some(label.to_owned()))]);
    }
    assert_eq!((made.load(Atomic::SeqCst), ended.load(Atomic::SeqCst)), (2, 0));
    served.ended().await.expect("drained");
    assert_eq!(ended.load(Atomic::SeqCst), 2);
}

#[tokio::test]
async fn a_set_up_that_failed_runs_again_for_the_next_stream() {
    let runs = Arc::new(AtomicUsize::new(0));
    let setup = {
        let runs = Arc::clone(&runs);
        move || {
            let first = runs.fetch_add(1, Atomic::SeqCst) == 0;
            async move { if first { Err(std::io::Error::other("not yet")) } else { Ok(()) } }
        }
    };
    let served = serve([node("m").setup(setup).map(pass)]).await;
    assert_eq!(info(&try_open(&served, open("")).await.err().expect("refused")).reason, "SETUP_FAILED");
    try_open(&served, open("")).await.expect("opened");
    assert_eq!(runs.load(Atomic::SeqCst), 2);
}

#[tokio::test]
async fn a_set_up_that_blocks_its_thread_keeps_no_other_stream_from_opening() {
    // The test's own thread serves the handlers: set-up would block it.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let blocking = move || {
        let waited = wait.lock().expect("one set-up").recv_timeout(Duration::from_secs(60));
        async move { waited.map(|()| "late") }
    };
    let served = serve([node("slow").setup(blocking).map(pass), node("quick").map(pass)]).await;
    let named = |handler: &str| OpenProcess { handler: handler.to_owned(), ..open("") };
    let (slow, ()) = tokio::join!(try_open(&served, named("slow")), async {
        try_open(&served, named("quick")).await.expect("opened");
        go.send(()).expect("waiting");
    });
    slow.expect("opened");
}

#[tokio::test]
async fn protocol_ranges_that_do_not_meet_name_the_side_to_upgrade() {
    let range = ProtocolRange { min: 2, max: 3 };
    let status = refusal(node("m").map(pass), OpenProcess { protocol: Some(range), ..open("") }).await;
    assert_eq!(status.code(), Code::FailedPrecondition);
    let info = info(&status);
    assert_eq!(info.reason, "PROTOCOL_UNSUPPORTED");
    assert_eq!((info.metadata["upgrade"].as_str(), info.metadata["to"].as_str()), ("node", "2"));
    assert!(status.message().contains("upgrade the crate `meshloom`"), "{}", status.message());
    for protocol in [None, Some(ProtocolRange { min: 0, max: 1 }), Some(ProtocolRange { min: 2, max: 1 })] {
        let status = refusal(node("m").map(pass), OpenProcess { protocol, ..open("") }).await;
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.get_details_bad_request().expect("BadRequest").field_violations[0].field, "protocol");
    }
    let served = serve([node("m").map(pass)]).await;
    let stream = try_open(&served, OpenProcess { protocol: Some(ProtocolRange { min: 1, max: 9 }), ..open("") })
        .await
        .expect("opened");
    assert_eq!(stream.opened.protocol, 1);
    assert_eq!(stream.opened.sdk.expect("named").language, "rust");
}

#[tokio::test]
async fn several_handlers_of_one_process_are_told_apart() {
    async fn upper(event: Event) -> Result<String> {
        Ok(event.text()?.to_uppercase())
    }
    let served = serve([node("one").map(pass).routes(["side"]).description("passes"), node("two").map(upper)]).await;
    let described = served.client().await.describe(DescribeRequest {}).await.expect("described").into_inner();
    assert_eq!(described.handlers.iter().map(|handler| handler.name.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!((described.handlers[0].routes.clone(), described.handlers[0].role), (vec!["side".to_owned()], 1));
    let mut two = try_open(&served, OpenProcess { handler: "two".to_owned(), ..open("") }).await.expect("opened");
    assert_eq!(two.run(batch(&["x"])).await.outputs, [(0, Some("X".to_owned()))]);
    for handler in ["", "three"] {
        let status =
            try_open(&served, OpenProcess { handler: handler.to_owned(), ..open("") }).await.err().expect("refused");
        assert_eq!((status.code(), info(&status).reason), (Code::NotFound, "HANDLER_UNKNOWN".to_owned()));
        assert!(status.message().contains("one, two"), "{}", status.message());
    }
}

#[tokio::test]
async fn a_handler_is_opened_by_the_method_of_its_role() {
    let served = serve([node("map").map(pass), node("source").source(stream::empty::<Output>)]).await;
    let wrong =
        try_open(&served, OpenProcess { handler: "source".to_owned(), ..open("") }).await.err().expect("refused");
    assert_eq!((wrong.code(), info(&wrong).reason), (Code::FailedPrecondition, "HANDLER_ROLE_MISMATCH".to_owned()));
    let mut request = produce();
    request.handler = "map".to_owned();
    let wrong = open_source(&served, request).await.err().expect("refused");
    assert_eq!((wrong.code(), info(&wrong).reason), (Code::FailedPrecondition, "HANDLER_ROLE_MISMATCH".to_owned()));
}

#[tokio::test]
async fn a_config_that_is_no_object_is_refused_as_a_whole() {
    for config in ["[]", "3", "{", "null"] {
        let status = refusal(node("m").map(labelled), open(config)).await;
        assert_eq!(status.get_details_bad_request().expect("BadRequest").field_violations[0].field, "", "{config}");
    }
}

#[tokio::test]
async fn a_set_up_that_does_not_end_keeps_no_node_from_draining() {
    // One waits, one blocks its thread until the drain is over.
    let (over, is_over) = std::sync::mpsc::channel::<()>();
    let is_over = std::sync::Mutex::new(is_over);
    let begun = Arc::new(tokio::sync::Semaphore::new(0));
    let (waits, blocks) = (Arc::clone(&begun), Arc::clone(&begun));
    let wait = move || {
        waits.add_permits(1);
        std::future::pending::<Result<()>>()
    };
    let block = move || {
        blocks.add_permits(1);
        let ended = is_over.lock().expect("one set-up").recv_timeout(Duration::from_secs(60));
        async move { ended }
    };
    let mut served = serve([node("waits").setup(wait).map(pass), node("blocks").setup(block).map(pass)]).await;
    let named = |handler: &str| OpenProcess { handler: handler.to_owned(), ..open("") };
    let (one, two) = (served.channel().await, served.channel().await);
    let (waiting, blocking, ()) =
        tokio::join!(open_channel(one, named("waits")), open_channel(two, named("blocks")), async {
            begun.acquire_many(2).await.expect("both have begun").forget();
            served.drain();
        });
    for refused in [waiting, blocking] {
        assert_eq!(refused.err().expect("refused").code(), Code::Unavailable);
    }
    served.ended().await.expect("drained");
    over.send(()).expect("waiting");
}
