//! Where a partition's log begins and ends, and who waits for it to grow.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

/// The offsets of a partition that readers and writers agree on.
#[derive(Debug)]
pub struct Bounds {
    start: AtomicI64,
    high_watermark: AtomicI64,
    end: AtomicI64,
    has_waiters: AtomicBool,
    waiters: Mutex<Vec<Thread>>,
}

impl Bounds {
    /// For a log that was opened: everything in it may be read.
    pub fn new(start: i64, end: i64) -> Self {
        Bounds {
            start: AtomicI64::new(start.min(end)),
            high_watermark: AtomicI64::new(end),
            end: AtomicI64::new(end),
            has_waiters: AtomicBool::new(false),
            waiters: Mutex::default(),
        }
    }

    /// Offset of the first record that may be read.
    pub fn start(&self) -> i64 {
        self.start.load(Ordering::Acquire)
    }

    /// Offset behind the last record that may be read.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark.load(Ordering::Acquire)
    }

    /// Offset behind the last record that was written.
    pub fn end(&self) -> i64 {
        self.end.load(Ordering::Acquire)
    }

    /// Moves the start; it never goes back.
    pub fn raise_start(&self, offset: i64) {
        self.start.fetch_max(offset, Ordering::AcqRel);
    }

    /// Moves the end, under the lock of the appender.
    pub fn set_end(&self, offset: i64) {
        self.end.store(offset, Ordering::Release);
    }

    /// Lets readers see what is below `offset`, and wakes those that wait. It never goes back. `publish` makes the bytes visible: behind the high
    /// watermark, so that nobody sees bytes beyond it, and in front of the waking.
    pub fn raise_high_watermark(&self, offset: i64, publish: impl FnOnce()) {
        self.high_watermark.fetch_max(offset, Ordering::AcqRel);
        publish();
        self.wake();
    }

    /// Asks to be unparked when there is more to read. Register, look again, then park.
    pub fn wait(&self, thread: Thread) {
        lock(&self.waiters).push(thread);
        self.has_waiters.store(true, Ordering::SeqCst);
    }

    /// Takes the registration back.
    pub fn forget(&self, thread: &Thread) {
        lock(&self.waiters).retain(|t| t.id() != thread.id());
    }

    fn wake(&self) {
        if self.has_waiters.swap(false, Ordering::SeqCst) {
            for thread in lock(&self.waiters).drain(..) {
                thread.unpark();
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
