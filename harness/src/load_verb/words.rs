//! The small languages of the command line: arrivals, record sizes, keys, objectives. Every mistake is answered with what there is.

use std::path::PathBuf;
use std::str::FromStr;

use workloads::load::{Arrivals, Keys, Sizes};
use workloads::payload::RECORD_BYTES_MAX;

/// How records arrive when nobody says how many may wait: enough for five requests of many partitions, and no more than what fits in memory.
pub const OUTSTANDING: u32 = 20_000;

/// `--produce`.
#[derive(Debug, Clone, PartialEq)]
pub struct Produce(pub Arrivals);

impl FromStr for Produce {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORMS: &str = "a rate (20000, 20k), max, max:OUTSTANDING, poisson:RATE, bursts:RATE,RECORDS, steps:RATE,RATE..@MS, \
                             ramp:FROM..TO@MS or trace:FILE";
        let wrong = |what: &str| format!("{what}; --produce is {FORMS}");
        let rate = |text: &str| rate(text).map_err(|why| wrong(&why));
        let number = |text: &str, of: &str| text.parse::<u32>().map_err(|_| wrong(&format!("`{text}` is no {of}")));
        let timed = |rest: &str| match rest.split_once('@') {
            Some((what, ms)) => Ok((what.to_owned(), number(ms, "number of milliseconds")?)),
            None => Err(wrong(&format!("`{rest}` has no `@` with milliseconds behind it"))),
        };
        let arrivals = match text.split_once(':') {
            None if text == "max" => Arrivals::Closed {
                outstanding: OUTSTANDING,
            },
            None => Arrivals::Constant { rate: rate(text)? },
            Some(("max", outstanding)) => Arrivals::Closed {
                outstanding: number(outstanding, "number of records")?,
            },
            Some(("poisson", rest)) => Arrivals::Poisson { rate: rate(rest)? },
            Some(("bursts", rest)) => match rest.split_once(',') {
                Some((mean, burst)) => Arrivals::Bursts {
                    rate: rate(mean)?,
                    burst: number(burst, "number of records")?,
                },
                None => return Err(wrong(&format!("`{text}` does not say how many records a burst has"))),
            },
            Some(("steps", rest)) => {
                let (rates, step_ms) = timed(rest)?;
                Arrivals::Steps {
                    rates: rates.split(',').map(rate).collect::<Result<_, _>>()?,
                    step_ms,
                }
            }
            Some(("ramp", rest)) => {
                let (rates, over_ms) = timed(rest)?;
                let Some((from, to)) = rates.split_once("..") else {
                    return Err(wrong(&format!("`{rates}` is not FROM..TO")));
                };
                Arrivals::Ramp {
                    from: rate(from)?,
                    to: rate(to)?,
                    over_ms,
                }
            }
            Some(("trace", path)) if !path.is_empty() => Arrivals::Trace { path: path.into() },
            Some(_) => return Err(wrong(&format!("`{text}` is no way to arrive"))),
        };
        Ok(Produce(arrivals))
    }
}

/// A rate in records/s: `20000`, `20k`, `1.5M`.
pub fn rate(text: &str) -> Result<f64, String> {
    let (digits, factor) = match text.char_indices().last() {
        Some((end, 'k')) => (&text[..end], 1e3),
        Some((end, 'M')) => (&text[..end], 1e6),
        _ => (text, 1.0),
    };
    let value = digits.parse::<f64>().ok().map(|value| value * factor);
    value
        .filter(|value| value.is_finite() && *value > 0.0)
        .ok_or_else(|| format!("`{text}` is no rate in records/s"))
}

/// `--record-bytes`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecordBytes {
    /// Bytes of the generated records that values are made of.
    pub content: usize,
    /// How large values are.
    pub sizes: Sizes,
}

