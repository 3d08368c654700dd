//! From the TOML shape to a checked [`Definition`]: names that exist, numbers that make sense, sizes that fit each other.
//!
//! The arms of the profiles are expanded and checked in `arms`.

use super::arms::{self, Grid};
use super::error::DefinitionError;
use super::{
    BUNDLED, Claim, Definition, Factor, Fetch, KAFKA, Load, Metric, Only, Payload, TARGET_FACTOR, WarmUp, Work, wire,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use toml::Spanned;

/// A stored batch holds a 61-byte header and at least one record worth reading.
const STORED_BATCH_BYTES: std::ops::RangeInclusive<u32> = 256..=1 << 20;
/// Fetches in a pass over the file of a cold arm, so that a pass is more than its edges.
const COLD_RESPONSES_MIN: u64 = 16;
/// More partitions than a client of an experiment keeps apart.
const PARTITIONS_MAX: u32 = 10_000;
/// Largest pre-loaded file.
const FILE_BYTES_MAX: u64 = 1 << 36;

pub(super) type Checked<T> = Result<T, Box<DefinitionError>>;

/// The file under check: makes errors that point into it.
pub(super) struct Source<'a> {
    pub path: &'a str,
    pub text: &'a str,
}

impl Source<'_> {
    pub fn fail<T>(&self, span: Range<usize>, message: impl Into<String>, remedy: impl Into<String>) -> Checked<T> {
        Err(DefinitionError::at(
            self.path,
            self.text,
            span,
            message.into(),
            remedy.into(),
        ))
    }

    /// Fails at `value` when it lies outside the range.
    fn within<N: Copy + PartialOrd + std::fmt::Display>(
        &self,
        what: &str,
        value: &Spanned<N>,
        range: std::ops::RangeInclusive<N>,
    ) -> Checked<N> {
        let number = *value.get_ref();
        if range.contains(&number) {
            return Ok(number);
        }
        let (low, high) = range.into_inner();
        self.fail(
            value.span(),
            format!("{what} is {number}"),
            format!("it lies between {low} and {high}"),
        )
    }

    /// Fails at `name` unless it is one of `known`.
    pub fn known<'k>(
        &self,
        what: &str,
        name: &Spanned<String>,
        known: impl IntoIterator<Item = &'k String>,
    ) -> Checked<String> {
        let known: Vec<&str> = known.into_iter().map(String::as_str).collect();
        if known.contains(&name.get_ref().as_str()) {
            return Ok(name.get_ref().clone());
        }
        let remedy = format!("one of: {}", known.join(", "));
        self.fail(name.span(), format!("unknown {what} `{}`", name.get_ref()), remedy)
    }
}

