use std::sync::Arc;

use super::waterfall;
use crate::{Event, Kind, Link, Service, Span, SpanId, SpanRef, Status, Trace, TraceId, names};

const MS: u64 = 1_000_000;
const T0: u64 = 1_767_225_600_000 * MS;

fn trace_id() -> TraceId {
    TraceId::from_bytes([0xab; 16]).unwrap()
}

fn id(number: u64) -> SpanId {
    SpanId::from_bytes(number.to_be_bytes()).unwrap()
}

fn service(name: &str, instance: &str) -> Arc<Service> {
    Arc::new(Service { name: name.into(), instance: instance.into() })
}

/// Times in ms after the trace's start.
fn span(number: u64, parent: u64, service: Arc<Service>, kind: Kind, name: &'static str, times: [u64; 2]) -> Span {
    let parent = SpanId::from_bytes(parent.to_be_bytes());
    let mut span = Span::new(SpanRef { trace_id: trace_id(), span_id: id(number) }, parent, service, kind, name);
    (span.start, span.end) = (T0 + times[0] * MS, T0 + times[1] * MS);
    span
}

fn hop(number: u64, parent: u64, node: &str, name: &'static str, times: [u64; 3]) -> Span {
    let mut span =
        span(number, parent, Service::of_coordinator("demo", node), Kind::Client, name, [times[0], times[2]]);
    span.events.push(Event::new(T0 + times[0] * MS, names::event::ENQUEUE));
    span.events.push(Event::new(T0 + times[1] * MS, names::event::DISPATCH));
    span
}

fn process(number: u64, parent: u64, node: &str, name: &'static str, times: [u64; 2]) -> Span {
    span(number, parent, service(&format!("demo/{node}"), "0"), Kind::Consumer, name, times)
}

fn trace(spans: Vec<Span>) -> Trace {
    let mut spans: Vec<_> = spans.into_iter().map(Arc::new).collect();
    spans.sort_by_key(|span| (span.start, span.end, span.span_id));
    Trace { id: trace_id(), spans, left_out: 0 }
}

fn pipeline() -> Vec<Span> {
    let mut send = span(1, 0, Service::of_coordinator("demo", "ingest"), Kind::Producer, "send ingest", [0, 1]);
    send.set(names::MESSAGE_ID, "0189f7a25b1c7def80000123456789ab".to_owned());
    let mut failed = hop(4, 2, "classify", "receive classify", [20, 25, 40]);
    failed.status = Status::Error("model not loaded".into());
    failed.set(names::ERROR_TYPE, "RETRY_LATER");
    failed.set(names::VERDICT, names::verdict::RETRY);
    let mut again = hop(5, 2, "classify", "receive classify", [60, 60, 100]);
    again.set(names::ATTEMPT, 2_i64);
    again.set(names::VERDICT, names::verdict::DELIVERED);
    let mut classify = process(6, 5, "classify", "process classify", [62, 98]);
    classify.links.push(Link { to: SpanRef { trace_id: trace_id(), span_id: id(3) }, attributes: Vec::new() });
    classify
        .events
        .push(Event { attributes: vec![("model".into(), "v2".into())], ..Event::new(T0 + 70 * MS, "predicted") });
    vec![
        send,
        hop(2, 1, "filter", "receive filter", [1, 9, 20]),
        process(3, 2, "filter", "process filter", [10, 19]),
        failed,
        again,
        classify,
        span(7, 6, service("demo/classify", "0"), Kind::Internal, "user-work", [70, 90]),
    ]
}

#[test]
fn a_pipeline_with_a_retry() {
    let shown = waterfall(&trace(pipeline()), 100, false);
    assert_eq!(shown, include_str!("snapshots/pipeline.txt"), "\n{shown}");
}

#[test]
fn colours_change_nothing_but_colour() {
    let plain = waterfall(&trace(pipeline()), 80, false);
    let coloured = waterfall(&trace(pipeline()), 80, true);
    let mut without = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\x1b') {
        without.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    without.push_str(rest);
    let trimmed = |text: &str| text.lines().map(str::trim_end).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(trimmed(&without), trimmed(&plain));
    assert!(coloured.contains("\x1b[31m"), "errors are red");
}

#[test]
fn a_missing_parent_and_a_wrong_clock_are_said() {
    let mut spans = pipeline();
    // The filter's machine is an hour behind, the root is not here, and two spans claim each other.
    spans.remove(0);
    spans[1].start -= 3_600_000 * MS;
    spans[1].end -= 3_600_000 * MS;
    spans.push(span(20, 21, service("demo/x", "0"), Kind::Internal, "egg", [30, 31]));
    spans.push(span(21, 20, service("demo/x", "0"), Kind::Internal, "hen", [32, 33]));
    let mut trace = trace(spans);
    trace.left_out = 3;
    let shown = waterfall(&trace, 100, false);
    assert_eq!(shown, include_str!("snapshots/odd.txt"), "\n{shown}");
}

#[test]
fn lines_keep_to_the_width_and_hostile_names_to_themselves() {
    let mut spans = pipeline();
    for depth in 0..40 {
        spans.push(span(
            100 + depth,
            if depth == 0 { 7 } else { 99 + depth },
            service("demo/deep", "0"),
            Kind::Internal,
            "deep \x1b[2Jname",
            [70, 80],
        ));
    }
    spans[0].status = Status::Error(format!("\x1b]0;owned\x07{}", "long ".repeat(100)));
    for width in [0, 60, 120] {
        let shown = waterfall(&trace(spans.clone()), width, false);
        assert!(!shown.contains('\x1b') && !shown.contains('\x07'));
        let widest = shown.lines().map(unicode_width::UnicodeWidthStr::width).max().unwrap();
        // Notes keep 20 columns for words below the deepest spans.
        assert!(widest <= width.max(120), "{width}: {widest}\n{shown}");
        assert!(shown.lines().count() > 47, "a line for each of 47 spans\n{shown}");
    }
}

#[test]
fn an_empty_trace_and_a_moment() {
    assert!(waterfall(&trace(Vec::new()), 80, false).contains("0 spans, 0 ns"));
    let moment = span(1, 0, service("elsewhere", ""), Kind::Internal, "moment", [0, 0]);
    let shown = waterfall(&trace(vec![moment]), 80, false);
    assert!(shown.contains("1 span, 0 ns") && shown.contains("elsewhere  moment  █"), "{shown}");
}
