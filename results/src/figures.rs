//! Figures for people: sizes, three significant digits, intervals, the labels of cells. Files keep full precision.

use crate::analysis::Cell;
use crate::estimate::RatioEstimate;
use crate::schema::ExperimentCard;

/// Three significant digits, with thousands separated and without an exponent: `3,410`, `12.3`, `0.00123`, `4`.
pub fn three_digits(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    if value == 0.0 || (value.fract() == 0.0 && value.abs() < 1000.0) {
        return format!("{value:.0}");
    }
    // Rounding first, so that 9.996 becomes 10.0 and not 10.00.
    let rounded: f64 = format!("{value:.2e}").parse().unwrap_or(value);
    let magnitude = rounded.abs().log10().floor();
    if magnitude >= 3.0 {
        return with_thousands(rounded);
    }
    // At most 12 decimals: what is smaller reads as zero.
    let decimals = (2.0 - magnitude).clamp(0.0, 12.0) as usize;
    format!("{rounded:.decimals$}")
}

/// Like [`three_digits`], without zeros at the end: `0.2`, `1,500`, `12`.
pub fn short(value: f64) -> String {
    let text = three_digits(value);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

fn with_thousands(value: f64) -> String {
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{}", grouped(&format!("{:.0}", value.abs())))
}

/// Digits in groups of three.
fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with thousands separated: `34,120`.
pub fn count(value: u64) -> String {
    grouped(&value.to_string())
}

/// A ratio: `1.90x`.
pub fn ratio(value: f64) -> String {
    // A ratio of exactly 2 is a measured 2.00 and not a count.
    if value.fract() == 0.0 && value.abs() < 10.0 {
        format!("{value:.2}x")
    } else {
        format!("{}x", three_digits(value))
    }
}

/// A ratio with its interval: `1.90x (1.71–2.10)`.
pub fn ratio_with_interval(estimate: &RatioEstimate) -> String {
    let (low, high) = estimate.interval();
    let bare = |value: f64| ratio(value).trim_end_matches('x').to_owned();
    format!("{} ({}–{})", ratio(estimate.ratio()), bare(low), bare(high))
}

/// A share in per cent with its interval: `87 % (85–90)`; what is no share any more, from ten times on, as a ratio.
pub fn share_with_interval(estimate: &RatioEstimate) -> String {
    if estimate.ratio() >= 10.0 {
        return ratio_with_interval(estimate);
    }
    let (low, high) = estimate.interval();
    format!(
        "{:.0} % ({:.0}–{:.0})",
        100.0 * estimate.ratio(),
        100.0 * low,
        100.0 * high
    )
}

/// A value with its interval: `3,410 (3,300–3,520)`.
pub fn value_with_interval(mean: f64, interval: Option<(f64, f64)>) -> String {
    match interval {
        Some((low, high)) => format!("{} ({}–{})", three_digits(mean), three_digits(low), three_digits(high)),
        None => three_digits(mean),
    }
}

/// A size in binary units, `64 KiB`, or with a fraction where it is no whole number of them.
pub fn bytes(value: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut scaled = value;
    let mut unit = 0;
    while scaled.abs() >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{} {}", three_digits(scaled), UNITS[unit])
}

/// A level as people read it: sizes in binary units, names as they are.
pub fn level(card: &ExperimentCard, factor: &str, level: &str) -> String {
    let is_size = card.factor(factor).is_some_and(|factor| factor.unit == "bytes");
    match level.parse::<f64>() {
        Ok(value) if is_size => bytes(value),
        _ => level.to_owned(),
    }
}

/// A level inside a sentence: a bare number is followed by what it is a number of, `64 KiB`, `16 partitions`.
pub(crate) fn amount(card: &ExperimentCard, factor: &str, value: &str) -> String {
    let is_bare = value.parse::<f64>().is_ok();
    match card.factor(factor).filter(|factor| is_bare && factor.unit.is_empty()) {
        Some(factor) => {
            format!("{value} {}", counted(&factor.label.to_lowercase(), value == "1"))
        }
        None => level(card, factor, value),
    }
}

/// What there are several of, or one: `requests in flight`, `request in flight`.
fn counted(label: &str, is_one: bool) -> String {
    let (what, rest) = match label.split_once(' ') {
        Some((what, rest)) => (what, format!(" {rest}")),
        None => (label, String::new()),
    };
    let singular = what.strip_suffix('s').filter(|_| is_one);
    format!("{}{rest}", singular.unwrap_or(what))
}

/// A cell as people read it: `64 KiB, discard, hot`; `everywhere` when the experiment has no other factor.
pub fn cell(card: &ExperimentCard, cell: &Cell) -> String {
    if cell.levels.is_empty() {
        return "everywhere".to_owned();
    }
    levels(card, &cell.levels)
}

/// Levels one after the other: `64 KiB, discard, hot`.
pub(crate) fn levels<'a>(card: &ExperimentCard, pairs: impl IntoIterator<Item = &'a (String, String)>) -> String {
    let levels = pairs.into_iter().map(|(name, value)| named_level(card, name, value));
    levels.collect::<Vec<_>>().join(", ")
}

