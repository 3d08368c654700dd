//! The one clock of a load: CLOCK_MONOTONIC in nanoseconds, the same for all processes of a machine.
//!
//! An [`std::time::Instant`] is read from the same clock, but can't be written into a record.

use nix::time::{ClockId, clock_gettime};
use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the machine's own zero.
pub fn now_ns() -> u64 {
    // It fails for clocks that do not exist, and this one does.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        let (seconds, nanoseconds) = (time.tv_sec() as u64, time.tv_nsec() as u64);
        seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds)
    })
}

/// Lets sleeps of this thread end when they are due: the kernel otherwise adds up to 50 us, to wake up less often.
pub fn exact_sleeps() {
    // SAFETY: it sets a number of the calling thread and reads no memory.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
}

/// The time of day, ms since 1970, at every moment of [`now_ns`]: read once, so that timestamps of records cost nothing.
#[derive(Debug, Clone, Copy)]
pub struct WallClock {
    zero_ms: i64,
}

impl WallClock {
    /// Reads both clocks.
    pub fn read() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX);
        Self {
            zero_ms: now_ms.saturating_sub((now_ns() / 1_000_000) as i64),
        }
    }

    /// The time of day at `at_ns`.
    pub fn at_ms(self, at_ns: u64) -> i64 {
        self.zero_ms.saturating_add((at_ns / 1_000_000) as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_and_the_day_is_todays() {
        let (first, second) = (now_ns(), now_ns());
        assert!(first > 0 && second >= first);
        let wall = WallClock::read();
        assert!(wall.at_ms(now_ns()) > 1_700_000_000_000);
        assert_eq!(wall.at_ms(5_000_000_000) - wall.at_ms(3_999_999_999), 1_001);
    }
}
