//! `assay worker`: one client process; started by the harness, not by people.

use std::process::ExitCode;

/// Runs a worker over stdin and stdout; see `workloads::worker`.
pub fn run() -> ExitCode {
    workloads::worker::run(std::io::stdin().lock(), std::io::stdout().lock()).into()
}
