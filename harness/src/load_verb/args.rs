//! The command line of `assay load`.

use std::path::PathBuf;

use clap::ValueEnum;
use kafka_wire::Compression;
use workloads::load::{ClientKind, Partitioner};
use workloads::payload::Cut;

use super::words::{KeySource, Objective, Produce, RecordBytes, rate};
use crate::run_folder;
use crate::run_verb::parse_cut;
use crate::target::TargetName;

/// Put load on a Kafka-compatible cluster: produce, consume, or search the highest rate that keeps an objective
#[derive(clap::Args, Debug)]
#[command(
    after_long_help = "Examples:\n  assay load --produce 20k --consume\n  assay load --target kafka://10.0.0.7:9092 --topic orders --produce poisson:5000 \
    --seconds 60\n  assay load --target kafka --partitions 12 --produce max --batch-bytes 65536 --linger-ms 5 --compression lz4\n  \
    assay load --partitions 4 --find-max --objective 'p99 < 10 ms'\n  assay load --target \
    kafka://h:9093 --client-properties tls.properties --topic orders --produce bursts:1000,50\n  assay load --target kafka://h:9092 --topic orders --consume --from earliest --seconds 30\n\nLatency counts from the moment that the \
    schedule gave to a record, whether it could be sent then or not; `max` has no schedule, and can't show a stall.\n\nWith --consume processes of their own read the \
    topic; the time until they have a record counts from the same moment on the same clock, and at the end every record that was acknowledged must have come once. \
    They have no group: partitions are assigned.\n\nTargets: `bundled` is \
    this program's own broker; `kafka` is Apache Kafka, started for the load; `null` answers and stores nothing, the ceiling of every client; `kafka://host:port,host:port` runs already. \
    There --topic must exist, or --partitions has it made, and deleted at the end.\n\n--find-max doubles the rate until the objective breaks, \
    bisects to 5 %, and confirms the answer by three held runs; then the window of --seconds is measured at that rate. A rate keeps the objective \
    when the percentile stays below its bound, nothing fails, the rate is reached, and neither a backlog nor a consumer's lag grows.\n\nExit codes: 0 measured; 1 when consumers miss \
    records that were acknowledged, and with --require-objective when it is broken; 3 usage or environment; 130 interrupted, with the table of what was measured."
)]
pub struct Args {
    /// What is loaded: bundled, kafka, null, or kafka://host:port,..
    #[arg(long, value_name = "TARGET", default_value = "bundled")]
    pub target: TargetName,
    /// Topic; `load` on a target that is started, and a name of its own on a cluster, unless it is given
    #[arg(long, value_name = "NAME")]
    pub topic: Option<String>,
    /// Makes the topic with so many partitions [default: 1 on a target that is started]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub partitions: Option<u32>,
    /// Leaves a topic that was made on a cluster
    #[arg(long)]
    pub keep: bool,
    /// A setting of a target that is started; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Kafka client properties (TLS, SASL) for a kafka:// target
    #[arg(long, value_name = "FILE")]
    pub client_properties: Option<PathBuf>,

    #[command(flatten)]
    pub produce: ProduceArgs,
    #[command(flatten)]
    pub consume: ConsumeArgs,
    #[command(flatten)]
    pub find: FindArgs,

    /// Asks first what the producer reaches on the target null, and tells how near this load comes to it
    #[arg(long)]
    pub ceiling: bool,
    /// Measured time, s
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    pub seconds: f64,
    /// Load before it that is not measured, s
    #[arg(long, value_name = "S", default_value = "2", value_parser = seconds_or_none)]
    pub warm_up: f64,
    /// Fixes times, keys, values and partitions; chosen from the clock and recorded when it is not given
    #[arg(long)]
    pub seed: Option<u64>,
    /// Folder for the folder of this load; the data of a target that is started lies there too
    #[arg(long, value_name = "DIR", default_value = run_folder::DEFAULT_OUT)]
    pub out: PathBuf,
}

/// What is produced, when, and how.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Producing")]
pub struct ProduceArgs {
    /// Records/s (20k), max, max:OUTSTANDING, poisson:RATE, bursts:RATE,RECORDS, steps:RATE,RATE..@MS, ramp:FROM..TO@MS, trace:FILE
    #[arg(long, value_name = "RATE|..")]
    pub produce: Option<Produce>,
    /// Sizes of values: BYTES, MIN-MAX, or lognormal:MEDIAN,SIGMA
    #[arg(long, value_name = "BYTES|..", default_value = "1024")]
    pub record_bytes: RecordBytes,
    /// Generated values
    #[arg(long, value_enum, default_value = "json", value_name = "KIND")]
    pub payload_kind: Content,
    /// Share of random text in generated values, 0 to 1; it decides what compression does
    #[arg(long, value_name = "SHARE", default_value = "0.5")]
    pub entropy: f64,
    /// Values cut from this file instead of generated ones
    #[arg(long, value_name = "FILE")]
    pub payload: Option<PathBuf>,
    /// How --payload is cut: `lines`, or a record size in bytes
    #[arg(long, value_name = "lines|BYTES", default_value = "lines", value_parser = parse_cut)]
    pub cut: Cut,
    /// none, uniform:COUNT, zipf:COUNT,EXPONENT, or a file with a key a line
    #[arg(long, value_name = "KEYS", default_value = "none")]
    pub keys: KeySource,
    /// How partitions are chosen [default: key with keys, round-robin without]
    #[arg(long, value_enum, value_name = "HOW")]
    pub partitioner: Option<Choice>,
    /// Which client, for producing and consuming: native or librdkafka
    #[arg(long, value_name = "CLIENT", default_value = "native")]
    pub client: ClientKind,
    /// Most bytes of a batch
    #[arg(long, value_name = "BYTES", default_value = "16384")]
    pub batch_bytes: u32,
    /// How long a batch that is not full waits, ms; fractions are allowed
    #[arg(long, value_name = "MS", default_value = "0", value_parser = linger)]
    pub linger_ms: u64,
    /// Requests on a connection at once
    #[arg(long, value_name = "N", default_value = "5")]
    pub in_flight: u32,
    /// 0, 1 or all
    #[arg(long, value_name = "ACKS", default_value = "all", value_parser = acks)]
    pub acks: i16,
    /// Nothing is stored twice; brings retries along
    #[arg(long)]
    pub idempotence: bool,
    /// Batches that failed for a reason that may pass are sent again, which may store them twice without --idempotence
    #[arg(long)]
    pub retries: bool,
    /// none, gzip, snappy, lz4 or zstd, with `:LEVEL` behind one that has levels
    #[arg(long, value_name = "CODEC", default_value = "none")]
    pub compression: Compression,
    /// Most bytes that are enqueued and not acknowledged
    #[arg(long, value_name = "BYTES", default_value = "33554432")]
    pub buffer_bytes: u64,
    /// Connections to each leader, of the native client
    #[arg(long, value_name = "N", default_value = "1")]
    pub connections: u32,
    /// One of librdkafka's own properties, with --client librdkafka; repeat it for more
    #[arg(long = "producer-property", value_name = "KEY=VALUE", value_parser = property)]
    pub producer_properties: Vec<(String, String)>,
}

