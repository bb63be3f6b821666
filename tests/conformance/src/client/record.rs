//! Everything that a node says on a Process stream, held against the rules that hold for every answer.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use meshloom_proto::v1::{self, FailureAction, HandlerRole, process_response};
use tonic::Status;

use crate::{
    event::Event,
    fault::Fault,
    outputs::{self, Row},
};

/// "The whole work" in a failure.
const WHOLE: u32 = u32::MAX;

const REASON_CHARS: usize = 64;
const MESSAGE_BYTES: usize = 4 << 10;
const PROGRESS_CALLS: usize = 256;

/// What became of an input.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// These came from it, in order.
    Outputs(Vec<Row>),
    Consumed,
    Retry(String),
    Reject(String),
}

/// The answer to a work.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    /// Its results as they came.
    pub(crate) results: Vec<v1::WorkResult>,
    /// All outputs as they came.
    pub(crate) rows: Vec<Row>,
    /// All failures as they came.
    pub(crate) failures: Vec<v1::EventFailure>,
    pub(crate) consumed: u32,
    pub(crate) busy: Option<Duration>,
    inputs: u32,
}

impl Answer {
    /// The failure of the whole work, if that is the answer.
    pub(crate) fn whole(&self) -> Option<&v1::EventFailure> {
        self.failures.iter().find(|failure| failure.index == WHOLE)
    }

    /// Per input. An input that failed after some of its outputs counts as failed.
    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        let mut outputs: BTreeMap<u32, Vec<Row>> = BTreeMap::new();
        for row in &self.rows {
            if let Some(parent) = row.parent {
                outputs.entry(parent).or_default().push(row.clone());
            }
        }
        let failed: HashMap<u32, &v1::EventFailure> =
            self.failures.iter().map(|failure| (failure.index, failure)).collect();
        let verdict = |input: u32| match (failed.get(&input), outputs.remove(&input), failed.get(&WHOLE)) {
            (Some(failure), _, _) | (None, None, Some(failure)) => failure_verdict(failure),
            (None, Some(rows), _) => Verdict::Outputs(rows),
            (None, None, None) => Verdict::Consumed,
        };
        (0..self.inputs).map(verdict).collect()
    }

    /// The failure of an input.
    pub(crate) fn failure(&self, input: u32) -> Option<&v1::EventFailure> {
        self.failures.iter().find(|failure| failure.index == input)
    }
}

fn failure_verdict(failure: &v1::EventFailure) -> Verdict {
    match failure.action() {
        FailureAction::Reject => Verdict::Reject(failure.reason.clone()),
        _ => Verdict::Retry(failure.reason.clone()),
    }
}

/// A work in hand or answered.
#[derive(Debug, Default)]
struct Held {
    /// Empty where the kit does not know them.
    events: Vec<Event>,
    count: u32,
    /// Closed by a failure or by their outputs.
    closed: BTreeSet<u32>,
    /// Said to go on in the next result.
    continued: Option<u32>,
    answer: Answer,
    last: bool,
}

/// What a stream has said.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) role: HandlerRole,
    pub(crate) routes: Vec<String>,
    pub(crate) opened: Option<v1::Opened>,
    pub(crate) limits: Vec<v1::Limits>,
    pub(crate) progress: Vec<v1::Progress>,
    /// How the stream ended.
    pub(crate) ended: Option<Status>,
    /// The first rule that it broke.
    pub(crate) broken: Option<Fault>,
    works: HashMap<u64, Held>,
}

impl Record {
    /// A work is on its way.
    pub(crate) fn sent(&mut self, sequence: u64, events: Vec<Event>, count: u32) {
        let answer = Answer { inputs: count, ..Answer::default() };
        self.works.insert(sequence, Held { events, count, answer, ..Held::default() });
    }

    /// The answer, once its `last` is there.
    pub(crate) fn answer(&self, sequence: u64) -> Option<Answer> {
        self.works.get(&sequence).filter(|held| held.last).map(|held| held.answer.clone())
    }

    /// A work is over for the kit: its events need no memory any more.
    pub(crate) fn forget(&mut self, sequence: u64) {
        if let Some(held) = self.works.get_mut(&sequence) {
            *held = Held { last: held.last, ..Held::default() };
        }
    }

    /// Takes a response.
    pub(crate) fn take(&mut self, response: v1::ProcessResponse) {
        if let Err(fault) = self.check(response) {
            self.broken.get_or_insert(fault);
        }
    }

