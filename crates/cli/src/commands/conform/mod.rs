//! `meshloom conform`.

mod list;
mod table;

use std::{process::ExitCode, time::Duration};

use anyhow::anyhow;
use meshloom_conformance::{Check, Level, Options, Progress, Report, Target};

use crate::{
    failure::{Failure, exit},
    runtime,
    signals::Signals,
    terminal,
};

/// Say which rules of the protocol a node keeps
///
/// The node is the interpreter of tests/conformance/INTERPRETER.md, written with the SDK that is looked at.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the node listens: host:port, dns:host:port or unix:/path
    #[arg(value_name = "ADDRESS", required_unless_present_any = ["run", "list"], conflicts_with = "run")]
    address: Option<String>,
    /// Start the node with this command; checks of drain, exit and memory need that
    #[arg(long, value_name = "COMMAND")]
    run: Option<String>,
    /// How much of the protocol the node has to keep
    #[arg(long, value_enum, default_value_t)]
    level: Depth,
    /// Seed of what is random [default: one of its own for each run]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Random cases of each check that is random
    #[arg(long, value_name = "N", default_value_t = 20)]
    cases: u32,
    /// Only this check, or the checks of this area, whatever their level; may be repeated
    #[arg(long, value_name = "NAME")]
    check: Vec<String>,
    /// How long to wait for any one thing
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    patience: Duration,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print the checks and the rules that they stand on
    #[arg(long)]
    list: bool,
}

/// How much of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Depth {
    /// What every node needs
    #[default]
    Core,
    /// All of it
    Full,
}

impl From<Depth> for Level {
    fn from(depth: Depth) -> Self {
        match depth {
            Depth::Core => Self::Core,
            Depth::Full => Self::Full,
        }
    }
}

pub(crate) fn main(args: &Args) -> Result<ExitCode, Failure> {
    let chosen = meshloom_conformance::choose(args.level.into(), &args.check);
    let chosen = chosen.map_err(|unknown| {
        Failure::Usage(anyhow!(
            "there is no check and no area {}; `meshloom conform --list --level full` has all of them",
            unknown.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        ))
    })?;
    if args.list {
        terminal::end_with_the_reader();
        print!("{}", if args.json { list::json(&chosen) } else { list::table(&chosen) });
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options {
        target: target(args)?,
        level: args.level.into(),
        seed: args.seed.unwrap_or_else(seed),
        cases: args.cases,
        patience: args.patience,
    };
    let report = runtime::block_on(run(&options, &chosen))??;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", table::render(&report, &again(args, &options), terminal::colour_on_stdout()));
    }
    Ok(match report.failed().next() {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::from(exit::FAILED),
    })
}

fn target(args: &Args) -> Result<Target, Failure> {
    let usage = |message: &str| Failure::Usage(anyhow!("--run: {message}"));
    match (&args.address, &args.run) {
        (_, Some(command)) => {
            let words = shlex::split(command).ok_or_else(|| usage("a quote is not closed"))?;
            if words.is_empty() {
                return Err(usage("the command is empty; give the node's program and its arguments in one text"));
            }
            Ok(Target::Command(words))
        }
        (Some(address), None) => Ok(Target::Address(address.clone())),
        (None, None) => Err(Failure::Usage(anyhow!("name the node: its ADDRESS, or --run COMMAND"))),
    }
}

/// The command that runs one check again, up to the check's name.
fn again(args: &Args, options: &Options) -> String {
    let node = match (&args.address, &args.run) {
        (_, Some(command)) => format!("--run {}", quoted(command)),
        (Some(address), None) => quoted(address),
        (None, None) => String::new(),
    };
    format!("meshloom conform {node} --seed {} --cases {} --check", options.seed, options.cases)
}

fn quoted(text: &str) -> String {
    shlex::try_quote(text).map_or_else(|_| text.to_owned(), std::borrow::Cow::into_owned)
}

/// A seed that no other run has, short enough to be typed.
fn seed() -> u64 {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::from(now.subsec_nanos()) ^ (now.as_secs() & 0xffff_ffff)
}

async fn run(options: &Options, checks: &[&'static Check]) -> Result<Report, Failure> {
    let mut signals = Signals::listen()?;
    let shown = Shown::new(checks.len() as u64);
    let running = meshloom_conformance::run(options, checks, |progress| shown.tell(&progress));
    let report = tokio::select! {
        report = running => report,
        // What the kit has started ends with it.
        () = signals.next() => return Err(Failure::Interrupted("before all checks had run")),
    };
    shown.bar.finish_and_clear();
    report.map_err(|error| match error {
        meshloom_conformance::NodeError::Address { .. } => Failure::Usage(error.into()),
        _ => Failure::Unavailable(error.into()),
    })
}

/// Progress on a terminal.
struct Shown {
    bar: indicatif::ProgressBar,
}

impl Shown {
    fn new(checks: u64) -> Self {
        let bar = match terminal::moves_cursor() {
            true => indicatif::ProgressBar::new(checks),
            false => indicatif::ProgressBar::hidden(),
        };
        let style = indicatif::ProgressStyle::with_template("{pos} of {len} checks {wide_msg}");
        bar.set_style(style.expect("the template is well-formed"));
        Self { bar }
    }

    fn tell(&self, progress: &Progress<'_>) {
        match progress {
            Progress::Begins(check) => self.bar.set_message(check.name),
            Progress::Ended(_) => self.bar.inc(1),
        }
    }
}
