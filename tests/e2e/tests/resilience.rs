//! What goes wrong while events flow, and that nothing is lost by it: slow sinks, killed nodes, poisonous rows, signals.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use meshloom_e2e::{Project, identity, lines, processes, toolchain::Language, wait};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

/// A sink that stops for as long as a file is there, below a source that has far more than the memory budget to give.
#[test]
fn a_slow_sink_stops_the_source_and_costs_no_memory() {
    const EVENTS: u64 = 120_000;
    let project = Project::new(
        "pipeline: slow
memory: 64MiB
trace: { rate: 0 }
nodes:
  in: { use: file, with: { path: in.ndjson }, max_event: 1MiB }
  pass: { exec: [cat], mode: lines, from: in, batch: { bytes: 1MiB } }
  out: { exec: [sh, -c, 'while [ -e {dir}/stop ]; do sleep 0.05; done; cat >> {dir}/out.ndjson'], mode: batch, from: pass, batch: { bytes: 1MiB } }
",
    );
    let pad = "x".repeat(2000);
    lines::write(&project.path("in.ndjson"), (1..=EVENTS).map(|n| json!({"n": n, "pad": pad})));
    let size = fs::metadata(project.path("in.ndjson")).unwrap().len();
    assert!(size > 3 * 64 * MIB, "more than could be hidden in memory");
    let run = project.start();
    let pid = run.pid();
    let (most, ended) = (Arc::new(std::sync::Mutex::new(0)), Arc::new(AtomicBool::new(false)));
    let sampler = thread::spawn({
        let (most, ended) = (most.clone(), ended.clone());
        move || {
            while !ended.load(Ordering::Relaxed) {
                let resident = processes::resident(pid).unwrap_or_default();
                let mut most = most.lock().unwrap();
                *most = resident.max(*most);
                drop(most);
                thread::sleep(Duration::from_millis(100));
            }
        }
    });
    wait::holds(Duration::from_secs(60), "a first checkpoint", || project.settled_durably("in") > 0);
    fs::write(project.path("stop"), "").unwrap();
    // The books stop moving once everything above the sink is full.
    let mut last = (0, Instant::now());
    let accepted = wait::until(Duration::from_secs(60), "the source to be stopped", || {
        let accepted = run.status()?.node("in").received;
        if accepted != last.0 {
            last = (accepted, Instant::now());
        }
        (last.1.elapsed() > Duration::from_secs(2)).then_some(accepted)
    });
    assert!(accepted < EVENTS, "the source was held back");
    let (before, since) = (project.settled_durably("in"), Instant::now());
    while since.elapsed() < Duration::from_secs(2) {
        assert_eq!(project.settled_durably("in"), before, "the position stands still while nothing settles");
        thread::sleep(Duration::from_millis(100));
    }
    fs::remove_file(project.path("stop")).unwrap();
    let finished = run.finish();
    ended.store(true, Ordering::Relaxed);
    sampler.join().unwrap();
    finished.assert_code(0);
    finished.books().assert_balanced();
    let most = *most.lock().unwrap();
    println!("most memory resident: {} MiB of {} MiB budget", most / MIB, finished.books().memory_budget_bytes / MIB);
    assert!(most <= (64 + 64) * MIB, "{} MiB resident is more than budget + 64 MiB", most / MIB);
    assert_eq!(lines::numbers(&project.lines("out.ndjson")), (1..=EVENTS).collect::<Vec<_>>());
    assert_eq!(project.settled_durably("in"), EVENTS);
}

/// Each language's node is killed while it works; the sink below sees every uid.
#[test]
fn a_killed_node_is_restarted_and_its_work_redelivered() {
    thread::scope(|scope| {
        for language in Language::ALL {
            scope.spawn(move || kill_twice(language));
        }
    });
}

fn kill_twice(language: Language) {
    const EVENTS: u64 = 10_000;
    let (run, name) = (language.test_node(), language.name());
    let project = Project::new(&format!(
        "pipeline: killed
trace: {{ rate: 0 }}
nodes:
  in: {{ use: file, with: {{ path: in.ndjson }} }}
  map: {{ run: {run}, from: in, with: {{ label: {name} }}, restart: {{ initial: 10ms }} }}
  out: {{ exec: [sh, -c, 'sleep 0.1; cat >> {{dir}}/out.ndjson'], mode: batch, envelope: cloudevents, concurrency: 1, from: map, batch: {{ events: 256, latency: 10s }}, queue: {{ events: 512 }} }}
"
    ));
    lines::write(&project.path("in.ndjson"), (1..=EVENTS).map(|n| json!({"n": n, "do": "pass"})));
    let mut running = project.start();
    for deaths in 1..=2 {
        let books = running.until("work in hand", |books| {
            let map = books.node("map");
            map.in_hand > 0 && map.replicas[0].pid.is_some() && map.restarts == deaths - 1
        });
        processes::signal(books.node("map").replicas[0].pid.unwrap(), "KILL");
        running.until("a restart", |books| books.node("map").restarts == deaths);
    }
    let finished = running.finish();
    finished.assert_code(0);
    finished.books().assert_balanced();
    let events = project.lines("out.ndjson");
    let uids: BTreeSet<String> = events.iter().map(uid).collect();
    let numbers: BTreeSet<u64> = events.iter().map(|event| event["data"]["n"].as_u64().unwrap()).collect();
    assert_eq!((uids.len() as u64, numbers), (EVENTS, (1..=EVENTS).collect()), "{name}");
    assert!(project.letters().is_empty(), "a death is nobody's fault: {:#?}", project.letters());
    assert!(finished.log.contains("SIGKILL") || finished.log.contains("signal 9"), "{}", finished.log);
}

