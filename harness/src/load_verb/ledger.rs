//! What consumers received against what was acknowledged.

use std::time::Duration;

use results::figures::count;
use workloads::load::{Consumed, Loaded};

/// What a consumer came to, and what a reader must know of it, in whole sentences.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The figures; absent without a consumer.
    pub consumed: Option<results::load::Consumed>,
    /// What is not as it should be, or not as one would think.
    pub notes: Vec<String>,
}

impl Ledger {
    /// Of a window: what was produced, and what each consumer got, with the CPU time of their processes.
    pub fn of(loaded: Option<&Loaded>, each: &[Consumed], consumer_cpu: Duration) -> Self {
        if each.is_empty() {
            return Self::default();
        }
        let runs = || each.iter().flat_map(|consumed| &consumed.runs);
        let ours = || runs().filter(|run| loaded.is_none_or(|loaded| loaded.stamp_run == run.run));
        let distinct: u64 = ours().map(|run| run.distinct + run.untracked).sum();
        let reached_end = each.iter().all(|consumed| consumed.reached_end);
        let consumed = results::load::Consumed {
            seconds: each.iter().map(|of| of.phase.wall_ns).max().unwrap_or(0) as f64 / 1e9,
            records: each.iter().map(|of| of.phase.records).sum(),
            record_bytes: each.iter().map(|of| of.phase.delivered_bytes).sum(),
            duplicates: (loaded.is_some() || runs().next().is_some()).then(|| ours().map(|run| run.duplicates).sum()),
            missing: loaded.map(|loaded| loaded.phase.records.saturating_sub(distinct)),
            reached_end,
            client_cpu_s: Some(consumer_cpu.as_secs_f64()),
        };
        let mut notes = Vec::new();
        let mut note = |count_of: u64, sentence: &str| {
            if count_of > 0 {
                notes.push(sentence.replace("{}", &count(count_of)));
            }
        };
        if let Some(loaded) = loaded {
            let known = consumed.records - ours().map(|run| run.records).sum::<u64>().min(consumed.records);
            note(
                known,
                "{} of the records received are of others, who produce to this topic too.",
            );
            note(
                distinct.saturating_sub(loaded.phase.records),
                "{} records were received and not acknowledged: a broker may store what a producer takes for failed.",
            );
            note(
                loaded.failed_records,
                "{} records failed and may be stored all the same, so what is told as missing is the least that it can be.",
            );
            if !reached_end {
                note(1, "Consumers were not at the end 10 s after the last acknowledgement.");
            }
        }
        let places = || each.iter().flat_map(|consumed| &consumed.places);
        note(
            places().map(|place| place.skipped_offsets).sum(),
            "{} offsets were left out: markers of transactions, compacted records, or records that were not delivered.",
        );
        note(
            places().map(|place| place.repeated_offsets).sum(),
            "{} records came with an offset that had come before.",
        );
        note(
            ours().map(|run| run.out_of_order).sum(),
            "{} records came behind later ones of their partition.",
        );
        note(
            each.iter().map(|of| of.timeless_records).sum(),
            "{} records were stamped by another machine's clock; they have no time from end to end.",
        );
        Self {
            consumed: Some(consumed),
            notes,
        }
    }

