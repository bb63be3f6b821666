//! Lines of nodes.

use std::{fmt::Display, io, time::SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::{Format, SharedWriter, terminal::tame};

/// Foreground colours for nodes, readable on light and dark; red is left to errors.
const PALETTE: [u8; 6] = [36, 33, 35, 32, 34, 96];

/// Writes what nodes print, each line marked with its node.
#[derive(Debug, Clone)]
pub struct NodeLog {
    format: Format,
    writer: SharedWriter,
    /// Columns of the widest mark, so that texts begin below each other.
    width: usize,
}

impl NodeLog {
    /// A log for nodes of the given names, each with its number of replicas.
    pub fn new<'a>(format: Format, writer: SharedWriter, nodes: impl IntoIterator<Item = (&'a str, u32)>) -> Self {
        let widths = nodes.into_iter().map(|(node, replicas)| mark(node, replicas.saturating_sub(1)).len());
        Self { format, writer, width: widths.max().unwrap_or(0) }
    }

    /// Writes one line of a node. `stream` is `stdout` or `stderr`; `dropped` lines before it were lost.
    pub fn write(&self, node: &str, replica: u32, stream: impl Display, text: &str, dropped: u64) -> io::Result<()> {
        if dropped > 0 {
            let lost = format!("({dropped} lines were dropped here: they came faster than they could be written)");
            self.writer.write_line(&self.line(node, replica, &stream, &lost, SystemTime::now()))?;
        }
        self.writer.write_line(&self.line(node, replica, &stream, text, SystemTime::now()))
    }

    fn line(&self, node: &str, replica: u32, stream: &impl Display, text: &str, now: SystemTime) -> String {
        match self.format {
            Format::Human { colour } => {
                let mark = format!("{:width$}", mark(node, replica), width = self.width);
                let text = tame(text, colour);
                if colour {
                    format!("\x1b[{}m{mark} |\x1b[0m {text}\n", colour_of(node))
                } else {
                    format!("{mark} | {text}\n")
                }
            }
            Format::Json => {
                let mut line = Map::new();
                let time = DateTime::<Utc>::from(now).to_rfc3339_opts(SecondsFormat::Micros, true);
                line.insert("timestamp".into(), json!(time));
                line.insert("node".into(), json!(node));
                line.insert("replica".into(), json!(replica));
                line.insert("stream".into(), json!(stream.to_string()));
                // A logger that writes JSON is not wrapped into a text: its fields can be searched.
                match serde_json::from_str(text) {
                    Ok(Value::Object(record)) => line.insert("record".into(), Value::Object(record)),
                    _ => line.insert("message".into(), json!(tame(text, false))),
                };
                format!("{}\n", Value::Object(line))
            }
        }
    }
}

fn mark(node: &str, replica: u32) -> String {
    format!("{node}[{replica}]")
}

/// The same node has the same colour in every run.
fn colour_of(node: &str) -> u8 {
    let sum = node.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    PALETTE[sum % PALETTE.len()]
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
        time::Duration,
    };

    use super::*;

    fn log(format: Format) -> NodeLog {
        NodeLog::new(format, SharedWriter::new(io::sink()), [("in", 1), ("filter", 12)])
    }

    fn line(format: Format, text: &str) -> String {
        let now = SystemTime::UNIX_EPOCH + Duration::from_micros(1_500_000);
        log(format).line("in", 0, &"stderr", text, now)
    }

    #[test]
    fn for_a_person_lines_are_marked_and_aligned() {
        assert_eq!(line(Format::Human { colour: false }, "a\x1b[31mb"), "in[0]      | ab\n");
        let coloured = line(Format::Human { colour: true }, "a\x1b[31mb");
        assert!(coloured.starts_with("\x1b[") && coloured.ends_with("a\x1b[31mb\x1b[0m\n"), "{coloured:?}");
    }

    #[test]
    fn json_keeps_the_records_of_loggers() {
        assert_eq!(
            line(Format::Json, "say \"hi\""),
            "{\"message\":\"say \\\"hi\\\"\",\"node\":\"in\",\"replica\":0,\"stream\":\"stderr\",\"timestamp\":\"1970-01-01T00:00:01.500000Z\"}\n"
        );
        let record: Value =
            serde_json::from_str(&line(Format::Json, "{\"trace_id\":\"ab\",\"level\":\"warn\"}")).unwrap();
        assert_eq!(record["record"]["trace_id"], "ab");
        let text: Value = serde_json::from_str(&line(Format::Json, "[1]")).unwrap();
        assert_eq!(text["message"], "[1]");
    }

    /// Keeps every write apart, to see that a line is one.
    #[derive(Clone, Default)]
    struct Writes(Arc<Mutex<Vec<String>>>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_from_all_sides_stay_whole() {
        use tracing_subscriber::layer::SubscriberExt;

        let writes = Writes::default();
        let writer = SharedWriter::new(writes.clone());
        let nodes = NodeLog::new(Format::Human { colour: false }, writer.clone(), [("n", 4)]);
        let own = tracing_subscriber::registry()
            .with(tracing_subscriber::fmt::layer().without_time().with_ansi(false).with_writer(writer));
        let own = tracing::Dispatch::new(own);
        std::thread::scope(|scope| {
            for replica in 0..4 {
                let (nodes, own) = (nodes.clone(), own.clone());
                scope.spawn(move || {
                    tracing::dispatcher::with_default(&own, || {
                        for number in 0..100 {
                            nodes.write("n", replica, "stdout", &format!("line {number}"), 0).unwrap();
                            tracing::info!(number, "own");
                        }
                    });
                });
            }
        });
        let writes = writes.0.lock().unwrap();
        assert_eq!(writes.len(), 800);
        assert!(writes.iter().all(|line| line.ends_with('\n') && line.matches('\n').count() == 1), "{writes:?}");
    }

    #[test]
    fn lost_lines_are_said() {
        let writes = Writes::default();
        let nodes = NodeLog::new(Format::Human { colour: false }, SharedWriter::new(writes.clone()), [("n", 1)]);
        nodes.write("n", 0, "stdout", "after", 7).unwrap();
        let writes = writes.0.lock().unwrap();
        assert!(writes[0].starts_with("n[0] | (7 lines were dropped") && writes[1] == "n[0] | after\n", "{writes:?}");
    }
}
