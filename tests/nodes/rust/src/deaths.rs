//! How a process of this language dies by an event.

use crate::Command;

/// Ends the process if the payload says so; another command returns.
pub(crate) fn die_if_asked(command: &Command) {
    let die: fn() = match command.what.as_str() {
        "die" => || std::process::abort(),
        "panic" => panic_while_panicking,
        "oom" => exhaust_memory,
        _ => return,
    };
    eprintln!("asked to die {}", command.n);
    die();
}

/// A panic that cannot be contained: the runtime aborts.
fn panic_while_panicking() {
    struct Fragile;
    impl Drop for Fragile {
        fn drop(&mut self) {
            panic!("and once more");
        }
    }
    let _fragile = Fragile;
    panic!("asked to panic");
}

/// Takes memory until none is given any more, which ends the process. Zeroed pages cost the machine nothing.
fn exhaust_memory() {
    let mut kept = Vec::new();
    loop {
        kept.push(vec![0_u8; 64 << 20]);
    }
}
