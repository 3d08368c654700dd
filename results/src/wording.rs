//! Verdicts in plain English: one reason per claim, and the crossover of a CONDITIONAL one.
//!
//! It words what was decided elsewhere and decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::analysis::{Cell, CellAnalysis, CellFinding};
use crate::estimate::{RatioEstimate, Summary};
use crate::figures;
use crate::schema::{Better, ClaimCard, ExperimentCard, FactorCard};
use crate::verdict::Verdict;

/// What a reason is made from.
pub(crate) struct Context<'a> {
    pub card: &'a ExperimentCard,
    /// Those that the claim speaks of.
    pub cells: &'a [&'a CellAnalysis],
    pub claim: &'a ClaimCard,
    pub findings: &'a [CellFinding],
    /// The A/A spread as a log ratio, 0 when unknown.
    pub spread: f64,
    /// Why the whole experiment can't be trusted.
    pub invalid: Option<&'a str>,
    /// Why the level that is claimed to be better is not compared, in a whole sentence.
    pub incomparable: Option<&'a str>,
}

/// Why the verdict is what it is, in one to three sentences.
pub(crate) fn reason(context: &Context<'_>, verdict: Verdict) -> String {
    if let Some(invalid) = context.invalid {
        return format!("Nothing can be said: {invalid}.");
    }
    if let (Some(why), Verdict::Incomparable) = (context.incomparable, verdict) {
        return why.to_owned();
    }
    if context.findings.is_empty() {
        return "No cell of this run measures it.".to_owned();
    }
    let mut sentences = vec![outcome(context, verdict)];
    match context.claim {
        ClaimCard::AtLeast {
            level,
            metric,
            together: true,
            ..
        } => sentences.extend(together_sentence(context, level, metric)),
        ClaimCard::Faster { level, metric, .. } | ClaimCard::AtLeast { level, metric, .. } => {
            sentences.extend(ratio_sentence(context, level, metric));
        }
        ClaimCard::Counts { metric, .. } => sentences.extend(count_sentence(context, metric)),
        ClaimCard::Keeps {
            level,
            metric,
            factor,
            from,
            ..
        } => {
            let of = format!("of what it reaches at {}", figures::amount(context.card, factor, from));
            sentences.extend(share_sentence(context, level, metric, &of));
        }
        ClaimCard::OfLimit { level, metric, .. } => {
            sentences.extend(share_sentence(context, level, metric, "of the bare loop's"));
        }
        ClaimCard::Reaches {
            level, metric, bound, ..
        } => sentences.extend(figure_sentence(context, level, metric, *bound)),
    }
    sentences.join(" ")
}