pub(super) fn check(path: &str, text: &str, file: wire::File) -> Checked<Definition> {
    let source = Source { path, text };
    let name = file.name.get_ref().clone();
    if name.is_empty()
        || !name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    {
        return source.fail(
            file.name.span(),
            format!("`{name}` is not a name"),
            "use lower-case letters, digits and dashes",
        );
    }
    let factors = check_factors(&source, &file.factors)?;
    let treatment = source.known("factor", &file.treatment, factors.iter().map(|factor| &factor.name))?;
    let treatment_levels = factors
        .iter()
        .find(|f| f.name == treatment)
        .map(|f| f.levels.as_slice())
        .unwrap_or_default();
    let baseline = source.known("level", &file.baseline, treatment_levels)?;
    let focus = source.known("level", &file.focus, treatment_levels)?;
    if focus == baseline {
        return source.fail(
            file.focus.span(),
            "focus and baseline are the same level",
            "name the level that the claim praises",
        );
    }
    let margin = source.within("the margin", &file.margin, 0.001..=0.5)?;

    let mut metrics: Vec<Metric> = Vec::with_capacity(file.metrics.len());
    for metric in &file.metrics {
        let wire::Metric {
            name,
            label,
            unit,
            better,
            chart,
        } = metric;
        if metrics.iter().any(|other| other.name == *name.get_ref()) {
            return source.fail(
                name.span(),
                format!("metric `{}` is there twice", name.get_ref()),
                "remove one of them",
            );
        }
        metrics.push(Metric {
            name: name.get_ref().clone(),
            label: label.clone(),
            unit: unit.clone(),
            better: *better,
            chart: *chart,
        });
    }
    let deciding_metric = source.known(
        "metric",
        &file.deciding_metric,
        metrics.iter().map(|metric| &metric.name),
    )?;
    let claims = check_claims(
        &source,
        &file.claims,
        &metrics,
        &factors,
        (&treatment, &deciding_metric, &baseline, &focus),
    )?;

    let mut limit = BTreeMap::new();
    for (bare, level) in &file.limit {
        check_level_text(&source, bare.get_ref(), bare.span())?;
        if treatment_levels.contains(bare.get_ref()) {
            let message = format!(
                "`{}` is a level of `{treatment}` and can't be its limit too",
                bare.get_ref()
            );
            return source.fail(bare.span(), message, "give the bare loop a name of its own");
        }
        limit.insert(bare.get_ref().clone(), source.known("level", level, treatment_levels)?);
    }

    let targets = [BUNDLED.to_owned(), KAFKA.to_owned()];
    let target = match &file.target {
        Some(target) => source.known("target", target, &targets)?,
        None => BUNDLED.to_owned(),
    };
    let mut settings_of = BTreeMap::new();
    for (target, settings) in file.settings_of {
        settings_of.insert(source.known("target", &target, &targets)?, texts(settings));
    }
    let work = match (&file.fetch, &file.load) {
        (Some(fetch), None) => Work::Fetch(check_fetch(&source, fetch.get_ref())?),
        (None, Some(load)) => Work::Load(check_load(&source, load, &file.factors)?),
        (Some(_), Some(load)) => {
            return source.fail(
                load.span(),
                "`fetch` and `load` are both there",
                "keep the one that is measured",
            );
        }
        (None, None) => {
            let remedy = "`[fetch]` drains a pre-loaded topic, `[load]` produces or fetches";
            return source.fail(file.name.span(), "it does not say what the clients do", remedy);
        }
    };
    let smallest_batch = match work {
        Work::Fetch(fetch) => fetch.stored_batch_bytes,
        Work::Load(_) => smallest_level(&factors, "batch_bytes"),
    };
    let payload = check_payload(&source, &file.payload, &file.factors, smallest_batch)?;
    let warm_up = file
        .warm_up
        .as_ref()
        .map(|warm_up| check_warm_up(&source, warm_up))
        .transpose()?;
    let grid = Grid {
        factors: &factors,
        treatment: &treatment,
        baseline: &baseline,
        limit: &limit,
        work,
        // Arms of several definitions meet in one run.
        prefix: if target == BUNDLED { "" } else { &target },
    };
    check_levels_that_clients_know(&source, &file.factors, &work)?;
    let quick = arms::expand(&source, &grid, "quick", &file.profile.quick)?;
    let full = arms::expand(&source, &grid, "full", &file.profile.full)?;

    Ok(Definition {
        name,
        title: file.title,
        claim: file.claim,
        source: file.source,
        why: file.why,
        published: file.published,
        transport: source.known("transport", &file.transport, [&"loopback".to_owned()])?,
        margin,
        metrics,
        claims,
        settings: texts(file.settings),
        settings_of,
        payload,
        work,
        warm_up,
        quick,
        full,
        digest: format!("{:016x}", crate::payload::fnv1a(text.as_bytes())),
        target,
        treatment,
        baseline,
        focus,
        also_differs: file.also_differs,
        deciding_metric,
        limit,
        factors,
    })
}

fn texts(settings: BTreeMap<String, wire::Scalar>) -> BTreeMap<String, String> {
    settings.into_iter().map(|(key, value)| (key, value.0)).collect()
}

