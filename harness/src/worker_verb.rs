//! `assay worker`: one client process; started by the harness, not by people.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Set by SIGTERM: a window of a load ends, and its result is told.
static STOP: AtomicBool = AtomicBool::new(false);

/// Runs a worker over stdin and stdout; see `workloads::worker`.
pub fn run() -> anyhow::Result<ExitCode> {
    let action = SigAction::new(SigHandler::Handler(stop), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler stores into an atomic and does nothing else.
    unsafe { sigaction(Signal::SIGTERM, &action) }?;
    Ok(workloads::worker::run(std::io::stdin().lock(), std::io::stdout(), &STOP).into())
}

extern "C" fn stop(_: i32) {
    STOP.store(true, Ordering::Relaxed);
}