fn outcome(context: &Context<'_>, verdict: Verdict) -> String {
    let total = context.findings.len();
    // A ratio belongs to a cell, a count to each of its arms.
    let places = if matches!(context.claim, ClaimCard::Counts { .. }) {
        "arms"
    } else {
        "cells"
    };
    let is_together = matches!(context.claim, ClaimCard::AtLeast { together: true, .. });
    let cells = |count: usize| match (count, total) {
        _ if is_together => format!("over all {} cells together", context.cells.len()),
        (_, 1) => "in the one cell measured".to_owned(),
        (count, total) if count == total => format!("in all {total} {places}"),
        (count, total) => format!("in {count} of {total} {places}"),
    };
    let count = |wanted: Verdict| verdicts(context).filter(|verdict| *verdict == wanted).count();
    match verdict {
        Verdict::Confirmed => format!("Confirmed {}.", cells(total)),
        Verdict::Conditional => {
            format!(
                "Confirmed {}: {}.",
                cells(count(Verdict::Confirmed)),
                crossover(context.card, context.findings)
            )
        }
        Verdict::Refuted => match count(Verdict::Equivalent) {
            0 => format!("Refuted {}.", cells(total)),
            same => format!(
                "Refuted {}, and {} there is no difference beyond {}.",
                cells(count(Verdict::Refuted)),
                cells(same),
                figures::per_cent(context.card.margin)
            ),
        },
        Verdict::Equivalent => {
            format!(
                "No difference beyond {} {}.",
                figures::per_cent(context.card.margin),
                cells(total)
            )
        }
        Verdict::Inconclusive => {
            let noisy = context.findings.iter().any(|finding| finding.judgement.below_noise);
            let why = if noisy {
                let effect = match context.claim {
                    ClaimCard::AtLeast { .. }
                    | ClaimCard::Keeps { .. }
                    | ClaimCard::OfLimit { .. }
                    | ClaimCard::Reaches { .. } => "the distance from the claimed size",
                    ClaimCard::Faster { .. } | ClaimCard::Counts { .. } => "the effect",
                };
                match is_together {
                    true => format!("{effect} is smaller than what equal arms may differ by"),
                    false => {
                        let spread = figures::per_cent(context.spread.exp_m1());
                        format!("{effect} is smaller than what two equal arms may differ by (up to {spread})")
                    }
                }
            } else if let Some(absent) = absent(context) {
                absent
            } else {
                "the interval is too wide, so more blocks are needed".to_owned()
            };
            format!("Not decided {}: {why}.", cells(count(Verdict::Inconclusive)))
        }
        Verdict::Incomparable => "Nothing is compared: the durability classes differ.".to_owned(),
        Verdict::Invalid => {
            let places: BTreeSet<String> = context
                .findings
                .iter()
                .filter(|finding| finding.judgement.verdict == Verdict::Invalid)
                .map(|finding| figures::cell(context.card, &finding.cell))
                .collect();
            let places: Vec<String> = places.into_iter().collect();
            format!(
                "An arm failed its ledger check at {}, so nothing is claimed.",
                places.join(" and at ")
            )
        }
    }
}

fn verdicts<'a>(context: &'a Context<'_>) -> impl Iterator<Item = Verdict> + 'a {
    context.findings.iter().map(|finding| finding.judgement.verdict)
}

/// "the broker CPU per MB is absent for cluster: it could not be read there", when no cell has it for a level that
/// otherwise was measured.
fn absent(context: &Context<'_>) -> Option<String> {
    let metric = context.claim.metric();
    let arms = |level: &str| {
        context
            .cells
            .iter()
            .filter_map(|cell| cell.arm(level))
            .collect::<Vec<_>>()
    };
    let is_absent = |level: &&str| {
        let arms = arms(level);
        let measured = arms.iter().any(|arm| !arm.metrics.is_empty());
        measured && !arms.iter().any(|arm| arm.metrics.contains_key(metric))
    };
    let levels: Vec<&str> = match context.claim {
        ClaimCard::Faster { level, .. } | ClaimCard::AtLeast { level, .. } => vec![&context.card.baseline, level],
        ClaimCard::Counts { expected, .. } => expected.keys().map(String::as_str).collect(),
        ClaimCard::Keeps { level, .. } | ClaimCard::OfLimit { level, .. } | ClaimCard::Reaches { level, .. } => {
            vec![level]
        }
    };
    let levels: Vec<&str> = levels.into_iter().filter(is_absent).collect();
    if levels.is_empty() {
        return None;
    }
    let label = context
        .card
        .metric(metric)
        .map_or(metric, |metric| metric.label.as_str());
    Some(format!(
        "the {} is absent for {}, where it could not be read",
        inside_a_sentence(label),
        levels.join(" and ")
    ))
}

/// "sendfile reaches 1.90x (1.71–2.10) the throughput of read-write at 1 MiB, discard, hot."
fn ratio_sentence(context: &Context<'_>, level: &str, metric: &str) -> Option<String> {
    let card = context.card;
    let mut found: Vec<(&Cell, &RatioEstimate)> = context
        .cells
        .iter()
        .filter_map(|cell| Some((&cell.cell, cell.arm(level)?.metrics.get(metric)?.to_baseline.as_ref()?)))
        .collect();
    found.sort_by(|left, right| left.1.ratio().total_cmp(&right.1.ratio()));
    let metric = card.metric(metric)?;
    let place = |(cell, estimate): &(&Cell, &RatioEstimate)| {
        let place = if cell.levels.is_empty() {
            String::new()
        } else {
            format!(" at {}", figures::cell(card, cell))
        };
        (figures::ratio_with_interval(estimate), place)
    };
    let baseline = &card.baseline;
    let label = inside_a_sentence(&metric.label);
    match found.as_slice() {
        [] => None,
        [only] => {
            let (ratio, place) = place(only);
            let verb = if metric.better == Better::Lower {
                "takes"
            } else {
                "reaches"
            };
            Some(format!("{level} {verb} {ratio} the {label} of {baseline}{place}."))
        }
        [first, .., last] => {
            let ((low, low_place), (high, high_place)) = (place(first), place(last));
            Some(format!(
                "Against {baseline}, the {label} of {level} goes from {low}{low_place} to {high}{high_place}."
            ))
        }
    }
}

