//! From the TOML shape to a checked [`Definition`]: names that exist, numbers that make sense, sizes that fit each other.
//!
//! The arms of the profiles are expanded and checked in `arms`.

use super::arms::{self, Grid};
use super::claims::Claims;
use super::error::DefinitionError;
use super::{
    BUNDLED, Definition, Factor, Fetch, KAFKA, MACHINE, Metric, NULL, Payload, TARGET_FACTOR, TopicSettings, WarmUp,
    Work, assign, blocks, client, group, load, look_up, read, wire,
};
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;

/// A stored batch holds a 61-byte header and at least one record worth reading.
pub(super) const STORED_BATCH_BYTES: std::ops::RangeInclusive<u32> = 256..=1 << 20;
/// Fetches in a pass over the file of a cold arm, so that a pass is more than its edges.
const COLD_RESPONSES_MIN: u64 = 16;
/// More partitions than a client of an experiment keeps apart.
const PARTITIONS_MAX: u32 = 10_000;
/// Largest pre-loaded file.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 36;

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
    pub fn within<N: Copy + PartialOrd + std::fmt::Display>(
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
    if focus == baseline && treatment_levels.len() > 1 {
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
    let mut limit = BTreeMap::new();
    for (bare, levels) in &file.limit {
        check_level_text(&source, bare.get_ref(), bare.span())?;
        if treatment_levels.contains(bare.get_ref()) {
            let message = format!(
                "`{}` is a level of `{treatment}` and can't be its limit too",
                bare.get_ref()
            );
            return source.fail(bare.span(), message, "give the bare loop a name of its own");
        }
        let known = |level: &String| {
            let text = Spanned::new(levels.span(), level.clone());
            source.known("level", &text, treatment_levels)
        };
        let of = levels.get_ref().0.iter().map(known).collect::<Checked<Vec<String>>>()?;
        limit.insert(bare.get_ref().clone(), of);
    }
    let claims = Claims {
        source: &source,
        metrics: &metrics,
        factors: &factors,
        treatment: &treatment,
        deciding_metric: &deciding_metric,
        baseline: &baseline,
        focus: &focus,
        limit: &limit,
    };
    let claims = claims.check(&file.claims)?;

    let targets = [BUNDLED, KAFKA, NULL, MACHINE].map(str::to_owned);
    let target = match &file.target {
        Some(target) => source.known("target", target, &targets)?,
        None => BUNDLED.to_owned(),
    };
    let work = check_work(&source, &file)?;
    let mut settings_of = BTreeMap::new();
    for (target, settings) in file.settings_of {
        settings_of.insert(source.known("target", &target, &targets)?, texts(settings));
    }
    if let Some((message, remedy)) = misplaced(&work, &target) {
        let span = file.target.as_ref().map_or(file.name.span(), Spanned::span);
        return source.fail(span, message, remedy);
    }
    let meets_faults = file
        .client
        .as_ref()
        .is_some_and(|client| client::meets_faults(client, &file.factors));
    if let Some(null) = file
        .target
        .as_ref()
        .filter(|target| meets_faults && target.get_ref() == NULL)
    {
        let message = "what is stored twice is looked for in the log, and the target null has none";
        return source.fail(null.span(), message, "write target = \"bundled\"");
    }
    if let Some((message, remedy)) = useless_setting(&work, &file.settings) {
        return source.fail(file.name.span(), message, remedy);
    }
    let smallest_batch = match work {
        Work::Fetch(fetch) => fetch.stored_batch_bytes,
        Work::Load(load) => load.batch_bytes.unwrap_or(smallest_level(&factors, "batch_bytes")),
        Work::Blocks(_) => smallest_level(&factors, "block_bytes"),
        Work::LookUp(look_up) => look_up.stored_batch_bytes,
        Work::Read(read) => read.batch_bytes.unwrap_or(smallest_level(&factors, "batch_bytes")),
        // A record that is larger than a batch goes alone.
        Work::Client(_) => crate::payload::RECORD_BYTES_MAX as u32,
        Work::Group(_) | Work::Assign(_) => 0,
    };
    let payload = match (&file.payload, &work) {
        (None, Work::Assign(_)) => assign::NO_PAYLOAD,
        (None, Work::Group(group)) => Payload {
            record_bytes: group.record_bytes,
            ..assign::NO_PAYLOAD
        },
        (Some(payload), Work::Assign(_)) => {
            return source.fail(payload.span(), "no record is made", "remove `[payload]`");
        }
        (Some(payload), Work::Group(_)) => {
            let message = "records of a group carry who wrote them, and nothing else";
            return source.fail(
                payload.span(),
                message,
                "remove `[payload]`; `record_bytes` is one of `[group]`",
            );
        }
        (Some(payload), _) => check_payload(&source, payload, &file.factors, smallest_batch)?,
        (None, _) => {
            let remedy = "add `[payload]` with kind, record_bytes and entropy";
            return source.fail(file.name.span(), "it does not say what records look like", remedy);
        }
    };
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
        prefix: if target == KAFKA { &target } else { "" },
    };
    check_levels_that_clients_know(&source, &file.factors, &work)?;
    let topic_settings = check_topic_settings(&source, file.topic_settings, &file.factors, &target, &work)?;
    let quick = arms::expand(&source, &grid, "quick", &file.profile.quick)?;
    let full = arms::expand(&source, &grid, "full", &file.profile.full)?;

    Ok(Definition {
        name,
        title: file.title,
        claim: file.claim,
        source: file.source,
        why: file.why,
        published: file.published,
        transport: source.known(
            "transport",
            &file.transport,
            &["loopback".to_owned(), "no network".to_owned()],
        )?,
        margin,
        metrics,
        claims,
        settings: texts(file.settings),
        settings_of,
        topic_settings,
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

/// The one section that says what is done.
fn check_work(source: &Source<'_>, file: &wire::File) -> Checked<Work> {
    let sections = [
        ("fetch", file.fetch.as_ref().map(Spanned::span)),
        ("load", file.load.as_ref().map(Spanned::span)),
        ("blocks", file.blocks.as_ref().map(Spanned::span)),
        ("look_up", file.look_up.as_ref().map(Spanned::span)),
        ("read", file.read.as_ref().map(Spanned::span)),
        ("client", file.client.as_ref().map(Spanned::span)),
        ("group", file.group.as_ref().map(Spanned::span)),
        ("assign", file.assign.as_ref().map(Spanned::span)),
    ];
    let mut there = sections.into_iter().filter_map(|(name, span)| Some((name, span?)));
    if let (Some((first, _)), Some((second, span))) = (there.next(), there.next()) {
        let message = format!("`{first}` and `{second}` are both there");
        return source.fail(span, message, "keep the one that is measured");
    }
    if let Some(fetch) = &file.fetch {
        return Ok(Work::Fetch(check_fetch(source, fetch.get_ref())?));
    }
    if let Some(wire) = &file.load {
        return Ok(Work::Load(load::check(source, wire, &file.factors)?));
    }
    if let Some(wire) = &file.blocks {
        return Ok(Work::Blocks(blocks::check(
            source,
            wire,
            &file.factors,
            file.limit.keys(),
        )?));
    }
    if let Some(wire) = &file.look_up {
        return Ok(Work::LookUp(look_up::check(
            source,
            wire,
            &file.factors,
            file.limit.keys(),
        )?));
    }
    if let Some(wire) = &file.read {
        return Ok(Work::Read(read::check(source, wire, &file.factors, file.limit.keys())?));
    }
    if let Some(wire) = &file.client {
        let client = client::check(source, wire, &file.factors, file.limit.keys())?;
        return Ok(Work::Client(client));
    }
    if let Some(wire) = &file.group {
        let group = group::check(source, wire, &file.factors, file.limit.keys())?;
        return Ok(Work::Group(group));
    }
    if let Some(wire) = &file.assign {
        let assign = assign::check(source, wire, &file.factors, file.limit.keys())?;
        return Ok(Work::Assign(assign));
    }
    let remedy = "`[fetch]` drains a pre-loaded topic, `[load]` produces or fetches, `[read]` follows a topic, `[client]` produces record by record, `[group]` has a consumer group meet a trigger, `[look_up]` \
                  finds places in a log, `[blocks]` writes to a file, `[assign]` works out who gets which partition";
    source.fail(file.name.span(), "it does not say what the clients do", remedy)
}

/// Why that can't be done on that target, and what to do.
fn misplaced(work: &Work, target: &str) -> Option<(&'static str, &'static str)> {
    match (work, target) {
        (Work::Blocks(_) | Work::Assign(_), MACHINE) => None,
        (Work::Blocks(_), _) => Some(("blocks are written without a broker", "write target = \"machine\"")),
        (Work::Assign(_), _) => Some((
            "assignments are worked out without a broker",
            "write target = \"machine\"",
        )),
        (Work::Client(client), NULL) if client.consumers.processes == 0 => None,
        (_, NULL) => Some((
            "the target null stores nothing, and what is stored here is read or checked afterwards",
            "write target = \"bundled\"",
        )),
        (_, MACHINE) => Some((
            "the machine alone has no broker",
            "only `[blocks]` and `[assign]` do without one",
        )),
        (Work::LookUp(_) | Work::Read(_), BUNDLED) => None,
        (Work::LookUp(_), _) => Some(("the index is a setting of the bundled broker", "remove `target`")),
        (Work::Read(_), _) => Some((
            "reads are told apart by settings of the bundled broker",
            "remove `target`",
        )),
        _ => None,
    }
}

/// A setting that no broker gets, or that the arms set.
fn useless_setting(work: &Work, settings: &BTreeMap<String, wire::Scalar>) -> Option<(String, &'static str)> {
    let reserved = |name: &&String| match work {
        Work::Blocks(_) | Work::Assign(_) => true,
        Work::LookUp(_) => look_up::SETTINGS.contains(&name.as_str()),
        _ => false,
    };
    let name = settings.keys().find(reserved)?;
    Some(match work {
        Work::Blocks(_) | Work::Assign(_) => (format!("no broker takes the setting `{name}`"), "remove `[settings]`"),
        _ => (
            format!("the arms set `{name}` themselves"),
            "remove it from `[settings]`",
        ),
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
        kind: told_once(
            source,
            ("kind", "payload"),
            &payload.kind,
            (factors, &span),
            client::kind_of,
        )?,
        record_bytes,
        entropy: match &payload.entropy {
            Some(entropy) if !has_factor(factors, "entropy_percent") => {
                source.within("the entropy share", entropy, 0.0..=1.0)?
            }
            told => told_once(
                source,
                ("entropy", "entropy_percent"),
                told,
                (factors, &span),
                client::entropy_of,
            )?,
        },
    })
}

/// The value of a key of `[payload]`, or the first level of the factor that it is.
fn told_once<T: Copy>(
    source: &Source<'_>,
    (key, factor): (&str, &str),
    held_still: &Option<Spanned<T>>,
    (factors, section): (&[wire::Factor], &Range<usize>),
    read: impl Fn(&str) -> Result<T, String>,
) -> Checked<T> {
    let found = factors.iter().find(|known| known.name.get_ref() == factor);
    let Some(factor) = found else {
        return match held_still {
            Some(value) => Ok(*value.get_ref()),
            None => source.fail(
                section.clone(),
                format!("the payload has no {key}"),
                format!("write `{key} = ..`"),
            ),
        };
    };
    if let Some(value) = held_still {
        let message = format!("`{}` is a factor already", factor.name.get_ref());
        return source.fail(value.span(), message, "remove it here");
    }
    let mut first = None;
    for level in factor.levels.get_ref() {
        let text = &level.get_ref().0;
        match read(text) {
            Ok(value) => first = first.or(Some(value)),
            Err(remedy) => {
                let message = format!("`{}` can't be `{text}`", factor.name.get_ref());
                return source.fail(level.span(), message, remedy);
            }
        }
    }
    match first {
        Some(value) => Ok(value),
        None => source.fail(
            factor.levels.span(),
            "a factor without levels",
            "list at least one level",
        ),
    }
}

fn has_factor(factors: &[wire::Factor], name: &str) -> bool {
    factors.iter().any(|factor| factor.name.get_ref() == name)
}

/// What the levels of a factor are on a target that is told by settings of topics. The bundled broker is told by its own settings.
fn check_topic_settings(
    source: &Source<'_>,
    told: wire::TopicSettings,
    factors: &[wire::Factor],
    target: &str,
    work: &Work,
) -> Checked<TopicSettings> {
    let makes_topics = matches!(work, Work::Load(_) | Work::Client(_)) && target != BUNDLED;
    let settings = |factor: &&wire::Factor| work.leaves_to_broker(factor.name.get_ref());
    let mut checked = BTreeMap::new();
    for (name, levels) in told {
        if !makes_topics {
            let message = "only a load on another target than the bundled broker tells levels by settings of topics";
            return source.fail(name.span(), message, "remove it, or name another `target`");
        }
        let name_text = source.known(
            "setting",
            &name,
            factors.iter().filter(settings).map(|f| f.name.get_ref()),
        )?;
        let factor = factors.iter().find(|factor| *factor.name.get_ref() == name_text);
        let known: Vec<&String> = factor
            .into_iter()
            .flat_map(|factor| factor.levels.get_ref())
            .map(|level| &level.get_ref().0)
            .collect();
        let mut of_factor = BTreeMap::new();
        for (level, settings) in levels {
            let level = source.known(&format!("level of `{name_text}`"), &level, known.iter().copied())?;
            of_factor.insert(level, texts(settings));
        }
        checked.insert(name_text, of_factor);
    }
    let has_settings = matches!(work, Work::Fetch(_) | Work::Load(_) | Work::Client(_)) && target != BUNDLED;
    for factor in factors.iter().filter(settings).filter(|_| has_settings) {
        let name = factor.name.get_ref();
        if factor.levels.get_ref().len() > 1 && !checked.contains_key(name) {
            let message = format!("nothing tells `{target}` the level of `{name}`");
            let remedy = format!("say which settings of a topic it is: [topic_settings.\"{name}\".<level>]");
            return source.fail(factor.name.span(), message, remedy);
        }
    }
    Ok(checked)
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
            "topics" => &["one", "many"],
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