    fn check(&mut self, response: v1::ProcessResponse) -> Result<(), Fault> {
        let response = response.response;
        if let Some(process_response::Response::Opened(opened)) = response {
            if self.opened.replace(opened).is_some() {
                return Err(Fault::of_rule("O1", "`opened` once", "a second `opened`"));
            }
            return Ok(());
        }
        if self.opened.is_none() {
            return Err(Fault::of_rule("O1", "`opened` as the first response", format!("{response:?}")));
        }
        match response {
            Some(process_response::Response::Result(result)) => self.result(result),
            Some(process_response::Response::Limits(limits)) => {
                self.limits.push(limits);
                Ok(())
            }
            Some(process_response::Response::Progress(progress)) => {
                let calls = progress.calls.len();
                self.progress.push(progress);
                if calls > PROGRESS_CALLS {
                    let expected = format!("at most {PROGRESS_CALLS} calls in a Progress");
                    return Err(Fault::of_rule("W15", expected, calls.to_string()));
                }
                Ok(())
            }
            Some(process_response::Response::Opened(_)) | None => {
                Err(Fault::of_rule("V2", "a response that the protocol knows", "a response with no known member"))
            }
        }
    }

    fn result(&mut self, result: v1::WorkResult) -> Result<(), Fault> {
        let sequence = result.sequence;
        let (role, routes) = (self.role, &self.routes);
        let Some(held) = self.works.get_mut(&sequence) else {
            return Err(Fault::of_rule("W1", "results of works that were sent", format!("one of sequence {sequence}")));
        };
        if held.last {
            return Err(Fault::of_rule("W2", "nothing after the `last` of a work", format!("more of {sequence}")));
        }
        let checked = held.take(&result, role, routes);
        held.last = result.last;
        held.answer.results.push(result);
        checked.map_err(|(rule, expected, got)| Fault::of_rule(rule, expected, format!("{got} (work {sequence})")))
    }
}

