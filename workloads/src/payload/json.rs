//! JSON events as a web service logs them: time stamps that move on, few services and paths, many users, a message of words.
//!
//! Every event is valid JSON of exactly the size asked for: fields are left out from the end while they do not fit, and the message
//! fills the rest.

use super::text;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use std::io::Write;

/// 2025-01-01T00:00:00Z in microseconds: events have a time of their own, not the time of the run, so that they stay the same.
const EPOCH_US: u64 = 1_735_689_600_000_000;
/// The smallest event.
const FRAME: &str = r#"{"message":""}"#;

const LEVELS: [(&str, u32); 4] = [("INFO", 80), ("DEBUG", 12), ("WARN", 6), ("ERROR", 2)];
const SERVICES: [&str; 8] = [
    "checkout",
    "catalog",
    "payments",
    "search",
    "shipping",
    "accounts",
    "gateway",
    "recommendations",
];
const PATHS: [&str; 8] = [
    "/api/v1/orders",
    "/api/v1/orders/{id}/items",
    "/api/v1/cart",
    "/api/v2/search",
    "/api/v1/users/{id}",
    "/api/v1/payments",
    "/healthz",
    "/api/v1/shipments/{id}/track",
];
const METHODS: [(&str, u32); 4] = [("GET", 70), ("POST", 20), ("PUT", 7), ("DELETE", 3)];
const STATUSES: [(&str, u32); 5] = [("200", 85), ("201", 6), ("304", 4), ("404", 3), ("500", 2)];

/// Events of exactly `record_bytes`.
#[derive(Debug)]
pub(super) struct Events {
    rng: ChaCha8Rng,
    record_bytes: usize,
    entropy: f64,
    now_us: u64,
    field: Vec<u8>,
}

impl Events {
    pub fn new(rng: ChaCha8Rng, record_bytes: usize, entropy: f64) -> Self {
        Self {
            rng,
            record_bytes,
            entropy,
            now_us: EPOCH_US,
            field: Vec::new(),
        }
    }

    pub fn next(&mut self, out: &mut Vec<u8>) {
        self.now_us += self.rng.random_range(20..5_000);
        out.push(b'{');
        for field in 0..10 {
            self.field.clear();
            // Writing to a vector cannot fail.
            let _ = write_field(&mut self.field, field, self.now_us, &mut self.rng);
            // The room left must still hold `"message":""}`.
            if out.len() + self.field.len() + FRAME.len() - 1 > self.record_bytes {
                break;
            }
            out.extend_from_slice(&self.field);
        }
        out.extend_from_slice(br#""message":""#);
        let room = self.record_bytes - out.len() - 2;
        text::fill(&mut self.rng, out, room, self.entropy);
        out.extend_from_slice(br#""}"#);
    }
}

/// Writes the field of that number with its trailing comma.
fn write_field(out: &mut Vec<u8>, field: u32, now_us: u64, rng: &mut ChaCha8Rng) -> std::io::Result<()> {
    match field {
        0 => {
            let (hours, minutes, seconds) = (now_us / 3_600_000_000, now_us / 60_000_000, now_us / 1_000_000);
            let (year, month, day) = civil_from_days(hours / 24);
            let (hour, minute, second, micros) = (hours % 24, minutes % 60, seconds % 60, now_us % 1_000_000);
            write!(
                out,
                r#""ts":"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z","#
            )
        }
        1 => write!(out, r#""level":"{}","#, weighted(rng, &LEVELS)),
        2 => write!(out, r#""service":"{}","#, SERVICES[skewed(rng, SERVICES.len())]),
        3 => write!(out, r#""host":"node-{:02}","#, rng.random_range(0..24)),
        4 => write!(out, r#""user_id":{},"#, 100_000 + skewed(rng, 50_000)),
        5 => write!(out, r#""method":"{}","#, weighted(rng, &METHODS)),
        6 => {
            let path = PATHS[skewed(rng, PATHS.len())].replace("{id}", &rng.random_range(1..100_000).to_string());
            write!(out, r#""path":"{path}","#)
        }
        7 => write!(out, r#""status":{},"#, weighted(rng, &STATUSES)),
        8 => write!(out, r#""latency_ms":{}.{},"#, skewed(rng, 400), rng.random_range(0..10)),
        _ => write!(out, r#""trace_id":"{:016x}","#, rng.next_u64()),
    }
}

/// An index that is more often small: the smallest of three draws.
fn skewed(rng: &mut ChaCha8Rng, len: usize) -> usize {
    rng.random_range(0..len)
        .min(rng.random_range(0..len))
        .min(rng.random_range(0..len))
}

/// One of the rows, as often as its weight out of 100.
fn weighted<'a>(rng: &mut ChaCha8Rng, rows: &[(&'a str, u32)]) -> &'a str {
    let mut draw = rng.random_range(0..100);
    for (value, weight) in rows {
        if draw < *weight {
            return value;
        }
        draw -= weight;
    }
    rows[0].0
}

/// Year, month and day of a count of days since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    #[test]
    fn days_become_dates() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (11_016, (2000, 2, 29)),
            (20_089, (2025, 1, 1)),
            (20_453, (2025, 12, 31)),
        ] {
            assert_eq!(super::civil_from_days(days), date);
        }
    }
}
