use proptest::prelude::*;

use super::{scalar::json_number, *};
use crate::diagnostic::Report;

fn tree(source: &str) -> Node {
    let mut report = Report::default();
    let node = parse(source, &mut report);
    assert!(report.list.is_empty(), "{:?}", report.list);
    node.expect("a tree")
}

fn json(source: &str) -> String {
    let mut report = Report::default();
    let Value::Map(entries) = tree(source).value else { panic!("expected a map") };
    let json = json_object(&entries, &mut report);
    assert!(report.list.is_empty(), "{:?}", report.list);
    json
}

fn value<'t>(node: &'t Node, key: &str) -> &'t Node {
    let Value::Map(entries) = &node.value else { panic!("expected a map") };
    &entries.iter().find(|entry| entry.key == key).expect("a key").value
}

#[test]
fn every_key_and_value_knows_its_place() {
    let source = "ü: &a { x: 'y z', \"q\": [1,\n  two ] }\nb: *a\nc: |\n  text\n  more\nd: plain # note\n";
    let root = tree(source);
    let at = |node: &Node| source[node.span.clone()].to_owned();
    let a = value(&root, "ü");
    assert_eq!(at(a), "{ x: 'y z', \"q\": [1,\n  two ] }");
    assert_eq!(at(value(a, "x")), "'y z'");
    assert_eq!(at(value(a, "q")), "[1,\n  two ]");
    assert_eq!(at(value(&root, "d")), "plain");
    // An alias stands where its anchor does: that is where a fault is corrected.
    assert_eq!(value(&root, "b").span, a.span);
    let Value::Map(entries) = &root.value else { panic!() };
    let keys: Vec<_> = entries.iter().map(|entry| &source[entry.key_span.clone()]).collect();
    assert_eq!(keys, ["ü", "b", "c", "d"]);
    let Value::Scalar(text) = &value(a, "x").value else { panic!() };
    assert_eq!(&source[text.locate(&(0..0), &(2..3))], "z");
}

#[test]
fn a_byte_order_mark_and_carriage_returns_do_no_harm() {
    let source = "\u{feff}a: ü\r\nb:\r\n  - x\r\n";
    let root = tree(source);
    assert_eq!(&source[value(&root, "a").span.clone()], "ü");
    assert_eq!(&source[value(&root, "b").span.clone()], "- x");
}

#[test]
fn json_keeps_numbers_as_written() {
    assert_eq!(
        json(
            "a: 1.50\nb: 12345678901234567890123\nc: -0\nd: 1e400\ne: '1'\nf: ~\ng: yes\nh: True\ni: [x, {y: \"\\u00fc\\n\"}]\nj:"
        ),
        r#"{"a":1.50,"b":12345678901234567890123,"c":-0,"d":1e400,"e":"1","f":null,"g":"yes","h":true,"i":["x",{"y":"ü\n"}],"j":null}"#
    );
}

#[test]
fn numbers_of_yaml_as_numbers_of_json() {
    for (written, expected) in [
        ("0x1F", "31"),
        ("0o17", "15"),
        ("+5", "5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("007", "7"),
        ("-.5e3", "-0.5e3"),
        ("1E+2", "1e+2"),
    ] {
        assert_eq!(json_number(written).as_deref(), Some(expected));
        assert!(serde_json::from_str::<f64>(expected).is_ok());
    }
    for text in ["", "-", ".", "1.2.3", "1e", "0x", "0xfg", "1_000", "12:30", "e5", "..5", "1s"] {
        assert_eq!(json_number(text), None, "{text}");
    }
}

#[test]
fn merge_keys_give_what_is_not_there() {
    let source = "one: &one { a: 1, b: 1 }\ntwo: &two { b: 2, c: 2 }\nx: { <<: [*one, *two], a: 0 }\ny: { <<: *two }";
    let root = json(source);
    assert!(root.ends_with(r#""x":{"a":0,"b":1,"c":2},"y":{"b":2,"c":2}}"#), "{root}");
}

#[test]
fn aliases_cannot_blow_up() {
    let mut source = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..9 {
        let list = vec![format!("*a{}", level - 1); 10].join(",");
        source += &format!("a{level}: &a{level} [{list}]\n");
    }
    let mut report = Report::default();
    assert!(parse(&source, &mut report).is_none());
    assert_eq!(report.list[0].message, "more than 100000 values once aliases are replaced");
    let deep = "[".repeat(100) + &"]".repeat(100);
    let mut report = Report::default();
    assert!(parse(&deep, &mut report).is_none());
    assert_eq!(report.list[0].code.name, "YAML_UNSUPPORTED");
    let mut report = Report::default();
    assert!(parse("a: &a [*a]", &mut report).is_none());
    assert!(!report.list.is_empty());
}

fn expanded(text: &str) -> Result<(String, bool), Vec<String>> {
    let mut report = Report::default();
    let source = format!("a: '{text}'");
    let mut root = tree(&source);
    let lookup = |name: &str| {
        Ok(match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    };
    interpolate(&mut root, &lookup, &mut report);
    let Value::Scalar(scalar) = &value(&root, "a").value else { panic!() };
    match report.list.is_empty() {
        true => Ok((scalar.text.clone(), scalar.whole)),
        false => Err(report.list.iter().map(|one| source[one.span.clone().unwrap()].to_owned()).collect()),
    }
}

#[test]
fn interpolation() {
    for (text, expected, whole) in [
        ("${SET}", "value", true),
        ("x${SET}y", "xvaluey", false),
        ("${SET}${SET}", "valuevalue", false),
        ("${EMPTY}", "", true),
        ("${EMPTY:-d}", "d", true),
        ("${UNSET:-}", "", true),
        ("${UNSET:-a${SET}b}", "avalueb", true),
        ("${SET:?never said}", "value", true),
        ("$$${SET} $5 $", "$value $5 $", false),
        ("$${SET}", "${SET}", false),
    ] {
        assert_eq!(expanded(text), Ok((expected.to_owned(), whole)), "{text}");
    }
    assert_eq!(expanded("a ${UNSET} ${UNSET:?x}"), Err(vec!["${UNSET}".into(), "${UNSET:?x}".into()]));
    assert_eq!(
        expanded("${} ${A B} ${SET:+x} ${"),
        Err(vec!["${}".into(), "${A B}".into(), "${SET:+x}".into(), "${".into()])
    );
}

proptest! {
    #[test]
    fn whatever_the_text_nothing_panics(text in "[\\[\\]{}:,&*#?|<>='\"%@`!\\-a-c0-9 \n\tü$.~]{0,80}") {
        let mut report = Report::default();
        if let Some(mut root) = parse(&text, &mut report) {
            interpolate(&mut root, &|_| Ok(None), &mut report);
        }
    }
}
