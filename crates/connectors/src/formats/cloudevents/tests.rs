use meshloom_core::batch::BatchBuilder;

use super::*;

fn round_trip(event: Event<'_>) -> (String, Envelope) {
    let mut builder = BatchBuilder::new();
    builder.push(event).unwrap();
    let mut json = Vec::new();
    write(&builder.finish(), 0, &mut json);
    let envelope = parse(&json).unwrap();
    (String::from_utf8(json).unwrap(), envelope)
}

#[test]
fn every_attribute_survives_an_envelope() {
    let event = Event {
        payload: b"{\"a\": [1.50, \"x y\"]}",
        content_type: Some("application/json"),
        id: Some("i\"1"),
        source: Some("/s"),
        type_: Some("t"),
        subject: Some("s\u{e9}"),
        key: Some("k"),
        data_schema: Some("http://schema"),
        time_ns: Some(1_767_319_445_123_456_789),
        extensions: &[
            ("flag", ExtensionValue::Boolean(true)),
            ("number", ExtensionValue::Integer(-7)),
            ("word", ExtensionValue::String("w")),
            ("blob", ExtensionValue::Binary(b"\x00\xff")),
        ],
        ..Event::default()
    };
    let (json, envelope) = round_trip(event);
    assert!(!json.contains('\n'));
    let same = envelope.event(None, |back| {
        let attributes = |event: &Event<'_>| {
            [event.id, event.source, event.type_, event.subject, event.key, event.data_schema, event.content_type]
                .map(|value| value.map(str::to_owned))
        };
        attributes(&back) == attributes(&event) && back.time_ns == event.time_ns
    });
    assert!(same, "{json}");
    assert_eq!(envelope.payload, b"{\"a\":[1.50,\"x y\"]}");
    assert_eq!(envelope.extensions.len(), 4);
    assert!(envelope.extensions.contains(&("blob".into(), Extension::String("AP8=".into()))));
}

#[test]
fn data_of_any_kind_survives_an_envelope() {
    for (payload, content_type) in [
        (&b"plain \"text\"\n"[..], Some("text/plain")),
        (b"\xff\xfe", Some("text/plain")),
        (b"\x00\x01", Some("image/png")),
        (b"not json", None),
        (b"not json", Some("application/json")),
        (b"", Some("application/json")),
        (b"null", None),
    ] {
        let (json, envelope) = round_trip(Event { payload, content_type, ..Event::default() });
        assert_eq!(envelope.payload, payload, "{json}");
    }
}

#[test]
fn what_is_no_envelope_is_refused_with_its_reason() {
    let envelope =
        |more: &str| format!("{{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"t\"{more}}}");
    parse(envelope("").as_bytes()).unwrap();
    for (json, words) in [
        ("[]".to_owned(), "object"),
        ("{}".to_owned(), "specversion is missing"),
        (envelope("").replace("\"1\"", "\"\""), "id is missing or empty"),
        (envelope("").replace("\"1\"", "1"), "`id`"),
        (envelope(",\"data\":1,\"data_base64\":\"\""), "both"),
        (envelope(",\"data_base64\":\"?\""), "data_base64"),
        (envelope(",\"time\":\"yesterday\""), "yesterday"),
        (envelope(",\"Bad\":1"), "`Bad`"),
        (envelope(",\"big\":3000000000"), "32 bits"),
        (envelope(",\"nest\":{}"), "put it into data"),
        (envelope(",\"datacontenttype\":\"text/plain\",\"data\":{}"), "JSON string"),
    ] {
        let error = parse(json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(words), "{json}: {error}");
    }
}
