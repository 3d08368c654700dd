//! `[client]`: clients as applications have them, which produce record by record, and perhaps [`Consumers`] of what comes. Each of their
//! properties is held still in the section, or is a factor of the same name.

use super::check::{Checked, Source};
use super::consumers::{self, Consumers};
use super::{CLIENT_FACTORS, NULL, Payload, wire};
use crate::load::ClientKind;
use kafka_wire::Compression;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;
use toml::Spanned;

/// What has to be told.
const REQUIRED: [&str; 7] = [
    "client",
    "arrivals",
    "batch_bytes",
    "linger_ms",
    "in_flight",
    "acks",
    "partitions",
];
/// What has a default, or is needed only beside some levels of the others.
const OPTIONAL: [&str; 10] = [
    "send",
    "outstanding",
    "rate",
    "idempotence",
    "compression",
    "connections",
    "buffer_bytes",
    "fault",
    "fault_every",
    "records",
];
/// Factors that `[payload]` leaves open.
const OF_PAYLOAD: [&str; 3] = ["payload", "entropy_percent", "record_bytes"];

/// Records per second that a schedule may want.
const RATES: RangeInclusive<u32> = 1..=50_000_000;
/// Most partitions of a trial's topic.
const PARTITIONS_MAX: u32 = 1_000;
/// With idempotence a broker remembers so many batches of a producer in each partition, and more in flight could not be told from a gap.
const IN_FLIGHT_IDEMPOTENT_MAX: u32 = 5;

/// When records come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ArrivalKind {
    /// The next one as soon as fewer than `outstanding` are not acknowledged.
    Closed,
    /// At a rate, evenly.
    Constant,
    /// At a mean rate, with exponential gaps.
    Poisson,
}

/// What keeps acknowledgements from a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AckFault {
    /// Nothing.
    None,
    /// Answers are thrown away on the way, again and again, and the connection is closed; the client sends again by itself.
    LostAnswers,
    /// From one answer on none comes any more, and the application ends. It starts again, and sends what it never saw acknowledged.
    Restart,
}

/// What the clients do: what is held still, and of what are factors some value in their range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Client {
    /// Which producer.
    pub client: ClientKind,
    /// When records come.
    pub arrivals: ArrivalKind,
    /// Whether each record waits for the acknowledgement of the one before it.
    pub is_sync: bool,
    /// Records that are not acknowledged at most, where they come as fast as possible.
    pub outstanding: u32,
    /// Records per second, where they come at a rate.
    pub rate: u32,
    /// A batch is sent when it is that large, bytes; a record that is larger goes alone.
    pub batch_bytes: u32,
    /// How long a batch waits for more records, us.
    pub linger_us: u64,
    /// Requests on a connection.
    pub in_flight: u32,
    /// As in a Produce request: 0, 1, or -1 for all.
    pub acks: i16,
    /// Whether batches have sequence numbers.
    pub idempotence: bool,
    /// Codec and level.
    #[serde(serialize_with = "as_text")]
    pub compression: Compression,
    /// Partitions of the topic.
    pub partitions: u32,
    /// Connections to each leader, of the native client.
    pub connections: u32,
    /// Bound of what is handed over and not acknowledged, bytes.
    pub buffer_bytes: u64,
    /// Who consumes what is produced.
    pub consumers: Consumers,
    /// What keeps acknowledgements from the producer.
    pub fault: AckFault,
    /// Which answer the fault takes, counted from the fault before it.
    pub fault_every: u32,
    /// Records of a trial with a fault; others last for their window.
    pub records: u32,
}

/// As Kafka's clients are, where they have such a default.
impl Default for Client {
    fn default() -> Self {
        Client {
            client: ClientKind::Native,
            arrivals: ArrivalKind::Closed,
            is_sync: false,
            outstanding: 0,
            rate: 0,
            batch_bytes: 16_384,
            linger_us: 0,
            in_flight: 5,
            acks: -1,
            idempotence: false,
            compression: Compression::default(),
            partitions: 1,
            connections: 1,
            buffer_bytes: 32 << 20,
            consumers: Consumers::default(),
            fault: AckFault::None,
            fault_every: 0,
            records: 0,
        }
    }
}

