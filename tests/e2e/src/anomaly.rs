//! The pipeline of examples/anomaly, with nodes that can be swapped. Only commands and paths differ from the example's file.

use crate::{Project, root, toolchain};

/// Which commands stand in the places of the example's, as `run` values.
pub struct Nodes {
    /// In its place.
    pub ingest: String,
    /// In its place.
    pub filter: String,
    /// In its place.
    pub classify: String,
    /// In its place.
    pub alert: String,
    /// The file of the model that `classify` reads.
    pub model: &'static str,
}

impl Nodes {
    /// Those of the example.
    pub fn of_the_example() -> Self {
        let anomaly = root().join("examples/anomaly");
        Self {
            ingest: toolchain::list([toolchain::rust_ingest()]),
            filter: toolchain::list([toolchain::go_program("examples/anomaly/filter")]),
            classify: toolchain::list([toolchain::python(), anomaly.join("classify/classify.py")]),
            alert: toolchain::list(["node".into(), toolchain::node_folder("examples/anomaly/alert").join("alert.js")]),
            model: "model.joblib",
        }
    }

    /// A project that runs it. It needs SLACK_WEBHOOK_URL.
    pub fn project(&self) -> Project {
        let Self { ingest, filter, classify, alert, .. } = self;
        let (model, readings) =
            (toolchain::anomaly_model().join(self.model), root().join("examples/anomaly/data/readings.txt"));
        let (model, readings) = (model.display(), readings.display());
        let archive = root().join("examples/anomaly/archive.sh");
        let text = format!(
            "pipeline: anomaly
trace: {{ ratio: 1 }}
nodes:
  ingest: {{ run: {ingest}, with: {{ path: '{readings}' }} }}
  filter: {{ run: {filter}, from: ingest }}
  classify: {{ run: {classify}, from: filter, with: {{ model: '{model}' }} }}
  alert:
    run: {alert}
    from: classify
    when: data.prediction in [\"warning\", \"critical\"]
    env: {{ SLACK_WEBHOOK_URL: '${{SLACK_WEBHOOK_URL}}' }}
  archive:
    exec: [bash, '{}', '{{batch}}']
    mode: files
    cwd: scratch
    input: {{ ingest: raw.ndjson, filter: filtered.ndjson, classify: classified.ndjson }}
    envelope: cloudevents
    from: [ingest, filter, classify]
    batch: {{ events: 50000, bytes: 16MiB, linger: 10s }}
    env: {{ ARCHIVE_DIR: '{{dir}}/archive' }}
",
            archive.display()
        );
        Project::new(&text)
    }
}
