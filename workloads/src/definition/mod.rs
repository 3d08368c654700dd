//! Experiment definitions: TOML files that say which claim is tested, by which factors, how much of it each profile runs, and by which
//! metric it is decided.
//!
//! The files in `workloads/definitions/` are embedded in the binary; a user's own file is read by [`load`]. `assay list` and
//! `assay show zero-copy` print them. A definition is data: nothing here runs a trial or judges one.

mod arms;
mod assign;
mod blocks;
mod check;
mod claims;
mod client;
mod confine;
mod consumers;
mod error;
mod factors;
mod group;
mod load;
mod look_up;
mod read;
mod retarget;
#[cfg(test)]
mod tests;
mod wire;

pub use assign::Assign;
pub use blocks::{BARE_SEQUENTIAL, Blocks};
pub use claims::{Claim, Only};
pub use client::{AckFault, ArrivalKind, Client};
pub use confine::Kept;
pub use consumers::Consumers;
pub use error::DefinitionError;
pub use group::{Group, GroupTrigger};
pub use look_up::{JITTER_SHARE, LookUp};
pub use read::Read;

use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

static EMBEDDED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/definitions");

/// Requests that a client keeps on a connection at most.
pub const IN_FLIGHT_MAX: u32 = 64;
/// Connections of a client to each leader at most.
pub const CONNECTIONS_MAX: u32 = 64;
/// More arms than this in one profile is a mistake in the file: a block would take minutes.
pub const ARMS_MAX: usize = 200;
/// More blocks than this is a mistake in the file.
pub const BLOCKS_MAX: u32 = 1_000;
/// Definition files are short; a longer one is refused before it is parsed.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// One experiment: a question, how it is put, and how it is answered. Always checked: one that exists can be planned.
#[derive(Debug, Clone, Serialize)]
pub struct Definition {
    /// Name on the command line: lower-case letters, digits and dashes.
    pub name: String,
    /// The question in a few words.
    pub title: String,
    /// The folklore as it is told.
    pub claim: String,
    /// Who says so.
    pub source: String,
    /// Why it might hold or not.
    pub why: String,
    /// What others measured; printed beside our figures, never used as ours.
    pub published: Vec<String>,
    /// What lies between broker and client, for example `loopback`; `no network` without a broker.
    pub transport: String,
    /// What it is measured on: `bundled`, `kafka`, or `machine` for what needs no broker. Definitions of one name and different targets are one experiment. Of no
    /// meaning where the target itself is under test.
    pub target: String,
    /// Name of the factor under test.
    pub treatment: String,
    /// The level of the treatment that all others are divided by.
    pub baseline: String,
    /// The level of the treatment that the claims talk of.
    pub focus: String,
    /// What else differs between the levels of the treatment, in whole sentences.
    pub also_differs: Vec<String>,
    /// Smallest relative effect that is called one, for example 0.05.
    pub margin: f64,
    /// Name of the metric that decides.
    pub deciding_metric: String,
    /// What is reported.
    pub metrics: Vec<Metric>,
    /// What is judged.
    pub claims: Vec<Claim>,
    /// What is varied.
    pub factors: Vec<Factor>,
    /// Broker properties held still in every arm.
    pub settings: BTreeMap<String, String>,
    /// Target -> properties that are held still on it alone, because others have none of that name.
    pub settings_of: BTreeMap<String, BTreeMap<String, String>>,
    /// Factor -> level -> settings of the topics that a trial makes: how a target without such a setting of its own is told the level.
    pub topic_settings: TopicSettings,
    /// What the records look like; of no meaning where none is made.
    pub payload: Payload,
    /// What the clients do.
    pub work: Work,
    /// How a target that needs it is warmed up before the first block.
    pub warm_up: Option<WarmUp>,
    /// Bare loop without a broker -> levels of the treatment that it is the physical limit of.
    pub limit: BTreeMap<String, Vec<String>>,
    /// The short version: minutes.
    pub quick: Profile,
    /// The whole grid.
    pub full: Profile,
    /// 64-bit FNV-1a of the file, 16 hex digits: two runs with the same digest asked the same question.
    pub digest: String,
}

/// A figure that is reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metric {
    /// Name in `trials.csv`.
    pub name: String,
    /// Name for people.
    pub label: String,
    /// Unit for people.
    pub unit: String,
    /// Which direction is the good one.
    pub better: Better,
    /// Whether it has a chart of its own, beside the deciding one's.
    pub chart: bool,
}

