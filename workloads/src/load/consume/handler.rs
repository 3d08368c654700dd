//! The application behind a consumer: it takes one record after the other, and each of them has it wait for something else, such as a
//! database. It costs no CPU, so that several of them stand in each other's way only where the broker has them do so.

use super::{Receipts, Received};
use crate::load::clock;
use crate::load::stamp::STAMP_BYTES;
use std::collections::VecDeque;
use std::time::Duration;

/// How late a timer may wake a handler that makes up for it; beyond that the machine was busy, and what it did not wait for is lost.
const LATE_NS_MAX: u64 = 200_000;

/// A handler and the records in front of it: those of one poll at most, as the next one waits until they are done.
#[derive(Debug)]
pub(super) struct Handler {
    cost_ns: u64,
    /// When the last record was done.
    free_ns: u64,
    waiting: VecDeque<Waiting>,
}

/// What is needed of a record later.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    place: usize,
    offset: i64,
    timestamp_ms: i64,
    bytes: u64,
    received_ns: u64,
    stamp: [u8; STAMP_BYTES],
    stamp_bytes: usize,
}

/// A record that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handled {
    /// Key and value, bytes.
    pub bytes: u64,
    /// When.
    pub handled_ns: u64,
    /// How long it took from end to end, ns, where its stamp tells.
    pub took_ns: Option<u64>,
}

impl Handler {
    /// One that spends `cost` on each record.
    pub fn new(cost: Duration) -> Self {
        clock::exact_sleeps();
        Self {
            cost_ns: u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX),
            free_ns: 0,
            waiting: VecDeque::new(),
        }
    }

    /// Whether it has nothing to do.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Puts a record in front of it.
    pub fn take(&mut self, received: &Received<'_>) {
        let stamp_bytes = received.value.len().min(STAMP_BYTES);
        let mut stamp = [0; STAMP_BYTES];
        stamp[..stamp_bytes].copy_from_slice(&received.value[..stamp_bytes]);
        self.waiting.push_back(Waiting {
            place: received.place,
            offset: received.offset,
            timestamp_ms: received.timestamp_ms,
            bytes: (received.key.unwrap_or_default().len() + received.value.len()) as u64,
            received_ns: received.received_ns,
            stamp,
            stamp_bytes,
        });
    }

    /// Waits until the next record is done, and counts it then; `None` when none is waiting, or it is not done at `until_ns`
    /// ([`clock::now_ns`]).
    pub fn handle(&mut self, until_ns: u64, receipts: &mut Receipts) -> Option<Handled> {
        let record = *self.waiting.front()?;
        let done_ns = self.free_ns.max(record.received_ns).saturating_add(self.cost_ns);
        if done_ns > until_ns {
            sleep_until(until_ns);
            return None;
        }
        sleep_until(done_ns);
        let handled_ns = clock::now_ns();
        self.free_ns = done_ns.max(handled_ns.saturating_sub(LATE_NS_MAX));
        self.waiting.pop_front();
        let took_ns = receipts.take(&Received {
            place: record.place,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: None,
            value: &record.stamp[..record.stamp_bytes],
            received_ns: handled_ns,
        });
        Some(Handled {
            bytes: record.bytes,
            handled_ns,
            took_ns,
        })
    }
}

fn sleep_until(at_ns: u64) {
    let left_ns = at_ns.saturating_sub(clock::now_ns());
    if left_ns > 0 {
        std::thread::sleep(Duration::from_nanos(left_ns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(offset: i64, received_ns: u64, value: &[u8]) -> Received<'_> {
        Received {
            place: 0,
            offset,
            timestamp_ms: 0,
            key: Some(b"key"),
            value,
            received_ns,
        }
    }

    #[test]
    fn records_are_done_one_after_the_other_and_counted_when_they_are() {
        let mut handler = Handler::new(Duration::from_millis(2));
        let mut receipts = Receipts::new(&[(0, 0)]);
        let began_ns = clock::now_ns();
        for offset in 0..3 {
            handler.take(&received(offset, began_ns, &[7; 30]));
        }
        let far_ns = began_ns + 60_000_000_000;
        assert_eq!(handler.handle(began_ns + 1_000_000, &mut receipts), None);
        assert_eq!(receipts.places()[0].records, 0, "the first one is not done yet");
        for done in 1..=3 {
            let handled = handler.handle(far_ns, &mut receipts).unwrap();
            assert_eq!((handled.bytes, receipts.places()[0].records), (33, done));
            assert!(handled.handled_ns >= began_ns + done * 2_000_000);
        }
        assert!(handler.is_idle() && handler.handle(far_ns, &mut receipts).is_none());
    }

    #[test]
    fn a_handler_that_costs_nothing_is_done_at_once() {
        let mut handler = Handler::new(Duration::ZERO);
        let mut receipts = Receipts::new(&[(0, 5)]);
        handler.take(&received(5, 1, b""));
        let handled = handler.handle(2, &mut receipts).unwrap();
        assert_eq!((handled.bytes, handled.took_ns), (3, None));
        assert_eq!((receipts.places()[0].next_offset, receipts.foreign()), (6, 1));
    }
}
