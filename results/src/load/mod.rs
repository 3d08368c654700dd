//! One load on one target: what `assay load` leaves in a folder, and what is drawn from it again.
//!
//! [`folder`] writes while the load goes on and reads it back, [`knee`] finds where a curve bends; the tables are in `tables/load.rs`, the
//! charts in `charts/load.rs`. Like everything here it knows files only: `assay report DIR` gives the same bytes again.

mod folder;
pub mod knee;
mod report;
#[cfg(test)]
pub(crate) mod samples;

pub use folder::{LoadFolder, LoadRun};
pub use report::{RenderedLoad, render};

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::schema::{MachineReceipt, TargetReceipt};

/// The layout of the folder that this code writes.
pub const LOAD_SCHEMA_VERSION: u32 = 1;

/// The file names inside a folder of a load, beside `series.csv`, `latency.hlog`, `summary.md` and `charts/`.
pub mod file {
    /// What was asked for, where, and what came of it.
    pub const LOAD: &str = "load.json";
    /// A row per tried rate.
    pub const CURVE: &str = "curve.csv";
}

/// A percentile with fewer samples above it says nothing.
pub const SAMPLES_ABOVE_MIN: f64 = 10.0;

/// With more late records than this share, the generator was the limit and not the broker.
pub const LATE_SHARE_MAX: f64 = 0.001;

/// A load above this share of what its client reaches on the target null says as much of the client as of the target.
const CEILING_SHARE_MAX: f64 = 0.7;

/// What is timed, each with its tag in `latency.hlog`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timing {
    /// From the moment that the schedule gave to the acknowledgement. Of a closed load, from the call of `send`.
    Acknowledged,
    /// From the moment that the schedule gave to the consumer that has the record.
    EndToEnd,
    /// From the request to its acknowledgement.
    Service,
    /// From the moment that the schedule gave to the moment when the client took the record.
    Lateness,
}

impl Timing {
    /// All of them, in the order of tables.
    pub const ALL: [Timing; 4] = [
        Timing::Acknowledged,
        Timing::EndToEnd,
        Timing::Service,
        Timing::Lateness,
    ];

    /// The tag in `latency.hlog`.
    pub fn tag(self) -> &'static str {
        match self {
            Timing::Acknowledged => "intended",
            Timing::EndToEnd => "end_to_end",
            Timing::Service => "service",
            Timing::Lateness => "lateness",
        }
    }

    /// What a table calls it; a closed load has no schedule.
    pub fn label(self, closed: bool) -> &'static str {
        match (self, closed) {
            (Timing::Acknowledged, false) => "intended to acknowledged",
            (Timing::Acknowledged, true) => "enqueued to acknowledged",
            (Timing::EndToEnd, false) => "intended to received",
            (Timing::EndToEnd, true) => "enqueued to received",
            (Timing::Service, _) => "sent to acknowledged",
            (Timing::Lateness, _) => "intended to enqueued",
        }
    }
}

/// `load.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadManifest {
    /// [`LOAD_SCHEMA_VERSION`] when written by this code.
    pub schema_version: u32,
    /// The command line, word by word.
    pub command: Vec<String>,
    /// When it began, RFC 3339 in UTC.
    pub started_utc: String,
    /// The version of Assay that measured.
    pub assay_version: String,
    /// The revision it was built from, when known.
    pub git_revision: Option<String>,
    /// The machine it ran on.
    pub machine: MachineReceipt,
    /// What was measured, with its effective settings where they can be read.
    pub target: TargetReceipt,
    /// Topic and partitions.
    pub topic: String,
    /// Partitions that were produced to or consumed.
    pub partitions: u32,
    /// The producer's load as its worker got it; absent without one.
    pub load: Option<serde_json::Value>,
    /// The consumers' tasks as their workers got them; absent without one.
    pub consume: Option<serde_json::Value>,
    /// Whether the load is closed: as fast as it is acknowledged.
    pub closed: bool,
    /// What the load is, for people: arrivals, records, client, settings, each in a few words.
    pub terms: Vec<(String, String)>,
    /// Whether Ctrl-C ended it early.
    pub interrupted: bool,
    /// What came of producing.
    pub produced: Option<Produced>,
    /// What came of consuming.
    pub consumed: Option<Consumed>,
    /// What `--find-max` found.
    pub found: Option<Found>,
    /// Percentiles by tag, microseconds.
    pub latency_us: BTreeMap<String, Percentiles>,
    /// What a reader must know, in whole sentences.
    pub notes: Vec<String>,
}