/// Which direction of a metric is the good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
    /// It explains; it is not wanted high or low.
    Neither,
}

/// Factor -> level -> settings of a topic.
pub type TopicSettings = BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>>;

/// Name of the factor whose levels are targets.
pub const TARGET_FACTOR: &str = "target";

/// Factors that clients and harness carry out. Every other one is a setting of the bundled broker by its name, or is told to another target by
/// settings of topics.
const CLIENT_FACTORS: [&str; 12] = [
    TARGET_FACTOR,
    "listener",
    "workload",
    "record_bytes",
    "batch_bytes",
    "partitions",
    "topics",
    "read",
    "beside",
    "response_bytes",
    "receiver",
    "cache",
];

/// Something that is varied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Factor {
    /// Name in plans and CSV.
    pub name: String,
    /// Name for people.
    pub label: String,
    /// Unit of the levels, `bytes` or empty.
    pub unit: String,
    /// Levels in the order of the file, as text.
    pub levels: Vec<String>,
}

/// What the records of an experiment are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayloadKind {
    /// JSON events as a service would log them.
    Json,
    /// Words.
    Text,
    /// Bytes that nothing compresses.
    Random,
}

/// The records of an experiment, seeded per run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Payload {
    /// What they are made of.
    pub kind: PayloadKind,
    /// Target size of a record's value, bytes; where it is a factor, the smallest level. Of the others, where they are factors, the first one.
    pub record_bytes: u32,
    /// Share of a record that is random text and not template, 0..=1.
    pub entropy: f64,
}

/// What the clients of an experiment do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// They drain a topic that was filled before.
    Fetch(Fetch),
    /// They produce to, or drain, a topic made for the trial; which of it, how large and on how many partitions are factors.
    Load(Load),
    /// They write blocks into a file, and there is no broker.
    Blocks(Blocks),
    /// They look places up in a log that was filled before.
    LookUp(LookUp),
    /// They read a topic that was filled for the trial, with somebody who writes beside them or without.
    Read(Read),
    /// They produce record by record, as applications do, and perhaps consume what comes.
    Client(Client),
    /// They consume as a group that something befalls.
    Group(Group),
    /// None of them runs: it is worked out which member of a group gets which partition.
    Assign(Assign),
}

impl Work {
    /// Whether a factor of that name is a setting of the broker, as no client carries it out.
    fn leaves_to_broker(&self, factor: &str) -> bool {
        match self {
            Work::Fetch(_) | Work::Load(_) | Work::Read(_) => !CLIENT_FACTORS.contains(&factor),
            Work::Client(_) => !client::is_of_clients(factor),
            Work::Group(_) => !group::is_of_groups(factor),
            // They have no factors but their own.
            Work::Blocks(_) | Work::LookUp(_) | Work::Assign(_) => false,
        }
    }
}

/// What a client of a load does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// It stores batches.
    Produce,
    /// It drains what was stored before.
    Fetch,
}

/// How records are produced and fetched. Factors: `partitions`, and `target`, `workload`, `record_bytes`, `batch_bytes` and `topics` where they are
/// not held still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Load {
    /// What the clients do, where it is no factor.
    pub workload: Option<Workload>,
    /// Exact size of a batch, bytes, where it is no factor.
    pub batch_bytes: Option<u32>,
    /// Connections of a producer to each leader.
    pub connections: u32,
    /// Requests kept on each connection.
    pub in_flight: u32,
    /// Which acknowledgement a producer waits for.
    pub acks: Acks,
    /// Batches that are built before the clock starts and sent again and again, bytes.
    pub pool_bytes: u64,
    /// A producing window ends when that much was sent, so that no target is charged for more dirty pages than another.
    pub window_bytes_max: u64,
    /// Record data of a topic that is drained, bytes over all its partitions.
    pub fetch_bytes: u64,
    /// `max_bytes` of each fetch.
    pub response_bytes: u32,
    /// How long the broker may hold a fetch back, ms.
    pub max_wait_ms: u32,
    /// User-space buffer of the consumer, bytes.
    pub receive_buffer_bytes: u32,
}

/// Which acknowledgement a producer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Acks {
    /// The leader's.
    Leader,
    /// That of all replicas in sync.
    All,
}