fn check_factors(source: &Source<'_>, factors: &[wire::Factor]) -> Checked<Vec<Factor>> {
    let mut checked: Vec<Factor> = Vec::with_capacity(factors.len());
    for factor in factors {
        let name = factor.name.get_ref();
        check_level_text(source, name, factor.name.span())?;
        if checked.iter().any(|other| other.name == *name) {
            return source.fail(
                factor.name.span(),
                format!("factor `{name}` is there twice"),
                "put all its levels into one",
            );
        }
        if matches!(name.as_str(), "limit" | "control") {
            return source.fail(
                factor.name.span(),
                format!("`{name}` is a switch of a cell"),
                "give the factor another name",
            );
        }
        if factor.levels.get_ref().is_empty() {
            return source.fail(
                factor.levels.span(),
                format!("factor `{name}` has no level"),
                "list at least one level",
            );
        }
        let mut levels = Vec::new();
        for level in factor.levels.get_ref() {
            let text = &level.get_ref().0;
            check_level_text(source, text, level.span())?;
            if levels.contains(text) {
                return source.fail(
                    level.span(),
                    format!("level `{text}` is there twice"),
                    "remove one of them",
                );
            }
            if factor.unit == "bytes" && !text.parse::<u32>().is_ok_and(|bytes| bytes > 0 && bytes <= 1 << 30) {
                let remedy = "write whole bytes, at most 1073741824, for example 65536";
                return source.fail(level.span(), format!("`{text}` is not a number of bytes"), remedy);
            }
            levels.push(text.clone());
        }
        checked.push(Factor {
            name: name.clone(),
            label: factor.label.clone(),
            unit: factor.unit.clone(),
            levels,
        });
    }
    Ok(checked)
}

/// Names and levels go into `k=v;k=v` columns and histogram tags unquoted.
fn check_level_text(source: &Source<'_>, text: &str, span: Range<usize>) -> Checked<()> {
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-+".contains(c)) {
        return Ok(());
    }
    source.fail(
        span,
        format!("`{text}` can't be a name or level"),
        "use letters, digits and . _ - + only",
    )
}

/// The smallest level of a factor of whole numbers; 0 without such a factor.
fn smallest_level(factors: &[Factor], name: &str) -> u32 {
    let factor = factors.iter().find(|factor| factor.name == name);
    let levels = factor.into_iter().flat_map(|factor| &factor.levels);
    levels.filter_map(|level| level.parse().ok()).min().unwrap_or(0)
}

/// `defaults` are the treatment, the deciding metric, the baseline and the focus.
fn check_claims(
    source: &Source<'_>,
    claims: &[Spanned<wire::Claim>],
    metrics: &[Metric],
    factors: &[Factor],
    (treatment, deciding_metric, baseline, focus): (&String, &String, &String, &String),
) -> Checked<Vec<Claim>> {
    let of_treatment = factors.iter().find(|factor| factor.name == *treatment);
    let levels = of_treatment.map_or(&[][..], |factor| &factor.levels);
    let mut ids = BTreeSet::new();
    let mut checked = Vec::with_capacity(claims.len());
    for spanned in claims {
        let claim = spanned.get_ref();
        let (id, text) = (claim.id.get_ref().clone(), claim.text.clone());
        if !ids.insert(id.clone()) {
            return source.fail(
                claim.id.span(),
                format!("claim `{id}` is there twice"),
                "give each claim an id of its own",
            );
        }
        let metric = match &claim.metric {
            Some(metric) => source.known("metric", metric, metrics.iter().map(|metric| &metric.name))?,
            None => deciding_metric.clone(),
        };
        let level = match &claim.level {
            Some(level) => source.known("level", level, levels)?,
            None => focus.clone(),
        };
        let unused = |span: Range<usize>, key: &str| {
            source.fail(
                span,
                format!("claim `{id}` has no use for `{key}`"),
                format!("remove `{key}`, or change the claim's kind"),
            )
        };
        let missing = |key: &str| {
            source.fail(
                spanned.span(),
                format!("claim `{id}` has no `{key}`"),
                format!("say what is claimed: `{key} = ..`"),
            )
        };
        if level == *baseline {
            let span = claim.level.as_ref().map_or(spanned.span(), Spanned::span);
            return source.fail(
                span,
                format!("claim `{id}` compares the baseline with itself"),
                "name another level",
            );
        }
        if let (Some(ratio), wire::ClaimKind::Faster | wire::ClaimKind::Counts) = (&claim.ratio, claim.kind) {
            return unused(ratio.span(), "ratio");
        }
        if let (Some(_), wire::ClaimKind::Faster | wire::ClaimKind::AtLeast) = (&claim.expected, claim.kind) {
            return unused(spanned.span(), "expected");
        }
        let only = check_only(source, claim, factors, treatment)?;
        checked.push(match claim.kind {
            wire::ClaimKind::Faster => Claim::Faster {
                id,
                text,
                metric,
                level,
                only,
            },
            wire::ClaimKind::AtLeast => {
                let Some(ratio) = &claim.ratio else {
                    return missing("ratio");
                };
                let ratio = source.within("the claimed ratio", ratio, 0.01..=1_000.0)?;
                Claim::AtLeast {
                    id,
                    text,
                    metric,
                    level,
                    ratio,
                    only,
                }
            }
            wire::ClaimKind::Counts => {
                if let Some(level) = &claim.level {
                    return unused(level.span(), "level");
                }
                let Some(counts) = claim.expected.as_ref().filter(|counts| !counts.is_empty()) else {
                    return missing("expected");
                };
                let mut expected = BTreeMap::new();
                for (level, count) in counts {
                    let count = source.within("a claimed count", count, 0.0..=1e9)?;
                    expected.insert(source.known("level", level, levels)?, count);
                }
                Claim::Counts {
                    id,
                    text,
                    metric,
                    expected,
                    only,
                }
            }
        });
    }
    Ok(checked)
}

