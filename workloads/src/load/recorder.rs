//! What is known of each record that is on its way, and what comes of it: stamps in, histograms out. It reads no clock.

use super::client::Delivered;
use super::engine::{LATE_NS, Loaded};
use crate::native::phase::latency_histogram;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// Most records on their way; a client's send queue is bounded by bytes besides.
const RECORDS_MAX: usize = 1 << 24;
/// Most different reasons that failures are counted by.
const REASONS_MAX: usize = 64;
/// Stands for a record that is not on its way.
const NOWHERE: u64 = u64::MAX;

/// A record on its way.
#[derive(Debug, Clone, Copy)]
struct Entry {
    intended_ns: u64,
    bytes: u32,
}

/// Records on their way, and what became of the others.
#[derive(Debug)]
pub(super) struct Recorder {
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Acknowledged minus intended, since the last tick.
    pub interval: Histogram<u64>,
    latency_ns: Histogram<u64>,
    service_ns: Histogram<u64>,
    lateness_ns: Histogram<u64>,
    pub sent: u64,
    pub acked: u64,
    pub acked_bytes: u64,
    pub failed: u64,
    late: u64,
    blocked: u64,
    batches: u64,
    errors: BTreeMap<String, u64>,
    last_ack_ns: u64,
    /// Records that the client told of and that were not on their way.
    strays: u64,
}

impl Recorder {
    pub fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            interval: latency_histogram(),
            latency_ns: latency_histogram(),
            service_ns: latency_histogram(),
            lateness_ns: latency_histogram(),
            sent: 0,
            acked: 0,
            acked_bytes: 0,
            failed: 0,
            late: 0,
            blocked: 0,
            batches: 0,
            errors: BTreeMap::new(),
            last_ack_ns: 0,
            strays: 0,
        }
    }

    /// Records on their way.
    pub fn outstanding(&self) -> u64 {
        (self.entries.len() - self.free.len()) as u64
    }

    /// A token for the next record; `None` when too many are on their way. It stays the next one until it is used.
    pub fn token(&mut self) -> Option<u64> {
        if let Some(token) = self.free.last() {
            return Some(u64::from(*token));
        }
        if self.entries.len() >= RECORDS_MAX {
            return None;
        }
        let token = self.entries.len() as u32;
        self.entries.push(Entry {
            intended_ns: NOWHERE,
            bytes: 0,
        });
        self.free.push(token);
        Some(u64::from(token))
    }

    /// The record with the token that was given last is on its way. One that was behind a full queue says nothing about the generator.
    pub fn enqueued(&mut self, intended_ns: u64, enqueued_ns: u64, bytes: usize, was_blocked: bool) {
        let Some(token) = self.free.pop() else { return };
        self.entries[token as usize] = Entry {
            intended_ns,
            bytes: bytes as u32,
        };
        let lateness_ns = enqueued_ns.saturating_sub(intended_ns);
        self.lateness_ns.saturating_record(lateness_ns);
        self.late += u64::from(lateness_ns > LATE_NS && !was_blocked);
        self.blocked += u64::from(was_blocked);
        self.sent += 1;
    }

    /// What a client tells.
    pub fn delivered(&mut self, told: Delivered<'_>) {
        let failed_before = self.failed;
        let mut count = 0;
        for token in told.tokens {
            let entry = self
                .entries
                .get_mut(*token as usize)
                .filter(|entry| entry.intended_ns != NOWHERE);
            let Some(entry) = entry else {
                self.strays += 1;
                continue;
            };
            let latency_ns = told.acked_ns.saturating_sub(entry.intended_ns);
            entry.intended_ns = NOWHERE;
            self.free.push(*token as u32);
            match told.error {
                None => {
                    self.interval.saturating_record(latency_ns);
                    self.acked_bytes += u64::from(entry.bytes);
                    count += 1;
                }
                Some(_) => self.failed += 1,
            }
        }
        self.last_ack_ns = self.last_ack_ns.max(told.acked_ns);
        if let Some(reason) = told.error {
            let is_known = self.errors.contains_key(reason) || self.errors.len() < REASONS_MAX;
            let reason = if is_known { reason } else { "other reasons" };
            *self.errors.entry(reason.to_owned()).or_default() += self.failed - failed_before;
            return;
        }
        self.acked += count;
        self.batches += 1;
        if let Some(sent_ns) = told.sent_ns {
            let service_ns = told.acked_ns.saturating_sub(sent_ns);
            self.service_ns.saturating_record_n(service_ns, count);
        }
    }

    /// Ends an interval.
    pub fn next_interval(&mut self) {
        // Both have the bounds that they were made with.
        let _ = self.latency_ns.add(&self.interval);
        self.interval.reset();
    }

    /// Everything since the start, and begins anew. Refused when the client told of records that it did not have.
    pub fn finish(&mut self, started_ns: u64, ended_ns: u64) -> Result<Loaded, u64> {
        self.next_interval();
        let done = std::mem::replace(self, Self::new());
        if done.strays > 0 {
            return Err(done.strays);
        }
        let wall_ns = done.last_ack_ns.max(ended_ns).saturating_sub(started_ns);
        Ok(Loaded::of(done, wall_ns))
    }
}