impl Acks {
    /// As in a Produce request.
    pub fn code(self) -> i16 {
        match self {
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}

/// How a target is warmed up, and when it counts as steady.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct WarmUp {
    /// One window of traffic, ms.
    pub window_ms: u32,
    /// The last so many windows are looked at: the mean of their first third against that of their last.
    pub windows: u32,
    /// It is given up, and said so, after that long, s.
    pub seconds_max: u32,
    /// Largest relative difference of the two means that is steady, for example 0.1.
    pub tolerance: f64,
}

/// How records are stored and fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fetch {
    /// Requests kept on the connection, at least.
    pub in_flight: u32,
    /// More of them while their responses together have no more than that, bytes.
    pub in_flight_bytes: u32,
    /// Exact size of every stored batch, bytes with its header.
    pub stored_batch_bytes: u32,
    /// Record data in the file of a hot arm, bytes.
    pub file_bytes: u64,
    /// Record data in the file of a cold arm, bytes; it is read once.
    pub cold_file_bytes: u64,
    /// How long the broker may hold a fetch back, ms.
    pub max_wait_ms: u32,
    /// User-space buffer of the receiver that copies, bytes.
    pub receive_buffer_bytes: u32,
}

impl Fetch {
    /// Requests kept on the connection when each asks for `response_bytes`: small responses need more, or both sides sleep and wake
    /// for each.
    pub fn in_flight_of(&self, response_bytes: u64) -> u32 {
        let more = u64::from(self.in_flight_bytes) / response_bytes.max(1);
        self.in_flight.max(more.min(u64::from(IN_FLIGHT_MAX)) as u32)
    }
}

/// How much of an experiment is run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// Times that every arm is run.
    pub blocks: u32,
    /// Traffic before the window, ms.
    pub warmup_ms: u32,
    /// Measured traffic, ms.
    pub window_ms: u32,
    /// Every arm of a block, in the order of the file.
    pub arms: Vec<Arm>,
}

/// Which profile of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProfileName {
    /// Minutes.
    Quick,
    /// The whole grid.
    Full,
}

impl ProfileName {
    /// As on the command line and in `manifest.json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }
}

/// One combination of levels that is run once per block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arm {
    /// Unique in the experiment; the levels in the order of the factors, for example `sendfile/1MiB/discard/hot`.
    pub id: String,
    /// What the arm is there for.
    pub role: Role,
    /// Every factor with its level. A limit arm has the bare loop as the level of the treatment.
    pub factors: BTreeMap<String, String>,
}

/// What an arm is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It answers the question.
    Measured,
    /// The baseline once more (A/A): its difference from the baseline is noise.
    Control,
    /// The kernel without a protocol: what is physically possible.
    Limit,
}

impl Definition {
    /// Parses and checks the text of a file that is called `path` in messages.
    ///
    /// # Errors
    /// The first thing that is wrong, with file, line and remedy.
    pub fn parse(path: &str, text: &str) -> Result<Self, Box<DefinitionError>> {
        let file: wire::File = toml::from_str(text).map_err(|error| {
            DefinitionError::at(
                path,
                text,
                error.span().unwrap_or(0..0),
                error.message().to_owned(),
                "`assay show zero-copy --toml` prints a definition with every key that there is".to_owned(),
            )
        })?;
        check::check(path, text, file)
    }

    /// The profile of that name.
    pub fn profile(&self, name: ProfileName) -> &Profile {
        match name {
            ProfileName::Quick => &self.quick,
            ProfileName::Full => &self.full,
        }
    }

    /// The profile of that name, to be changed.
    pub fn profile_mut(&mut self, name: ProfileName) -> &mut Profile {
        match name {
            ProfileName::Quick => &mut self.quick,
            ProfileName::Full => &mut self.full,
        }
    }

    /// Every arm of a block of the profile, in the order of the file.
    pub fn arms(&self, name: ProfileName) -> &[Arm] {
        &self.profile(name).arms
    }

    /// The properties of a target: those of all, and its own.
    pub fn settings_for(&self, target: &str) -> BTreeMap<String, String> {
        let mut settings = self.settings.clone();
        settings.extend(self.settings_of.get(target).cloned().unwrap_or_default());
        settings
    }

