//! Ctrl-C: a flag that everything which waits looks at, so that children are stopped and finished trials are kept.

use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The error of an interrupted wait.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Turns SIGINT and SIGTERM into the flag; a second one ends the process at once (the children die with it).
pub fn install() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    })?;
    Ok(())
}

/// Fails once the flag is set.
pub fn check() -> Result<(), Interrupted> {
    if is_set() { Err(Interrupted) } else { Ok(()) }
}

/// Whether the flag is set.
pub fn is_set() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// The flag itself, for code that takes one.
pub fn flag() -> &'static AtomicBool {
    &INTERRUPTED
}