/// What a producer did in its window.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Produced {
    /// From the first record to the last acknowledgement, s.
    pub seconds: f64,
    /// Records acknowledged.
    pub records: u64,
    /// Bytes of keys and values acknowledged, before compression.
    pub record_bytes: u64,
    /// Records that failed, by error.
    pub errors: BTreeMap<String, u64>,
    /// Records that failed.
    pub failed_records: u64,
    /// Records that met a full send queue.
    pub blocked_records: u64,
    /// Share of records that the client took more than 200 us after their moment; absent where there is no schedule.
    pub late_share: Option<f64>,
    /// Records/s that the schedule asked for; absent where there is none.
    pub intended_rate: Option<f64>,
    /// Records/s that were acknowledged.
    pub achieved_rate: f64,
    /// Requests; absent where the client does not tell, as the ones below.
    pub requests: Option<u64>,
    /// Batches.
    pub batches: Option<u64>,
    /// Bytes of requests as they were sent.
    pub wire_bytes: Option<u64>,
    /// Bytes of batches, compressed.
    pub batch_bytes: Option<u64>,
    /// Bytes of their records before compression.
    pub raw_bytes: Option<u64>,
    /// Requests that were sent again.
    pub retries: Option<u64>,
    /// CPU time of the client process, s; absent when it was interrupted.
    pub client_cpu_s: Option<f64>,
    /// CPU time of the broker's processes, s; absent where they can't be read.
    pub broker_cpu_s: Option<f64>,
    /// Records/s that this client reaches on the target `null`, when it was asked.
    pub ceiling_rate: Option<f64>,
}

impl Produced {
    /// Whether the client and not the broker was the limit, and why.
    pub fn generator_limit(&self) -> Option<String> {
        if let Some(share) = self.late_share.filter(|share| *share > LATE_SHARE_MAX) {
            return Some(format!(
                "the generator was the limit: {} of the records were enqueued more than 200 µs late (0.1 % may be)",
                crate::figures::per_cent(share)
            ));
        }
        let share = self.ceiling_share().filter(|share| *share > CEILING_SHARE_MAX)?;
        Some(format!(
            "the generator may be the limit: {} records/s are {} of what it reaches on the target null ({} may be)",
            crate::figures::three_digits(self.achieved_rate),
            crate::figures::per_cent(share),
            crate::figures::per_cent(CEILING_SHARE_MAX)
        ))
    }

    /// How near the load came to what its client reaches on the target null; absent when that was not asked.
    pub fn ceiling_share(&self) -> Option<f64> {
        let ceiling = self.ceiling_rate.filter(|ceiling| *ceiling > 0.0)?;
        Some(self.achieved_rate / ceiling)
    }
}

/// What a consumer did in its window.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Consumed {
    /// From `go` to the last record, s.
    pub seconds: f64,
    /// Records received.
    pub records: u64,
    /// Bytes of keys and values received.
    pub record_bytes: u64,
    /// Records that came a second time; absent where records carry no sequence.
    pub duplicates: Option<u64>,
    /// Records that were acknowledged and did not come; absent where nobody produced.
    pub missing: Option<u64>,
    /// Whether everything was read that lay there at the end: what is missing then is lost, and otherwise late.
    #[serde(default)]
    pub reached_end: bool,
    /// CPU time of the client process, s.
    pub client_cpu_s: Option<f64>,
}

/// Percentiles in microseconds; one with fewer than 10 samples above it is absent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Percentiles {
    /// Samples.
    pub samples: u64,
    /// 50 %.
    pub p50: Option<f64>,
    /// 90 %.
    pub p90: Option<f64>,
    /// 99 %.
    pub p99: Option<f64>,
    /// 99.9 %.
    pub p99_9: Option<f64>,
    /// 99.99 %.
    pub p99_99: Option<f64>,
    /// The slowest; absent without samples.
    pub max: Option<f64>,
}

impl Percentiles {
    /// Of a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile: f64| quantile_us(histogram, quantile);
        Self {
            samples: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: (!histogram.is_empty()).then(|| histogram.max() as f64 / 1e3),
        }
    }
}

