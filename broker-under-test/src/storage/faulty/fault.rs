//! What can be made to fail: faults as data, and which call they strike.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A fault to inject: of what kind, on which paths, at which of the calls that it fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Fault {
    /// What goes wrong.
    pub what: FaultKind,
    /// A part of the path, such as `.log` or `orders-0/`; empty for every path.
    #[serde(default)]
    pub path: String,
    /// The first call that is struck, counted from 1 among those that the fault fits.
    #[serde(default = "one")]
    pub nth: u64,
    /// How many calls are struck; without it all from then on.
    #[serde(default)]
    pub count: Option<u64>,
}

fn one() -> u64 {
    1
}

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The power goes right after a change: that call and everything after it fails, and nothing changes any more.
    Crash,
    /// The disk has room for so many more bytes: the write that does not fit is cut short, then ENOSPC.
    Full {
        /// Bytes that still fit.
        room_bytes: u64,
    },
    /// EIO on a write, a cut or a reservation; nothing is written.
    FailWrite,
    /// EIO on a flush of a file or a folder. No later flush speaks for the bytes that this one should have made durable.
    FailFlush,
    /// EIO on a read, by the kernel too.
    FailRead,
    /// EROFS on everything that changes a file or a folder.
    ReadOnly,
    /// Every call takes longer.
    Slow {
        /// By how much.
        delay_ms: u64,
    },
    /// One bit of what was read is wrong. What the kernel sends on its own is not touched.
    FlipBit,
    /// A flush that says yes and does nothing: the power must not go now.
    LieFlush,
}

/// The calls that a storage takes, as faults and counts see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// A file is created, or emptied.
    Create,
    /// Bytes are written.
    Write,
    /// A file is cut or made longer.
    SetLength,
    /// Room is reserved.
    Preallocate,
    /// A file is flushed.
    Flush,
    /// A file goes.
    Remove,
    /// A file gets another name.
    Rename,
    /// A folder is made.
    CreateFolder,
    /// An empty folder goes.
    RemoveFolder,
    /// Names in a folder are flushed.
    FlushFolder,
    /// Bytes are read, or about to be read by the kernel.
    Read,
}

impl Operation {
    fn changes(self) -> bool {
        self != Operation::Read
    }

    fn flushes(self) -> bool {
        matches!(self, Operation::Flush | Operation::FlushFolder)
    }

    fn takes_room(self) -> bool {
        matches!(self, Operation::Write | Operation::Preallocate)
    }
}

impl FaultKind {
    fn fits(self, operation: Operation) -> bool {
        match self {
            FaultKind::Crash => operation.changes(),
            FaultKind::Full { .. } => operation.takes_room(),
            FaultKind::FailWrite => operation.takes_room() || operation == Operation::SetLength,
            FaultKind::FailFlush | FaultKind::LieFlush => operation.flushes(),
            FaultKind::FailRead | FaultKind::FlipBit => operation == Operation::Read,
            FaultKind::ReadOnly => operation.changes() && !operation.flushes(),
            FaultKind::Slow { .. } => true,
        }
    }
}

/// What a call has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Go,
    /// Fail with this errno, after the first bytes were written.
    Fail {
        errno: i32,
        bytes: u64,
    },
    /// Do it, then never anything again.
    Crash,
    /// Say that it was done.
    Lie,
    /// Do it, then turn one bit over.
    Flip,
}

/// A fault that waits for its call.
#[derive(Debug)]
pub(super) struct Armed {
    pub id: u64,
    fault: Fault,
    fitted: u64,
    written: u64,
    /// Calls that it struck: the evidence.
    pub hits: u64,
}

impl Armed {
    pub fn new(id: u64, fault: Fault) -> Self {
        Armed {
            id,
            fault,
            fitted: 0,
            written: 0,
            hits: 0,
        }
    }

    /// Looks at one call of `bytes` bytes; adds what it costs to `delay`.
    pub fn strike(&mut self, operation: Operation, path: &Path, bytes: u64, delay: &mut Duration) -> Verdict {
        let here = self.fault.path.is_empty() || path.to_string_lossy().contains(&self.fault.path);
        if !here || !self.fault.what.fits(operation) {
            return Verdict::Go;
        }
        self.fitted += 1;
        let behind = self.fitted.saturating_sub(self.fault.nth);
        if self.fitted < self.fault.nth || self.fault.count.is_some_and(|count| behind >= count) {
            return Verdict::Go;
        }
        if let FaultKind::Full { room_bytes } = self.fault.what {
            let room = room_bytes.saturating_sub(self.written);
            if bytes <= room {
                self.written += if operation == Operation::Write { bytes } else { 0 };
                return Verdict::Go;
            }
            self.written += if operation == Operation::Write { room } else { 0 };
            self.hits += 1;
            return Verdict::Fail {
                errno: libc::ENOSPC,
                bytes: room,
            };
        }
        self.hits += 1;
        let fail = |errno| Verdict::Fail { errno, bytes: 0 };
        match self.fault.what {
            FaultKind::Crash => Verdict::Crash,
            FaultKind::FailWrite | FaultKind::FailFlush | FaultKind::FailRead => fail(libc::EIO),
            FaultKind::ReadOnly => fail(libc::EROFS),
            FaultKind::FlipBit => Verdict::Flip,
            FaultKind::LieFlush => Verdict::Lie,
            FaultKind::Slow { delay_ms } => {
                *delay += Duration::from_millis(delay_ms);
                Verdict::Go
            }
            FaultKind::Full { .. } => Verdict::Go,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_data() {
        let text = r#"{"what":{"full":{"room-bytes":100}},"path":".log"}"#;
        assert!(
            serde_json::from_str::<Fault>(text).is_err(),
            "units are spelled with underscores"
        );
        let text = r#"{"what":{"full":{"room_bytes":100}},"path":".log"}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        assert_eq!((fault.nth, fault.count), (1, None));
        let again: Fault = serde_json::from_str(&serde_json::to_string(&fault).unwrap()).unwrap();
        assert_eq!(again, fault);
    }

    #[test]
    fn the_nth_call_and_so_many_after_it() {
        let fault = Fault {
            what: FaultKind::FailFlush,
            path: ".log".into(),
            nth: 2,
            count: Some(2),
        };
        let mut armed = Armed::new(0, fault);
        let mut delay = Duration::ZERO;
        let mut ask = |operation, path: &str| armed.strike(operation, Path::new(path), 0, &mut delay) != Verdict::Go;
        assert!(!ask(Operation::Flush, "a.log"));
        assert!(!ask(Operation::Flush, "a.index") && !ask(Operation::Write, "a.log"));
        assert!(ask(Operation::Flush, "a.log") && ask(Operation::Flush, "b.log"));
        assert!(!ask(Operation::Flush, "a.log"));
        assert_eq!(armed.hits, 2);
    }
}
