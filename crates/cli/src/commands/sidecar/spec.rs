//! From flags to an adapter's spec, by way of the pipeline file: an `exec` node and its checks exist once.

use std::{path::Path, time::Duration};

use anyhow::anyhow;
use meshloom_config::{Environment, ExecSpec, NodeKind, parse};
use serde_json::{Map, Value, json};

use super::Args;
use crate::failure::Failure;

/// The upstream of a program for which none was named.
const UPSTREAM: &str = "input";
/// The adapter's node in the file; the handler's name may be anything.
const NODE: &str = "program";

/// The upstreams of the program.
pub(super) fn upstreams(args: &Args) -> Vec<String> {
    if args.from.is_empty() { vec![UPSTREAM.to_owned()] } else { args.from.clone() }
}

/// The spec, and the time of one call.
pub(super) fn read(args: &Args, dir: &Path) -> Result<(ExecSpec, Duration), Failure> {
    let file = serde_json::to_string(&escape(file(args)?)).map_err(anyhow::Error::from)?;
    let environment = Environment::from_fn(|_| None);
    let pipeline = parse(Path::new("sidecar"), dir, &file, &environment).map_err(|diagnostics| {
        let told: Vec<String> = diagnostics
            .iter()
            .map(|found| {
                let remedy = found.remedy.as_deref().unwrap_or(found.code.remedy);
                format!("{}; {remedy}", found.message)
            })
            .collect();
        Failure::Usage(anyhow!("{}", told.join("\n       ")))
    })?;
    find_program(&args.command)?;
    let node = pipeline.nodes.into_iter().find(|node| node.name == NODE);
    match node.map(|node| (node.kind, node.timeout)) {
        Some((NodeKind::Exec(exec), timeout)) => Ok((exec, timeout)),
        _ => Err(Failure::Other(anyhow!("the flags make no exec node; this is a fault of Meshloom, please report it"))),
    }
}

/// A program that is missing is told now, not with the first event. One named by its path has been looked at.
fn find_program(command: &[String]) -> Result<(), Failure> {
    let program = command.first().map(String::as_str).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = program.contains('/') || std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if found {
        return Ok(());
    }
    Err(Failure::Unavailable(anyhow!("`{program}` is in no folder of PATH; install it, or name it by its path")))
}

/// A pipeline file in which the program is a node.
fn file(args: &Args) -> Result<Value, Failure> {
    let mut node = Map::new();
    node.insert("exec".into(), json!(args.command));
    node.insert("mode".into(), json!(args.mode));
    let optional = [
        ("output", &args.output),
        ("cwd", &args.cwd),
        ("format", &args.format),
        ("envelope", &args.envelope),
        ("every", &args.every),
        ("timeout", &args.timeout),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            node.insert(key.into(), json!(value));
        }
    }
    if args.keep_failed {
        node.insert("keep_failed".into(), json!(true));
    }
    if !args.input.is_empty() {
        node.insert("input".into(), inputs(&args.input)?);
    }
    let mut nodes = Map::new();
    if !args.source {
        let upstreams = upstreams(args);
        for upstream in &upstreams {
            let name = upstream.split('.').next().unwrap_or_default();
            nodes.insert(name.to_owned(), json!({ "connect": "127.0.0.1:1" }));
        }
        node.insert("from".into(), json!(upstreams));
    }
    if nodes.insert(NODE.into(), Value::Object(node)).is_some() {
        return Err(Failure::Usage(anyhow!(
            "--from {NODE}: this name is taken by the program itself; name the upstream otherwise"
        )));
    }
    let mut file = Map::new();
    file.insert("pipeline".into(), json!("sidecar"));
    if args.source {
        nodes.insert("sink".into(), json!({ "use": "null", "from": NODE }));
    }
    file.insert("nodes".into(), Value::Object(nodes));
    Ok(Value::Object(file))
}

/// `FILE` alone, or `UPSTREAM=FILE` each.
fn inputs(written: &[String]) -> Result<Value, Failure> {
    if let [only] = written
        && !only.contains('=')
    {
        return Ok(json!(only));
    }
    let mut named = Map::new();
    for input in written {
        let (upstream, file) = input.split_once('=').ok_or_else(|| {
            Failure::Usage(anyhow!(
                "--input {input}: with several inputs each names its upstream; write --input UPSTREAM={input}"
            ))
        })?;
        named.insert(upstream.to_owned(), json!(file));
    }
    Ok(Value::Object(named))
}

/// A shell has seen these texts already: nothing in them is a variable of ours.
fn escape(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace('$', "$$")),
        Value::Array(values) => Value::Array(values.into_iter().map(escape).collect()),
        Value::Object(map) => Value::Object(map.into_iter().map(|(key, value)| (key, escape(value))).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use meshloom_config::exec::{ExecCwd, ExecFormat, ExecMode};

    use super::*;

    #[derive(Debug, Parser)]
    struct Only {
        #[command(flatten)]
        args: Args,
    }

    fn spec(words: &[&str]) -> Result<(ExecSpec, Duration), String> {
        let args = Only::try_parse_from([&["sidecar"], words].concat()).map_err(|error| error.to_string())?.args;
        read(&args, Path::new("/")).map_err(|failure| match failure {
            Failure::Usage(error) | Failure::Unavailable(error) => error.to_string(),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn flags_are_the_keys_of_an_exec_node() {
        let (exec, timeout) = spec(&[
            "--mode",
            "files",
            "--from",
            "a",
            "--from",
            "b.side",
            "--input",
            "a=A.json",
            "--input",
            "b.side=B.json",
            "--output",
            "o.json",
            "--cwd",
            "scratch",
            "--format",
            "json",
            "--keep-failed",
            "--timeout",
            "5s",
            "--",
            "sh",
            "-c",
            "cat $X ${Y} {input.a}",
        ])
        .unwrap();
        assert_eq!((exec.mode, exec.cwd, exec.format), (ExecMode::Files, ExecCwd::Scratch, ExecFormat::Json));
        let files: Vec<_> = exec.inputs.iter().map(|input| (input.upstream.to_string(), input.file.as_str())).collect();
        assert_eq!(files, [("a".to_owned(), "A.json"), ("b.side".to_owned(), "B.json")]);
        assert_eq!(exec.output.as_deref(), Some("o.json"));
        assert_eq!(exec.command.args, ["-c", "cat $X ${Y} {input.a}"]);
        assert!(exec.keep_failed);
        assert_eq!(timeout, Duration::from_secs(5));
    }

    #[test]
    fn a_program_without_input_is_a_source() {
        let (exec, _) = spec(&["--mode", "batch", "--source", "--every", "10s", "--", "date"]).unwrap();
        assert_eq!(exec.every, Some(Duration::from_secs(10)));
        assert!(exec.inputs.is_empty());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_remedy() {
        for (words, says) in [
            (&["--mode", "lines", "--output", "x", "--", "cat"][..], "`output` is for `mode: files` only; remove it"),
            (&["--mode", "lines", "--timeout", "5", "--", "cat"], "unit"),
            (&["--mode", "lines", "--", "no-such-program-here"], "no-such-program-here"),
            (&["--mode", "files", "--from", "program", "--", "cat"], "--from program"),
            (
                &["--mode", "files", "--from", "a", "--from", "b", "--input", "x", "--input", "y", "--", "cat"],
                "--input UPSTREAM=x",
            ),
            (&["--", "cat"], "--mode"),
            (&["--mode", "lines"], "CMD"),
        ] {
            let error = spec(words).unwrap_err();
            assert!(error.contains(says), "{words:?}: {error}");
        }
    }
}
