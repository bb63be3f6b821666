use meshloom_core::batch::{Batch, BatchBuilder, Event, ExtensionValue};

use super::*;

fn check(expression: &str, payload: &str) -> Result<bool, EvaluationError> {
    Expression::compile(expression).unwrap().evaluate_bool(&EventView::of_payload(payload.as_bytes()))
}

fn problems(expression: &str) -> Vec<(String, String, Option<String>)> {
    let error = Expression::compile(expression).unwrap_err();
    error
        .problems
        .into_iter()
        .map(|problem| (problem.message, expression[problem.at].to_owned(), problem.remedy))
        .collect()
}

fn rich() -> Batch {
    let mut builder = BatchBuilder::new();
    builder
        .push(Event {
            payload: b"{\"n\":1}",
            id: Some("i1"),
            source: Some("/s"),
            type_: Some("order.created"),
            subject: Some("x"),
            key: Some("k"),
            time_ns: Some(1_700_000_000_000_000_000),
            extensions: &[("tenant", ExtensionValue::String("acme")), ("level", ExtensionValue::Integer(3))],
            ..Event::default()
        })
        .unwrap();
    builder.push(Event { payload: b"not json", ..Event::default() }).unwrap();
    builder.finish()
}

#[test]
fn conditions_over_payloads() {
    for (expression, payload, expected) in [
        (r#"data.prediction in ["warning", "critical"]"#, r#"{"prediction":"critical","x":[1,2,{"y":0}]}"#, true),
        (r#"data.prediction in ["warning", "critical"]"#, r#"{"prediction":"normal"}"#, false),
        ("data.n > 1.5", r#"{"n":2}"#, true),
        ("data.n == 2", r#"{"n":2.0}"#, true),
        ("data.n + 1 == 3", r#"{"n":2}"#, true),
        ("data.big == 18446744073709551615u", r#"{"big":18446744073709551615}"#, true),
        ("has(data.a.b) && data.a.b == null", r#"{"a":{"b":null}}"#, true),
        ("has(data.a) && has(data.a.b)", r#"{"c":1}"#, false),
        (r#"data["a b"].c == 'ü"x'"#, r#"{"a b":{"c":"\u00fc\"x"}}"#, true),
        ("data.items.exists(i, i.price > 10.0)", r#"{"items":[{"price":1.5},{"price":12.5}]}"#, true),
        ("data.items.all(i, i > 0)", r#"{"items":[1,2,0]}"#, false),
        ("size(data) == 2 && 'a' in data", r#"{"a":1,"b":2}"#, true),
        ("data == {'a': 1}", r#"{"a":1}"#, true),
        ("data[1] == 'x'", r#"[0,"x"]"#, true),
        ("data == 3", "3", true),
        (r"data.name.matches('^[a-z]+\\d$') && data.name.startsWith('a')", r#"{"name":"abc1"}"#, true),
        ("type(data.n) == int", r#"{"n":1}"#, true),
        ("timestamp(data.at) < timestamp('2030-01-01T00:00:00Z')", r#"{"at":"2024-02-03T04:05:06Z"}"#, true),
        ("json(data.list) == '[1,\"a\"]'", r#"{"list":[1,"a"]}"#, true),
        (r#"data.\u0061 == 1"#.replace("\\u0061", "a").leak(), r#"{"\u0061":1}"#, true),
    ] {
        assert_eq!(check(expression, payload), Ok(expected), "{expression} of {payload}");
    }
}

#[test]
fn evaluation_errors_name_the_path() {
    for (expression, payload, path, message) in [
        (
            "data.a.temperature > 3",
            r#"{"a":{}}"#,
            "data.a.temperature",
            "there is no such field; test it first with has(data.a.temperature)",
        ),
        ("data.n > 3", "not json", "data", "the payload is not JSON: expected ident at line 1 column 2"),
        ("data.n", r#"{"n":3}"#, "data.n", "a condition must be true or false; this is a int"),
    ] {
        assert_eq!(check(expression, payload), Err(EvaluationError { path: path.into(), message: message.into() }));
    }
    let error = check("data.n < 3", r#"{"n":"x"}"#).unwrap_err();
    assert_eq!(error.path, "data.n < 3");
    assert!(error.message.contains("no matching overload for '_<_' applied to '(string, int)'"), "{error}");
}

#[test]
fn a_payload_that_is_not_mentioned_is_not_read() {
    let batch = rich();
    let expression = Expression::compile("!has(event.type) || true").unwrap();
    assert!(!expression.reads_payload());
    assert_eq!(expression.evaluate_bool(&EventView::of(&batch, 1)), Ok(true));
    // Nor when the answer is known before.
    let lazy = Expression::compile("!has(event.type) || data.n == 1").unwrap();
    assert_eq!(lazy.evaluate_bool(&EventView::of(&batch, 1)), Ok(true));
}

#[test]
fn attributes_and_extensions() {
    let batch = rich();
    for expression in [
        r#"event.type == "order.created" && event.source == "/s" && event.id == "i1""#,
        r#"event.subject == "x" && event.key == "k" && event.time > timestamp("2023-01-01T00:00:00Z")"#,
        r#"ext.tenant == "acme" && ext.level == 3 && !has(ext.other)"#,
        "event.time.getFullYear() == 2023",
    ] {
        assert_eq!(
            Expression::compile(expression).unwrap().evaluate_bool(&EventView::of(&batch, 0)),
            Ok(true),
            "{expression}"
        );
    }
    let absent = Expression::compile("event.type == 'x'").unwrap().evaluate_bool(&EventView::of(&batch, 1));
    assert_eq!(absent.unwrap_err().path, "event.type");
}

/// However an expression is nested or chained, it is compiled and run, or refused.
#[test]
fn long_and_deep_expressions() {
    let refused = |expression: &str| Expression::compile(expression).is_err();
    for expression in [
        "(".repeat(5000) + "true" + &")".repeat(5000),
        format!("data{}", ".a".repeat(20_000)),
        format!("data{}", ".a".repeat(1530)),
        format!("1{}==1", "+1".repeat(1530)),
        format!("true{}", "?1:true".repeat(430)),
        format!("data{}", "[0]".repeat(1020)),
        format!("data.x{}", ".size()".repeat(430)),
        format!("true{}", " && true".repeat(20_000)),
        format!("{}1{}", "[".repeat(5000), "]".repeat(5000)),
    ] {
        assert!(refused(&expression), "{}", &expression[..40]);
    }
    for expression in [
        "(".repeat(20) + "true" + &")".repeat(20),
        format!("true{}", " && true".repeat(50)),
        format!("'x' in [{}'x']", "'some name', ".repeat(100)),
        format!("1{} == 191", " + 1".repeat(190)),
        "true // with a comment".to_owned(),
    ] {
        assert_eq!(check(&expression, "{}"), Ok(true), "{expression}");
    }
}

#[test]
fn keys() {
    let key = |expression: &str, payload: &str| {
        Expression::compile(expression).unwrap().evaluate_string(&EventView::of_payload(payload.as_bytes()))
    };
    assert_eq!(key("data.user", r#"{"user":"ann"}"#).as_deref(), Ok("ann"));
    assert_eq!(key("data.id", r#"{"id":42}"#).as_deref(), Ok("42"));
    assert_eq!(key("data.a + '/' + string(data.b)", r#"{"a":"x","b":1}"#).as_deref(), Ok("x/1"));
    assert_eq!(key("data", "{}").unwrap_err().message, "a key must be text or a number; this is a map");
}

#[test]
fn what_does_not_exist_is_refused_at_its_place() {
    assert_eq!(
        problems("dta.x == 1 && size(evnt) > lenght(data)"),
        [
            ("there is no variable `dta`".into(), "dta".into(), Some("did you mean `data`?".into())),
            ("there is no variable `evnt`".into(), "evnt".into(), Some("did you mean `event`?".into())),
            ("there is no function `lenght`".into(), "lenght".into(), problems("lenght(data)")[0].2.clone()),
        ]
    );
    assert_eq!(problems("'ü' == event.typ")[0].1, "typ");
    assert_eq!(problems("data.list.map(x, y)")[0].1, "y");
    assert_eq!(problems("data.n ==")[0].1, "");
    assert!(problems("data.n == == 3")[0].0.contains("Syntax error"));
    assert!(Expression::compile("data.list.map(x, x * 2).exists(y, y > 3)").is_ok());
}

/// The names we accept are those that there are: each is called, with whatever arguments suit it.
#[test]
fn known_functions_exist() {
    for name in analyze::FUNCTIONS {
        let calls =
            [format!("{name}()"), format!("{name}(data)"), format!("data.{name}()"), format!("data.{name}(data)")];
        let unknown = calls.iter().all(|call| {
            let error =
                Expression::compile(call).unwrap().evaluate_text(&EventView::of_payload(b"{}"), &mut String::new());
            error.is_err_and(|error| error.message.contains("Undeclared reference"))
        });
        assert!(!unknown, "{name}");
    }
}

#[test]
fn only_named_fields_are_read() {
    let fields = |expression: &str| Expression::compile(expression).unwrap().0.reads.data.clone();
    let projection = |names: &[&str]| {
        Some(Projection::Fields(names.iter().map(|name| ((*name).to_owned(), Projection::All)).collect()))
    };
    assert_eq!(fields("data.a == 1 && has(data.b)"), projection(&["a", "b"]));
    assert_eq!(fields("data.a.x == 1 || data.a == null"), projection(&["a"]));
    assert_eq!(fields("data['a'] == 1"), projection(&["a"]));
    assert_eq!(fields("data.items[0].x == 1"), projection(&["items"]));
    assert_eq!(fields("data.a == 1 || size(data) > 1"), Some(Projection::All));
    assert_eq!(fields("event.id == 'x'"), None);
}

#[test]
fn templates() {
    let render = |template: &str, payload: &str| {
        Template::compile(template).unwrap().render(&EventView::of_payload(payload.as_bytes()))
    };
    assert_eq!(render("plain } text }}", "").as_deref(), Ok("plain } text }}"));
    assert_eq!(render("{{ data.a }}-{{data.n}}!", r#"{"a":"x","n":1.5}"#).as_deref(), Ok("x-1.5!"));
    assert_eq!(
        render(r#"{"text":{{ json(data.a) }}}"#, r#"{"a":"say \"hi\""}"#).as_deref(),
        Ok(r#"{"text":"say \"hi\""}"#)
    );
    assert_eq!(render("{{ {'a': data.n} }}", r#"{"n":1}"#).as_deref(), Ok(r#"{"a":1}"#));
    assert_eq!(render("{{ {'a': {'b': 1}}.a.b }}", "").as_deref(), Ok("1"));
    assert_eq!(render("{{ data.missing }}", "{}").unwrap_err().path, "data.missing");
    let error = Template::compile("a {{ data.x }} b {{ oops }} c {{ x").unwrap_err();
    let places: Vec<_> = error.problems.iter().map(|problem| problem.at.clone()).collect();
    assert_eq!(places, [20..24, 30..32]);
}

/// Run with `--ignored --nocapture` to see the rate.
#[test]
#[ignore = "a measurement"]
fn rate_of_a_simple_condition() {
    let payload = br#"{"machine":"m-17","temperature":71.25,"vibration":0.02,"at":"2026-01-01T00:00:00Z","prediction":"normal","tags":["a","b"],"n":123456}"#;
    let mut builder = BatchBuilder::new();
    for _ in 0..1000 {
        builder.push(Event { payload, type_: Some("reading"), ..Event::default() }).unwrap();
    }
    let batch = builder.finish();
    for source in [
        r#"data.prediction in ["warning", "critical"]"#,
        "data.temperature > 80.0",
        r#"event.type == "reading""#,
        "size(data) > 100",
    ] {
        let expression = Expression::compile(source).unwrap();
        let start = std::time::Instant::now();
        let mut passed = 0;
        for _ in 0..200 {
            for row in 0..batch.len() {
                passed += usize::from(expression.evaluate_bool(&EventView::of(&batch, row)).unwrap());
            }
        }
        let rate = 200_000.0 / start.elapsed().as_secs_f64();
        println!("{source}: {rate:.0} evaluations per second ({passed} passed)");
    }
}