impl FromStr for RecordBytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORMS: &str = "BYTES, MIN-MAX or lognormal:MEDIAN,SIGMA";
        let wrong = || format!("`{text}` is no size of records: give {FORMS}");
        let bytes = |text: &str| text.parse::<usize>().map_err(|_| wrong());
        if let Some(rest) = text.strip_prefix("lognormal:") {
            let (median, sigma) = rest.split_once(',').ok_or_else(wrong)?;
            let (median, sigma) = (bytes(median)?, sigma.parse::<f64>().map_err(|_| wrong())?);
            // Beyond four sigmas lies one record of thirty thousand.
            let max = (median as f64 * (4.0 * sigma).exp()).min(RECORD_BYTES_MAX as f64);
            let sizes = Sizes::LogNormal {
                median,
                sigma,
                max: max.ceil() as usize,
            };
            return Ok(RecordBytes { content: median, sizes });
        }
        if let Some((min, max)) = text.split_once('-') {
            let (min, max) = (bytes(min)?, bytes(max)?);
            let sizes = Sizes::Range { min, max };
            return Ok(RecordBytes { content: max, sizes });
        }
        Ok(RecordBytes {
            content: bytes(text)?,
            sizes: Sizes::Fixed,
        })
    }
}

/// `--keys`.
#[derive(Debug, Clone, PartialEq)]
pub struct KeySource(pub Keys);

