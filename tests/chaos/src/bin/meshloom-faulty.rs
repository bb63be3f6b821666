//! `meshloom` with a storage that fails as the file says that CHAOS_STORAGE names.

use std::process::ExitCode;

use meshloom_chaos::storage::Steered;

fn main() -> ExitCode {
    meshloom_cli::main(Steered::default())
}