fn uid(event: &Value) -> String {
    identity::of_source(event["source"].as_str().unwrap(), event["id"].as_str().unwrap())
}

#[test]
fn one_bad_row_costs_one_row() {
    for language in Language::ALL {
        let (run, name) = (language.test_node(), language.name());
        let project = Project::new(&format!(
            "pipeline: poison
nodes:
  in: {{ use: file, with: {{ path: in.ndjson }} }}
  batch: {{ run: {run}, from: in, with: {{ label: {name} }}, retry: {{ attempts: 2, initial: 5ms }} }}
  out: {{ use: file, with: {{ path: out.ndjson }}, from: batch }}
"
        ));
        let commands: Vec<&str> = (1..=500).map(|n| if n == 137 { "poison" } else { "pass" }).collect();
        lines::write(&project.path("in.ndjson"), lines::commands(commands));
        project.succeed();
        let letters = project.letters();
        assert_eq!(letters.len(), 1, "{name}: {letters:#?}");
        assert_eq!((letters[0].n(), letters[0].node.as_str()), (137, "batch"), "{name}: {letters:#?}");
        let rest: Vec<u64> = (1..=500).filter(|n| *n != 137).collect();
        assert_eq!(lines::numbers(&project.lines("out.ndjson")), rest, "{name}");
    }
}

#[test]
fn a_second_run_continues_where_sigterm_stopped_the_first() {
    const EVENTS: u64 = 40_000;
    let run = Language::Go.test_node();
    let project = Project::new(&format!(
        "pipeline: resumed
trace: {{ rate: 0 }}
nodes:
  source: {{ run: {run}, with: {{ label: go, count: {EVENTS} }} }}
  map: {{ run: {run}, from: source, with: {{ label: go }}, batch: {{ events: 200 }}, queue: {{ events: 400 }} }}
  out: {{ exec: [sh, -c, 'sleep 0.03; cat >> {{dir}}/out.ndjson'], mode: batch, concurrency: 1, from: map, batch: {{ events: 200, latency: 10s }}, queue: {{ events: 400 }} }}
"
    ));
    let mut first = project.start();
    first.until("events to settle", |books| books.node("source").settled > 200);
    first.signal("TERM");
    let finished = first.finish_within(Duration::from_secs(30));
    finished.assert_code(0);
    finished.books().assert_balanced();
    let stopped_at = project.settled_durably("source");
    assert!(stopped_at > 200 && stopped_at < EVENTS, "{stopped_at} of {EVENTS} in the first run");
    assert_eq!(lines::numbers(&project.lines("out.ndjson")), (1..=stopped_at).collect::<Vec<_>>());

    let books = project.succeed().books();
    assert_eq!(books.node("source").received, EVENTS - stopped_at, "nothing comes again after an orderly end");
    assert_eq!(lines::numbers(&project.lines("out.ndjson")), (1..=EVENTS).collect::<Vec<_>>());

    let third = project.meshloom(["run"]).arg(project.file()).arg("--state").arg(project.state()).output().unwrap();
    let said = String::from_utf8_lossy(&third.stderr).into_owned();
    assert_eq!(third.status.code(), Some(0), "{said}");
    assert!(said.contains("source: nothing new since") && said.contains("40,000 of 40,000"), "{said}");
}

/// The coordinator is killed; wrappers, background children and programs that ignore SIGTERM must not outlive it.
#[test]
fn a_killed_coordinator_leaves_nothing_behind() {
    let go = meshloom_e2e::root().join("tests/nodes/go");
    let node = meshloom_e2e::toolchain::node_folder("tests/nodes/node");
    let rust = meshloom_e2e::toolchain::rust_test_node();
    Language::Go.test_node();
    let (go, node, rust) = (go.display(), node.display(), rust.display());
    let project = Project::new(&format!(
        "pipeline: wrapped
nodes:
  in: {{ use: generate, with: {{ rate: 50/s, template: '{{\"n\": {{{{ data.n }}}}, \"do\": \"pass\"}}' }} }}
  gorun: {{ run: go run ., dir: '{go}', handler: map, from: in, with: {{ label: go }} }}
  npmrun: {{ run: npm run --silent start, dir: '{node}', handler: map, from: in, with: {{ label: node }} }}
  shell: {{ run: [sh, -c, \"'{rust}' & sleep 1000 & wait\"], handler: map, from: in, with: {{ label: rust }} }}
  deaf: {{ exec: [sh, '{{dir}}/deaf.sh'], mode: lines, from: in }}
  out: {{ exec: [sh, -c, 'cat >> {{dir}}/out.ndjson'], mode: batch, from: [gorun, npmrun, shell, deaf] }}
"
    ));
    project.write("deaf.sh", "trap '' TERM INT HUP\n(trap '' TERM; sleep 1000) &\nexec 3<&0\nwhile read -r line; do echo \"$line\"; done\nsleep 1000\n");
    let mut run = project.start();
    run.until("events through every wrapper", |books| {
        ["gorun", "npmrun", "shell", "deaf"].iter().all(|node| books.node(node).answered > 0)
    });
    let below = processes::marked(run.mark());
    assert!(below.len() > 8, "wrappers, nodes, guards: {below:?}");
    let killed = Instant::now();
    run.signal("KILL");
    let finished = run.finish_within(Duration::from_secs(10));
    assert_eq!(finished.status.code(), None, "it was killed");
    println!("{} processes were gone {:.1?} after the coordinator", below.len() - 1, killed.elapsed());

    // The next run is not hindered by what the last one left in the state directory.
    let mut again = project.start();
    again.until("events again", |books| books.node("deaf").answered > 0);
    again.signal("TERM");
    again.finish_within(Duration::from_secs(45)).assert_code(0);
}