/// A property as a user gives it.
fn property(pair: &str) -> Result<(String, String), String> {
    let (key, value) = pair.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// What is consumed, and how.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Consuming")]
pub struct ConsumeArgs {
    /// Reads the topic in processes of their own
    #[arg(long)]
    pub consume: bool,
    /// So many processes, which share out the partitions
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=64), requires = "consume")]
    pub consumers: u32,
    /// Which client consumes, if not the one of --client
    #[arg(long, value_name = "CLIENT", requires = "consume")]
    pub consumer_client: Option<ClientKind>,
    /// Where consuming begins without --produce, which is beside what is produced; with earliest it ends when everything is read
    #[arg(
        long,
        value_enum,
        value_name = "PLACE",
        default_value = "latest",
        requires = "consume"
    )]
    pub from: Place,
    /// The broker answers once so many bytes are there ..
    #[arg(long, value_name = "BYTES", default_value = "1", requires = "consume")]
    pub fetch_min_bytes: u32,
    /// .. or after so long, ms
    #[arg(long, value_name = "MS", default_value = "500", requires = "consume")]
    pub fetch_max_wait_ms: u32,
    /// One of librdkafka's own properties for a consumer, with --client or --consumer-client librdkafka; repeat it for more
    #[arg(long = "consumer-property", value_name = "KEY=VALUE", value_parser = property, requires = "consume")]
    pub consumer_properties: Vec<(String, String)>,
}

/// Where a consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Place {
    /// With what comes.
    Latest,
    /// With what there is.
    Earliest,
}

/// The search.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Searching")]
pub struct FindArgs {
    /// Searches the highest rate that keeps --objective, before the measured window
    #[arg(long)]
    pub find_max: bool,
    /// A percentile and its bound: 'p99 < 10 ms', or 'e2e p99 < 10 ms' until a consumer has the record
    #[arg(long, value_name = "OBJECTIVE")]
    pub objective: Option<Objective>,
    /// Exit with 1 when the window, or every rate of the search, breaks the objective
    #[arg(long)]
    pub require_objective: bool,
    /// First rate of the search, records/s [default: what fills the percentile with samples, at least 1000]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub find_from: Option<f64>,
    /// Highest rate that is tried, records/s
    #[arg(long, value_name = "RATE", value_parser = rate, requires = "find_max")]
    pub find_to: Option<f64>,
    /// How long each rate is tried, s
    #[arg(long, value_name = "S", default_value = "3", value_parser = seconds)]
    pub try_seconds: f64,
}

/// What generated values are.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Content {
    /// Events as a service would log them.
    Json,
    /// Lines of English words.
    Text,
    /// Uniform random bytes.
    Random,
}

/// How the partition of a record is chosen.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Choice {
    /// One after the other.
    RoundRobin,
    /// By the key, as Kafka's clients do.
    Key,
    /// One until it got a batch's bytes.
    Sticky,
}

impl From<Choice> for Partitioner {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::RoundRobin => Partitioner::RoundRobin,
            Choice::Key => Partitioner::Key,
            Choice::Sticky => Partitioner::Sticky,
        }
    }
}

/// A day is long enough for any load, and bounds the files.
const SECONDS_MAX: f64 = 86_400.0;

fn seconds(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok();
    value
        .filter(|value| *value >= 0.1 && *value <= SECONDS_MAX)
        .ok_or_else(|| format!("give seconds from 0.1 to {SECONDS_MAX}"))
}

fn seconds_or_none(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(0.0) => Ok(0.0),
        _ => seconds(text),
    }
}

/// Milliseconds with a fraction, as microseconds.
fn linger(text: &str) -> Result<u64, String> {
    let value = text.parse::<f64>().ok().map(|ms| (ms * 1e3).round());
    value
        .filter(|us| (0.0..=6e7).contains(us))
        .map(|us| us as u64)
        .ok_or_else(|| "give milliseconds from 0 to 60000, such as 0.5".to_owned())
}

fn acks(text: &str) -> Result<i16, String> {
    match text {
        "0" => Ok(0),
        "1" => Ok(1),
        "all" | "-1" => Ok(-1),
        _ => Err("give 0, 1 or all".to_owned()),
    }
}