impl Client {
    /// With the levels of a trial or cell; factors that are no property of a client are left alone.
    ///
    /// # Errors
    /// What a level can be instead.
    pub fn with<'f>(mut self, levels: impl IntoIterator<Item = (&'f str, &'f str)>) -> Result<Self, String> {
        for (name, level) in levels.into_iter().filter(|(name, _)| is_property(name)) {
            self.set(name, level)
                .map_err(|remedy| format!("`{name}` can't be `{level}`: {remedy}"))?;
        }
        Ok(self)
    }

    /// Sets a property; an error says what it can be.
    fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        match name {
            "client" => self.client = client_kind(text)?,
            // A rate of a level's own stands behind a dash, as in constant-1000000.
            "arrivals" => {
                let (kind, rate) = text
                    .split_once('-')
                    .map_or((text, None), |(kind, rate)| (kind, Some(rate)));
                self.arrivals = one_of(
                    kind,
                    &[
                        ("closed", ArrivalKind::Closed),
                        ("constant", ArrivalKind::Constant),
                        ("poisson", ArrivalKind::Poisson),
                    ],
                )?;
                match rate {
                    Some(_) if self.arrivals == ArrivalKind::Closed => {
                        return Err("closed, which has no rate".to_owned());
                    }
                    Some(rate) => self.rate = number(rate, RATES)?,
                    None => {}
                }
            }
            "send" => self.is_sync = one_of(text, &[("sync", true), ("async", false)])?,
            "outstanding" => self.outstanding = number(text, 1..=10_000_000)?,
            "rate" => self.rate = number(text, RATES)?,
            "batch_bytes" => self.batch_bytes = bytes(text, 1..=1 << 20)?,
            "linger_ms" => self.linger_us = microseconds(text, 60_000.0)?,
            "in_flight" => self.in_flight = number(text, 1..=super::IN_FLIGHT_MAX)?,
            "acks" => self.acks = one_of(text, &[("0", 0), ("1", 1), ("all", -1)])?,
            "idempotence" => {
                self.idempotence = one_of(text, &[("off", false), ("on", true), ("false", false), ("true", true)])?;
            }
            // `:` stands in no level.
            "compression" => {
                self.compression = text
                    .replacen('-', ":", 1)
                    .parse()
                    .map_err(|error| format!("{error}; a level is written with a dash, as in zstd-19"))?;
            }
            "partitions" => self.partitions = number(text, 1..=PARTITIONS_MAX)?,
            "connections" => self.connections = number(text, 1..=super::CONNECTIONS_MAX)?,
            "buffer_bytes" => self.buffer_bytes = bytes(text, 1 << 20..=1 << 30)?.into(),
            "fault" => {
                self.fault = one_of(
                    text,
                    &[
                        ("none", AckFault::None),
                        ("lost-answers", AckFault::LostAnswers),
                        ("restart", AckFault::Restart),
                    ],
                )?;
            }
            // Were each one taken, nothing would ever be acknowledged.
            "fault_every" => self.fault_every = number(text, 2..=10_000)?,
            "records" => self.records = number(text, 1..=10_000_000)?,
            name if consumers::PROPERTIES.contains(&name) => self.consumers.set(name, text)?,
            _ => return Err(format!("one of: {}", names())),
        }
        Ok(())
    }

    /// What does not go together, and what to do.
    fn contradiction(&self) -> Option<(String, &'static str)> {
        let is_closed = self.arrivals == ArrivalKind::Closed;
        if is_closed && !self.is_sync && self.outstanding == 0 {
            let message = "nothing says how many records are outstanding when they come as fast as possible";
            return Some((message.to_owned(), "write `outstanding = 10000` into `[client]`"));
        }
        if !is_closed && self.rate == 0 {
            let message = "nothing says at which rate records come";
            return Some((message.to_owned(), "write `rate = 10000` into `[client]`"));
        }
        if !is_closed && self.is_sync {
            let message = "a record can't both come at a rate and wait for the one before it";
            return Some((message.to_owned(), "give `send = [\"sync\"]` to closed arrivals only"));
        }
        if self.idempotence && (self.acks != -1 || self.in_flight > IN_FLIGHT_IDEMPOTENT_MAX) {
            let message = format!(
                "idempotence with acks {} and {} requests in flight: no broker can keep the order then",
                self.acks, self.in_flight
            );
            return Some((message, "with idempotence acks is all and in_flight at most 5"));
        }
        if self.fault == AckFault::None {
            return None;
        }
        let contradictions = [
            (
                self.records == 0 || self.fault_every == 0,
                "nothing says how many records meet the fault, or which answer it takes",
                "write `records = 10000` and `fault_every = 25` into `[client]`",
            ),
            (
                !is_closed,
                "records that come at a rate meet a fault that is counted in answers",
                "give a fault to closed arrivals only",
            ),
            (
                self.acks == 0,
                "no answer can be lost where none is asked for",
                "with a fault acks is 1 or all",
            ),
            (
                self.consumers.processes > 0,
                "what a fault left in the log is read back at the end, and nobody consumes beside it",
                "give a fault to arms without consumers",
            ),
            (
                self.fault == AckFault::Restart && (self.partitions > 1 || self.connections > 1),
                "an application that knows by one number how far it came has one partition and one connection",
                "with `restart`, write partitions = 1 and connections = 1",
            ),
        ];
        let mut found = contradictions.into_iter().filter(|(holds, ..)| *holds);
        found.next().map(|(_, message, remedy)| (message.to_owned(), remedy))
    }
}

