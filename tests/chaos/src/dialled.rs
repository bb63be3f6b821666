//! The node that the coordinator does not start: a process of ours behind a proxy.

use std::{
    fs::File,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use meshloom_e2e::{toolchain::Language, wait};

/// Longest time until it listens.
const START: Duration = Duration::from_secs(120);

use crate::proxy::Proxy;

/// A test node that listens; it ends with this value.
pub struct Dialled {
    language: Language,
    child: Child,
    /// In front of it.
    pub proxy: Proxy,
    folder: Folder,
}

/// Socket and log of it: a short path, since sockets have no room for long ones.
struct Folder(PathBuf);

impl Folder {
    fn socket(&self) -> PathBuf {
        self.0.join("node.sock")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Dialled {
    /// Starts it and waits until it listens.
    pub fn start(language: Language, name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("chaos-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let folder = Folder(folder);
        let child = start(language, &folder);
        let proxy = Proxy::start(&folder.socket());
        let dialled = Self { language, child, proxy, folder };
        dialled.wait();
        dialled
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, and starts it again.
    pub fn kill(&mut self) {
        self.end();
        self.child = start(self.language, &self.folder);
        self.wait();
    }

    fn wait(&self) {
        let log = self.folder.0.join("node.log");
        let listens = || UnixStream::connect(self.folder.socket()).is_ok();
        wait::holds(START, &format!("the dialled node to listen ({})", log.display()), listens);
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(language: Language, folder: &Folder) -> Child {
    let words: Vec<String> = serde_json::from_str(&language.test_node()).unwrap();
    let log = File::options().create(true).append(true).open(folder.0.join("node.log")).unwrap();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env("MESHLOOM_LISTEN", format!("unix:{}", folder.socket().display()));
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

impl Drop for Dialled {
    fn drop(&mut self) {
        self.end();
    }
}
