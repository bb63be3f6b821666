use crate::{
    batch::{BatchBuilder, Event, EventError, ExtensionValue},
    limits,
};

fn refused(event: Event<'_>) -> EventError {
    let mut builder = BatchBuilder::new();
    let error = builder.push(event).unwrap_err();
    assert!(builder.is_empty(), "a refused event leaves nothing behind");
    error
}

#[test]
fn illegal_events_are_refused() {
    let payload = vec![0; limits::EVENT_BYTES + 1];
    let event = Event { payload: &payload, ..Event::default() };
    assert_eq!(refused(event), EventError::Payload { bytes: payload.len() });
    let text = "a".repeat(limits::ATTRIBUTE_BYTES + 1);
    assert!(matches!(refused(Event { id: Some(&text), ..Event::default() }), EventError::Attribute { .. }));
    let key = refused(Event { key: Some(&text[..1025]), ..Event::default() });
    assert_eq!(key.to_string(), "attribute `key` has 1025 bytes, allowed are 1024");
    let extensions = |extensions: &[(&str, ExtensionValue<'_>)]| refused(Event { extensions, ..Event::default() });
    assert!(matches!(extensions(&[("Bad", ExtensionValue::Integer(1))]), EventError::ExtensionName { .. }));
    assert!(matches!(extensions(&[("a", ExtensionValue::String(&text))]), EventError::Attribute { .. }));
    let twice = [("a", ExtensionValue::Integer(1)), ("a", ExtensionValue::Boolean(true))];
    assert_eq!(extensions(&twice), EventError::ExtensionTwice { name: "a".to_owned() });
    let names: Vec<_> = (0..65).map(|n| format!("e{n}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), ExtensionValue::Integer(1))).collect();
    assert_eq!(extensions(&many), EventError::Extensions { found: 65 });
}

#[test]
fn a_builder_is_full_at_each_limit_of_a_batch() {
    let mut events = BatchBuilder::new();
    for _ in 0..limits::BATCH_EVENTS {
        events.push(Event::default()).unwrap();
    }
    assert_eq!(events.push(Event::default()), Err(EventError::Full));
    assert_eq!(events.finish().len(), limits::BATCH_EVENTS);

    let payload = vec![0; limits::EVENT_BYTES];
    let mut bytes = BatchBuilder::new();
    bytes.push(Event { payload: &payload, ..Event::default() }).unwrap();
    assert_eq!(bytes.push(Event { payload: &payload, ..Event::default() }), Err(EventError::Full));
    assert_eq!(bytes.len(), 1);

    let mut extensions = BatchBuilder::new();
    for n in 0..64 {
        let name = format!("e{n}");
        extensions.push(Event { extensions: &[(&name, ExtensionValue::Integer(n))], ..Event::default() }).unwrap();
    }
    let one_more = [("more", ExtensionValue::Integer(1))];
    assert_eq!(extensions.push(Event { extensions: &one_more, ..Event::default() }), Err(EventError::Full));
    let known = [("e3", ExtensionValue::Integer(1))];
    assert_eq!(extensions.push(Event { extensions: &known, ..Event::default() }), Ok(()));
}