/// Whether it is told by `[client]` or by a factor of the name.
fn is_property(name: &str) -> bool {
    REQUIRED.contains(&name) || OPTIONAL.contains(&name) || consumers::PROPERTIES.contains(&name)
}

/// Whether clients carry the factor out; every other one is a setting of the bundled broker.
pub(super) fn is_of_clients(name: &str) -> bool {
    is_property(name) || OF_PAYLOAD.contains(&name)
}

fn names() -> String {
    [&REQUIRED[..], &OPTIONAL[..], &consumers::PROPERTIES[..]]
        .concat()
        .join(", ")
}

/// The section: properties with their values.
pub(super) type Wire = BTreeMap<Spanned<String>, Spanned<wire::Scalar>>;

pub(super) fn check<'l>(
    source: &Source<'_>,
    section: &Spanned<Wire>,
    factors: &[wire::Factor],
    limits: impl Iterator<Item = &'l Spanned<String>>,
) -> Checked<Client> {
    let limits: Vec<&Spanned<String>> = limits.collect();
    if let Some(bare) = limits.first().filter(|_| meets_faults(section, factors)) {
        let message = "a fault is looked for in the log, and the limit has none";
        return source.fail(bare.span(), message, "remove the limit");
    }
    if let Some(unknown) = limits.iter().find(|bare| bare.get_ref() != NULL) {
        let message = format!("clients have no bare loop `{}`", unknown.get_ref());
        return source.fail(unknown.span(), message, format!("the one there is: {NULL}"));
    }
    let mut client = Client::default();
    for (name, value) in section.get_ref() {
        let text = name.get_ref().as_str();
        if !is_property(text) {
            let message = format!("a client has no property `{text}`");
            return source.fail(name.span(), message, format!("one of: {}", names()));
        }
        if factors.iter().any(|factor| factor.name.get_ref() == text) {
            return source.fail(name.span(), format!("{text} is a factor already"), "remove it here");
        }
        set(source, &mut client, text, value)?;
    }
    for factor in factors {
        let name = factor.name.get_ref().as_str();
        // What no client knows is a setting of the broker.
        if CLIENT_FACTORS.contains(&name) && !is_of_clients(name) {
            let remedy = format!(
                "one of: {}, {}, or a setting of a broker",
                names(),
                OF_PAYLOAD.join(", ")
            );
            return source.fail(factor.name.span(), format!("a client knows no factor `{name}`"), remedy);
        }
        for level in factor.levels.get_ref().iter().rev().filter(|_| is_property(name)) {
            set(source, &mut client, name, level)?;
        }
    }
    let told = |name: &str| {
        let is_held = section.get_ref().keys().any(|held| held.get_ref() == name);
        is_held || factors.iter().any(|factor| factor.name.get_ref() == name)
    };
    if let Some(missing) = REQUIRED.into_iter().find(|name| !told(name)) {
        let remedy = format!("hold it still in `[client]`: `{missing} = ..`, or add a factor of that name");
        return source.fail(section.span(), format!("nothing says `{missing}`"), remedy);
    }
    if !told("consumers")
        && let Some(idle) = consumers::PROPERTIES.into_iter().find(|name| told(name))
    {
        let message = format!("nothing says `consumers`, and `{idle}` is told of them");
        return source.fail(section.span(), message, "write `consumers = 1` into `[client]`");
    }
    if let Some(null) = limits.first().filter(|_| told("consumers")) {
        let message = "nothing is stored there, and nothing can be consumed";
        return source.fail(null.span(), message, "remove `[limit]`, or measure without consumers");
    }
    // That of one level of `arrivals` is none of the others'.
    if !told("rate") && factors.iter().any(|factor| factor.name.get_ref() == "arrivals") {
        client.rate = 0;
    }
    Ok(client)
}