/// "As a geometric mean, bundled takes 0.470x (0.446–0.494) the broker CPU per MB of kafka."
fn together_sentence(context: &Context<'_>, level: &str, metric: &str) -> Option<String> {
    let found = context.findings.iter().find_map(|finding| finding.ratio.as_ref())?;
    let metric = context.card.metric(metric)?;
    let verb = if metric.better == Better::Lower {
        "takes"
    } else {
        "reaches"
    };
    Some(format!(
        "As a geometric mean, {level} {verb} {} the {} of {}.",
        figures::ratio_with_interval(found),
        inside_a_sentence(&metric.label),
        context.card.baseline
    ))
}

/// "Throughput of commit-log: 85 % (82–88) of what it reaches at 1 partition (4096 partitions, one)."
fn share_sentence(context: &Context<'_>, level: &str, metric: &str, of: &str) -> Option<String> {
    let card = context.card;
    let judged = context.findings.iter();
    let mut found: Vec<(&Cell, &RatioEstimate)> = judged
        .filter_map(|finding| Some((&finding.cell, finding.ratio.as_ref()?)))
        .collect();
    found.sort_by(|left, right| left.1.ratio().total_cmp(&right.1.ratio()));
    let label = &card.metric(metric)?.label;
    let text = |(cell, ratio): &(&Cell, &RatioEstimate)| {
        let place = match cell.levels.is_empty() {
            true => String::new(),
            false => format!(" ({})", figures::cell(card, cell)),
        };
        (figures::share_with_interval(ratio), place)
    };
    match found.as_slice() {
        [] => None,
        [only] => {
            let (share, place) = text(only);
            Some(format!("{label} of {level}: {share} {of}{place}."))
        }
        [first, .., last] => {
            let ((low, low_place), (high, high_place)) = (text(first), text(last));
            Some(format!(
                "{label} of {level}: from {low}{low_place} to {high}{high_place} {of}."
            ))
        }
    }
}

/// "Claimed of native: at most 0.5 s. Found: 0.31 s (0.3–0.32) to 0.42 s (0.4–0.44)."
fn figure_sentence(context: &Context<'_>, level: &str, metric: &str, bound: f64) -> Option<String> {
    let card = context.card.metric(metric)?;
    let unit = match card.unit.as_str() {
        "" | "1" => String::new(),
        unit => format!(" {unit}"),
    };
    let arms = context.cells.iter().filter_map(|cell| cell.arm(level));
    let mut found: Vec<&Summary> = arms.filter_map(|arm| Some(&arm.metrics.get(metric)?.summary)).collect();
    found.sort_by(|left, right| left.mean.total_cmp(&right.mean));
    let text = |summary: &Summary| {
        let interval = summary.interval.map_or(String::new(), |(low, high)| {
            format!(" ({}–{})", figures::short(low), figures::short(high))
        });
        format!("{}{unit}{interval}", figures::short(summary.mean))
    };
    let found = match found.as_slice() {
        [] => "nothing".to_owned(),
        [only] => text(only),
        [first, .., last] => format!("{} to {}", text(first), text(last)),
    };
    let than = if card.better == Better::Lower {
        "at most"
    } else {
        "at least"
    };
    Some(format!(
        "Claimed of {level}: {than} {}{unit}. Found: {found}.",
        figures::short(bound)
    ))
}

