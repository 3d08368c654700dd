//! What the command line comes to: a checked load, before anything is started.

use anyhow::bail;
use workloads::load::consume::Start;
use workloads::load::{Arrivals, ConsumeSpec, Keys, LoadPayload, LoadSpec, Partitioner, ProducerSettings};
use workloads::native::Spread;
use workloads::payload::{PayloadSpec, RecordSource};

use super::args::{Args, Content, Place, ProduceArgs};
use super::words::Objective;
use crate::run_verb::seed_from_clock;
use crate::target::TargetName;

/// The topic on a target that is started for the load.
const TOPIC: &str = "load";
/// A percentile gets twice the samples that it needs, where the first rate is not given ..
const SAMPLES: f64 = 2.0 * results::load::SAMPLES_ABOVE_MIN;
/// .. but at least this rate, as less says little of a broker, records/s.
const FIND_FROM_MIN: f64 = 1_000.0;

/// A checked load.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its topic.
    pub topic: String,
    /// Partitions that the topic is made with; `None` where it must exist.
    pub partitions: Option<u32>,
    /// Which records, when, and how; its spread has no partitions before the topic is known. Absent when only consuming.
    load: Option<LoadSpec>,
    /// How they are consumed, and by how many; absent when only producing.
    consume: Option<(ConsumeSpec, u32)>,
    /// The objective.
    pub objective: Option<Objective>,
    /// The first and the highest rate of a search; absent without one.
    pub find_between: Option<(f64, f64)>,
}

impl Plan {
    /// Checks what the command line asks for.
    ///
    /// # Errors
    /// What is missing, excludes something else, or can't work.
    pub fn of(args: &Args) -> anyhow::Result<Self> {
        let runs_already = matches!(args.target, TargetName::Cluster(_));
        let seed = args.seed.unwrap_or_else(seed_from_clock);
        if args.target == TargetName::RocketMq {
            bail!("rocketmq can be fetched, started and stopped (`assay target`), but not driven yet");
        }
        if args.client_properties.is_some() && !runs_already {
            bail!("--client-properties is for a kafka:// target");
        }
        if runs_already && !args.set.is_empty() {
            bail!(
                "--set is for a target that is started for the load; {} runs already",
                args.target
            );
        }
        if runs_already && args.topic.is_none() && args.partitions.is_none() {
            bail!(
                "give --topic of {}, or --partitions to have one made for the load",
                args.target
            );
        }
        let find = &args.find;
        if find.find_max && find.objective.is_none() {
            bail!("--find-max needs an --objective, such as 'p99 < 10 ms'");
        }
        if find.require_objective && find.objective.is_none() {
            bail!("--require-objective needs an --objective, such as 'p99 < 10 ms'");
        }
        let load = producing(args, seed)?;
        let consume = consuming(args, load.is_some())?;
        if load.is_none() {
            check_consuming_alone(args)?;
        }
        if args.ceiling && args.target == TargetName::Null {
            bail!("--ceiling on the target null: that is the ceiling, with --produce max");
        }
        if consume.is_none() && find.objective.as_ref().is_some_and(|objective| objective.end_to_end) {
            bail!("an objective that begins with e2e is about a consumer: give --consume");
        }
        let topic = match (&args.topic, runs_already) {
            (Some(topic), _) => topic.clone(),
            (None, false) => TOPIC.to_owned(),
            (None, true) => format!("assay-load-{}-{}", seed_from_clock(), std::process::id()),
        };
        let find_between = find.find_max.then(|| {
            let asked = find
                .find_from
                .or(match args.produce.produce.as_ref().map(|produce| &produce.0) {
                    Some(Arrivals::Constant { rate } | Arrivals::Poisson { rate }) => Some(*rate),
                    _ => None,
                });
            let quantile = find
                .objective
                .as_ref()
                .map_or(0.5, |objective| objective.quantile.min(0.9999));
            let from = asked.unwrap_or_else(|| FIND_FROM_MIN.max(SAMPLES / (1.0 - quantile) / find.try_seconds));
            (from, find.find_to.unwrap_or(f64::INFINITY))
        });
        if let Some((from, to)) = find_between.filter(|(from, to)| from > to) {
            bail!("the search begins at {from} records/s, above --find-to {to}: give --find-from below it");
        }
        let plan = Plan {
            topic,
            partitions: args.partitions.or((!runs_already).then_some(1)),
            load,
            consume,
            objective: find.objective.clone(),
            find_between,
        };
        if let Some(partitions) = plan.partitions {
            plan.check_consumers(partitions)?;
        }
        Ok(plan)
    }

    /// Whether something is produced.
    pub fn produces(&self) -> bool {
        self.load.is_some()
    }

    /// Checks that every consumer has a partition.
    ///
    /// # Errors
    /// There are too many of them.
    pub fn check_consumers(&self, partitions: u32) -> anyhow::Result<()> {
        match self.consume {
            Some((_, several)) if several > partitions => {
                bail!("{several} consumers share out {partitions} partitions: give --consumers {partitions} at most")
            }
            _ => Ok(()),
        }
    }

    /// The load on a topic of so many partitions.
    pub fn load(&self, partitions: u32) -> Option<LoadSpec> {
        let load = self.load.clone()?;
        let spread = Spread::one_topic(&self.topic, partitions);
        Some(LoadSpec { spread, ..load })
    }

