//! `make bench`: a hop through Meshloom against the same frames over a bare gRPC stream, and a typed JSON map as a node
//! against a plain loop, as ratios.

mod cases;
mod direct;
mod durable;
mod machine;
mod measured;
mod mesh;
mod plain;
mod process;
mod report;
mod settings;

use std::{path::PathBuf, time::Duration};

use anyhow::ensure;
use clap::Parser;

use self::{
    cases::{CASES, Case, Kind},
    machine::Machine,
    measured::Measured,
    report::{Report, Row},
    settings::Settings,
};

/// As in the `meshloom` binary: the client is the coordinator's counterpart.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Events of a batch of the typed JSON maps: what the coordinator chooses for the hops.
const TYPED_BATCH: u32 = 4096;

/// Measures hops through Meshloom against bare gRPC streams of the same frames, and typed maps against plain loops.
#[derive(Debug, Parser)]
#[command(name = "meshloom-bench", max_term_width = 110)]
struct Arguments {
    /// The `meshloom` binary
    #[arg(long)]
    meshloom: PathBuf,
    /// The Rust node and server (`bench-rust`)
    #[arg(long)]
    rust: PathBuf,
    /// The Go node and server
    #[arg(long)]
    go: PathBuf,
    /// The interpreter that has the Python SDK
    #[arg(long)]
    python: PathBuf,
    /// The folder `tests/bench`
    #[arg(long)]
    programs: PathBuf,
    /// Where the figures go, as JSON
    #[arg(long)]
    json: PathBuf,
    /// Rows to measure [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Runs of each side, interleaved
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Seconds that are counted in each run
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// One short run of each row: shows that all works, the figures say little
    #[arg(long)]
    quick: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let (chosen, durable) = chosen(&arguments.only)?;
    let seconds = if arguments.quick { 0.3 } else { arguments.seconds };
    let runs = if arguments.quick { 1 } else { arguments.runs };
    ensure!(runs > 0 && seconds >= direct::SHORTEST.as_secs_f64(), "--runs 1 and --seconds 0.1 are the least");
    let settings = Settings {
        meshloom: arguments.meshloom,
        rust: arguments.rust,
        go: arguments.go,
        python: arguments.python,
        // A node runs in the folder of its pipeline file.
        programs: std::path::absolute(arguments.programs)?,
        warm_up: Duration::from_secs_f64(if arguments.quick { 0.3 } else { 1.5 }),
        span: Duration::try_from_secs_f64(seconds)?,
    };
    let machine = Machine::here();
    println!(
        "{}\n{runs} runs of {seconds} s each, interleaved; payloads of 100 bytes\n\n{}",
        machine.line(),
        report::head()
    );
    let mut report = Report { machine, rows: Vec::new() };
    for case in chosen {
        let mut pairs = Vec::new();
        for _ in 0..runs {
            pairs.push(pair(&case, &settings).await?);
        }
        let row = Row::new(&case, pairs, machine::load().unwrap_or_default());
        println!("{}", row.line());
        report.rows.push(row);
        std::fs::write(&arguments.json, serde_json::to_string_pretty(&report)?)?;
    }
    for name in durable {
        println!("{}", durable::measure(name, runs, &settings).await?);
    }
    println!(
        "\nCPU ns: processor time per event, client or coordinator + server or node. All of it: {}",
        arguments.json.display()
    );
    Ok(())
}

/// One run of the reference and one of Meshloom.
async fn pair(case: &Case, settings: &Settings) -> anyhow::Result<(Measured, Measured)> {
    match case.kind {
        Kind::Hop => {
            let meshloom = mesh::measure(case, settings).await?;
            Ok((direct::bare(case, settings, meshloom.batch).await?, meshloom))
        }
        Kind::TypedMap => {
            let meshloom = direct::node(case, settings, TYPED_BATCH).await?;
            Ok((plain::measure(case, settings, TYPED_BATCH).await?, meshloom))
        }
    }
}

/// Hops and other rows, by name.
fn chosen(only: &[String]) -> anyhow::Result<(Vec<Case>, Vec<&'static str>)> {
    let names: Vec<&str> = CASES.iter().map(|case| case.name).chain(durable::ROWS).collect();
    for name in only {
        ensure!(names.contains(&name.as_str()), "there is no row `{name}`; there are {}", names.join(", "));
    }
    let wanted = |name: &str| only.is_empty() || only.iter().any(|wanted| wanted == name);
    let cases = CASES.into_iter().filter(|case| wanted(case.name)).collect();
    Ok((cases, durable::ROWS.into_iter().filter(|name| wanted(name)).collect()))
}
