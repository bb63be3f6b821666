//! The log of a whole process, which can be set up once: hence a test of its own.

#![allow(clippy::unwrap_used)]

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use meshloom_telemetry::logs::{self, Format, LogError, NodeLog, SharedWriter};

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn every_line_is_json_and_a_second_set_up_is_refused() {
    let kept = Kept::default();
    let writer = SharedWriter::new(kept.clone());
    logs::init(Format::Json, "info", &writer).unwrap();
    tracing::warn!(node = "filter", attempts = 3, "dead letter");
    tracing::debug!("not asked for");
    NodeLog::new(Format::Json, writer.clone(), [("filter", 1)]).write("filter", 0, "stderr", "hello", 0).unwrap();

    let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!((&lines[0]["level"], &lines[0]["message"]), (&"WARN".into(), &"dead letter".into()));
    assert_eq!((&lines[0]["node"], &lines[0]["attempts"]), (&"filter".into(), &3.into()));
    assert_eq!((&lines[1]["message"], &lines[1]["stream"]), (&"hello".into(), &"stderr".into()));

    let again = logs::init(Format::Human { colour: false }, "info", &writer).unwrap_err();
    assert!(matches!(again, LogError::Twice(_)), "{again}");
}
