//! The `meshloom` program.

use std::process::ExitCode;

use meshloom_journal::storage::Disks;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    meshloom_cli::main(Disks)
}