impl FromStr for KeySource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` are no keys: give none, uniform:COUNT, zipf:COUNT,EXPONENT, or the path of a file with a key a line"
            )
        };
        let count = |text: &str| text.parse::<u64>().map_err(|_| wrong());
        let keys = match text.split_once(':') {
            Some(("uniform", rest)) => Keys::Uniform { count: count(rest)? },
            Some(("zipf", rest)) => {
                let (many, exponent) = rest.split_once(',').ok_or_else(wrong)?;
                Keys::Zipf {
                    count: count(many)?,
                    exponent: exponent.parse().map_err(|_| wrong())?,
                }
            }
            _ if text == "none" => Keys::None,
            _ if PathBuf::from(text).is_file() => Keys::File { path: text.into() },
            _ => return Err(wrong()),
        };
        Ok(KeySource(keys))
    }
}

/// `--objective`: a percentile of the time from the intended moment to the acknowledgement, or to the consumer, and its bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    /// As it was written, with single blanks.
    pub text: String,
    /// Whether it is about the time until a consumer has the record.
    pub end_to_end: bool,
    /// What a table calls the percentile: `p99`, `max`.
    pub name: &'static str,
    /// As a quantile; 1 is the slowest record.
    pub quantile: f64,
    /// It must stay below, us.
    pub bound_us: f64,
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const QUANTILES: [(&str, f64); 6] = [
            ("p50", 0.5),
            ("p90", 0.9),
            ("p99", 0.99),
            ("p99.9", 0.999),
            ("p99.99", 0.9999),
            ("max", 1.0),
        ];
        const UNITS: [(&str, f64); 4] = [("us", 1.0), ("µs", 1.0), ("ms", 1e3), ("s", 1e6)];
        let wrong = || {
            format!(
                "`{text}` is no objective: give a percentile and a bound, such as `p99 < 10 ms` or `e2e p99.9 < 1 s` (p50, p90, p99, p99.9, \
                 p99.99 or max; us, ms or s; e2e counts until a consumer has the record)"
            )
        };
        let (left, right) = text.split_once('<').ok_or_else(wrong)?;
        let (end_to_end, name) = match left.trim().strip_prefix("e2e ") {
            Some(name) => (true, name.trim()),
            None => (false, left.trim()),
        };
        let right = right.trim();
        let digits = right.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = right[digits.len()..].trim();
        let (name, quantile) = *QUANTILES.iter().find(|(known, _)| *known == name).ok_or_else(wrong)?;
        let (unit, factor) = UNITS.iter().find(|(known, _)| *known == unit).ok_or_else(wrong)?;
        let value: f64 = digits.parse().map_err(|_| wrong())?;
        if !(value.is_finite() && value > 0.0) {
            return Err(wrong());
        }
        let prefix = if end_to_end { "e2e " } else { "" };
        Ok(Objective {
            text: format!("{prefix}{name} < {value} {unit}"),
            end_to_end,
            name,
            quantile,
            bound_us: value * factor,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals() {
        let table = [
            ("20000", Arrivals::Constant { rate: 20_000.0 }),
            ("1.5M", Arrivals::Constant { rate: 1_500_000.0 }),
            (
                "max",
                Arrivals::Closed {
                    outstanding: OUTSTANDING,
                },
            ),
            ("max:1", Arrivals::Closed { outstanding: 1 }),
            ("poisson:20k", Arrivals::Poisson { rate: 20_000.0 }),
            (
                "bursts:1000,50",
                Arrivals::Bursts {
                    rate: 1_000.0,
                    burst: 50,
                },
            ),
            (
                "steps:100,2k@500",
                Arrivals::Steps {
                    rates: vec![100.0, 2_000.0],
                    step_ms: 500,
                },
            ),
            (
                "ramp:1k..5k@60000",
                Arrivals::Ramp {
                    from: 1_000.0,
                    to: 5_000.0,
                    over_ms: 60_000,
                },
            ),
            ("trace:a.csv", Arrivals::Trace { path: "a.csv".into() }),
        ];
        for (text, arrivals) in table {
            assert_eq!(text.parse(), Ok(Produce(arrivals)), "{text}");
        }
        for text in [
            "",
            "fast",
            "-1",
            "0",
            "inf",
            "nan",
            "k",
            "max:",
            "poisson:",
            "bursts:5",
            "steps:1,2",
            "steps:@5",
            "ramp:1@5",
            "ramp:1..2",
            "trace:",
            "saw:5",
        ] {
            let error = text.parse::<Produce>().unwrap_err();
            assert!(error.contains("--produce is a rate"), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_and_keys() {
        let size = |text: &str| text.parse::<RecordBytes>().map(|found| (found.content, found.sizes));
        assert_eq!(size("100"), Ok((100, Sizes::Fixed)));
        assert_eq!(size("50-200"), Ok((200, Sizes::Range { min: 50, max: 200 })));
        let sizes = Sizes::LogNormal {
            median: 200,
            sigma: 0.5,
            max: 1_478,
        };
        assert_eq!(size("lognormal:200,0.5"), Ok((200, sizes)));
        for text in ["", "x", "1-", "-5", "lognormal:5", "lognormal:x,1"] {
            assert!(size(text).unwrap_err().contains("lognormal:MEDIAN,SIGMA"), "{text}");
        }
        let keys = |text: &str| text.parse::<KeySource>().map(|found| found.0);
        assert_eq!(keys("none"), Ok(Keys::None));
        assert_eq!(keys("uniform:9"), Ok(Keys::Uniform { count: 9 }));
        assert_eq!(
            keys("zipf:1000,1.1"),
            Ok(Keys::Zipf {
                count: 1_000,
                exponent: 1.1
            })
        );
        for text in ["zipf:9", "uniform:", "no/such/file"] {
            assert!(keys(text).unwrap_err().contains("are no keys"), "{text}");
        }
    }

    #[test]
    fn objectives() {
        let found: Objective = "p99<10ms".parse().unwrap();
        assert_eq!(
            (found.text.as_str(), found.quantile, found.bound_us),
            ("p99 < 10 ms", 0.99, 1e4)
        );
        let found: Objective = "  max <  1.5 s ".parse().unwrap();
        assert_eq!(
            (found.text.as_str(), found.quantile, found.bound_us),
            ("max < 1.5 s", 1.0, 1.5e6)
        );
        assert!(!found.end_to_end);
        let found: Objective = " e2e  p99.9<10ms".parse().unwrap();
        assert!(found.end_to_end && found.text == "e2e p99.9 < 10 ms", "{found:?}");
        for text in [
            "",
            "e2e",
            "e2ep99<1ms",
            "p99",
            "p98<1ms",
            "p99<1",
            "p99<ms",
            "p99<-1ms",
            "p99<0ms",
            "p99>1ms",
            "p99<1h",
        ] {
            assert!(
                text.parse::<Objective>().unwrap_err().contains("is no objective"),
                "{text}"
            );
        }
    }
}
