//! The node that the coordinator does not start: a process of ours behind a proxy.

use std::{
    fs::File,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use meshloom_e2e::{toolchain::Language, wait};

use crate::proxy::Proxy;

/// A test node that listens; it ends with this value.
pub struct Dialled {
    child: Child,
    /// In front of it.
    pub proxy: Proxy,
    _folder: Folder,
}

/// Socket and log of it: a short path, since sockets have no room for long ones.
struct Folder(PathBuf);

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
        let (socket, log) = (folder.0.join("node.sock"), folder.0.join("node.log"));
        let child = start(language, &socket, &log);
        let dialled = Self { child, proxy: Proxy::start(&socket), _folder: folder };
        let listens = || UnixStream::connect(&socket).is_ok();
        wait::holds(Duration::from_secs(120), &format!("the dialled node to listen ({})", log.display()), listens);
        dialled
    }
}

fn start(language: Language, socket: &Path, log: &Path) -> Child {
    let words: Vec<String> = serde_json::from_str(&language.test_node()).unwrap();
    let log = File::create(log).unwrap();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env("MESHLOOM_LISTEN", format!("unix:{}", socket.display()));
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

impl Drop for Dialled {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