    /// The factors whose levels are settings of the bundled broker.
    pub fn settings_varied(&self) -> impl Iterator<Item = &Factor> {
        let is_setting = |factor: &&Factor| self.work.leaves_to_broker(&factor.name);
        self.factors.iter().filter(is_setting)
    }

    /// The bundled broker's settings in a trial: what is held still, and the levels of the trial.
    pub fn settings_of_trial(&self, factors: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut settings = self.settings_for(BUNDLED);
        for factor in self.settings_varied() {
            if let Some(level) = factors.get(&factor.name) {
                settings.insert(factor.name.clone(), level.clone());
            }
        }
        settings
    }

    /// The settings of the topics that a trial makes.
    pub fn topic_settings_of_trial(&self, factors: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let told = self.topic_settings.iter();
        let of_level = told.filter_map(|(factor, levels)| levels.get(factors.get(factor)?));
        of_level
            .flatten()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// How a pre-loaded topic is drained, where that is the work.
    pub fn fetch(&self) -> Option<&Fetch> {
        match &self.work {
            Work::Fetch(fetch) => Some(fetch),
            _ => None,
        }
    }

    /// How places are looked up, where that is the work.
    pub fn look_up(&self) -> Option<&LookUp> {
        match &self.work {
            Work::LookUp(look_up) => Some(look_up),
            _ => None,
        }
    }

    /// Name of its file: those of another broker than ours say so.
    pub fn file_name(&self) -> String {
        match self.target == KAFKA {
            true => format!("{}.{KAFKA}.toml", self.name),
            false => format!("{}.toml", self.name),
        }
    }

    /// The targets that it needs.
    pub fn targets(&self) -> Vec<String> {
        match self.factor(TARGET_FACTOR) {
            Some(factor) => factor.levels.clone(),
            None => vec![self.target.clone()],
        }
    }

    /// The factor of that name.
    pub fn factor(&self, name: &str) -> Option<&Factor> {
        self.factors.iter().find(|factor| factor.name == name)
    }
}

/// Name of the bundled broker as a target.
pub const BUNDLED: &str = "bundled";
/// Name of the bundled broker that stores nothing, as a target: the ceiling of clients.
pub const NULL: &str = "null";
/// Name of Apache Kafka as a target.
pub const KAFKA: &str = "kafka";
/// Name of a cluster that runs already, as a target.
pub const CLUSTER: &str = "cluster";

/// Name of the machine itself as a target, for what is measured without a broker.
pub const MACHINE: &str = "machine";

/// All definitions in the binary, by name and target.
///
/// # Errors
/// An embedded definition that does not pass its own checks; a test keeps that from being shipped.
pub fn embedded() -> Result<Vec<Definition>, Box<DefinitionError>> {
    let mut definitions = embedded_texts()
        .map(|(path, text)| Definition::parse(path, text))
        .collect::<Result<Vec<_>, _>>()?;
    // The bundled broker first: its table is the one that others are shown beside.
    definitions
        .sort_by(|a, b| (&a.name, a.target != BUNDLED, &a.target).cmp(&(&b.name, b.target != BUNDLED, &b.target)));
    Ok(definitions)
}

/// File name and text of each definition in the binary.
pub fn embedded_texts() -> impl Iterator<Item = (&'static str, &'static str)> {
    EMBEDDED
        .files()
        .filter_map(|file| Some((file.path().to_str()?, file.contents_utf8()?)))
        .filter(|(path, _)| path.ends_with(".toml"))
}

/// Reads and checks a user's definition.
///
/// # Errors
/// The file cannot be read or is longer than [`FILE_BYTES_MAX`], or the first thing that is wrong in it.
pub fn load(path: &Path) -> Result<Definition, Box<DefinitionError>> {
    use std::io::Read;
    let shown = path.display().to_string();
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    if let Err(error) = read {
        let remedy = "give the path of a readable TOML file, or a name that `assay list` prints".to_owned();
        return Err(DefinitionError::at(
            &shown,
            "",
            0..0,
            format!("cannot be read: {error}"),
            remedy,
        ));
    }
    if text.len() as u64 > FILE_BYTES_MAX {
        let message = format!("longer than {FILE_BYTES_MAX} bytes");
        return Err(DefinitionError::at(
            &shown,
            "",
            0..0,
            message,
            "split it into several definitions".to_owned(),
        ));
    }
    Definition::parse(&shown, &text)
}
