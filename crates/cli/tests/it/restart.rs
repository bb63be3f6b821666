//! `meshloom restart`, over processes of both kinds.

use serde_json::Value;

use crate::support::{Folder, json, wait_for};

/// A node of two replicas, each of which writes a line to `starts` when it starts, and does not start while `broken` is there.
fn pipeline(work: &str) -> String {
    let program = |kind: &str, program: &str| {
        format!("{kind}: [sh, -c, 'if [ -e broken ]; then exit 9; fi; echo started >> starts; exec {program}']")
    };
    let work = match work {
        "exec" => program("exec", "cat") + ", mode: lines",
        _ => program("run", &format!("{} sidecar --mode lines --state side.$$ -- cat", env!("CARGO_BIN_EXE_meshloom"))),
    };
    format!(
        "pipeline: demo\nnodes:\n  made: {{ use: generate, with: {{ rate: 2000/s }} }}\n  work: {{ {work}, replicas: 2, from: made, retry: {{ attempts: 1 }} }}\n  gone: {{ use: 'null', from: work }}\n"
    )
}

fn status(folder: &Folder) -> Option<Value> {
    let ran = folder.run("status --output json");
    (ran.code == 0).then(|| json(&ran.out))
}

fn settled(folder: &Folder) -> u64 {
    status(folder).map_or(0, |status| status["nodes"][0]["settled"].as_u64().unwrap())
}

fn starts(folder: &Folder) -> usize {
    std::fs::read_to_string(folder.path().join("starts")).unwrap_or_default().lines().count()
}

/// Restarts the node of a pipeline under load, twice.
fn restarts_under_load(kind: &str) {
    let folder = Folder::with(&pipeline(kind));
    let none = folder.run("restart work");
    assert!(none.code == 1 && none.err.contains("start it with `meshloom run`"), "{}", none.err);
    let run = folder.start("run --output json");
    wait_for("events", || (settled(&folder) > 100).then_some(()));
    for round in 1..=2 {
        let started = starts(&folder);
        let ran = folder.run("restart work");
        assert!(ran.code == 0 && ran.err.ends_with("2 replicas of work restarted\n"), "{}", ran.err);
        match kind {
            "run" => assert_eq!((started, starts(&folder)), (2 * round, 2 * round + 2)),
            // The adapter starts its program with the first work, and one replica may do all of it.
            _ => wait_for("a new process", || (starts(&folder) > started).then_some(())),
        }
        let before = settled(&folder);
        wait_for("events after the restart", || (settled(&folder) > before).then_some(()));
    }
    assert_eq!(folder.run("drain").code, 0);
    let ended = run.end();
    let report = json(&ended.out);
    assert_eq!((ended.code, &report["dead_letters"]), (0, &Value::Array(Vec::new())), "{}", ended.err);
    let (made, work) = (&report["nodes"][0], &report["nodes"][1]);
    assert_eq!(made["accepted"], made["settled"], "{report}");
    assert_eq!((&work["received"], &work["retried"], &work["restarts"]), (&made["accepted"], &0.into(), &4.into()));
}

#[test]
fn a_program_is_restarted_replica_by_replica_under_load_without_a_retry() {
    restarts_under_load("exec");
}

#[test]
fn a_node_server_is_restarted_replica_by_replica_under_load_without_a_retry() {
    restarts_under_load("run");
}

#[test]
fn a_replica_that_does_not_come_back_is_told_and_the_others_run_on() {
    let folder = Folder::with(&pipeline("run"));
    let run = folder.start("run --output json");
    wait_for("events", || (settled(&folder) > 100).then_some(()));
    std::fs::write(folder.path().join("broken"), "").unwrap();
    let ran = folder.run("restart work");
    assert!(
        ran.code == 69 && ran.err.contains("work[0] does not start again (0 of 2 replicas were restarted"),
        "{}",
        ran.err
    );
    let before = settled(&folder);
    wait_for("events through the other replica", || (settled(&folder) > before + 100).then_some(()));
    std::fs::remove_file(folder.path().join("broken")).unwrap();
    wait_for("both replicas", || {
        let status = status(&folder)?;
        let replicas = status["nodes"][1]["replicas"].as_array()?.clone();
        replicas.iter().all(|replica| replica["state"] == "up").then_some(())
    });
    for (words, says) in [
        ("restart wrok", "the pipeline has no node `wrok`; did you mean `work`?"),
        ("restart made", "`made` cannot be restarted: it is a source; drain the pipeline"),
        ("restart gone", "`gone` cannot be restarted: it is a connector inside the coordinator"),
    ] {
        let ran = folder.run(words);
        assert!(ran.code == 1 && ran.err.contains(says), "{words}: {}", ran.err);
    }
    assert_eq!(folder.run("drain").code, 0);
    let ended = run.end();
    let report = json(&ended.out);
    assert_eq!((ended.code, &report["nodes"][0]["accepted"]), (0, &report["nodes"][0]["settled"]), "{}", ended.err);
}

#[test]
fn a_second_restart_of_a_node_is_turned_down_and_the_end_of_the_pipeline_ends_the_first() {
    let folder = Folder::with(
        "pipeline: demo\nnodes:\n  made: { use: generate, with: { count: 1 } }\n  held: { exec: [sh, -c, 'read line; until [ -e go ]; do sleep 0.05; done; echo \"$line\"'], mode: lines, from: made, timeout: 1h }\n",
    );
    let run = folder.start("run");
    wait_for("an event in hand", || {
        let ran = folder.run("status --output json");
        (ran.code == 0 && json(&ran.out)["nodes"][1]["in_hand"] == 1).then_some(())
    });
    // A restart lasts as long as the work in hand does; the later of two is turned down meanwhile.
    let mut restarts = vec![folder.start("restart held"), folder.start("restart held")];
    let ended = wait_for("one of them to be turned down", || {
        restarts.iter_mut().position(|restart| restart.child().try_wait().unwrap().is_some())
    });
    let refused = restarts.remove(ended).end();
    assert!(refused.code == 1 && refused.err.contains("`held` is being restarted already"), "{}", refused.err);
    assert_eq!(folder.run("drain").code, 0);
    std::fs::write(folder.path().join("go"), "").unwrap();
    let told = restarts.remove(0).end();
    assert!(told.code == 1 && told.err.contains("the pipeline is ending, and `held` with it"), "{}", told.err);
    let ended = run.end();
    assert_eq!(ended.code, 0, "{}", ended.err);
}
