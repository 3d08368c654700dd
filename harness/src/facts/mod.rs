//! Statements that need no statistics, looked up on a running Kafka: in its settings, in its folder, by its own Java client, and in a
//! trace of its system calls.
//!
//! A look-up ([`Answer`]) says whether the statement holds, and quotes what it saw. One that can't be made says why and what to do
//! about it, and the others go on. Nothing here knows what the answer should be: the definition says what is claimed, and
//! until when it was true.

mod folder;
mod java;
mod settings;
#[cfg(test)]
mod tests;
mod traced;

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use results::schema::{Fact, FactVerdict};
use workloads::facts::{FactsDefinition, LookUp, Side, Statement, Version};
use workloads::native::admin::Admin;
use workloads::native::endpoint::Bootstrap;
use workloads::native::preload::{PreloadIndex, PreloadSpec, preload};
use workloads::native::security::Security;
use workloads::payload::PayloadSpec;

use crate::interrupt;
use crate::target::kafka::{self, Kafka};

/// What topics and groups of the look-ups begin with.
const PREFIX: &str = "assay-facts-";
/// The same data in every run.
const SEED: u64 = 1;
/// Bytes of a record.
const RECORD_BYTES: usize = 1_000;

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    /// Whether the statement holds.
    holds: bool,
    /// What was seen, quoted.
    evidence: String,
    /// Where.
    place: String,
}

/// What was seen, or why nothing was, with the remedy.
type Answer = Result<Found, String>;

/// The observations that a definition may name.
const OBSERVATIONS: [&str; 14] = [
    "segment-names",
    "segment-base-offsets",
    "partition-folder",
    "index-entries",
    "flushes",
    "plain-fetch",
    "tls-fetch",
    "metadata-quorum",
    "committed-offsets",
    "assignors",
    "late-commit",
    "classic-assignment",
    "broker-assignment",
    "keyless-partitions",
];

/// Looks all statements up on Kafka, of which the first node is asked, and keeps what it needs in `scratch`.
///
/// # Errors
/// Kafka does not answer, the definition names a look-up that there is not, or Ctrl-C. What is missing on this machine (a JDK, strace, a
/// TLS listener) is no error: the facts that need it say so.
pub fn look_up(kafka: &Kafka, definition: &FactsDefinition, scratch: &Path) -> anyhow::Result<Vec<Fact>> {
    let unknown = definition.facts.iter().find_map(|fact| match &fact.look_up {
        LookUp::Observe(name) if !OBSERVATIONS.contains(&name.as_str()) => Some((fact, name)),
        _ => None,
    });
    if let Some((fact, name)) = unknown {
        anyhow::bail!(
            "fact `{}` of {} observes `{name}`, which is not known; there are: {}",
            fact.id,
            definition.name,
            OBSERVATIONS.join(", ")
        );
    }
    let seen = Seen::gather(kafka, scratch)?;
    let version = Version::parse(kafka.version());
    let fact = |statement: &Statement| {
        let answer = seen.answer(statement);
        let (verdict, evidence, evidence_source) = match answer {
            Ok(found) => (
                verdict(statement, found.holds, version.as_ref()),
                found.evidence,
                found.place,
            ),
            Err(reason) => (FactVerdict::NotLookedUp, reason, String::new()),
        };
        Fact {
            experiment: definition.name.clone(),
            id: statement.id.clone(),
            statement: statement.statement.clone(),
            source: statement.source.clone(),
            verdict,
            evidence,
            evidence_source,
            reference: statement.reference.clone(),
            target: kafka::NAME.to_owned(),
            version: kafka.version().to_owned(),
        }
    };
    Ok(definition.facts.iter().map(fact).collect())
}

/// What holds is true, whatever the definition says of versions. What does not hold is outdated when it is said to have held before
/// this version.
fn verdict(statement: &Statement, holds: bool, version: Option<&Version>) -> FactVerdict {
    match (holds, &statement.true_before, version) {
        (true, _, _) => FactVerdict::True,
        (false, Some(end), Some(version)) if version >= end => FactVerdict::Outdated,
        (false, _, _) => FactVerdict::False,
    }
}

/// Everything that was seen.
struct Seen {
    settings: Result<settings::BrokerSettings, String>,
    folder: Result<folder::Partition, String>,
    quorum: Answer,
    flushes: Answer,
    plain: Answer,
    tls: Answer,
    java: Result<java::Said, String>,
    committed: Answer,
}

