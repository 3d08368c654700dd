//! Group commit: one flush acknowledges everything that was written before it began.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::{AppendError, LogError};

/// Who waits for a flush, and how far the last one reached. Points are whatever rises with what was written: an offset, or a position.
#[derive(Debug)]
pub struct GroupCommit {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Everything below is on the device.
    flushed: u64,
    flushing: bool,
    /// A flush failed: what it should have written may be gone from the page cache, and a second flush would say nothing of it.
    failed: bool,
}

impl GroupCommit {
    /// Everything below `flushed` is on the device already.
    pub fn new(flushed: u64) -> Self {
        GroupCommit {
            state: Mutex::new(State {
                flushed,
                flushing: false,
                failed: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Returns when everything below `until` is on the device. Whoever comes while no flush is under way does it for all that wait; whoever comes
    /// during one waits for the next. `flush` answers the point below which everything had been written when it began.
    ///
    /// # Errors
    /// The flush failed, this one or an earlier one: it is never tried again.
    pub fn wait(&self, until: u64, flush: impl Fn() -> Result<u64, LogError>) -> Result<(), AppendError> {
        let mut state = self.lock();
        loop {
            if state.flushed >= until {
                return Ok(());
            }
            if state.failed {
                return Err(AppendError::Offline);
            }
            if state.flushing {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.flushing = true;
            drop(state);
            let result = flush();
            state = self.lock();
            state.flushing = false;
            self.changed.notify_all();
            match result {
                Ok(point) => state.flushed = state.flushed.max(point),
                Err(error) => {
                    state.failed = true;
                    return Err(error.into());
                }
            }
        }
    }

    /// The point below which everything is on the device.
    pub fn flushed(&self) -> u64 {
        self.lock().flushed
    }

    /// Whether a flush failed.
    pub fn has_failed(&self) -> bool {
        self.lock().failed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Barrier};

    #[test]
    fn one_flush_serves_all_that_wait() {
        let commit = Arc::new(GroupCommit::new(0));
        let written = Arc::new(AtomicU64::new(0));
        let flushes = Arc::new(AtomicU64::new(0));
        let (entered, go) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let flush = {
            let (written, flushes, entered, go) = (written.clone(), flushes.clone(), entered.clone(), go.clone());
            move || {
                let point = written.load(Ordering::SeqCst);
                if flushes.fetch_add(1, Ordering::SeqCst) == 0 {
                    entered.wait();
                    go.wait();
                }
                Ok(point)
            }
        };
        std::thread::scope(|scope| {
            written.store(1, Ordering::SeqCst);
            scope.spawn(|| commit.wait(1, &flush).unwrap());
            entered.wait();
            // The first flush is under way: these eight were not written when it began, so one more serves all of them.
            written.store(9, Ordering::SeqCst);
            for until in 2..=9 {
                let (commit, flush) = (&commit, &flush);
                scope.spawn(move || commit.wait(until, flush).unwrap());
            }
            go.wait();
        });
        assert_eq!((flushes.load(Ordering::SeqCst), commit.flushed()), (2, 9));
    }

    #[test]
    fn a_failed_flush_is_final() {
        let commit = GroupCommit::new(5);
        let fail = || {
            Err(LogError::Io {
                what: "flush",
                path: "x".into(),
                source: std::io::Error::other("EIO"),
            })
        };
        assert!(matches!(commit.wait(6, fail), Err(AppendError::Log(_))));
        let never = || panic!("a failed flush was tried again");
        assert!(matches!(commit.wait(6, never), Err(AppendError::Offline)));
        assert!(commit.wait(5, never).is_ok());
    }
}