fn check_only(source: &Source<'_>, claim: &wire::Claim, factors: &[Factor], treatment: &String) -> Checked<Only> {
    let mut only = Only::new();
    for (name, level) in &claim.only {
        let others = factors.iter().filter(|factor| factor.name != *treatment);
        let name = source.known("factor of a cell", name, others.map(|factor| &factor.name))?;
        let factor = factors.iter().find(|factor| factor.name == name);
        let text = Spanned::new(level.span(), level.get_ref().0.clone());
        let level = source.known(
            &format!("level of `{name}`"),
            &text,
            factor.map_or(&[][..], |f| &f.levels),
        )?;
        only.insert(name, level);
    }
    Ok(only)
}

/// What the load generator is told by factors and not by `[load]`.
const LOAD_FACTORS: [&str; 5] = [TARGET_FACTOR, "workload", "record_bytes", "batch_bytes", "partitions"];

fn check_load(source: &Source<'_>, load: &Spanned<wire::Load>, factors: &[wire::Factor]) -> Checked<Load> {
    for name in LOAD_FACTORS {
        if !factors.iter().any(|factor| factor.name.get_ref() == name) {
            let remedy = format!("a load has the factors {}", LOAD_FACTORS.join(", "));
            return source.fail(load.span(), format!("there is no factor `{name}`"), remedy);
        }
    }
    for factor in factors {
        if !LOAD_FACTORS.contains(&factor.name.get_ref().as_str()) {
            let message = format!("a load knows no factor `{}`", factor.name.get_ref());
            return source.fail(
                factor.name.span(),
                message,
                format!("one of: {}", LOAD_FACTORS.join(", ")),
            );
        }
    }
    let load = load.get_ref();
    let checked = Load {
        in_flight: source.within("in_flight", &load.in_flight, 1..=super::IN_FLIGHT_MAX)?,
        acks: load.acks,
        pool_bytes: source.within("the pool", &load.pool_bytes, 1 << 20..=1 << 30)?,
        window_bytes_max: source.within("window_bytes_max", &load.window_bytes_max, 1 << 20..=FILE_BYTES_MAX)?,
        fetch_bytes: source.within("fetch_bytes", &load.fetch_bytes, 1 << 20..=FILE_BYTES_MAX)?,
        response_bytes: source.within("response_bytes", &load.response_bytes, 4_096..=1 << 26)?,
        max_wait_ms: source.within("max_wait_ms", &load.max_wait_ms, 1..=30_000)?,
        receive_buffer_bytes: source.within("the receive buffer", &load.receive_buffer_bytes, 4_096..=1 << 26)?,
    };
    for factor in factors.iter().filter(|factor| factor.name.get_ref() == "batch_bytes") {
        for level in factor.levels.get_ref() {
            let bytes = level.get_ref().0.parse::<u32>().ok();
            if !bytes.is_some_and(|bytes| STORED_BATCH_BYTES.contains(&bytes) && bytes <= checked.response_bytes) {
                let (low, high) = (
                    STORED_BATCH_BYTES.start(),
                    STORED_BATCH_BYTES.end().min(&checked.response_bytes),
                );
                return source.fail(
                    level.span(),
                    "a batch can't have that size",
                    format!("between {low} and {high} bytes"),
                );
            }
        }
    }
    Ok(checked)
}

