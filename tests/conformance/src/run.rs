//! Runs checks one after the other.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;

use crate::{
    check::{Check, Level, Node as Needs},
    context::Context,
    fault::Fault,
    node::{Node, NodeError},
    report::{Finding, Outcome, Report, Sdk},
    rules,
    spans::Spans,
};

/// Where the node is.
#[derive(Debug, Clone)]
pub enum Target {
    /// It runs: `HOST:PORT`, `dns:HOST:PORT` or `unix:/path`.
    Address(String),
    /// The kit starts it: program and arguments, at least the program.
    Command(Vec<String>),
}

/// How a run goes.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the node is.
    pub target: Target,
    /// The level, for the report.
    pub level: Level,
    /// Of what is random.
    pub seed: u64,
    /// Random cases of each check that is random.
    pub cases: u32,
    /// Time for any one thing that is waited for.
    pub patience: Duration,
}

/// What a run tells while it goes on.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A check begins.
    Begins(&'static Check),
    /// It has ended.
    Ended(&'a Finding),
}

/// Runs these checks.
///
/// # Errors
/// The node cannot be reached or started, or does not say what it is.
pub async fn run(
    options: &Options,
    checks: &[&'static Check],
    mut tell: impl FnMut(Progress<'_>),
) -> Result<Report, NodeError> {
    let (spans, exporter, _collector) = Spans::listen()
        .await
        .map_err(|error| NodeError::Spawn { command: "the kit's receiver of spans".into(), why: error.to_string() })?;
    let bench = Bench { options, spans, exporter };
    let mut shared = Some(bench.context().await?);
    let described = &shared.as_ref().expect("set above").described;
    let sdk = described.sdk.clone().unwrap_or_default();
    let mut report = Report {
        node: match &options.target {
            Target::Address(address) => address.clone(),
            Target::Command(command) => command.join(" "),
        },
        sdk: Sdk { language: sdk.language, version: sdk.version },
        level: options.level,
        seed: options.seed,
        checks: Vec::with_capacity(checks.len()),
    };
    for check in checks {
        tell(Progress::Begins(check));
        let started = Instant::now();
        let outcome = bench.check(check, &mut shared).await;
        let finding = Finding {
            name: check.name,
            area: check.area(),
            level: check.level,
            rules: check.rules,
            outcome,
            time: started.elapsed(),
        };
        tell(Progress::Ended(&finding));
        report.checks.push(finding);
    }
    Ok(report)
}

struct Bench<'a> {
    options: &'a Options,
    spans: Arc<Spans>,
    exporter: String,
}

impl Bench<'_> {
    async fn context(&self) -> Result<Context, NodeError> {
        let node = Node::start(&self.options.target, None, &self.exporter, self.options.patience).await?;
        let address = node.address().to_owned();
        let context = Context::new(self.options, node, self.spans.clone(), &self.exporter).await;
        context
            .map_err(|fault| NodeError::Unreachable { address, why: format!("it does not answer Describe: {fault:?}") })
    }

    async fn check(&self, check: &Check, shared: &mut Option<Context>) -> Outcome {
        let own = match (check.node, &self.options.target) {
            (Needs::Fresh, Target::Address(_)) => {
                return Outcome::NotChecked { reason: "the kit must start the node itself: --run COMMAND".into() };
            }
            (Needs::Fresh, Target::Command(_)) => true,
            (Needs::Shared, _) => false,
        };
        if shared.as_ref().is_some_and(|context| context.process().is_ok_and(|process| process.ended().is_some())) {
            *shared = None;
        }
        let mut fresh = None;
        let place = if own { &mut fresh } else { shared };
        if place.is_none() {
            match self.context().await {
                Ok(context) => *place = Some(context),
                Err(error) => {
                    return failed(check, Fault::new("a node that starts again", error.to_string()), String::new());
                }
            }
        }
        let context = place.as_ref().expect("set above");
        let caught = std::panic::AssertUnwindSafe((check.run)(context)).catch_unwind().await;
        let mut outcome =
            caught.unwrap_or_else(|_| Err(Fault::new("a check that ends", "the kit panicked: a bug of the kit")));
        // What broke a rule that holds for all answers says more than what followed from it.
        if let Some(broken) = context.broken() {
            outcome = Err(broken);
        }
        if let (false, Ok(process)) = (own, context.process())
            && let Some(status) = process.ended()
        {
            let fault = Fault::of_rule("W8", "a process that lives on", format!("it ended ({status})"));
            return failed(check, fault, process.said());
        }
        match outcome {
            Ok(()) => Outcome::Passed,
            Err(fault) => failed(check, fault, context.process().map(|process| process.said()).unwrap_or_default()),
        }
    }
}

fn failed(check: &Check, fault: Fault, said: String) -> Outcome {
    match fault {
        Fault::NotCheckable(reason) => Outcome::NotChecked { reason },
        Fault::Broken { rule, expected, got } => {
            let rule = rule.unwrap_or(check.rules[0]);
            let paragraph = rules::find(rule).map(|rule| rule.text).unwrap_or_default();
            Outcome::Failed { rule, paragraph, expected, got, said }
        }
    }
}
