//! What consumers received against what was acknowledged.

use results::figures::count;
use results::load::Consumed;

use super::session::Held;

/// What a consumer came to, and what a reader must know of it, in whole sentences.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The figures; absent without a consumer.
    pub consumed: Option<Consumed>,
    /// What is not as it should be, or not as one would think.
    pub notes: Vec<String>,
}

impl Ledger {
    /// Of a window.
    pub fn of(held: &Held) -> Self {
        let each = &held.consumed;
        if each.is_empty() {
            return Self::default();
        }
        let loaded = held.loaded.as_ref().map(|(loaded, _)| loaded);
        let runs = || each.iter().flat_map(|consumed| &consumed.runs);
        let ours = || runs().filter(|run| loaded.is_none_or(|loaded| loaded.stamp_run == run.run));
        let distinct: u64 = ours().map(|run| run.distinct + run.untracked).sum();
        let reached_end = each.iter().all(|consumed| consumed.reached_end);
        let consumed = Consumed {
            seconds: each.iter().map(|of| of.phase.wall_ns).max().unwrap_or(0) as f64 / 1e9,
            records: each.iter().map(|of| of.phase.records).sum(),
            record_bytes: each.iter().map(|of| of.phase.delivered_bytes).sum(),
            duplicates: (loaded.is_some() || runs().next().is_some()).then(|| ours().map(|run| run.duplicates).sum()),
            missing: loaded.map(|loaded| loaded.phase.records.saturating_sub(distinct)),
            reached_end,
            client_cpu_s: Some(held.consumer_cpu.as_secs_f64()),
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