fn check_warm_up(source: &Source<'_>, warm_up: &wire::WarmUp) -> Checked<WarmUp> {
    Ok(WarmUp {
        window_ms: source.within("the warm-up window", &warm_up.window_ms, 50..=60_000)?,
        windows: source.within("the windows that are looked at", &warm_up.windows, 3..=100)?,
        seconds_max: source.within("seconds_max", &warm_up.seconds_max, 1..=3_600)?,
        tolerance: source.within("the tolerance", &warm_up.tolerance, 0.001..=1.0)?,
    })
}

fn check_fetch(source: &Source<'_>, fetch: &wire::Fetch) -> Checked<Fetch> {
    let stored_batch_bytes = source.within("the stored batch", &fetch.stored_batch_bytes, STORED_BATCH_BYTES)?;
    for file_bytes in [&fetch.file_bytes, &fetch.cold_file_bytes] {
        let bytes = source.within("the file", file_bytes, u64::from(stored_batch_bytes)..=FILE_BYTES_MAX)?;
        if bytes % u64::from(stored_batch_bytes) != 0 {
            let message = format!("{bytes} bytes do not hold a whole number of batches of {stored_batch_bytes} bytes");
            let remedy = format!("for example {}", bytes - bytes % u64::from(stored_batch_bytes));
            return source.fail(file_bytes.span(), message, remedy);
        }
    }
    Ok(Fetch {
        in_flight: source.within("in_flight", &fetch.in_flight, 1..=super::IN_FLIGHT_MAX)?,
        in_flight_bytes: source.within("in_flight_bytes", &fetch.in_flight_bytes, 0..=1 << 30)?,
        stored_batch_bytes,
        file_bytes: *fetch.file_bytes.get_ref(),
        cold_file_bytes: *fetch.cold_file_bytes.get_ref(),
        max_wait_ms: source.within("max_wait_ms", &fetch.max_wait_ms, 1..=30_000)?,
        receive_buffer_bytes: source.within("the receive buffer", &fetch.receive_buffer_bytes, 4_096..=1 << 26)?,
    })
}

fn check_payload(
    source: &Source<'_>,
    payload: &Spanned<wire::Payload>,
    factors: &[wire::Factor],
    stored_batch_bytes: u32,
) -> Checked<Payload> {
    // 61 bytes of batch header and at most 20 of a record around its value.
    let range = 32..=stored_batch_bytes.saturating_sub(96);
    let factor = factors.iter().find(|factor| factor.name.get_ref() == "record_bytes");
    let span = payload.span();
    let payload = payload.get_ref();
    let record_bytes = match (&payload.record_bytes, factor) {
        (Some(bytes), None) => source.within("the record", bytes, range)?,
        (None, Some(factor)) => {
            let mut smallest = u32::MAX;
            for level in factor.levels.get_ref() {
                let bytes = level.get_ref().0.parse().unwrap_or(0);
                smallest =
                    smallest.min(source.within("the record", &Spanned::new(level.span(), bytes), range.clone())?);
            }
            smallest
        }
        (Some(bytes), Some(_)) => {
            return source.fail(bytes.span(), "record_bytes is a factor already", "remove it here");
        }
        (None, None) => {
            return source.fail(
                span,
                "the payload has no record_bytes",
                "write, for example, record_bytes = 512",
            );
        }
    };
    Ok(Payload {
        kind: payload.kind,
        record_bytes,
        entropy: source.within("the entropy share", &payload.entropy, 0.0..=1.0)?,
    })
}