/// A label without its capital, where that is only the capital of a first word: `throughput`, `CPU per GB`.
fn inside_a_sentence(label: &str) -> String {
    let mut characters = label.chars();
    match (characters.next(), characters.next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain([second]).chain(characters).collect()
        }
        _ => label.to_owned(),
    }
}

/// "Claimed: 4 for read-write, 2 for sendfile. Found: 4 for read-write, 2 to 34 for sendfile."
fn count_sentence(context: &Context<'_>, metric: &str) -> Option<String> {
    let ClaimCard::Counts { expected, .. } = context.claim else {
        return None;
    };
    let said: Vec<String> = expected
        .iter()
        .map(|(level, count)| format!("{} for {level}", figures::short(*count)))
        .collect();
    let mut found: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for arm in context
        .cells
        .iter()
        .flat_map(|cell| &cell.arms)
        .filter(|arm| expected.contains_key(&arm.level))
    {
        if let Some(measured) = arm.metrics.get(metric) {
            let mean = measured.summary.mean;
            let range = found.entry(&arm.level).or_insert((mean, mean));
            *range = (range.0.min(mean), range.1.max(mean));
        }
    }
    let found: Vec<String> = found
        .into_iter()
        .map(|(level, (low, high))| {
            let (low, high) = (figures::short(low), figures::short(high));
            if low == high {
                format!("{low} for {level}")
            } else {
                format!("{low} to {high} for {level}")
            }
        })
        .collect();
    let found = if found.is_empty() {
        "nothing".to_owned()
    } else {
        found.join(", ")
    };
    Some(format!("Claimed: {}. Found: {found}.", said.join(", ")))
}

/// Where a claim holds and where it doesn't: "from 64 KiB on when receiver=discard (below:
/// equivalent); not when receiver=copy (refuted)".
pub fn crossover(card: &ExperimentCard, findings: &[CellFinding]) -> String {
    let axis = size_axis(card, findings);
    let levels: BTreeSet<&str> = findings.iter().map(|finding| finding.level.as_str()).collect();
    // A group is what remains of a cell without its size, plus the level when the claim speaks of several.
    let mut groups: BTreeMap<Conditions, Vec<&CellFinding>> = BTreeMap::new();
    for finding in findings {
        let mut key: Conditions = finding
            .cell
            .levels
            .iter()
            .filter(|(name, _)| Some(name.as_str()) != axis.as_deref())
            .cloned()
            .collect();
        if levels.len() > 1 {
            key.push((card.treatment.clone(), finding.level.clone()));
        }
        groups.entry(key).or_default().push(finding);
    }
    let mut phrases: Vec<(Conditions, Phrase)> = groups
        .into_iter()
        .map(|(key, members)| (key, along_axis(card, axis.as_deref(), &members)))
        .collect();
    phrases = join_equal(phrases);
    // What holds comes first, what doesn't after it.
    phrases.sort_by_key(|(_, phrase)| phrase.head.starts_with("not"));
    let parts: Vec<String> = phrases
        .into_iter()
        .map(|(key, Phrase { head, tail })| {
            let conditions: Vec<String> = key
                .iter()
                .map(|(factor, level)| format!("{factor}={}", figures::level(card, factor, level)))
                .collect();
            if conditions.is_empty() {
                format!("{head}{tail}")
            } else {
                format!("{head} when {}{tail}", conditions.join(" and "))
            }
        })
        .collect();
    parts.join("; ")
}

/// The factor along which a crossover is looked for: the sizes, when more than one was measured, otherwise the numbers.
fn size_axis(card: &ExperimentCard, findings: &[CellFinding]) -> Option<String> {
    let is_number = |factor: &&FactorCard| factor.levels.iter().all(|level| level.parse::<u64>().is_ok());
    let sizes = |name: &str| {
        findings
            .iter()
            .filter_map(|finding| finding.cell.level(name))
            .collect::<BTreeSet<_>>()
    };
    let numbers = card
        .factors
        .iter()
        .filter(is_number)
        .filter(|factor| factor.name != card.treatment);
    numbers
        .map(|factor| ((factor.unit == "bytes", sizes(&factor.name).len()), &factor.name))
        .filter(|((_, count), _)| *count > 1)
        .max_by_key(|(rank, _)| *rank)
        .map(|(_, name)| name.clone())
}

