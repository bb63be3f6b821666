//! The guard and a coordinator to kill, for the tests: what the `meshloom` binary does with `guard`.

use std::{io::Write, path::Path, process::ExitCode, time::Duration};

use meshloom_coordinator::process::{
    Environment, ProcessName, ProcessSpec, Processes, Stderr, Stdin, Stdout, guard, log_channel,
};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next().as_deref().and_then(|command| command.to_str()) {
        Some("guard") => guard::main(args),
        Some("coordinator") => {
            let [state, script] = [args.next(), args.next()].map(|arg| arg.expect("coordinator STATE SCRIPT"));
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(coordinator(Path::new(&state), script));
            ExitCode::SUCCESS
        }
        _ => panic!("guard | coordinator STATE SCRIPT"),
    }
}

/// Runs one shell script and prints its pid, then waits to be killed or, told so by a line of input, ends it.
async fn coordinator(state: &Path, script: std::ffi::OsString) {
    // Whoever started the tests in the background has SIGINT ignored, which is inherited.
    let mut interrupt = signal(SignalKind::interrupt()).expect("a handler");
    tokio::spawn(async move {
        interrupt.recv().await;
        std::process::exit(130);
    });
    let (logs, mut lines) = log_channel(16);
    let own = std::env::current_exe().expect("a path");
    let process = Processes::new(own, state, logs)
        .spawn(ProcessSpec {
            name: ProcessName::new("node", 0),
            program: "sh".into(),
            args: vec!["-c".into(), script],
            dir: state.to_owned(),
            env: Environment::inherit(std::env::vars_os(), false),
            stdin: Stdin::Null,
            stdout: Stdout::Log,
            stderr: Stderr::Log,
        })
        .await
        .expect("it starts");
    println!("{}", process.pid());
    while let Some(line) = lines.recv().await {
        println!("{}", line.text);
        std::io::stdout().flush().expect("a reader");
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
}