/// Whether some arms have a fault, whose traces are in a log.
pub(super) fn meets_faults(section: &Spanned<Wire>, factors: &[wire::Factor]) -> bool {
    let names = section.get_ref().keys().map(Spanned::get_ref);
    let mut all = names.chain(factors.iter().map(|factor| factor.name.get_ref()));
    all.any(|name| name == "fault")
}

fn set(source: &Source<'_>, client: &mut Client, name: &str, value: &Spanned<wire::Scalar>) -> Checked<()> {
    let text = &value.get_ref().0;
    match client.set(name, text) {
        Ok(()) => Ok(()),
        Err(remedy) => source.fail(value.span(), format!("`{name}` can't be `{text}`"), remedy),
    }
}

/// Fails when the levels of a cell contradict each other.
pub(super) fn check_cell<'c>(
    source: &Source<'_>,
    span: Range<usize>,
    client: Client,
    levels: impl IntoIterator<Item = (&'c str, &'c str)>,
) -> Checked<()> {
    let (message, remedy) = match client.with(levels) {
        Ok(client) => match client.contradiction() {
            None => return Ok(()),
            Some((message, remedy)) => (message, remedy),
        },
        // A bare loop is no level, and stands in no cell.
        Err(message) => (message, "remove the level"),
    };
    source.fail(span, message, remedy)
}

impl Payload {
    /// With the levels of a trial.
    ///
    /// # Errors
    /// A level that was never checked.
    pub fn with(mut self, levels: &BTreeMap<String, String>) -> Result<Self, String> {
        if let Some(kind) = levels.get("payload") {
            self.kind = kind_of(kind)?;
        }
        if let Some(per_cent) = levels.get("entropy_percent") {
            self.entropy = entropy_of(per_cent)?;
        }
        if let Some(bytes) = levels.get("record_bytes") {
            self.record_bytes = number(bytes, 1..=1 << 20)?;
        }
        Ok(self)
    }
}

/// A level of the factor `payload`.
pub(super) fn kind_of(text: &str) -> Result<super::PayloadKind, String> {
    use super::PayloadKind::{Json, Random, Text};
    one_of(text, &[("json", Json), ("text", Text), ("random", Random)])
}

/// A level of the factor `entropy_percent`, as the share that it is.
pub(super) fn entropy_of(text: &str) -> Result<f64, String> {
    number(text, 0_u32..=100).map(|per_cent| f64::from(per_cent) / 100.0)
}

pub(super) fn client_kind(text: &str) -> Result<ClientKind, String> {
    one_of(
        text,
        &[("native", ClientKind::Native), ("librdkafka", ClientKind::Librdkafka)],
    )
}

fn one_of<T: Copy>(text: &str, known: &[(&str, T)]) -> Result<T, String> {
    let found = known.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        format!("one of: {}", names.join(", "))
    })
}

pub(super) fn number<T: FromStr + PartialOrd + Display>(text: &str, range: RangeInclusive<T>) -> Result<T, String> {
    let (low, high) = (range.start(), range.end());
    let found = text.parse().ok().filter(|number| range.contains(number));
    found.ok_or_else(|| format!("a number between {low} and {high}"))
}

/// Bytes, as a number or as in `64KiB`.
pub(super) fn bytes(text: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("B", 1), ("", 1)];
    let scaled = units.iter().find_map(|(unit, scale)| {
        let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(*scale)
    });
    let found = scaled.filter(|bytes| range.contains(bytes));
    found.ok_or_else(|| {
        format!(
            "bytes between {} and {}, such as 4096 or 4KiB",
            range.start(),
            range.end()
        )
    })
}

/// Milliseconds, with a fraction and with `ms` behind them or not.
pub(super) fn microseconds(text: &str, ms_max: f64) -> Result<u64, String> {
    let ms: f64 = number(text.trim_end_matches("ms"), 0.0..=ms_max)?;
    Ok((ms * 1e3).round() as u64)
}

fn as_text<S: serde::Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(test)]
pub(super) mod tests;
