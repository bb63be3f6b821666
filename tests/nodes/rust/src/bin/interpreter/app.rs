//! Config and set-up, the same for every handler.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use meshloom::{Config, ConfigError, Result};
use serde::{Deserialize, Deserializer};

use crate::{command::Command, report, source::Program};

#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    pub(crate) label: String,
    #[serde(deserialize_with = "present")]
    pub(crate) command: Option<Command>,
    setup: Setup,
    #[serde(with = "meshloom::config::duration")]
    pub(crate) wait: Duration,
    #[serde(with = "meshloom::config::size")]
    pub(crate) room: u64,
    log: PathBuf,
    pub(crate) program: Program,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            label: String::new(),
            command: None,
            setup: Setup::Succeed,
            wait: Duration::ZERO,
            room: 1024,
            log: PathBuf::new(),
            program: Program::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Setup {
    #[serde(rename = "")]
    Succeed,
    Refuse,
    Fail,
    FailOnce,
}

/// A key that may be left out, but not be null.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// What set-up makes.
#[derive(Debug)]
pub(crate) struct App(pub(crate) Settings);

impl App {
    pub(crate) async fn open(settings: Config<Settings>) -> Result<Self> {
        static FAILED: AtomicBool = AtomicBool::new(false);
        let fails = match settings.setup {
            Setup::Succeed => false,
            Setup::Refuse => return Err(ConfigError::field("setup", "asked to refuse it").into()),
            Setup::Fail => true,
            Setup::FailOnce => !FAILED.swap(true, Ordering::Relaxed),
        };
        if fails {
            return Err(io::Error::other("asked to fail").into());
        }
        let app = Self(settings.into_inner());
        app.log(format_args!("setup {}", app.0.label))?;
        report::set_up();
        Ok(app)
    }

    pub(crate) async fn close(app: Arc<Self>) {
        report::torn_down();
        if let Err(error) = app.log(format_args!("teardown {}", app.0.label)) {
            tracing::error!("the log cannot be written: {error}");
        }
    }

    /// Appends a line to the file `log`, if there is one.
    pub(crate) fn log(&self, line: impl std::fmt::Display) -> io::Result<()> {
        if self.0.log.as_os_str().is_empty() {
            return Ok(());
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&self.0.log)?;
        // One write, so that lines of several processes do not mix.
        file.write_all(format!("{line}\n").as_bytes())
    }
}
