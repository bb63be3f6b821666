use meshloom_config::{
    ExecSpec,
    exec::{ExecCwd, ExecFormat, ExecMode},
};

use crate::support::{Bench, batch, batch_from, exec, input};

fn files(command: &[&str], inputs: &[(&str, &str)], output: Option<&str>) -> ExecSpec {
    ExecSpec {
        inputs: inputs.iter().map(|(upstream, file)| input(upstream, file)).collect(),
        output: output.map(Into::into),
        ..exec(ExecMode::Files, command)
    }
}

#[tokio::test]
async fn every_upstream_has_its_file_even_when_nothing_came_from_it() {
    let mut bench = Bench::new(&["a", "b", "c"]);
    let inputs = [("a", "in/a.ndjson"), ("b", "b.ndjson"), ("c", "c.ndjson")];
    let script =
        "for f in {input.a} b.ndjson \"$1\"; do wc -l < $f; cat $f; done; cat in/a.ndjson b.ndjson > out.ndjson";
    let mut node = bench.node(&files(&["bash", "-c", script, "x", "{input.c}"], &inputs, Some("out.ndjson")));
    let events = batch_from(&[(Some("a"), "{\"n\": 1}"), (Some("b"), "2"), (Some("a"), "{\"n\":\n3}")]);
    let answer = node.ask(1, &events).await;
    assert_eq!(answer.payloads(), ["{\"n\": 1}", "{\"n\":3}", "2"]);
    assert!(answer.outputs.iter().all(|(parent, _)| parent.is_none()));
    assert_eq!(answer.consumed, 3);
    // What it says is the node's log.
    for words in ["2", "{\"n\":3}", "1", "0"] {
        bench.logged(words).await;
    }
    // The inputs of an earlier run are gone.
    let answer = node.ask(2, &batch_from(&[(Some("b"), "9")])).await;
    assert_eq!(answer.payloads(), ["9"]);
    node.finish().await.unwrap();
}

#[tokio::test]
async fn json_files_hold_an_array_and_may_be_pretty_printed() {
    let bench = Bench::new(&["a", "b"]);
    let script = "import json\nrows = json.load(open('a.json'))\nassert json.load(open('b.json')) == []\njson.dump([{'n': r} for r in rows] + [None, [1, 2]], open('out.json', 'w'), indent=4)";
    bench.file("job.py", script);
    let spec = ExecSpec {
        format: ExecFormat::Json,
        ..files(&["python3", "job.py"], &[("a", "a.json"), ("b", "b.json")], Some("out.json"))
    };
    let mut node = bench.node(&spec);
    let answer = node.ask(1, &batch_from(&[(Some("a"), "1"), (Some("a"), "\"x\"")])).await;
    assert_eq!(answer.payloads(), ["{\"n\":1}", "{\"n\":\"x\"}", "null", "[1,2]"]);
}

#[tokio::test]
async fn a_declared_output_must_be_there_and_may_hold_nothing() {
    let bench = Bench::new(&["a"]);
    let run = async |script: &str| {
        let mut node = bench.node(&files(&["bash", "-c", script], &[("a", "in.ndjson")], Some("out.json")));
        node.ask(1, &batch(&["1"])).await
    };
    let answer = run("true").await;
    assert_eq!(answer.reason(), "OUTPUT_MISSING");
    assert!(answer.message().contains("out.json"), "{}", answer.message());
    for nothing in ["> out.json", "echo null > out.json", "echo > out.json"] {
        let answer = run(nothing).await;
        assert_eq!((answer.outputs.len(), answer.failures.len(), answer.consumed), (0, 0, 1), "{nothing}");
    }
    // The output of the run before does not count.
    assert_eq!(run("true").await.reason(), "OUTPUT_MISSING");
    assert_eq!(run("echo '[1, 2' > out.json").await.reason(), "BAD_OUTPUT");
    assert_eq!(run("exit 7").await.reason(), "EXIT_STATUS");
}

#[tokio::test]
async fn a_foreign_output_is_refused_and_an_own_one_removed() {
    let bench = Bench::new(&["a"]);
    let spec = files(&["bash", "-c", "cp in out"], &[("a", "in")], Some("out"));
    let theirs = bench.file("out", "precious");
    let error = bench.refused(&spec);
    assert_eq!(error.code, "OUTPUT_EXISTS");
    assert!(error.message.contains("out"), "{error}");
    assert_eq!(bench.read("out"), "precious");
    std::fs::remove_file(theirs).unwrap();
    let mut node = bench.node(&spec);
    assert_eq!(node.ask(1, &batch(&["1"])).await.payloads(), ["1"]);
    node.finish().await.unwrap();
    assert_eq!(bench.read("out"), "1\n");
    let mut node = bench.node(&spec);
    assert_eq!(node.ask(1, &batch(&["2"])).await.payloads(), ["2"]);
}

#[tokio::test]
async fn a_scratch_folder_is_private_and_removed_unless_it_is_kept() {
    let mut bench = Bench::new(&["a"]);
    bench.context.replicas = 2;
    bench.file(
        "job.sh",
        "pwd -P > where; cp where {dir}/where 2>/dev/null || cp where \"$3\"/where\n[ \"$1\" = \"$PWD/in\" ] || exit 9\ncat in > \"$2\"; echo $4 >> \"$3\"/batches; [ \"$(cat in)\" != 13 ]",
    );
    let spec = ExecSpec {
        cwd: ExecCwd::Scratch,
        keep_failed: true,
        ..files(
            &["bash", "job.sh", "{input}", "{output}", "{dir}", "{batch}", "{scratch}"],
            &[("a", "in")],
            Some("out"),
        )
    };
    let mut node = bench.node(&spec);
    assert_eq!(node.ask(1, &batch(&["1"])).await.payloads(), ["1"]);
    let scratch = bench.read("where");
    assert!(scratch.contains("scratch"), "{scratch}");
    assert!(!std::path::Path::new(scratch.trim()).exists());
    let answer = node.ask(2, &batch(&["13"])).await;
    assert_eq!(answer.reason(), "EXIT_STATUS");
    let line = bench.logged("is kept").await.line;
    let kept = line.rsplit(": ").next().unwrap();
    assert_eq!(std::fs::read_to_string(format!("{kept}/in")).unwrap(), "13\n");
    // A batch has the same name at every attempt.
    node.send_attempt(3, &batch(&["13"]), 2).await;
    node.answer(3).await;
    let batches = bench.read("batches");
    let batches: Vec<&str> = batches.lines().collect();
    assert_eq!(batches[1], batches[2]);
}

#[tokio::test]
async fn several_runs_in_one_folder_are_refused() {
    let mut bench = Bench::new(&["a"]);
    bench.context.replicas = 2;
    let error = bench.refused(&files(&["true"], &[("a", "in")], None));
    assert_eq!(error.code, "SHARED_FOLDER");
    assert!(error.remedy.contains("cwd: scratch"));
}

#[tokio::test]
async fn a_program_without_output_is_a_sink() {
    let bench = Bench::new(&["a"]);
    let mut node = bench.node(&files(&["tar", "czf", "{batch}.tgz", "in"], &[("a", "in")], None));
    let answer = node.ask(1, &batch(&["1", "2"])).await;
    assert_eq!((answer.consumed, answer.failures.len()), (2, 0), "{answer:?}");
    let archives = std::fs::read_dir(&bench.context.dir).unwrap();
    assert!(archives.flatten().any(|file| file.file_name().to_string_lossy().ends_with(".tgz")));
}