impl Seen {
    fn gather(kafka: &Kafka, scratch: &Path) -> anyhow::Result<Self> {
        let address = *kafka.addresses().first().context("Kafka has no listener")?;
        let data = kafka.data_dirs();
        let settings = step(settings::BrokerSettings::ask(address))?;
        // First of all: a segment that another topic closes is flushed later, in the background.
        let flushes = unless_interrupted(traced::flushes(kafka, address))?;
        let segments = step(fill(address, "segments", folder::SEGMENT_BYTES, folder::FILE_BYTES))?;
        let folder = segments.and_then(|_| folder::Partition::read(&data, &format!("{PREFIX}segments")));
        let drained = step(fill(address, "drained", traced::SEGMENT_BYTES, traced::FILE_BYTES))?;
        let (plain, tls) = match drained {
            Ok(index) => (
                unless_interrupted(traced::plain_fetch(kafka, address, &index))?,
                unless_interrupted(traced::tls_fetch(kafka, &index))?,
            ),
            Err(reason) => (Err(reason.clone()), Err(reason)),
        };
        let java = step(java::run(kafka, address, scratch))?;
        let committed = java.as_ref().map_err(Clone::clone);
        let committed = committed.and_then(|said| folder::committed(&data, said));
        step(remove_topics(address))?.unwrap_or_else(|reason| errln!("topics of the facts stay: {reason}"));
        Ok(Self {
            quorum: folder::quorum(&data, settings.as_ref(), kafka.classpath()),
            committed,
            settings,
            folder,
            flushes,
            plain,
            tls,
            java,
        })
    }

    fn answer(&self, statement: &Statement) -> Answer {
        let name = match &statement.look_up {
            LookUp::Default { of, setting, says } => return self.default_of(*of, setting, says),
            LookUp::Observe(name) => name,
        };
        let folder = || self.folder.as_ref().map_err(Clone::clone);
        let java = || self.java.as_ref().map_err(Clone::clone);
        match name.as_str() {
            "segment-names" => folder()?.names(),
            "segment-base-offsets" => folder()?.base_offsets(),
            "partition-folder" => folder()?.listing(),
            "index-entries" => folder()?.index_entries(),
            "flushes" => self.flushes.clone(),
            "plain-fetch" => self.plain.clone(),
            "tls-fetch" => self.tls.clone(),
            "metadata-quorum" => self.quorum.clone(),
            "committed-offsets" => self.committed.clone(),
            "assignors" => java()?.assignors(),
            "late-commit" => java()?.late_commit(),
            "classic-assignment" => java()?.leader_assigns(),
            "broker-assignment" => java()?.only_clients_assign(),
            "keyless-partitions" => java()?.keyless(),
            other => Err(format!("there is no look-up `{other}`")),
        }
    }

    fn default_of(&self, of: Side, setting: &str, says: &str) -> Answer {
        match of {
            Side::Broker => self.settings.as_ref().map_err(Clone::clone)?.compare(setting, says),
            Side::Consumer => self
                .java
                .as_ref()
                .map_err(Clone::clone)?
                .compare("consumer", setting, says),
            Side::Producer => self
                .java
                .as_ref()
                .map_err(Clone::clone)?
                .compare("producer", setting, says),
        }
    }
}

/// An error of a look-up becomes the reason why it was not made; Ctrl-C stays an error.
fn step<T>(outcome: anyhow::Result<T>) -> anyhow::Result<Result<T, String>> {
    interrupt::check()?;
    match outcome {
        Ok(value) => Ok(Ok(value)),
        Err(error) if error.is::<interrupt::Interrupted>() => Err(error),
        Err(error) => Ok(Err(crate::in_words(&error))),
    }
}

/// The same for a look-up that may say itself that it can't be made.
fn unless_interrupted(outcome: anyhow::Result<Answer>) -> anyhow::Result<Answer> {
    Ok(step(outcome)?.and_then(|answer| answer))
}

/// Deletes what the look-ups made, so that they can be repeated on the same Kafka.
fn remove_topics(address: SocketAddr) -> anyhow::Result<()> {
    let mut admin = Admin::connect(Bootstrap::from(address), &Security::default())?;
    let topics = admin.list_topics()?;
    for topic in topics.iter().filter(|topic| topic.starts_with(PREFIX)) {
        interrupt::check()?;
        admin.delete_topic(topic)?;
    }
    Ok(())
}

/// Makes a topic of one partition and fills it by the native client, acks=all.
fn fill(address: SocketAddr, name: &str, segment_bytes: u64, file_bytes: u64) -> anyhow::Result<PreloadIndex> {
    let configs = [
        ("segment.bytes".to_owned(), segment_bytes.to_string()),
        // The records have a time of their own, the same in every run.
        ("retention.ms".to_owned(), "-1".to_owned()),
    ];
    let spec = PreloadSpec {
        topic: format!("{PREFIX}{name}"),
        partitions: 1,
        replicas: 1,
        configs: configs.into(),
        stored_batch_bytes: traced::BATCH_BYTES,
        file_bytes,
        payload: PayloadSpec::Random {
            record_bytes: RECORD_BYTES,
        },
        seed: SEED,
        base_timestamp_ms: 1_700_000_000_000,
    };
    preload(&Bootstrap::from(address), &Security::default(), &spec)
        .with_context(|| format!("the topic {} could not be filled", spec.topic))
}