/// The outcome of one group along the sizes.
fn along_axis(card: &ExperimentCard, axis: Option<&str>, members: &[&CellFinding]) -> Phrase {
    let confirmed: Vec<bool> = members
        .iter()
        .map(|member| member.judgement.verdict == Verdict::Confirmed)
        .collect();
    let others: BTreeSet<Verdict> = members
        .iter()
        .map(|member| member.judgement.verdict)
        .filter(|verdict| *verdict != Verdict::Confirmed)
        .collect();
    let others: Vec<String> = others
        .into_iter()
        .map(|verdict| verdict.as_str().to_lowercase())
        .collect();
    let others = others.join(" or ");
    let size = |index: usize| {
        let level = axis.and_then(|axis| members[index].cell.level(axis).map(|level| (axis, level)));
        level.map_or_else(|| "here".to_owned(), |(axis, level)| figures::amount(card, axis, level))
    };
    let is_size = |axis: &str| card.factor(axis).is_some_and(|factor| factor.unit == "bytes");
    let first = confirmed.iter().position(|holds| *holds);
    let last = confirmed.iter().rposition(|holds| *holds);
    let (Some(first), Some(last)) = (first, last) else {
        let head = if axis.is_some() && members.len() == 1 {
            format!("not at {}", size(0))
        } else {
            "not".to_owned()
        };
        return Phrase::new(head, format!(" ({others})"));
    };
    let end = members.len() - 1;
    if !confirmed[first..=last].iter().all(|holds| *holds) {
        let holds: Vec<String> = (0..members.len()).filter(|index| confirmed[*index]).map(size).collect();
        return Phrase::new(format!("at {}", holds.join(", ")), format!(" (elsewhere: {others})"));
    }
    match (first, last) {
        (0, last) if last == end => match (axis, members.len()) {
            (Some(_), 1) => Phrase::new(format!("at {}", size(0)), ""),
            (Some(axis), _) if is_size(axis) => Phrase::new("at every size measured", ""),
            (Some(_), _) => Phrase::new("at every number measured", ""),
            (None, _) => Phrase::new("yes", ""),
        },
        (first, last) if last == end => Phrase::new(format!("from {} on", size(first)), format!(" (below: {others})")),
        (0, last) => Phrase::new(format!("up to {}", size(last)), format!(" (above: {others})")),
        (first, last) if first == last => Phrase::new(format!("at {}", size(first)), format!(" (elsewhere: {others})")),
        (first, last) => Phrase::new(
            format!("from {} to {}", size(first), size(last)),
            format!(" (elsewhere: {others})"),
        ),
    }
}

/// Leaves out factors that make no difference: where every level of a factor was measured beside the same other
/// conditions, and all have the same phrase, the groups are joined and lose that factor. A level that was measured only
/// there keeps its name, so that nothing is said of cells that were not measured.
fn join_equal(mut phrases: Vec<(Conditions, Phrase)>) -> Vec<(Conditions, Phrase)> {
    let mut levels_in_use: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (factor, level) in phrases.iter().flat_map(|(key, _)| key) {
        levels_in_use.entry(factor.clone()).or_default().insert(level.clone());
    }
    for (factor, levels) in levels_in_use {
        let has_factor = |key: &Conditions| key.iter().any(|(name, _)| *name == factor);
        let rest =
            |key: &Conditions| -> Conditions { key.iter().filter(|(name, _)| *name != factor).cloned().collect() };
        let mut groups: BTreeMap<Conditions, (usize, BTreeSet<Phrase>)> = BTreeMap::new();
        for (key, phrase) in phrases.iter().filter(|(key, _)| has_factor(key)) {
            let (members, outcomes) = groups.entry(rest(key)).or_default();
            *members += 1;
            outcomes.insert(phrase.clone());
        }
        let joins = |key: &Conditions| {
            let group = groups.get(&rest(key)).filter(|_| has_factor(key));
            group.is_some_and(|(members, outcomes)| *members == levels.len() && outcomes.len() == 1)
        };
        let mut joined: Vec<(Conditions, Phrase)> = Vec::new();
        for (key, phrase) in phrases {
            let entry = (if joins(&key) { rest(&key) } else { key }, phrase);
            if !joined.contains(&entry) {
                joined.push(entry);
            }
        }
        phrases = joined;
    }
    phrases
}