/// Some factors are carried out by the clients and the harness, so only what they can do may be asked for.
fn check_levels_that_clients_know(source: &Source<'_>, factors: &[wire::Factor], work: &Work) -> Checked<()> {
    for factor in factors {
        let known: &[&str] = match factor.name.get_ref().as_str() {
            "receiver" => &["copy", "discard"],
            // Only a broker that is started for each trial has just started.
            "cache" if factors.iter().any(|factor| factor.name.get_ref() == "listener") => &["hot", "cold"],
            "cache" => &["hot", "restarted", "cold"],
            "workload" => &["produce", "fetch"],
            "listener" => &["plain", "tls"],
            TARGET_FACTOR => &[BUNDLED, KAFKA],
            "response_bytes" => {
                if let Work::Fetch(fetch) = work {
                    for level in factor.levels.get_ref() {
                        check_response_bytes(source, level, fetch)?;
                    }
                }
                continue;
            }
            "partitions" => {
                for level in factor.levels.get_ref() {
                    if !level
                        .get_ref()
                        .0
                        .parse::<u32>()
                        .is_ok_and(|n| (1..=PARTITIONS_MAX).contains(&n))
                    {
                        let message = format!("`{}` is not a number of partitions", level.get_ref().0);
                        return source.fail(level.span(), message, format!("between 1 and {PARTITIONS_MAX}"));
                    }
                }
                continue;
            }
            _ => continue,
        };
        for level in factor.levels.get_ref() {
            if !known.contains(&level.get_ref().0.as_str()) {
                let message = format!("`{}` can't do `{}`", factor.name.get_ref(), level.get_ref().0);
                return source.fail(level.span(), message, format!("one of: {}", known.join(", ")));
            }
        }
    }
    Ok(())
}

fn check_response_bytes(source: &Source<'_>, level: &Spanned<wire::Scalar>, fetch: &Fetch) -> Checked<()> {
    let Ok(bytes) = level.get_ref().0.parse::<u64>() else {
        return source.fail(
            level.span(),
            "a response size is a number of bytes",
            "write, for example, 65536",
        );
    };
    let batch = fetch.stored_batch_bytes;
    if bytes < u64::from(batch) {
        let message =
            format!("a response of {bytes} bytes can't hold a stored batch of {batch} bytes (KIP-74 sends it whole)");
        return source.fail(
            level.span(),
            message,
            format!("ask for at least {batch} bytes, or store smaller batches"),
        );
    }
    let in_flight = fetch.in_flight_of(bytes);
    let in_flight_bytes = bytes * u64::from(in_flight);
    if in_flight_bytes > fetch.file_bytes {
        let message = format!("{in_flight} responses of {bytes} bytes in flight are more than the file");
        return source.fail(
            level.span(),
            message,
            format!("make file_bytes at least {in_flight_bytes}"),
        );
    }
    Ok(())
}

/// A cold file is read once: a pass must be long enough to say something.
pub(super) fn check_cold_fits(
    source: &Source<'_>,
    span: Range<usize>,
    response_bytes: u64,
    fetch: &Fetch,
) -> Checked<()> {
    let needed = response_bytes * u64::from(fetch.in_flight_of(response_bytes)).max(COLD_RESPONSES_MIN);
    if needed <= fetch.cold_file_bytes {
        return Ok(());
    }
    let message = format!(
        "a cold window can't hold {COLD_RESPONSES_MIN} responses of {response_bytes} bytes: the file has {} and is read once",
        fetch.cold_file_bytes
    );
    source.fail(
        span,
        message,
        format!("make cold_file_bytes at least {needed}, or drop the cold level here"),
    )
}
