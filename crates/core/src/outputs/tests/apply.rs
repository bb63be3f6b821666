//! Answers against a naive model, row by row.

use proptest::{collection::vec, option, prelude::*, sample::Index};

use crate::{
    batch::{
        Attribute,
        tests::model::{self, Row, Value, check, read},
    },
    ids,
    outputs::{NodeIdentity, Ordinals, OutputEvent, Outputs, OutputsBuilder},
};

const NODE: &str = "p/n";

#[derive(Debug, Clone)]
struct Output {
    parent: Option<u32>,
    payload: Option<Vec<u8>>,
    /// Content type, type, subject, key, data schema.
    attributes: [Option<String>; 5],
    time_ns: Option<Option<i64>>,
    id: Option<String>,
    route: Option<String>,
    extensions: Vec<(String, Option<Value>)>,
}

const OVERRIDABLE: [Attribute; 5] =
    [Attribute::ContentType, Attribute::Type, Attribute::Subject, Attribute::Key, Attribute::DataSchema];

fn text() -> impl Strategy<Value = Option<String>> {
    option::of(prop_oneof![Just(""), Just("a"), Just("é")].prop_map(str::to_owned))
}

/// `columns`: which overrides any output may have.
fn output(columns: [bool; 10]) -> impl Strategy<Value = (Option<Index>, Output)> {
    let attributes = std::array::from_fn::<_, 5, _>(|_| text());
    let extensions = vec((model::extension_name(), option::of(model::value())), 0..3);
    (
        option::weighted(0.9, any::<Index>()),
        option::of(vec(any::<u8>(), 0..4)),
        attributes,
        option::of(option::of(-3..3i64)),
        option::weighted(0.2, "[x-z]"),
        text(),
        extensions,
    )
        .prop_map(move |(parent, payload, attributes, time_ns, id, route, mut extensions)| {
            extensions.sort_by(|(a, _), (b, _)| a.cmp(b));
            extensions.dedup_by(|(a, _), (b, _)| a == b);
            let output = Output {
                parent: None,
                payload: payload.filter(|_| columns[0]),
                attributes: std::array::from_fn(|at| attributes[at].clone().filter(|_| columns[1 + at])),
                time_ns: time_ns.filter(|_| columns[6]),
                id: id.filter(|_| columns[7]),
                route: route.filter(|_| columns[8]),
                extensions: if columns[9] { extensions } else { Vec::new() },
            };
            (parent, output)
        })
}

/// Inputs, and outputs in the order of their parents.
fn work() -> impl Strategy<Value = (Vec<Row>, Vec<Output>)> {
    let outputs = any::<[bool; 10]>().prop_flat_map(|columns| vec(output(columns), 1..12));
    (model::rows(1..6), outputs).prop_map(|(inputs, outputs)| {
        let mut outputs: Vec<_> = outputs
            .into_iter()
            .map(|(parent, mut output)| {
                output.parent = parent.map(|parent| parent.index(inputs.len()) as u32);
                if output.parent.is_none() {
                    output.payload.get_or_insert_default();
                }
                output
            })
            .collect();
        outputs.sort_by_key(|output| output.parent.unwrap_or(u32::MAX));
        (inputs, outputs)
    })
}

fn build(inputs: &[Row], outputs: &[Output]) -> Outputs {
    let mut builder = OutputsBuilder::new(&model::build(inputs));
    for output in outputs {
        let extensions: Vec<_> =
            output.extensions.iter().map(|(name, value)| (name.as_str(), value.as_ref().map(Value::borrow))).collect();
        let [content_type, type_, subject, key, data_schema] = output.attributes.each_ref().map(Option::as_deref);
        let event = OutputEvent {
            content_type,
            type_,
            subject,
            key,
            data_schema,
            time_ns: output.time_ns,
            id: output.id.as_deref(),
            route: output.route.as_deref(),
            extensions: &extensions,
        };
        builder.emit(output.parent, output.payload.as_deref(), event).unwrap();
    }
    let bytes = builder.bytes();
    let outputs = builder.finish(false).unwrap();
    assert!(outputs.bytes() <= bytes + 64 * 12 * outputs.len(), "the builder counts what it builds");
    Outputs::from_columns(outputs.columns().clone(), inputs.len() as u32).unwrap()
}

