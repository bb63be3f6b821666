//! Carries out a plan.

mod files;
mod trouble;

use std::{
    fmt, fs,
    io::Write as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use meshloom_e2e::{Books, Project, Running, processes};
use rustix::process::Signal;

use self::files::{Lines, tails};
use crate::{
    check,
    client::Client,
    dialled::Dialled,
    evidence::{self, Evidence},
    namespace::{self, Tmpfs},
    pipeline,
    plan::{self, Fault, Ground, Plan, Step, Victim},
    storage::Control,
    victims,
};

/// Longest time for anything to come: only a pipeline that is stuck needs it.
const PATIENCE: Duration = Duration::from_secs(300);
/// Exit status of a run that a node keeps from beginning.
const NOT_AVAILABLE: i32 = 69;
/// What it says then.
const NOT_UP: [&str; 4] = ["START_FAILED", "SPAWN_FAILED", "OPEN_FAILED", "NODE_UNREACHABLE"];
/// Pause between looks at the sink.
const LOOK: Duration = Duration::from_millis(4);
/// First pause between two times that the sink is moved on for a victim's sake.
const PAUSE: Duration = Duration::from_millis(100);
/// Pause between searches for a victim.
const SEARCH: Duration = Duration::from_millis(20);
/// Where a full file ends: behind the small ones, which are replaced as wholes, before the ends of all that grow.
const FULL: u64 = 4096;

/// What a round has come to.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Faults that struck.
    pub faults: usize,
    /// Runs of the coordinator.
    pub runs: usize,
    /// How long it took.
    pub took: Duration,
    /// Why it was not run: the system refuses what it needs.
    pub refused: Option<String>,
}

/// A round that went wrong.
pub struct Failed {
    /// What is wrong.
    pub wrong: Vec<String>,
    /// How far the schedule had come.
    pub done: usize,
    /// The folder, kept.
    pub folder: PathBuf,
    /// The ends of its logs.
    pub logs: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.logs)?;
        writeln!(f, "after {} faults, in {}:", self.done, self.folder.display())?;
        self.wrong.iter().try_for_each(|wrong| writeln!(f, "WRONG: {wrong}"))
    }
}

/// Runs a plan to its end, where it has to run. `chaos` is the program of this crate.
///
/// # Errors
/// When the evidence is not what the model says.
pub fn run(plan: &Plan, chaos: &Path) -> Result<Outcome, Failed> {
    if plan.ground == Ground::Tmpfs { namespace::run(plan, chaos) } else { run_here(plan, chaos) }
}

/// Runs a plan to its end, in the namespaces of this process.
///
/// # Errors
/// When the evidence is not what the model says.
pub fn run_here(plan: &Plan, chaos: &Path) -> Result<Outcome, Failed> {
    let began = Instant::now();
    let language = plan.language("d").expect("d has a language");
    let dialled = Dialled::start(language, &format!("{}", plan.seed));
    let project = pipeline::project(plan, chaos, &dialled.proxy.address());
    let tmpfs = match (plan.ground == Ground::Tmpfs).then(|| Tmpfs::mount(project.state())).transpose() {
        Ok(tmpfs) => tmpfs,
        Err(why) => return Ok(Outcome { refused: Some(why), ..Outcome::default() }),
    };
    let mut round = Round {
        plan,
        began,
        control: Control::new(project.path(pipeline::STORAGE)),
        tmpfs,
        project,
        dialled,
        client: Client::start(plan.seed),
        running: None,
        runs: 0,
        sink: Lines::default(),
        gate: 0,
        may_not_start: false,
        done: 0,
        faults: 0,
    };
    let result = round.carry_out();
    // First, so that nothing of it goes on while it is looked at.
    drop(round.running.take());
    match result {
        Ok(()) => Ok(Outcome { faults: round.faults, runs: round.runs, took: began.elapsed(), refused: None }),
        Err(wrong) => {
            let (done, logs) = (round.done, tails(round.project.dir()));
            Err(Failed { wrong, done, folder: round.project.keep(), logs })
        }
    }
}

struct Round<'p> {
    plan: &'p Plan,
    began: Instant,
    control: Control,
    /// Unmounted before the project's folder is removed.
    tmpfs: Option<Tmpfs>,
    project: Project,
    dialled: Dialled,
    client: Client,
    running: Option<Running>,
    runs: usize,
    sink: Lines,
    /// How many lines the sink may record.
    gate: u64,
    /// Another than the coordinator was struck in this run of it, perhaps before it was up.
    may_not_start: bool,
    /// Steps that are over.
    done: usize,
    /// Those of them that struck.
    faults: usize,
}

