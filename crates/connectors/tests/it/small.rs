use std::time::{Duration, Instant};

use meshloom_config::{
    Rate, Template,
    connector::{ConnectorSpec, Generate},
};

use crate::support::{Bench, Frame, batch};

fn generate(count: Option<u64>, rate: Option<Rate>, template: &str) -> ConnectorSpec {
    ConnectorSpec::Generate(Generate { count, rate, template: Template::compile(template).unwrap() })
}

#[tokio::test]
async fn null_consumes_everything() {
    let bench = Bench::new(&["up"]);
    let mut node = bench.node(&ConnectorSpec::Null);
    assert_eq!(node.ask(1, &batch(&["1", "2"])).await.consumed, 2);
    node.finish().await.unwrap();
}

#[tokio::test]
async fn generated_events_are_the_same_at_every_run_and_go_on_behind_a_checkpoint() {
    let mut bench = Bench::new(&[]);
    let spec = generate(Some(2500), None, "{\"n\": {{ data.n }}, \"odd\": {{ data.n % 2 == 1 }}}");
    let mut source = bench.source(&spec);
    assert!(source.replays);
    source.demand(3, 1 << 20).await;
    let first = source.frame().await.unwrap();
    assert_eq!(first.payloads()[2], "{\"n\": 3, \"odd\": true}");
    assert_eq!(first.ids(), ["1", "2", "3"]);
    assert!(source.is_silent().await);
    source.ended().await.unwrap();
    bench.context.checkpoint = first.checkpoint;
    let mut source = bench.source(&spec);
    source.demand(1 << 20, 1 << 30).await;
    let mut frames: Vec<Frame> = Vec::new();
    while let Some(frame) = source.frame().await {
        frames.push(frame);
    }
    let ids: Vec<String> = frames.iter().flat_map(Frame::ids).collect();
    assert_eq!(ids, (4..=2500).map(|n| n.to_string()).collect::<Vec<_>>());
    source.ended().await.unwrap();
    bench.context.checkpoint = Some("meshloom-file 1".into());
    assert_eq!(bench.refused(&spec).code, "BAD_CHECKPOINT");
}

#[tokio::test]
async fn a_template_without_expressions_is_every_payload() {
    let bench = Bench::new(&[]);
    for (template, content_type) in [("[1]", "application/json"), ("plain", "text/plain"), ("", "text/plain")] {
        let mut source = bench.source(&generate(Some(2), None, template));
        source.demand(10, 1 << 20).await;
        let frame = source.frame().await.unwrap();
        assert_eq!((frame.payloads(), frame.ids()), (vec![template.to_owned(); 2], vec!["1".into(), "2".into()]));
        assert_eq!(frame.batch.content_type(1), Some(content_type));
        source.ended().await.unwrap();
    }
}

#[tokio::test]
async fn a_rate_is_kept() {
    let bench = Bench::new(&[]);
    let rate = Rate { count: 50.0, per: Duration::from_secs(1) };
    let mut source = bench.source(&generate(Some(21), Some(rate), "{{ data.n }}"));
    let begin = Instant::now();
    source.demand(1 << 20, 1 << 30).await;
    assert_eq!(source.drain().await.len(), 21);
    assert!(begin.elapsed() >= Duration::from_millis(390), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_template_that_fails_says_which_event() {
    let bench = Bench::new(&[]);
    let mut source = bench.source(&generate(Some(5), None, "{{ 1 / (data.n - 3) }}"));
    source.demand(2, 1 << 20).await;
    assert_eq!(source.frame().await.unwrap().batch.len(), 2);
    source.demand(2, 1 << 20).await;
    let error = source.end().await.unwrap_err();
    assert_eq!(error.code, "TEMPLATE_FAILED");
    assert!(error.message.contains("event 3"), "{error}");
}