/// What the events must be, by the letter of the protocol.
fn expected(inputs: &[Row], outputs: &[Output], shared: bool) -> Vec<Row> {
    let mut numbers = std::collections::HashMap::new();
    let from = |row: &Row| row.attributes[Attribute::From as usize].clone().unwrap_or_default();
    let whole = inputs.iter().map(|row| (from(row), row.uid)).collect::<Vec<_>>();
    let whole = ids::WholeBatch::new(NODE, whole.iter().map(|(from, uid)| (from.as_str(), *uid)));
    outputs
        .iter()
        .map(|output| {
            let parent = output.parent.map(|parent| &inputs[parent as usize]);
            let n = *numbers.entry(output.parent).and_modify(|n| *n += 1).or_insert(0u32);
            let mut row = parent.cloned().unwrap_or_default();
            let uid = match (&output.id, parent) {
                (Some(id), _) => ids::set_by_node(NODE, id),
                (None, None) => whole.output(n),
                (None, Some(parent)) if shared => ids::shared_source_output(NODE, &from(parent), parent.uid, n),
                (None, Some(parent)) if n == 0 => parent.uid,
                (None, Some(parent)) => ids::output(NODE, parent.uid, n),
            };
            if parent.is_none() || n > 0 || output.id.is_some() {
                let id = output.id.clone().unwrap_or_else(|| uid.to_string());
                row.attributes[Attribute::Id as usize] = Some(id);
                row.attributes[Attribute::Source as usize] = Some(NODE.to_owned());
            }
            row.uid = uid;
            row.attributes[Attribute::From as usize] = None;
            if let Some(payload) = &output.payload {
                row.payload.clone_from(payload);
            }
            for (attribute, value) in OVERRIDABLE.into_iter().zip(&output.attributes) {
                if let Some(value) = value {
                    row.attributes[attribute as usize] = Some(value.clone()).filter(|value| !value.is_empty());
                }
            }
            row.time_ns = output.time_ns.unwrap_or(row.time_ns);
            for (name, value) in &output.extensions {
                match value {
                    Some(value) => row.extensions.insert(name.clone(), value.clone()),
                    None => row.extensions.remove(name),
                };
            }
            row
        })
        .collect()
}

proptest! {
    #[test]
    fn an_answer_equals_the_model((inputs, outputs) in work(), shared: bool) {
        let node = NodeIdentity::new("p", "n", shared);
        let answer = build(&inputs, &outputs).apply(&model::build(&inputs), &node, Ordinals::default()).unwrap();
        let model = expected(&inputs, &outputs, shared);
        check(&answer.batch, &model);
        check(&answer.batch.detach(), &model);
        prop_assert_eq!(answer.parents.iter().collect::<Vec<_>>(), outputs.iter().map(|o| o.parent).collect::<Vec<_>>());
        for (row, output) in outputs.iter().enumerate() {
            prop_assert_eq!(answer.routes.get(row), output.route.as_deref().filter(|route| !route.is_empty()));
        }
        let columns = answer.batch.to_columns();
        check(&crate::batch::Batch::from_columns(columns).unwrap(), &model);
    }

    /// An answer to an answer's events, after they were cut: maps upon maps.
    #[test]
    fn a_chain_of_answers_equals_the_model(
        (inputs, first) in work(),
        second in any::<[bool; 10]>().prop_flat_map(|columns| vec(output(columns), 1..8)),
        picks in vec(any::<Index>(), 1..6),
    ) {
        let node = NodeIdentity::new("p", "n", false);
        let batch = build(&inputs, &first).apply(&model::build(&inputs), &node, Ordinals::default()).unwrap().batch;
        let picks: Vec<_> = picks.iter().map(|pick| pick.index(batch.len()) as u32).collect();
        let batch = batch.select(&picks);
        let rows = read(&batch);
        let mut second: Vec<_> = second
            .into_iter()
            .map(|(parent, output)| Output { parent: Some(parent.map_or(0, |p| p.index(rows.len()) as u32)), ..output })
            .collect();
        second.sort_by_key(|output| output.parent);
        let answer = build(&rows, &second).apply(&batch, &node, Ordinals::default()).unwrap();
        check(&answer.batch, &expected(&rows, &second, false));
    }
}

