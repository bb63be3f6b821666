//! `meshloom check`.

use std::{collections::BTreeMap, process::ExitCode};

use meshloom_config::{Pipeline, spec::Ordering};

use super::Output;
use crate::{
    failure::{Failure, exit},
    place::PipelineFile,
    terminal,
};

/// Say everything that is wrong with a pipeline file
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    file: PipelineFile,
    /// How to print
    #[arg(long, value_enum, default_value_t, env = "MESHLOOM_OUTPUT")]
    output: Output,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode, Failure> {
    let loaded = meshloom_config::load(&args.file.path()?);
    terminal::end_with_the_reader();
    match (args.output, loaded) {
        (Output::Human, loaded) => println!("{}", praise(&loaded.map_err(Failure::File)?)),
        (Output::Json, Ok(pipeline)) => {
            let (nodes, edges) = counts(&pipeline);
            let found = serde_json::json!({
                "pipeline": pipeline.name, "valid": true, "nodes": nodes, "edges": edges, "diagnostics": [],
                "ordered": ordered(&pipeline).collect::<BTreeMap<_, _>>(),
            });
            println!("{found}");
        }
        (Output::Json, Err(diagnostics)) => {
            println!("{}", serde_json::json!({ "valid": false, "diagnostics": diagnostics.to_json() }));
            return Ok(ExitCode::from(exit::CONFIG));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn counts(pipeline: &Pipeline) -> (usize, usize) {
    (pipeline.nodes.len(), pipeline.nodes.iter().map(|node| node.from.len()).sum())
}

fn praise(pipeline: &Pipeline) -> String {
    let (nodes, edges) = counts(pipeline);
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let file = pipeline.file.display();
    let mut text =
        format!("{file}: pipeline {} is fine: {}, {}", pipeline.name, count(nodes, "node"), count(edges, "edge"));
    for (word, what) in [("key", "in order of their key"), ("all", "in order")] {
        let names: Vec<&str> = ordered(pipeline).filter(|(_, order)| *order == word).map(|(name, _)| name).collect();
        if !names.is_empty() {
            text += &format!("\nevents go {what} through {}", names.join(", "));
        }
    }
    text
}

/// The nodes that keep an order, because they or nodes below them ask for it.
fn ordered(pipeline: &Pipeline) -> impl Iterator<Item = (&str, &'static str)> {
    let nodes = pipeline.nodes.iter().filter(|node| node.ordering != Ordering::None);
    nodes.map(|node| (node.name.as_str(), node.ordering.as_str()))
}