    /// Records that were acknowledged and are not there, as everything that lies there was read.
    pub fn lost(&self) -> u64 {
        let consumed = self.consumed.as_ref().filter(|consumed| consumed.reached_end);
        consumed.and_then(|consumed| consumed.missing).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use workloads::load::consume::{PlaceReceipts, RunReceipts};
    use workloads::native::PhaseResult;
    use workloads::native::phase::latency_histogram;

    const RUN: u32 = 7;

    fn phase(records: u64) -> PhaseResult {
        PhaseResult {
            responses: 1,
            records,
            delivered_bytes: 10 * records,
            moved_bytes: 10 * records,
            wall_ns: 1_000_000_000,
            response_bytes_achieved: 1.0,
            send_calls: 0,
            receive_calls: 0,
            data_ended: false,
            latency_ns: latency_histogram(),
        }
    }

    fn loaded(acknowledged: u64, failed: u64) -> Loaded {
        Loaded {
            stamp_run: RUN,
            phase: phase(acknowledged),
            service_ns: latency_histogram(),
            lateness_ns: latency_histogram(),
            late_share: 0.0,
            sent_records: acknowledged + failed,
            blocked_records: 0,
            unsent_records: 0,
            failed_records: failed,
            errors: Default::default(),
            counts: Default::default(),
            intended_rate: 0.0,
            achieved_rate: acknowledged as f64,
        }
    }

    /// What one of two consumers got: of its own run so many different records, some of them again, and some of another run.
    fn consumed(distinct: u64, again: u64, others: u64) -> Consumed {
        let run = |run: u32, distinct: u64, duplicates: u64| RunReceipts {
            run,
            records: distinct + duplicates,
            distinct,
            duplicates,
            lowest: 0,
            highest: distinct,
            out_of_order: 0,
            untracked: 0,
        };
        Consumed {
            phase: phase(distinct + again + others),
            later_records: 0,
            reached_end: true,
            places: vec![PlaceReceipts {
                place: 0,
                first_offset: 0,
                next_offset: 9,
                records: distinct + again + others,
                repeated_offsets: 0,
                skipped_offsets: 0,
            }],
            runs: vec![run(RUN, distinct, again), run(RUN + 1, others, 0)],
            foreign_records: 0,
            timeless_records: 0,
            counts: Default::default(),
        }
    }

    fn ledger(loaded: &Loaded, each: &[Consumed]) -> (u64, u64, u64, String) {
        let ledger = Ledger::of(Some(loaded), each, Duration::ZERO);
        let consumed = ledger.consumed.as_ref().unwrap();
        let (missing, duplicates) = (consumed.missing.unwrap(), consumed.duplicates.unwrap());
        (missing, duplicates, ledger.lost(), ledger.notes.join(" "))
    }

    #[test]
    fn nothing_missing_and_nothing_twice_is_told_without_a_word() {
        let each = [consumed(60, 0, 0), consumed(40, 0, 0)];
        assert_eq!(ledger(&loaded(100, 0), &each), (0, 0, 0, String::new()));
        assert_eq!(Ledger::of(Some(&loaded(1, 0)), &[], Duration::ZERO).lost(), 0);
    }

    #[test]
    fn records_of_others_and_repeats_hide_nothing() {
        let each = [consumed(60, 2, 5), consumed(37, 1, 0)];
        let (missing, duplicates, lost, notes) = ledger(&loaded(100, 0), &each);
        assert_eq!((missing, duplicates, lost), (3, 3, 3));
        assert!(notes.starts_with("5 of the records received are of others"), "{notes}");
    }

    #[test]
    fn what_is_late_is_not_lost_and_what_failed_may_be_there() {
        let late = Consumed {
            reached_end: false,
            ..consumed(90, 0, 0)
        };
        let (missing, _, lost, notes) = ledger(&loaded(100, 0), &[late]);
        assert_eq!((missing, lost), (10, 0));
        assert!(notes.contains("not at the end 10 s after"), "{notes}");

        let (missing, _, lost, notes) = ledger(&loaded(100, 5), &[consumed(102, 0, 0)]);
        assert_eq!((missing, lost), (0, 0));
        assert!(
            notes.contains("2 records were received and not acknowledged"),
            "{notes}"
        );
        assert!(
            notes.contains("5 records failed and may be stored all the same"),
            "{notes}"
        );
    }

    #[test]
    fn without_a_producer_only_stamps_can_tell_of_repeats() {
        let of = |each: Consumed| Ledger::of(None, &[each], Duration::ZERO).consumed.unwrap();
        let stamped = of(consumed(10, 2, 3));
        assert_eq!((stamped.duplicates, stamped.missing), (Some(2), None));
        let foreign = of(Consumed {
            runs: Vec::new(),
            ..consumed(10, 0, 0)
        });
        assert_eq!((foreign.duplicates, foreign.records), (None, 10));
    }
}
