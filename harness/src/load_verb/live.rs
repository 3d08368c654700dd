//! The live line: what the last interval was like, on a terminal in one place, in a log one line after the other.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use results::figures::{duration_us, three_digits};
use results::load::Interval;

/// The live line of a load, on stderr.
#[derive(Debug)]
pub struct Live {
    bar: ProgressBar,
}

impl Live {
    /// With nothing to say yet.
    pub fn start() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{spinner} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(Duration::from_millis(500));
        Self { bar }
    }

    /// Something begins, or a line of the window.
    pub fn doing(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        if self.bar.is_hidden() {
            errln!("{what}");
        }
    }

    /// A line that stays.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| errln!("{line}"));
    }

    /// Takes the line away.
    pub fn end(self) {
        self.bar.finish_and_clear();
    }
}

/// An interval in one line; `left_s` of the window are left.
pub fn line(interval: &Interval, produces: bool, left_s: f64) -> String {
    let per_second = |count: u64| three_digits(count as f64 / interval.seconds.max(1e-9));
    let told = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), duration_us);
    let latency = |p50, p99, p99_9| format!("p50 {} p99 {} p99.9 {}", told(p50), told(p99), told(p99_9));
    let mut parts = vec![format!("{:.0} s", interval.at_s)];
    if produces {
        let megabytes = interval.record_bytes as f64 / 1e6 / interval.seconds.max(1e-9);
        parts.push(format!("{}/s", per_second(interval.acknowledged)));
        parts.push(format!("{} MB/s", three_digits(megabytes)));
        parts.push(latency(interval.p50_us, interval.p99_us, interval.p99_9_us));
        parts.push(format!("{} outstanding", interval.outstanding));
    }
    if let Some(consumed) = interval.consumed {
        parts.push(format!("received {}/s", per_second(consumed)));
        parts.push(latency(
            interval.end_to_end_p50_us,
            interval.end_to_end_p99_us,
            interval.end_to_end_p99_9_us,
        ));
    }
    if let Some(lag) = interval.lag {
        parts.push(format!("lag {lag}"));
    }
    if interval.failed > 0 {
        parts.push(format!("{} FAILED", interval.failed));
    }
    if left_s >= 0.5 {
        parts.push(format!("{left_s:.0} s left"));
    }
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_there_is() {
        let interval = Interval {
            at_s: 3.0,
            seconds: 1.0,
            acknowledged: 20_000,
            record_bytes: 20_480_000,
            outstanding: 40,
            p50_us: Some(310.0),
            p99_us: Some(1_200.0),
            ..Interval::default()
        };
        assert_eq!(
            line(&interval, true, 7.0),
            "3 s  20,000/s  20.5 MB/s  p50 310 µs p99 1.2 ms p99.9 –  40 outstanding  7 s left"
        );
        let failing = Interval {
            failed: 2,
            ..interval.clone()
        };
        assert!(line(&failing, true, 0.1).ends_with("40 outstanding  2 FAILED"));
        let both = Interval {
            consumed: Some(19_990),
            lag: Some(10),
            end_to_end_p50_us: Some(500.0),
            ..interval
        };
        assert!(
            line(&both, true, 0.1).ends_with("40 outstanding  received 20,000/s  p50 500 µs p99 – p99.9 –  lag 10"),
            "{}",
            line(&both, true, 0.1)
        );
        let alone = Interval { lag: None, ..both };
        assert_eq!(
            line(&alone, false, 0.1),
            "3 s  received 20,000/s  p50 500 µs p99 – p99.9 –"
        );
    }
}