/// (factor, level) pairs under which a phrase holds.
type Conditions = Vec<(String, String)>;

/// An outcome along the sizes: what comes before the conditions and what after them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Phrase {
    head: String,
    tail: String,
}

impl Phrase {
    fn new(head: impl Into<String>, tail: impl Into<String>) -> Self {
        Self {
            head: head.into(),
            tail: tail.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Judgement;

    /// A finding per (size, receiver, cache, verdict).
    fn said(outcomes: &[(&str, &str, &str, Verdict)]) -> String {
        let findings: Vec<CellFinding> = outcomes
            .iter()
            .map(|(size, receiver, cache, verdict)| {
                let levels = [("response_bytes", size), ("receiver", receiver), ("cache", cache)];
                let levels = levels.map(|(factor, level)| (factor.to_owned(), (*level).to_owned()));
                CellFinding {
                    cell: Cell {
                        levels: levels.to_vec(),
                    },
                    level: "sendfile".into(),
                    judgement: Judgement::plain(*verdict),
                    ratio: None,
                }
            })
            .collect();
        let truth = crate::synthetic::Truth::one_cell(1.0);
        let card = crate::synthetic::manifest(&truth, vec![]).experiments.remove(0);
        crossover(&card, &findings)
    }

    #[test]
    fn labels_lose_the_capital_of_a_first_word() {
        let said = ["Throughput", "CPU per GB", "throughput", "X", ""].map(inside_a_sentence);
        assert_eq!(said, ["throughput", "CPU per GB", "throughput", "X", ""]);
    }

    #[test]
    fn crossovers_in_words() {
        use Verdict::{Confirmed, Equivalent, Inconclusive, Refuted};
        let (small, middle, large) = ("4096", "65536", "1048576");
        // One factor decides, the other makes no difference and is not spoken of.
        assert_eq!(
            said(&[
                (small, "copy", "hot", Refuted),
                (small, "copy", "cold", Refuted),
                (small, "discard", "hot", Equivalent),
                (small, "discard", "cold", Equivalent),
                (large, "copy", "hot", Refuted),
                (large, "copy", "cold", Refuted),
                (large, "discard", "hot", Confirmed),
                (large, "discard", "cold", Confirmed),
            ]),
            "from 1 MiB on when receiver=discard (below: equivalent); not when receiver=copy (refuted)"
        );
        // What was joined before must not lose its other conditions.
        assert_eq!(
            said(&[
                (small, "copy", "hot", Inconclusive),
                (small, "copy", "cold", Inconclusive),
                (small, "discard", "hot", Confirmed),
                (small, "discard", "cold", Confirmed),
                (large, "copy", "hot", Confirmed),
                (large, "copy", "cold", Inconclusive),
                (large, "discard", "hot", Confirmed),
                (large, "discard", "cold", Confirmed),
            ]),
            "from 1 MiB on when receiver=copy and cache=hot (below: inconclusive); at every size measured when \
             receiver=discard; not when receiver=copy and cache=cold (inconclusive)"
        );
        // A level that was measured in one place only keeps its name.
        assert_eq!(
            said(&[(small, "copy", "cold", Refuted), (large, "discard", "hot", Confirmed)]),
            "at 1 MiB when receiver=discard and cache=hot; not at 4 KiB when receiver=copy and cache=cold (refuted)"
        );
        assert_eq!(
            said(&[
                (small, "copy", "hot", Confirmed),
                (middle, "copy", "hot", Refuted),
                (large, "copy", "hot", Confirmed)
            ]),
            "at 4 KiB, 1 MiB (elsewhere: refuted)"
        );
        assert_eq!(
            said(&[
                (small, "copy", "hot", Confirmed),
                (middle, "copy", "hot", Confirmed),
                (large, "copy", "hot", Refuted)
            ]),
            "up to 64 KiB (above: refuted)"
        );
    }
}