#[test]
fn unchanged_payloads_are_not_copied() {
    let rows = vec![
        Row { payload: b"first".to_vec(), ..Row::default() },
        Row { payload: b"second".to_vec(), ..Row::default() },
    ];
    let input = model::build(&rows);
    let mut builder = OutputsBuilder::new(&input);
    builder.emit(Some(1), None, OutputEvent { subject: Some("s"), ..OutputEvent::default() }).unwrap();
    let outputs = builder.finish(false).unwrap();
    assert!(outputs.columns().payload.is_none());
    let answer = outputs.apply(&input, &NodeIdentity::new("p", "n", false), Ordinals::default()).unwrap();
    assert_eq!(answer.batch.payload(0).as_ptr(), input.payload(1).as_ptr());
}

#[test]
fn spans_follow_their_events() {
    let span = crate::batch::SpanContext { trace_id: [1; 16], span_id: [2; 8], flags: 1, trace_state: None };
    let input = model::build(&[Row::default(), Row { span: Some(span.clone()), ..Row::default() }]);
    let mut builder = OutputsBuilder::new(&input);
    for parent in [Some(0), Some(1), Some(1), None] {
        builder.emit(parent, Some(b"x"), OutputEvent::default()).unwrap();
    }
    let answer = builder.finish(false).unwrap().apply(&input, &NodeIdentity::new("p", "n", false), Ordinals::default());
    let batch = answer.unwrap().batch;
    assert_eq!(batch.spans().collect::<Vec<_>>(), [(1, &span), (2, &span)]);
}

#[test]
fn routes_group_in_order_of_appearance() {
    let input = model::build(&vec![Row::default(); 4]);
    let mut builder = OutputsBuilder::new(&input);
    for (parent, route) in [(0, Some("side")), (1, None), (2, Some("side")), (3, Some(""))] {
        builder.emit(Some(parent), None, OutputEvent { route, ..OutputEvent::default() }).unwrap();
    }
    let outputs = builder.finish(false).unwrap();
    let answer = outputs.apply(&input, &NodeIdentity::new("p", "n", false), Ordinals::default()).unwrap();
    assert_eq!(answer.routes.groups(4), [(Some("side"), vec![0, 2]), (None, vec![1, 3])]);
}

#[test]
fn too_many_extensions_together_are_refused() {
    let extensions = |prefix: &str| (0..40).map(|n| (format!("{prefix}{n}"), Value::Boolean(true))).collect();
    let inputs = [Row { extensions: extensions("a"), ..Row::default() }];
    let names: Vec<String> = (0..40).map(|n| format!("b{n}")).collect();
    let output = Output {
        parent: Some(0),
        payload: None,
        attributes: Default::default(),
        time_ns: None,
        id: None,
        route: None,
        extensions: names.into_iter().map(|name| (name, Some(Value::Boolean(true)))).collect(),
    };
    let outputs = build(&inputs, &[output]);
    let error = outputs.apply(&model::build(&inputs), &NodeIdentity::new("p", "n", false), Ordinals::default());
    assert_eq!(error.unwrap_err().to_string(), "column `extensions`: 80 extension columns, allowed are 64");
}
