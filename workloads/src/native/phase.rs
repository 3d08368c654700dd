//! A stretch of traffic with nothing in flight before and after it, and what it moved.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Highest latency that a histogram tells from a higher one: the time limit of a connection, rounded up.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Digits kept of a latency.
const LATENCY_DIGITS: u8 = 3;

/// How long traffic goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// No request is sent after that, ms.
    pub duration_ms: u32,
    /// Whether the end of the data ends the phase, as it must where a second pass would find the page cache filled.
    pub single_pass: bool,
}

impl Phase {
    /// The duration.
    pub fn duration(self) -> Duration {
        Duration::from_millis(u64::from(self.duration_ms))
    }
}

/// What a phase moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseResult {
    /// Whole responses, or chunks where there is no protocol.
    pub responses: u64,
    /// Records in the window; 0 where nobody knows where one ends.
    #[serde(default)]
    pub records: u64,
    /// Record bytes in the window.
    pub delivered_bytes: u64,
    /// Record bytes taken between the two moments without traffic: the window and what had to flow before its clock could start. CPU
    /// time that was read at those moments belongs to these bytes.
    pub moved_bytes: u64,
    /// From the first request sent to the last byte received, ns.
    pub wall_ns: u64,
    /// Mean record bytes per response.
    pub response_bytes_achieved: f64,
    /// send calls of the client.
    pub send_calls: u64,
    /// recv calls of the client.
    pub receive_calls: u64,
    /// Whether the data ended before the time did.
    pub data_ended: bool,
    /// Request sent to last byte of its response, ns; between chunks where there is no request.
    #[serde(with = "histogram_text")]
    pub latency_ns: Histogram<u64>,
}

impl PhaseResult {
    /// Megabytes (1e6) of record data per second.
    pub fn throughput_mb_per_s(&self) -> f64 {
        self.delivered_bytes as f64 * 1e3 / self.wall_ns.max(1) as f64
    }
}

/// An empty histogram of latencies in ns.
pub fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS).expect("the bounds are constants, and valid")
}

/// Records a latency; one beyond the bound counts as the bound.
pub(crate) fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    histogram.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
}

/// A histogram in HdrHistogram's own text form: V2, deflated, base64.
pub(crate) mod histogram_text {
    use super::{Deserializer, Engine, Histogram, STANDARD, Serializer, V2DeflateSerializer};
    use serde::{Deserialize, de, ser};

    pub fn serialize<S: ser::Serializer>(histogram: &Histogram<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(histogram, &mut bytes)
            .map_err(ser::Error::custom)?;
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: de::Deserializer<'de>>(deserializer: D) -> Result<Histogram<u64>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(de::Error::custom)?;
        Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(de::Error::custom)
    }
}
