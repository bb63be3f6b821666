//! `meshloom status`.

use std::{
    path::Path,
    process::ExitCode,
    time::{Duration, Instant, SystemTime},
};

use meshloom_coordinator::connect_admin;
use meshloom_proto::v1::{NodeStatus, PipelineStatus, Standstill, StatusRequest};

use super::Output;
use crate::{
    books::{self, Rates, Role, role},
    failure::Failure,
    place::StateOf,
    runtime,
    table::{self, Align},
    terminal, text,
};

/// Time between the two looks that rates come from.
const BETWEEN: Duration = Duration::from_millis(500);

/// Show what a running pipeline does: books, queues, replicas, and its bottleneck
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    state: StateOf,
    /// How to print
    #[arg(long, value_enum, default_value_t, env = "MESHLOOM_OUTPUT")]
    output: Output,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode, Failure> {
    let state = args.state.path()?;
    let (status, rates) = runtime::block_on(look(&state))??;
    terminal::end_with_the_reader();
    match args.output {
        Output::Human => print!("{}", render(&status, &rates, up(&status))),
        Output::Json => {
            let mut value = books::to_json(&status, &rates);
            value["up_seconds"] = up(&status).as_secs_f64().into();
            value["bottleneck"] = books::bottleneck(&status, up(&status)).map(|(node, _)| node.name.clone()).into();
            println!("{value}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Looks twice, since a rate is a difference.
async fn look(state: &Path) -> Result<(PipelineStatus, Vec<f64>), Failure> {
    let mut admin = connect_admin(state).await?;
    let mut rates = Rates::default();
    let first = admin.status(StatusRequest {}).await.map_err(super::refused)?.into_inner().status.unwrap_or_default();
    rates.look(&first, Instant::now());
    tokio::time::sleep(BETWEEN).await;
    // A run that ends meanwhile is told as it was.
    let second = admin.status(StatusRequest {}).await.ok().and_then(|answer| answer.into_inner().status);
    let status = second.unwrap_or(first);
    let rates = rates.look(&status, Instant::now());
    Ok((status, rates))
}

fn up(status: &PipelineStatus) -> Duration {
    let started = status.started.and_then(|started| SystemTime::try_from(started).ok());
    started.and_then(|started| started.elapsed().ok()).unwrap_or_default()
}

fn render(status: &PipelineStatus, rates: &[f64], up: Duration) -> String {
    let head = format!(
        "{} {} for {}, process {}, {} of {} in memory",
        status.pipeline,
        books::phase(status.phase()),
        text::clock(up),
        status.pid,
        text::bytes(status.memory_used_bytes),
        text::bytes(status.memory_budget_bytes),
    );
    let slowest = match books::bottleneck(status, up) {
        Some((node, waited)) => format!(
            "bottleneck: {}, whose events waited {} for a free replica; more replicas or a faster handler would help",
            node.name,
            text::time(waited)
        ),
        None => "no bottleneck: the nodes keep up with their sources".to_owned(),
    };
    let (sources, nodes) = (sources(status, rates), nodes(status, rates));
    let conditions = conditions(status, SystemTime::now());
    let sections =
        [head, store(status), sources, journal(status), nodes, conditions, edges(status), replicas(status), slowest];
    let sections: Vec<String> = sections.into_iter().filter(|section| !section.is_empty()).collect();
    let mut text = sections.iter().map(|section| section.trim_end()).collect::<Vec<_>>().join("\n\n");
    text.push('\n');
    text
}

/// The store of dead letters, if there is anything to say of it.
fn store(status: &PipelineStatus) -> String {
    let store = status.dead_letters.unwrap_or_default();
    if store.letters == 0 && store.waiting == 0 {
        return String::new();
    }
    let held = format!(
        "dead letters: {} in {} of {}",
        text::count(store.letters),
        text::bytes(store.bytes),
        text::bytes(store.size_bytes)
    );
    match store.full {
        false => held,
        true => format!(
            "{held}: full, {} more wait and the sources stand still; `meshloom dead-letters replay` or `discard` makes room",
            text::count(store.waiting)
        ),
    }
}

fn rate(rates: &[f64], index: usize) -> String {
    text::rate(rates.get(index).copied().unwrap_or_default())
}

fn sources(status: &PipelineStatus, rates: &[f64]) -> String {
    use Align::{Left, Right};
    let header =
        [("source", Left), ("accepted", Right), ("settled", Right), ("open", Right), ("events/s", Right), ("", Left)];
    let of_role = status.nodes.iter().enumerate().filter(|(_, node)| role(status, node) == Role::Source);
    let rows = of_role.map(|(index, node)| {
        let open = node.received.saturating_sub(node.settled);
        let counts = [node.received, node.settled, open].map(text::count);
        let state = if node.exhausted { "exhausted".to_owned() } else { String::new() };
        [vec![node.name.clone()], counts.to_vec(), vec![rate(rates, index), state]].concat()
    });
    table::render(&header, rows)
}

fn journal(status: &PipelineStatus) -> String {
    let Some(journal) = &status.journal else { return String::new() };
    let mut text = format!("journal: {} of {}", text::bytes(journal.bytes), text::bytes(journal.limit_bytes));
    if let Some(time) = books::commit_time(journal) {
        text += &format!(", {} per commit of {}", text::handler_time(time), text::count(journal.commits));
    }
    for problem in &journal.problems {
        text += &format!("\n  {problem}");
    }
    text
}

fn nodes(status: &PipelineStatus, rates: &[f64]) -> String {
    use Align::{Left, Right};
    let header = [
        ("node", Left),
        ("in", Right),
        ("out", Right),
        ("consumed", Right),
        ("retried", Right),
        ("rejected", Right),
        ("in hand", Right),
        ("waiting", Right),
        ("events/s", Right),
        ("p50", Right),
        ("p99", Right),
        ("starved", Right),
        ("busy", Right),
        ("blocked", Right),
    ];
    let of_role = status.nodes.iter().enumerate().filter(|(_, node)| role(status, node) != Role::Source);
    let rows: Vec<_> = of_role
        .map(|(index, node)| {
            let out = if role(status, node) == Role::Sink { String::new() } else { text::count(node.produced) };
            let time = |time| text::time(books::duration(time));
            let handler = |time| match books::duration(time) {
                time if time.is_zero() => String::new(),
                time => text::handler_time(time),
            };
            vec![
                node.name.clone(),
                text::count(node.received),
                out,
                text::count(node.consumed),
                text::count(node.retried),
                text::count(node.dead_lettered),
                text::count(node.in_hand),
                text::count(node.waiting),
                rate(rates, index),
                handler(node.handler_p50),
                handler(node.handler_p99),
                time(node.waiting_for_work),
                time(node.waiting_for_replica),
                time(node.waiting_below),
            ]
        })
        .collect();
    let legend = "starved: time waiting for work; busy: work waiting for a replica; blocked: outputs waiting below\n";
    if rows.is_empty() { String::new() } else { table::render(&header, rows) + legend }
}

/// A line for each node that something keeps from its work.
fn conditions(status: &PipelineStatus, now: SystemTime) -> String {
    let of_node = |node: &NodeStatus| {
        let condition = node.condition.as_ref()?;
        let since = condition.since.and_then(|since| SystemTime::try_from(since).ok());
        let time = text::clock(since.and_then(|since| now.duration_since(since).ok()).unwrap_or_default());
        let (name, why) = (&node.name, format!("{}: {}", condition.reason, condition.message));
        Some(match condition.standstill() {
            Standstill::Paused => format!(
                "{name}: paused for {time}, since event {} has used up its attempts ({why}); once the cause is gone: meshloom resume {name}\n",
                books::uid(condition)
            ),
            Standstill::Outage => {
                format!(
                    "{name}: outage for {time}; events wait until one that is tried now and then succeeds; last failure {why}\n"
                )
            }
            Standstill::Probing | Standstill::Unspecified => {
                format!("{name}: everything has failed for {time}; single events are tried; last failure {why}\n")
            }
        })
    };
    status.nodes.iter().filter_map(of_node).collect()
}

fn edges(status: &PipelineStatus) -> String {
    use Align::{Left, Right};
    let header = [
        ("edge", Left),
        ("produced", Right),
        ("skipped", Right),
        ("dropped", Right),
        ("queued", Right),
        ("", Right),
        ("received", Right),
    ];
    let rows = status.edges.iter().map(|edge| {
        let [produced, skipped, dropped, queued, received] =
            [edge.produced, edge.skipped, edge.dropped, edge.queued, edge.received].map(text::count);
        let bytes = text::bytes(edge.queued_bytes);
        vec![format!("{} -> {}", edge.from, edge.to), produced, skipped, dropped, queued, bytes, received]
    });
    table::render(&header, rows)
}

fn replicas(status: &PipelineStatus) -> String {
    use Align::{Left, Right};
    let header = [
        ("replica", Left),
        ("state", Left),
        ("breaker", Left),
        ("pid", Right),
        ("works", Right),
        ("oldest call", Right),
        ("sdk", Left),
        ("last error", Left),
    ];
    let rows = status.nodes.iter().flat_map(|node| {
        node.replicas.iter().map(|replica| {
            let pid = if replica.pid == 0 { String::new() } else { replica.pid.to_string() };
            let name = format!("{}[{}]", node.name, replica.index);
            let works = replica.works.to_string();
            let oldest = replica.oldest_call.map(|age| text::clock(books::duration(Some(age)))).unwrap_or_default();
            vec![
                name,
                replica.state.clone(),
                replica.breaker.clone(),
                pid,
                works,
                oldest,
                replica.sdk.clone(),
                replica.last_error.clone(),
            ]
        })
    });
    table::render(&header, rows)
}

#[test]
fn a_status_shows_the_store_of_dead_letters_and_that_it_is_full() {
    let mut status = books::tests::sample();
    assert_eq!(store(&status), "");
    let held =
        meshloom_proto::v1::DeadLetterStatus { letters: 1234, bytes: 2048, size_bytes: 4096, waiting: 0, full: false };
    status.dead_letters = Some(held);
    assert_eq!(store(&status), "dead letters: 1,234 in 2.0 KiB of 4.0 KiB");
    status.dead_letters = Some(meshloom_proto::v1::DeadLetterStatus { waiting: 7, full: true, ..held });
    assert!(store(&status).contains("full, 7 more wait"), "{}", store(&status));
    assert!(render(&status, &[10.0, 2.5, 0.0], Duration::from_secs(10)).contains("stand still"));
}

#[test]
fn a_status_shows_everything_and_names_the_bottleneck() {
    let mut status = books::tests::sample();
    status.journal = Some(books::tests::journal());
    let text = render(&status, &[10.0, 2.5, 0.0], Duration::from_secs(10));
    let expected = "\
anomaly running for 10 s, process 4242, 3.0 MiB of 256 MiB in memory

source  accepted  settled  open  events/s
ingest     8,759    8,000   759        10

journal: 5.0 MiB of 256 MiB, 2.00 ms per commit of 1,500
  ingest: the journal is full

node       in    out  consumed  retried  rejected  in hand  waiting  events/s      p50     p99  starved    busy  blocked
filter  8,700  8,000       500       40         3       97      100       2.5  12.0 µs  850 µs      0 s  8.00 s   1.00 s
alert   8,000             8,000        0         0        0        0         0                   9.00 s     0 s      0 s
starved: time waiting for work; busy: work waiting for a replica; blocked: outputs waiting below

edge                  produced  skipped  dropped  queued           received
ingest -> filter         8,759        0        0      59  5.8 KiB     8,700
filter.side -> alert     8,000        0        0       0      0 B     8,000

replica    state  breaker   pid  works  oldest call  sdk         last error
ingest[0]  up     closed   4243      1               rust 0.1.0
filter[0]  up     closed   4244      1         12 s  go 0.1.0
alert[0]   down   closed             1                           connection refused

bottleneck: filter, whose events waited 7.00 s for a free replica; more replicas or a faster handler would help
";
    // Alignment is the table's business; words and their order are ours.
    let words =
        |text: &str| text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
    assert_eq!(words(&text), words(expected));
}

#[test]
fn a_status_says_what_keeps_a_node_from_its_work() {
    let mut status = books::tests::sample();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_060);
    assert_eq!(conditions(&status, now), "");
    let paused = books::tests::paused();
    status.nodes[1].condition =
        Some(meshloom_proto::v1::NodeCondition { standstill: Standstill::Outage.into(), ..paused.clone() });
    status.nodes[2].condition = Some(paused);
    let expected = "\
filter: outage for 59 s; events wait until one that is tried now and then succeeds; last failure HTTP_503: try later
alert: paused for 59 s, since event 07070707070707070707070707070707 has used up its attempts (HTTP_503: try later); once the cause is gone: meshloom resume alert
";
    assert_eq!(conditions(&status, now), expected);
}
