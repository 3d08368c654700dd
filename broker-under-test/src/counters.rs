//! What the broker counts of itself: system calls by kind, bytes, responses.
//!
//! Counts are exact and cheap (relaxed atomics), so that a measured figure like "calls per response" does not depend
//! on a tracer. A test holds them against `strace`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// One counter of the broker.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Counter { $($(#[$doc])* $name),* }

        const NAMES: &[&str] = &[$(stringify!($name)),*];

        impl Counter {
            /// Every counter.
            pub const ALL: &'static [Counter] = &[$(Counter::$name),*];
        }
    };
}

counters! {
    /// recv(2) on connections.
    CallRecv,
    /// send(2) on connections.
    CallSend,
    /// sendmsg(2) on connections: writev with flags.
    CallSendmsg,
    /// sendfile(2).
    CallSendfile,
    /// splice(2), either direction.
    CallSplice,
    /// pread(2) of log segments to serve a fetch.
    CallPread,
    /// preadv(2) of log segments to serve a fetch.
    CallPreadv,
    /// mmap(2) of log segments.
    CallMmap,
    /// pread(2) to find a position in a segment, or an entry of a consume queue.
    CallPreadLookup,
    /// Bytes that those reads brought.
    LookupBytes,
    /// Log bytes that recovery read.
    RecoveryBytes,
    /// pwritev(2) to a segment.
    CallPwritev,
    /// pwrite(2) to an index.
    CallPwriteIndex,
    /// fdatasync(2) of the log.
    CallFdatasync,
    /// fdatasync(2) of an index.
    CallFdatasyncIndex,
    /// Log bytes that flushes made durable.
    FlushedBytes,
    /// Files of the logs opened, new ones too.
    CallOpen,
    /// Files of the logs that are kept open now; it goes up and down.
    OpenFiles,
    /// System calls that moved the records of fetch responses, head and body apart: these are the body's.
    CallBody,
    /// Fetch responses that carried records.
    FetchResponses,
    /// Runs of record bytes in them: more than one for a partition whose batches do not lie behind each other.
    FetchSlices,
    /// Record bytes in fetch responses.
    FetchBytes,
    /// Bytes of fetch response heads.
    FetchHeadBytes,
    /// Record bytes of fetch responses copied between kernel and user space by this process, each copy once.
    UserCopiedBytes,
    /// Record bytes that the heap cache had.
    CacheHitBytes,
    /// Record bytes that the heap cache did not have.
    CacheMissBytes,
    /// Batches appended.
    AppendBatches,
    /// Batches of idempotent producers that were there already: answered, and not appended again.
    RepeatedBatches,
    /// Bytes appended.
    AppendBytes,
    /// Requests answered.
    Requests,
    /// Connections accepted.
    Connections,
    /// Connections closed because there were too many.
    ConnectionsRefused,
    /// Connections closed because of bytes that make no sense, or a limit.
    ConnectionsDropped,
}

/// All counters of one broker.
#[derive(Debug)]
pub struct Counters([AtomicU64; Counter::ALL.len()]);

impl Default for Counters {
    fn default() -> Self {
        Counters(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Counters {
    /// Adds `n`.
    pub fn add(&self, counter: Counter, n: u64) {
        self.0[counter as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// Takes `n` away, from what tells how many there are now.
    pub fn lower(&self, counter: Counter, n: u64) {
        self.0[counter as usize].fetch_sub(n, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize].load(Ordering::Relaxed)
    }

    /// All values by name, in snake case.
    pub fn snapshot(&self) -> BTreeMap<String, u64> {
        Counter::ALL
            .iter()
            .map(|c| (snake(NAMES[*c as usize]), self.get(*c)))
            .collect()
    }
}

fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_snake_case() {
        let counters = Counters::default();
        counters.add(Counter::CallSendfile, 3);
        assert_eq!(counters.snapshot().get("call_sendfile"), Some(&3));
    }
}