/// How events go on while something is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// Ever more slowly, since it may take a process long to come up.
    Ebbing,
    /// As before, since it takes no longer than events need.
    Steady,
}

type Checked = Result<(), Vec<String>>;

impl Round<'_> {
    fn carry_out(&mut self) -> Checked {
        let steps = &self.plan.steps;
        self.gate = steps.first().map_or(u64::MAX, |step| step.at + 1);
        self.open_gate(self.gate);
        self.start();
        for (index, step) in steps.iter().enumerate() {
            self.wait(&format!("{} lines at the sink", step.at), |round| round.sink.count(&round.project) >= step.at)?;
            // Events flow while it strikes, and cannot run out before the next.
            self.gate = steps.get(index + 1).map_or(step.at, |next| next.at) + 1;
            self.open_gate(self.gate);
            thread::sleep(step.after);
            self.log(&self.plan.tell(step));
            self.faults += usize::from(self.strike(step)?);
            self.done += 1;
        }
        self.open_gate(u64::MAX);
        self.wait("all that was posted to be accepted", |round| round.client.is_done())?;
        let queued = pipeline::queued(self.plan).count();
        self.wait("the queue to be empty", |round| evidence::forgotten(&round.project) == queued)?;
        // The queue and the source that is posted to have no end, so the run has none of its own.
        self.wait("everything to settle", |round| {
            thread::sleep(SEARCH);
            round.running.as_ref().and_then(Running::status).is_some_and(|books| is_settled(&books))
        })?;
        let running = self.running.take().expect("it runs until it is waited for");
        running.signal("TERM");
        let finished = running.finish();
        if finished.status.code() != Some(0) {
            return Err(vec![format!("the coordinator ended with {}", finished.status)]);
        }
        finished.books().assert_balanced();
        self.check(true)
    }

    fn start(&mut self) {
        self.client.direct(String::new());
        self.may_not_start = false;
        self.running = Some(self.project.start());
        self.runs += 1;
    }

    /// Tells the client where the coordinator listens, once that is known.
    fn direct(&mut self) {
        let log = self.running.as_ref().map(Running::log).unwrap_or_default();
        if let Some((_, rest)) = log.split_once("listening on ") {
            self.client.direct(rest.split_whitespace().next().unwrap_or_default().to_owned());
        }
    }

    /// What has been done, with the time, beside the logs of the processes that it was done to.
    fn log(&self, what: &str) {
        let path = self.project.path("schedule.log");
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{:7.2} s: {what}", self.began.elapsed().as_secs_f64()).unwrap();
    }

    fn open_gate(&self, lines: u64) {
        let fresh = self.project.write("gate.new", lines.to_string());
        fs::rename(fresh, self.project.path(pipeline::GATE)).unwrap();
    }

    /// Waits until something holds. A coordinator that ends by itself before is wrong.
    fn wait(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) -> Checked {
        let began = Instant::now();
        while !holds(self) {
            self.direct();
            if let Some(status) = self.running.as_mut().and_then(Running::ended) {
                if status.code() == Some(NOT_AVAILABLE) && self.may_not_start {
                    self.start_again()?;
                    continue;
                }
                return if holds(self) { Ok(()) } else { Err(vec![format!("it ended before {what}: {status}")]) };
            }
            if began.elapsed() > PATIENCE {
                let books = self.running.as_ref().and_then(Running::status);
                return Err(vec![format!("waited {PATIENCE:?} for {what}; books: {books:#?}")]);
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// A node that was struck before it was up: such a run refuses to begin, and whoever started it starts it again.
    fn start_again(&mut self) -> Checked {
        let finished = self.running.take().expect("it has ended").finish();
        self.log(&format!("{}, since a node was struck before it was up", finished.status));
        let told = NOT_UP.iter().any(|code| finished.log.contains(&format!("error[{code}]")));
        if !told {
            return Err(vec![format!("{} for another reason than a node that did not start", finished.status)]);
        }
        self.check(false)?;
        self.start();
        Ok(())
    }

    /// Waits until something is found. Much comes only where events flow (a victim that was struck before is noticed and
    /// started again, a letter is written), so a few do meanwhile. Says whether it was: what `ends`, a source, may be there
    /// no more.
    fn wait_for(
        &mut self,
        what: &str,
        flow: Flow,
        ends: Option<&str>,
        mut found: impl FnMut(&mut Self) -> bool,
    ) -> Result<bool, Vec<String>> {
        let (mut pause, mut next, mut struck) = (PAUSE, Instant::now(), true);
        self.wait(what, |round| {
            if found(round) {
                return true;
            }
            let lines = round.sink.count(&round.project);
            if next.elapsed() >= pause && lines >= round.gate {
                // Earlier waits may have let in more than the schedule has come to.
                round.gate = lines + plan::STRIDE;
                round.open_gate(round.gate);
                let books = |round: &Self| round.running.as_ref().and_then(Running::status);
                struck = ends.is_none_or(|source| books(round).is_none_or(|books| !books.node(source).exhausted));
                (pause, next) = (if flow == Flow::Ebbing { pause * 2 } else { pause }, Instant::now());
            }
            // Looking through all processes is work that theirs has to wait for.
            thread::sleep(SEARCH);
            !struck
        })?;
        Ok(struck)
    }

    /// Says whether it struck.
    fn strike(&mut self, step: &Step) -> Result<bool, Vec<String>> {
        let strikes_others = !matches!(step.fault, Fault::Kill(Victim::Coordinator) | Fault::KillAll);
        self.may_not_start |= strikes_others;
        let struck = self.carry_out_fault(step)?;
        // Again, since what is struck may be of a run that was started while a victim was looked for.
        self.may_not_start |= strikes_others;
        Ok(struck)
    }

    fn carry_out_fault(&mut self, step: &Step) -> Result<bool, Vec<String>> {
        match step.fault {
            Fault::Kill(Victim::Coordinator) => self.kill_coordinator(false).map(|()| true),
            Fault::KillAll => self.kill_coordinator(true).map(|()| true),
            Fault::Kill(Victim::Dialled) => {
                self.dialled.kill();
                Ok(true)
            }
            Fault::Trouble(place, trouble, time, again) => self.trouble(place, trouble, time, again).map(|()| true),
            Fault::Filled(time, again) => self.filled(time, again).map(|()| true),
            Fault::Kill(victim) => self.signal(victim, &[Signal::KILL], Duration::ZERO),
            Fault::Stop(victim, time) => self.signal(victim, &[Signal::STOP, Signal::CONT], time),
            Fault::Full(time) => {
                self.is_up()?;
                let pid = self.running.as_ref().expect("it runs between steps").pid();
                let before = victims::limit_files(pid, Some(FULL));
                thread::sleep(time);
                victims::limit_files(pid, before);
                Ok(true)
            }
            Fault::Cut => {
                self.wait_for("a connection to cut", Flow::Ebbing, None, |round| round.dialled.proxy.cut() > 0)
            }
        }
    }

    /// Sends signals to a victim, as soon as there is one, with a pause behind each but the last.
    fn signal(&mut self, victim: Victim, signals: &[Signal], pause: Duration) -> Result<bool, Vec<String>> {
        let ends = match victim {
            Victim::Node("count") | Victim::Guard("count") => Some("count"),
            _ => None,
        };
        self.wait_for(&format!("{victim:?} to strike"), Flow::Ebbing, ends, |round| {
            let running = round.running.as_ref().expect("it runs between steps");
            let pid = match victim {
                Victim::Coordinator => Some(running.pid()),
                Victim::Node(node) => victims::node(running.mark(), node),
                Victim::Guard(node) => victims::guard(running.mark(), node),
                Victim::Dialled => Some(round.dialled.pid()),
            };
            let Some(pid) = pid.filter(|pid| victims::signal(*pid, signals[0])) else {
                return false;
            };
            for signal in &signals[1..] {
                thread::sleep(pause);
                // It may have been killed meanwhile; nothing else takes its number so soon.
                victims::signal(pid, *signal);
            }
            true
        })
    }

    /// Kills the coordinator, looks at what it has left, and starts it again.
    fn kill_coordinator(&mut self, with_all: bool) -> Checked {
        let running = self.running.take().expect("it runs between steps");
        running.signal("KILL");
        if with_all {
            // Again, since a guard may have been forking; the coordinator comes first and starts no more.
            for _ in 0..2 {
                for pid in processes::marked(running.mark()) {
                    victims::signal(pid, Signal::KILL);
                }
            }
        }
        let finished = running.finish_beside();
        let began = finished.status.code() != Some(NOT_AVAILABLE) || !self.may_not_start;
        if finished.status.code().is_some() && began {
            return Err(vec![format!("it ended before it was killed: {}", finished.status)]);
        }
        self.check(false)?;
        self.start();
        Ok(())
    }

    fn check(&self, at_rest: bool) -> Checked {
        let wrong = check::violations(self.plan, &self.client.posted(), &Evidence::of(&self.project), at_rest);
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

/// Whether the sources that end have ended and nothing is under way.
fn is_settled(books: &Books) -> bool {
    let sources = ["in", "count", "queue", "web"].map(|name| books.node(name));
    let settled = sources.iter().all(|source| source.received == source.settled);
    settled && sources[..2].iter().all(|source| source.exhausted)
}
