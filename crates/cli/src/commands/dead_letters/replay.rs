//! `meshloom dead-letters replay`.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::anyhow;
use meshloom_coordinator::connect_admin;
use meshloom_proto::v1::{ReplayDeadLettersRequest, ReplayDeadLettersResponse};
use tonic::Code;

use super::{super::Output, choice::Choice};
use crate::{
    failure::{Failure, exit},
    place::StateOf,
    runtime, terminal, text,
};

/// Send the events of dead letters into the running pipeline again, where they failed
///
/// An event keeps its uid and what it held, and its attempts begin anew. Its letter goes once all that comes from the
/// event has settled, and stays, with one failure more, if it fails at the same place again. The command ends when every
/// event has its verdict; interrupted, it sends no further ones. Exit status: 0 if all have settled, 3 if events failed
/// again, 1 if letters could not be replayed or the pipeline ended first.
#[derive(Debug, clap::Args)]
pub(super) struct Replay {
    #[command(flatten)]
    state: StateOf,
    #[command(flatten)]
    choice: Choice,
    /// How to print
    #[arg(long, value_enum, default_value_t, env = "MESHLOOM_OUTPUT")]
    output: Output,
}

impl Replay {
    pub(super) fn run(&self) -> Result<ExitCode, Failure> {
        let state = self.state.path()?;
        let filter = self.choice.filter();
        let end = runtime::block_on(async {
            let mut admin = connect_admin(&state).await?;
            let request = ReplayDeadLettersRequest { filter: Some((&filter).into()) };
            let mut progress = admin.replay_dead_letters(request).await.map_err(refused)?.into_inner();
            let mut last = ReplayDeadLettersResponse::default();
            while let Some(said) = progress.message().await.map_err(refused)? {
                last = said;
                if !last.done && terminal::moves_cursor() {
                    eprint!("\r{}", running(&last));
                    // What a terminal does not take is only not seen.
                    let _ = io::stderr().flush();
                }
            }
            if terminal::moves_cursor() {
                eprint!("\r{:width$}\r", "", width = running(&last).len());
            }
            Ok::<_, Failure>(last)
        })??;
        match self.output {
            Output::Human => eprint!("{}", render(&end)),
            Output::Json => println!("{}", to_json(&end)),
        }
        if !end.done {
            return Err(anyhow!("the coordinator ended before it said what came of it; `meshloom dead-letters list` shows the letters that are left").into());
        }
        Ok(ExitCode::from(code(&end)))
    }
}

/// The coordinator's own words where it says why.
fn refused(status: tonic::Status) -> Failure {
    match status.code() {
        Code::NotFound | Code::FailedPrecondition | Code::Internal => Failure::Other(anyhow!("{}", status.message())),
        _ => super::super::refused(status),
    }
}

fn code(end: &ReplayDeadLettersResponse) -> u8 {
    match end {
        _ if end.unfinished > 0 || !end.refused.is_empty() => exit::FAILED,
        _ if end.failed_again > 0 => exit::DEAD_LETTERS,
        _ => 0,
    }
}

fn running(so_far: &ReplayDeadLettersResponse) -> String {
    let [replayed, settled, failed] = [so_far.replayed, so_far.settled, so_far.failed_again].map(text::count);
    format!("{replayed} replayed, {settled} settled, {failed} failed again")
}

fn render(end: &ReplayDeadLettersResponse) -> String {
    let mut text = String::new();
    if end.replayed == 0 && end.refused.is_empty() {
        return "no dead letters to replay\n".into();
    }
    if end.replayed > 0 {
        let letters = text::plural(end.replayed, "dead letter");
        let [settled, failed] = [end.settled, end.failed_again].map(text::count);
        text.push_str(&format!("{letters} replayed: {settled} settled, {failed} failed again\n"));
    }
    if end.unfinished > 0 {
        let letters = text::plural(end.unfinished, "dead letter");
        text.push_str(&format!(
            "{letters} have no verdict, since the pipeline ended; they stay, to be replayed again\n"
        ));
    }
    for refusal in &end.refused {
        let letters = text::plural(refusal.letters, "dead letter");
        text.push_str(&format!("{letters} of {} cannot be replayed: {}\n", refusal.node, refusal.why));
    }
    text
}

fn to_json(end: &ReplayDeadLettersResponse) -> serde_json::Value {
    serde_json::json!({
        "replayed": end.replayed,
        "settled": end.settled,
        "failed_again": end.failed_again,
        "unfinished": end.unfinished,
        "refused": end.refused.iter().map(|refusal| serde_json::json!({
            "node": refusal.node, "letters": refusal.letters, "why": refusal.why,
        })).collect::<Vec<_>>(),
    })
}

#[test]
fn the_end_of_a_replay_is_told_and_decides_the_exit_code() {
    let all = ReplayDeadLettersResponse { replayed: 1200, settled: 1200, done: true, ..Default::default() };
    assert_eq!(
        (render(&all).as_str(), code(&all)),
        ("1,200 dead letters replayed: 1,200 settled, 0 failed again\n", 0)
    );
    let failed = ReplayDeadLettersResponse { settled: 1199, failed_again: 1, ..all.clone() };
    assert_eq!(code(&failed), 3);
    let refusal = meshloom_proto::v1::ReplayRefusal { node: "gone".into(), letters: 2, why: "no such node".into() };
    let refused = ReplayDeadLettersResponse { refused: vec![refusal], ..failed };
    assert_eq!(code(&refused), 1);
    assert!(
        render(&refused).ends_with("2 dead letters of gone cannot be replayed: no such node\n"),
        "{}",
        render(&refused)
    );
    let ended = ReplayDeadLettersResponse { unfinished: 3, ..all };
    assert!(render(&ended).contains("3 dead letters have no verdict") && code(&ended) == 1);
    let none = ReplayDeadLettersResponse { done: true, ..Default::default() };
    assert_eq!((render(&none).as_str(), code(&none)), ("no dead letters to replay\n", 0));
}