/// A quantile of a histogram of nanoseconds in microseconds, when there are enough samples above it.
pub fn quantile_us(histogram: &Histogram<u64>, quantile: f64) -> Option<f64> {
    // A little more than exact, as 0.1 % of 10,000 samples are ten and not 9.99...
    let above = (1.0 - quantile) * histogram.len() as f64 + 1e-6;
    (above >= SAMPLES_ABOVE_MIN).then(|| histogram.value_at_quantile(quantile) as f64 / 1e3)
}

/// One row of `series.csv`: an interval of the window.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Interval {
    /// Its end, seconds since the window began.
    pub at_s: f64,
    /// Its length, s.
    pub seconds: f64,
    /// Records that the client took.
    pub sent: u64,
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Bytes of them, before compression.
    pub record_bytes: u64,
    /// Records that failed.
    pub failed: u64,
    /// Records taken and not answered, at the end.
    pub outstanding: u64,
    /// Records received; absent without a consumer, as the ones below.
    pub consumed: Option<u64>,
    /// Records acknowledged and not received, at the end; of a consumer without a producer, records between it and the end of the topic.
    pub lag: Option<u64>,
    /// Intended to acknowledged, us.
    pub p50_us: Option<f64>,
    /// Intended to acknowledged, us.
    pub p99_us: Option<f64>,
    /// Intended to acknowledged, us.
    pub p99_9_us: Option<f64>,
    /// Intended to acknowledged, us.
    pub max_us: Option<f64>,
    /// Intended to received, us.
    pub end_to_end_p50_us: Option<f64>,
    /// Intended to received, us.
    pub end_to_end_p99_us: Option<f64>,
    /// Intended to received, us.
    #[serde(default)]
    pub end_to_end_p99_9_us: Option<f64>,
    /// Intended to received, us.
    pub end_to_end_max_us: Option<f64>,
}

/// What the search for the highest rate found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The objective as it was written.
    pub objective: String,
    /// The percentile it is about as a quantile, 1 for the slowest.
    pub quantile: f64,
    /// What it must stay below, us.
    pub bound_us: f64,
    /// Whether it is about the time until a consumer has the record, and not until the acknowledgement.
    #[serde(default)]
    pub end_to_end: bool,
    /// The highest rate that was confirmed, records/s.
    pub rate: Option<f64>,
    /// How the search ended, in one sentence.
    pub ending: String,
    /// Every rate that was tried, in that order.
    pub tried: Vec<Tried>,
}

/// One row of `curve.csv`: a rate that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// `search` or `confirm`.
    pub stage: String,
    /// Records/s that were asked for.
    pub rate: f64,
    /// Records/s that were acknowledged.
    pub achieved_rate: f64,
    /// Intended to acknowledged, us.
    pub p50_us: Option<f64>,
    /// Intended to acknowledged, us.
    pub p90_us: Option<f64>,
    /// Intended to acknowledged, us.
    pub p99_us: Option<f64>,
    /// Intended to acknowledged, us.
    pub p99_9_us: Option<f64>,
    /// Intended to acknowledged, us.
    pub max_us: Option<f64>,
    /// Whether the objective was kept.
    pub kept: bool,
    /// Why not; empty when it was kept.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_needs_ten_samples_above_it() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        for value in 1..=1_000u64 {
            histogram.record(value * 1_000).unwrap();
        }
        let found = Percentiles::of(&histogram);
        assert_eq!(found.samples, 1_000);
        assert!((found.p99.unwrap() - 990.0).abs() < 2.0, "{found:?}");
        assert_eq!((found.p99_9, found.p99_99), (None, None));
        assert!((found.max.unwrap() - 1_000.0).abs() < 2.0);
        assert_eq!(
            Percentiles::of(&Histogram::<u64>::new(3).unwrap()),
            Percentiles::default()
        );
    }

    #[test]
    fn the_generator_is_named_when_it_is_late_or_near_its_ceiling() {
        let mut produced = Produced {
            late_share: Some(0.001),
            achieved_rate: 400.0,
            ceiling_rate: Some(1_000.0),
            ..Produced::default()
        };
        assert_eq!(produced.generator_limit(), None);
        produced.achieved_rate = 700.0;
        assert_eq!(produced.generator_limit(), None);
        produced.achieved_rate = 710.0;
        assert!(
            produced
                .generator_limit()
                .unwrap()
                .contains("710 records/s are 71 % of what it reaches")
        );
        produced.late_share = Some(0.02);
        assert!(produced.generator_limit().unwrap().contains("2 % of the records"));
    }
}