/// A level that tells by itself what it is a level of: a bare number has its factor's label before it.
pub(crate) fn named_level(card: &ExperimentCard, factor: &str, value: &str) -> String {
    let is_bare = value.parse::<f64>().is_ok();
    match card.factor(factor).filter(|factor| is_bare && factor.unit.is_empty()) {
        Some(factor) => format!("{} {value}", factor.label.to_lowercase()),
        None => level(card, factor, value),
    }
}

/// What stands where in the name of a cell, when it holds more than one size: `workload, record size, batch size`.
pub fn cell_legend(card: &ExperimentCard) -> Option<String> {
    let others = || card.factors.iter().filter(|factor| factor.name != card.treatment);
    let labels: Vec<String> = others().map(|factor| factor.label.to_lowercase()).collect();
    let sizes = others().filter(|factor| factor.unit == "bytes").count();
    (sizes > 1).then(|| labels.join(", "))
}

/// Microseconds for people: `12 µs`, `3.5 ms`, `1 s`.
pub fn duration_us(value_us: f64) -> String {
    match value_us {
        value if value < 1_000.0 => format!("{} µs", short(value)),
        value if value < 1_000_000.0 => format!("{} ms", short(value / 1_000.0)),
        value => format!("{} s", short(value / 1_000_000.0)),
    }
}

/// Per cent of a share with at most one decimal: `4.2 %`.
pub fn per_cent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share).replace(".0 %", " %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_no_more() {
        let table = [
            (0.0, "0"),
            (4.0, "4"),
            (3_412.3, "3,410"),
            (1_234_567.0, "1,230,000"),
            (12.345, "12.3"),
            (9.996, "10.0"),
            (999.7, "1,000"),
            (0.001_234, "0.00123"),
            (-0.5, "-0.500"),
            (f64::NAN, "–"),
        ];
        for (value, text) in table {
            assert_eq!(three_digits(value), text);
        }
    }

    #[test]
    fn short_figures_end_without_zeros() {
        assert_eq!([0.2, 1_500.0, 12.0, 0.45].map(short), ["0.2", "1,500", "12", "0.45"]);
    }

    #[test]
    fn one_of_something_is_singular() {
        assert_eq!(counted("partitions", true), "partition");
        assert_eq!(counted("requests in flight", true), "request in flight");
        assert_eq!(counted("requests in flight", false), "requests in flight");
    }

    #[test]
    fn durations_have_their_unit() {
        assert_eq!([5.0, 1_500.0, 2e6].map(duration_us), ["5 µs", "1.5 ms", "2 s"]);
    }

    #[test]
    fn sizes_are_binary() {
        let table = [
            (512.0, "512 B"),
            (4096.0, "4 KiB"),
            (65536.0, "64 KiB"),
            (1_572_864.0, "1.50 MiB"),
        ];
        for (value, text) in table {
            assert_eq!(bytes(value), text);
        }
    }

    #[test]
    fn ratios_keep_their_decimals() {
        assert_eq!(
            (ratio(2.0).as_str(), ratio(1.896).as_str(), ratio(12.34).as_str()),
            ("2.00x", "1.90x", "12.3x")
        );
        assert_eq!(ratio(0.456), "0.456x");
    }
}