    /// What each consumer reads of a topic of so many partitions.
    pub fn consumers(&self, partitions: u32) -> Vec<ConsumeSpec> {
        let Some((consume, several)) = &self.consume else {
            return Vec::new();
        };
        let of = |consumer: u32| ConsumeSpec {
            spread: Spread::one_topic(&self.topic, partitions),
            places: Some(
                (consumer..partitions)
                    .step_by(*several as usize)
                    .map(|place| place as usize)
                    .collect(),
            ),
            ..consume.clone()
        };
        (0..*several).map(of).collect()
    }

    /// The same load with another rate.
    pub fn load_at(&self, partitions: u32, rate: f64) -> Option<LoadSpec> {
        let load = self.load(partitions)?;
        let arrivals = match load.arrivals {
            Arrivals::Poisson { .. } => Arrivals::Poisson { rate },
            _ => Arrivals::Constant { rate },
        };
        Some(LoadSpec { arrivals, ..load })
    }
}

fn producing(args: &Args, seed: u64) -> anyhow::Result<Option<LoadSpec>> {
    let produce = &args.produce;
    let arrivals = match (&produce.produce, args.find.find_max) {
        (None, false) => return Ok(None),
        // The rate is the search's.
        (None, true) => Arrivals::Constant { rate: FIND_FROM_MIN },
        (Some(asked), true) if !matches!(asked.0, Arrivals::Constant { .. } | Arrivals::Poisson { .. }) => {
            bail!("--find-max searches a rate: --produce is a first rate, poisson:RATE, or left out")
        }
        (Some(asked), _) => asked.0.clone(),
    };
    let keys = produce.keys.0.clone();
    let partitioner = match (produce.partitioner, &keys) {
        (Some(choice), _) => choice.into(),
        (None, Keys::None) => Partitioner::RoundRobin,
        (None, _) => Partitioner::Key,
    };
    let load = LoadSpec {
        // Until the topic is known.
        spread: Spread::one_topic(TOPIC, 1),
        arrivals,
        keys,
        payload: LoadPayload {
            content: content(produce)?,
            sizes: produce.record_bytes.sizes,
            stamped: true,
        },
        partitioner,
        producer: ProducerSettings {
            client: produce.client,
            batch_bytes: produce.batch_bytes,
            linger_us: produce.linger_ms,
            in_flight: produce.in_flight,
            acks: produce.acks,
            idempotence: produce.idempotence,
            compression: produce.compression,
            buffer_bytes: produce.buffer_bytes,
            connections: produce.connections,
            retries: produce.retries || produce.idempotence,
            properties: produce.producer_properties.iter().cloned().collect(),
            ..ProducerSettings::default()
        },
        records_max: None,
        first_sequence: 0,
        patience_ms: None,
        seed,
    };
    load.check()?;
    check_files(&load)?;
    Ok(Some(load))
}

/// Looks into the files that a load needs, before anything is started for it.
fn check_files(load: &LoadSpec) -> anyhow::Result<()> {
    RecordSource::open(&load.payload.content, load.seed)?.next(&mut Vec::new())?;
    workloads::load::keys::KeySource::open(&load.keys, load.seed)?;
    if let Some(mut schedule) = load.arrivals.schedule(load.seed)?
        && schedule.next_ns()?.is_none()
    {
        bail!("the trace of --produce has no record");
    }
    Ok(())
}

/// How it is consumed, and by how many.
fn consuming(args: &Args, beside_a_producer: bool) -> anyhow::Result<Option<(ConsumeSpec, u32)>> {
    let consume = &args.consume;
    if !consume.consume {
        return Ok(None);
    }
    if args.target == TargetName::Null {
        bail!("the target null stores nothing that could be consumed: leave --consume out, or choose another target");
    }
    if beside_a_producer && consume.from == Place::Earliest {
        bail!("beside --produce only what is produced is read: leave --from out, or --produce");
    }
    let spec = ConsumeSpec {
        client: consume.consumer_client.unwrap_or(args.produce.client),
        from: match consume.from {
            Place::Earliest => Start::Earliest,
            Place::Latest => Start::Latest,
        },
        fetch_min_bytes: consume.fetch_min_bytes,
        fetch_max_wait_ms: consume.fetch_max_wait_ms,
        properties: consume.consumer_properties.iter().cloned().collect(),
        // Until the topic is known.
        ..ConsumeSpec::new(Spread::one_topic(TOPIC, 1))
    };
    spec.check()?;
    Ok(Some((spec, consume.consumers)))
}

fn check_consuming_alone(args: &Args) -> anyhow::Result<()> {
    if !args.consume.consume {
        bail!("nothing to do: give --produce RATE, --consume, or --find-max with an --objective");
    }
    if !matches!(args.target, TargetName::Cluster(_)) || args.partitions.is_some() {
        bail!(
            "a topic that is made for the load is empty: give --produce beside --consume, or a kafka:// target and the --topic to read"
        );
    }
    if args.find.objective.is_some() {
        bail!("--objective is about what is produced: give --produce");
    }
    if args.ceiling {
        bail!("--ceiling is the producer's: give --produce");
    }
    Ok(())
}

fn content(produce: &ProduceArgs) -> anyhow::Result<PayloadSpec> {
    if let Some(path) = &produce.payload {
        let (path, cut) = (path.clone(), produce.cut);
        return Ok(PayloadSpec::File { path, cut });
    }
    if !(0.0..=1.0).contains(&produce.entropy) {
        bail!("--entropy is a share from 0 to 1, and not {}", produce.entropy);
    }
    let (record_bytes, entropy) = (produce.record_bytes.content, produce.entropy);
    Ok(match produce.payload_kind {
        Content::Json => PayloadSpec::Json { record_bytes, entropy },
        Content::Text => PayloadSpec::Text { record_bytes, entropy },
        Content::Random => PayloadSpec::Random { record_bytes },
    })
}