type Checked<T = ()> = Result<T, (&'static str, String, String)>;

impl Held {
    fn take(&mut self, result: &v1::WorkResult, role: HandlerRole, routes: &[String]) -> Checked {
        let continued = self.continued.take();
        let first = match &result.outputs {
            Some(outputs) => self.outputs(outputs, continued, role, routes)?,
            None => None,
        };
        if let Some(parent) = continued
            && first != continued
            && result.failures.iter().all(|failure| failure.index != parent)
        {
            let expected = format!("behind `continued` a result that begins with input {parent}, or names its failure");
            let got = match first {
                Some(first) => format!("outputs that begin with input {first}"),
                None if result.outputs.is_some() => "outputs of the whole batch".into(),
                None => "no outputs".into(),
            };
            return Err(("W3", expected, format!("{got}, and {} failures of others", result.failures.len())));
        }
        for failure in &result.failures {
            self.failure(failure, continued, result)?;
        }
        if let Some(busy) = &result.busy {
            let busy =
                duration(busy).ok_or(("W18", "a `busy` that is no less than zero".into(), format!("{busy:?}")))?;
            self.answer.busy = Some(busy);
        }
        if !result.last {
            return match result.consumed {
                0 => Ok(()),
                n => Err(("W2", "`consumed` on `last` alone".into(), format!("{n} on an earlier result"))),
            };
        }
        self.answer.consumed = result.consumed;
        if self.continued.is_some() {
            return Err(("W3", "`continued` where more results follow".into(), "`continued` on `last`".into()));
        }
        let open = self.count - self.closed.len() as u32;
        let expected = if self.answer.whole().is_some() { 0 } else { open };
        if result.consumed != expected {
            let closed = self.closed.len();
            let of = format!("{closed} of {} inputs named, thus {expected} consumed", self.count);
            return Err(("W2", of, format!("{} consumed", result.consumed)));
        }
        Ok(())
    }

    /// The parent of the first output; `None`: the whole batch.
    fn outputs(
        &mut self,
        outputs: &v1::Outputs,
        before: Option<u32>,
        role: HandlerRole,
        routes: &[String],
    ) -> Checked<Option<u32>> {
        let rows = outputs::read(outputs, &self.events, self.count);
        let rows = rows.map_err(|(rule, got)| (rule, "well-formed outputs".to_owned(), got))?;
        let mut named: Vec<u32> = rows.iter().filter_map(|row| row.parent).collect();
        named.dedup();
        for (at, parent) in named.iter().enumerate() {
            let goes_on = at == 0 && before == Some(*parent);
            if !self.closed.insert(*parent) && !goes_on {
                return Err((
                    "W2",
                    "every input closed once".into(),
                    format!("input {parent} closed again by outputs"),
                ));
            }
        }
        if outputs.continued {
            self.continued = named.last().copied();
            if self.continued.is_none() {
                return Err((
                    "W3",
                    "a parent that goes on".into(),
                    "`continued` with outputs of the whole batch".into(),
                ));
            }
        }
        for row in &rows {
            self.row(row, role, routes)?;
        }
        if role == HandlerRole::Map && named.len() != rows.len() {
            return Err(("W6", "one output per input of a map".into(), format!("{} for {}", rows.len(), named.len())));
        }
        let first = rows.first().and_then(|row| row.parent);
        self.answer.rows.extend(rows);
        Ok(first)
    }

    fn row(&self, row: &Row, role: HandlerRole, routes: &[String]) -> Checked {
        if let Some(route) = row.route.as_ref().filter(|route| !routes.contains(route)) {
            return Err(("W19", format!("routes that Describe names ({})", routes.join(", ")), route.clone()));
        }
        if role == HandlerRole::Sink {
            return Err(("W6", "no outputs of a sink".into(), "an output".into()));
        }
        let input = row.parent.and_then(|parent| self.events.get(parent as usize));
        if row.parent.is_some() && input.is_none() {
            // The kit sent bytes, and does not know what they say.
            return Ok(());
        }
        let same = input.is_some_and(|input| input.payload == row.event.payload);
        if row.payload && !same && !row.typed {
            return Err((
                "W5",
                "a content type with a new payload".into(),
                format!("none for {:?}", row.event.payload),
            ));
        }
        if role == HandlerRole::Filter && (input != Some(&row.event) || row.route.is_some()) {
            return Err(("W6", "the event unchanged behind a filter".into(), crate::fault::short(row)));
        }
        Ok(())
    }

    fn failure(&mut self, failure: &v1::EventFailure, before: Option<u32>, result: &v1::WorkResult) -> Checked {
        let reason = &failure.reason;
        let legal = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        if !(1..=REASON_CHARS).contains(&reason.len()) || !reason.bytes().all(legal) {
            return Err(("W7", "a reason of 1 to 64 characters of [A-Z0-9_]".into(), format!("{reason:?}")));
        }
        if failure.message.len() > MESSAGE_BYTES {
            return Err(("W7", "a message of at most 4 KiB".into(), format!("{} bytes", failure.message.len())));
        }
        let action = FailureAction::try_from(failure.action).unwrap_or_default();
        if action == FailureAction::Unspecified {
            return Err(("W7", "RETRY or REJECT".into(), format!("the action {}", failure.action)));
        }
        if let Some(after) = &failure.retry_after
            && (action == FailureAction::Reject || duration(after).is_none())
        {
            return Err(("W7", "a time from now, of a RETRY alone".into(), format!("{after:?} of {action:?}")));
        }
        if failure.index == WHOLE {
            if !result.last || result.consumed != 0 {
                let got = format!("last {}, consumed {}", result.last, result.consumed);
                return Err(("W9", "a failure of the whole work on `last`, with `consumed` 0".into(), got));
            }
        } else if failure.index >= self.count {
            return Err((
                "W2",
                format!("a failure of one of {} inputs", self.count),
                format!("index {}", failure.index),
            ));
        } else if !self.closed.insert(failure.index) && before != Some(failure.index) {
            let got = format!("input {} closed again by {reason}", failure.index);
            return Err(("W2", "every input closed once".into(), got));
        }
        self.answer.failures.push(failure.clone());
        Ok(())
    }
}

/// A duration that is none below zero.
pub(crate) fn duration(duration: &prost_types::Duration) -> Option<Duration> {
    let nanos = u32::try_from(duration.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(duration.seconds.try_into().ok()?, nanos))
}

#[cfg(test)]
mod tests {
    use meshloom_proto::v1::process_response::Response;

    use super::*;
    use crate::columns::{u32s, values};

    /// A stream of a handler with one work of three inputs in hand.
    fn record(role: HandlerRole) -> Record {
        let mut record = Record { role, routes: vec!["left".into()], ..Record::default() };
        record.take(v1::ProcessResponse { response: Some(Response::Opened(v1::Opened::default())) });
        record.sent(1, ["a", "b", "c"].map(Event::new).into(), 3);
        record
    }

    fn result(outputs: Option<v1::Outputs>, consumed: u32, last: bool) -> v1::WorkResult {
        v1::WorkResult { sequence: 1, outputs, consumed, last, ..v1::WorkResult::default() }
    }

    /// Outputs of these inputs that carry nothing new.
    fn passed(parents: &[u32]) -> Option<v1::Outputs> {
        let parent = u32s(parents.iter().copied());
        Some(v1::Outputs { count: parents.len() as u32, parent, ..v1::Outputs::default() })
    }

    fn failure(index: u32, reason: &str) -> v1::EventFailure {
        let action = FailureAction::Retry.into();
        v1::EventFailure { index, action, reason: reason.into(), ..v1::EventFailure::default() }
    }

    /// The rule that these results break.
    fn broken(role: HandlerRole, results: Vec<v1::WorkResult>) -> Option<&'static str> {
        let mut record = record(role);
        for result in results {
            record.take(v1::ProcessResponse { response: Some(Response::Result(result)) });
        }
        match record.broken? {
            Fault::Broken { rule, .. } => rule,
            Fault::NotCheckable(_) => None,
        }
    }

    #[test]
    fn an_answer_that_keeps_the_rules_is_taken() {
        let first = v1::WorkResult { failures: vec![failure(1, "BUSY")], ..result(passed(&[0]), 0, false) };
        assert_eq!(broken(HandlerRole::Map, vec![first, result(None, 1, true)]), None);
        let goes_on = v1::Outputs { continued: true, ..passed(&[0, 0]).unwrap() };
        let goes_on = || result(Some(goes_on.clone()), 0, false);
        let rest = result(passed(&[0, 1, 2]), 0, true);
        assert_eq!(broken(HandlerRole::FlatMap, vec![goes_on(), rest]), None);
        let fails = v1::WorkResult { failures: vec![failure(0, "BUSY")], ..result(passed(&[1]), 1, true) };
        assert_eq!(broken(HandlerRole::FlatMap, vec![goes_on(), fails]), None);
        let whole = v1::WorkResult { failures: vec![failure(WHOLE, "TIMEOUT")], ..result(None, 0, true) };
        assert_eq!(broken(HandlerRole::Batch, vec![whole]), None);
    }

    #[test]
    fn an_answer_that_breaks_a_rule_names_it() {
        use HandlerRole::{Batch, Filter, FlatMap, Map, Sink};
        let all = || result(passed(&[0, 1, 2]), 0, true);
        let with = |failure| v1::WorkResult { failures: vec![failure], ..result(None, 2, true) };
        let new = v1::Outputs { payload: Some(values(["x", "y", "z"])), ..passed(&[0, 1, 2]).unwrap() };
        let routed = v1::Strings { values: Some(values(["up"])), ..v1::Strings::default() };
        let routed = v1::Outputs { route: Some(routed), ..passed(&[0, 1, 2]).unwrap() };
        let subject = v1::Strings { values: Some(values(["new"])), ..v1::Strings::default() };
        let changed = v1::Outputs { subject: Some(subject), ..passed(&[0, 1, 2]).unwrap() };
        let continued = v1::Outputs { continued: true, ..passed(&[0, 1, 2]).unwrap() };
        let goes_on = || result(Some(v1::Outputs { continued: true, ..passed(&[0]).unwrap() }), 0, false);
        let cases: Vec<(&str, HandlerRole, Vec<v1::WorkResult>)> = vec![
            ("W2", Map, vec![result(passed(&[0, 1]), 0, true)]),
            ("W2", Map, vec![result(passed(&[0, 1, 2]), 1, true)]),
            ("W2", Map, vec![all(), result(None, 0, true)]),
            ("W2", Map, vec![result(passed(&[0]), 0, false), result(passed(&[0, 1, 2]), 0, true)]),
            ("W2", Map, vec![result(passed(&[0, 1, 2]), 3, false)]),
            ("W1", Map, vec![v1::WorkResult { sequence: 2, ..all() }]),
            ("W3", FlatMap, vec![result(passed(&[1, 0, 2]), 0, true)]),
            ("W3", FlatMap, vec![result(passed(&[0, 1, 3]), 0, true)]),
            ("W3", FlatMap, vec![result(Some(continued), 0, true)]),
            ("W3", FlatMap, vec![goes_on(), result(passed(&[1, 2]), 0, true)]),
            ("W3", FlatMap, vec![goes_on(), result(None, 2, true)]),
            ("W3", FlatMap, vec![goes_on(), with(failure(1, "BUSY"))]),
            ("W3", FlatMap, vec![goes_on(), result(passed(&[1]), 0, false), result(passed(&[0]), 1, true)]),
            ("W5", Map, vec![result(Some(new), 0, true)]),
            ("W6", Map, vec![result(passed(&[0, 0, 1, 2]), 0, true)]),
            ("W6", Sink, vec![all()]),
            ("W6", Filter, vec![result(Some(changed), 0, true)]),
            ("W7", Map, vec![with(failure(0, "not a reason"))]),
            ("W7", Map, vec![with(v1::EventFailure { action: 0, ..failure(0, "BUSY") })]),
            ("W7", Map, vec![with(v1::EventFailure { message: "m".repeat(5000), ..failure(0, "BUSY") })]),
            ("W9", Batch, vec![with(failure(WHOLE, "TIMEOUT"))]),
            ("W19", Map, vec![result(Some(routed), 0, true)]),
        ];
        for (at, (rule, role, results)) in cases.into_iter().enumerate() {
            assert_eq!(broken(role, results), Some(rule), "case {at}");
        }
    }
}
