//! `meshloom conform`, as far as it needs no interpreter: how it refuses.

use crate::support::Folder;

#[test]
fn a_node_that_is_not_there_is_unavailable() {
    let folder = Folder::empty();
    let ran = folder.run("conform unix:no-such.sock --patience 1s");
    assert_eq!(ran.code, 69, "{}", ran.err);
    assert!(ran.err.contains("nothing serves at unix:no-such.sock") && ran.err.contains("--run"), "{}", ran.err);
}

#[test]
fn a_command_that_ends_is_shown_with_what_it_said() {
    let folder = Folder::empty();
    std::fs::write(folder.path().join("node.sh"), "echo no model here >&2; exit 3").unwrap();
    let mut command = folder.command("conform --run");
    let ran = command.arg("sh node.sh").output().unwrap();
    let told = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(69), "{told}");
    assert!(told.contains("exit status: 3") && told.contains("MESHLOOM_LISTEN=unix:"), "{told}");
    assert!(told.contains("sh node.sh") && told.contains("no model here"), "{told}");
    let ran = folder.run("conform --run no-such-program");
    assert!(ran.code == 69 && ran.err.contains("no-such-program cannot be started"), "{}", ran.err);
}

#[test]
fn wrong_usage_names_the_remedy() {
    let folder = Folder::empty();
    assert_eq!(folder.run("conform").code, 2);
    let ran = folder.run("conform 127.0.0.1:1 --check work.no-such");
    assert!(ran.code == 2 && ran.err.contains("`work.no-such`") && ran.err.contains("--list"), "{}", ran.err);
    let ran = folder.run("conform --run '");
    assert!(ran.code == 2 && ran.err.contains("a quote is not closed"), "{}", ran.err);
    let ran = folder.run("conform :::");
    assert!(ran.code == 2 && ran.err.contains("HOST:PORT"), "{}", ran.err);
    let ran = folder.run("conform --list --level full");
    assert!(ran.code == 0 && ran.out.contains("model.faults"), "{}", ran.out);
}
