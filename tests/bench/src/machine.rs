//! What the figures were measured on.

use serde::Serialize;

/// The machine and how busy it was before the first run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
    /// Load average over one minute: what others were doing.
    load: f64,
}

impl Machine {
    /// This one, now.
    pub(crate) fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpus = read("/proc/cpuinfo");
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            cpu: model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: load().unwrap_or_default(),
        }
    }

    /// One line.
    pub(crate) fn line(&self) -> String {
        let Self { cpu, cores, kernel, load } = self;
        let busy = if *load > 0.5 { " (others are at work: trust ratios only)" } else { "" };
        format!("{cores} x {cpu}, Linux {kernel}, load {load:.1}{busy}")
    }
}

/// Load average over one minute.
pub(crate) fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}