impl Loaded {
    fn of(done: Recorder, wall_ns: u64) -> Self {
        let per_batch = done.acked_bytes as f64 / done.batches.max(1) as f64;
        Self {
            stamp_run: 0,
            phase: crate::native::PhaseResult {
                responses: done.batches,
                records: done.acked,
                delivered_bytes: done.acked_bytes,
                moved_bytes: done.acked_bytes,
                wall_ns,
                response_bytes_achieved: per_batch,
                send_calls: 0,
                receive_calls: 0,
                data_ended: false,
                latency_ns: done.latency_ns,
            },
            service_ns: done.service_ns,
            lateness_ns: done.lateness_ns,
            late_share: done.late as f64 / done.sent.max(1) as f64,
            sent_records: done.sent,
            blocked_records: done.blocked,
            unsent_records: 0,
            failed_records: done.failed,
            errors: done.errors,
            counts: Default::default(),
            intended_rate: 0.0,
            achieved_rate: done.acked as f64 * 1e9 / wall_ns.max(1) as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const S: u64 = 1_000 * MS;

    fn told<'a>(tokens: &'a [u64], acked_ns: u64, error: Option<&'a str>) -> Delivered<'a> {
        Delivered {
            tokens,
            place: 0,
            base_offset: None,
            sent_ns: Some(acked_ns - MS),
            acked_ns,
            error,
        }
    }

    /// 1,000 records a second for 30 s, each acknowledged after 1 ms, but for a stall of 1.4 s: what was to be sent in it is sent at its
    /// end. A recorder that starts its clocks when records are sent would see nothing but 1 ms.
    #[test]
    fn a_stall_shows_in_the_percentiles() {
        let mut recorder = Recorder::new();
        let (stall, end) = (10 * S, 10 * S + 1_400 * MS);
        for number in 0..30_000 {
            let intended_ns = number * MS;
            let enqueued_ns = if (stall..end).contains(&intended_ns) {
                end
            } else {
                intended_ns
            };
            let token = recorder.token().unwrap();
            recorder.enqueued(intended_ns, enqueued_ns, 100, false);
            recorder.delivered(told(&[token], enqueued_ns + MS, None));
            if number % 200 == 0 {
                recorder.next_interval();
            }
        }
        let loaded = recorder.finish(0, 30 * S).unwrap();
        let latency = &loaded.phase.latency_ns;
        assert_eq!((latency.len(), loaded.phase.records), (30_000, 30_000));
        assert!(
            latency.value_at_quantile(0.99) > S,
            "{}",
            latency.value_at_quantile(0.99)
        );
        assert!(latency.value_at_quantile(0.95) < 2 * MS);
        // The time of service alone hides it.
        assert!(loaded.service_ns.max() < 2 * MS);
        assert!(
            (loaded.late_share - 1_400.0 / 30_000.0).abs() < 1e-4,
            "{}",
            loaded.late_share
        );
        assert_eq!(loaded.lateness_ns.max() / S, 1);
        assert!((loaded.achieved_rate - 1_000.0).abs() < 1.0);
    }

    #[test]
    fn nothing_is_counted_twice() {
        let mut recorder = Recorder::new();
        let tokens: Vec<u64> = (0..4)
            .map(|_| {
                let token = recorder.token().unwrap();
                recorder.enqueued(0, LATE_NS + 1, 10, true);
                token
            })
            .collect();
        assert_eq!(tokens, [0, 1, 2, 3]);
        recorder.delivered(told(&tokens[..2], MS, None));
        recorder.delivered(told(&tokens[2..3], 2 * MS, Some("gone")));
        assert_eq!((recorder.outstanding(), recorder.acked, recorder.failed), (1, 2, 1));
        assert_eq!(recorder.token(), Some(2), "it is used again");
        recorder.enqueued(0, 0, 10, false);
        recorder.delivered(told(&[2, 3], 3 * MS, Some("gone")));
        let loaded = recorder.finish(0, 5 * MS).unwrap();
        assert_eq!(
            (loaded.sent_records, loaded.phase.records, loaded.failed_records),
            (5, 2, 3)
        );
        assert_eq!((loaded.errors["gone"], loaded.phase.delivered_bytes), (3, 20));
        // Behind a full queue nobody can be in time.
        assert_eq!((loaded.blocked_records, loaded.late_share), (4, 0.0));
        assert_eq!(loaded.phase.wall_ns, 5 * MS);

        // Twice the same, and one that there never was.
        recorder.token();
        recorder.enqueued(0, 0, 10, false);
        recorder.delivered(told(&[0, 0, 77], MS, None));
        assert_eq!((recorder.acked, recorder.finish(0, MS).unwrap_err()), (1, 2));
        assert_eq!(recorder.outstanding(), 0);
    }

    #[test]
    fn reasons_are_bounded() {
        let mut recorder = Recorder::new();
        for reason in (0..100).map(|number| format!("r{number}")) {
            let token = recorder.token().unwrap();
            recorder.enqueued(0, 0, 1, false);
            recorder.delivered(told(&[token], MS, Some(&reason)));
        }
        let errors = recorder.finish(0, MS).unwrap().errors;
        assert_eq!(
            (errors.len(), errors["other reasons"]),
            (REASONS_MAX + 1, 100 - REASONS_MAX as u64)
        );
    }
}
