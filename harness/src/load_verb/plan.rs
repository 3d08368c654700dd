//! What the command line comes to: a checked load, before anything is started.

use anyhow::bail;
use kafka_wire::Compression;
use results::figures::{self, short, three_digits};
use workloads::load::{Arrivals, Keys, LoadPayload, LoadSpec, Partitioner, ProducerSettings, Sizes};
use workloads::native::Spread;
use workloads::payload::PayloadSpec;

use super::args::{Args, Content, ProduceArgs};
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
    /// Which records, when, and how; its spread has no partitions before the topic is known.
    load: LoadSpec,
    /// The objective.
    pub objective: Option<Objective>,
    /// The first rate of a search; absent without one.
    pub find_from: Option<f64>,
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
        let Some(load) = producing(args, seed)? else {
            bail!("nothing to do: give --produce RATE, or --find-max with an --objective");
        };
        let topic = match (&args.topic, runs_already) {
            (Some(topic), _) => topic.clone(),
            (None, false) => TOPIC.to_owned(),
            (None, true) => format!("assay-load-{}-{}", seed_from_clock(), std::process::id()),
        };
        let find_from = find.find_max.then(|| {
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
            asked.unwrap_or_else(|| FIND_FROM_MIN.max(SAMPLES / (1.0 - quantile) / find.try_seconds))
        });
        Ok(Plan {
            topic,
            partitions: args.partitions.or((!runs_already).then_some(1)),
            load,
            objective: find.objective.clone(),
            find_from,
        })
    }

    /// The load on a topic of so many partitions.
    pub fn load(&self, partitions: u32) -> LoadSpec {
        let spread = Spread::one_topic(&self.topic, partitions);
        LoadSpec {
            spread,
            ..self.load.clone()
        }
    }

    /// The same with another rate.
    pub fn load_at(&self, partitions: u32, rate: f64) -> LoadSpec {
        let load = self.load(partitions);
        let arrivals = match load.arrivals {
            Arrivals::Poisson { .. } => Arrivals::Poisson { rate },
            _ => Arrivals::Constant { rate },
        };
        LoadSpec { arrivals, ..load }
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
        seed,
    };
    load.check()?;
    Ok(Some(load))
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

/// What a load is, in a few words for each part.
pub fn terms(load: &LoadSpec) -> Vec<(String, String)> {
    let parts = [
        ("arrivals", arrivals(&load.arrivals)),
        ("records", records(load)),
        ("producer", producer(&load.producer)),
    ];
    parts.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

fn arrivals(arrivals: &Arrivals) -> String {
    match arrivals {
        Arrivals::Closed { outstanding: 1 } => "closed, one record at a time".to_owned(),
        Arrivals::Closed { outstanding } => format!(
            "closed, {} records outstanding",
            figures::count(u64::from(*outstanding))
        ),
        Arrivals::Constant { rate } => format!("constant, {}/s", three_digits(*rate)),
        Arrivals::Poisson { rate } => format!("poisson, {}/s", three_digits(*rate)),
        Arrivals::Bursts { rate, burst } => format!("bursts of {burst}, {}/s", three_digits(*rate)),
        Arrivals::Steps { rates, step_ms } => format!("{} steps of {step_ms} ms", rates.len()),
        Arrivals::Ramp { from, to, over_ms } => format!(
            "a ramp from {}/s to {}/s in {over_ms} ms",
            three_digits(*from),
            three_digits(*to)
        ),
        Arrivals::Trace { .. } => "as recorded in a trace".to_owned(),
    }
}

fn records(load: &LoadSpec) -> String {
    let (kind, own_size) = match &load.payload.content {
        PayloadSpec::Json { record_bytes, entropy } => {
            (format!("json of entropy {}", short(*entropy)), Some(*record_bytes))
        }
        PayloadSpec::Text { record_bytes, entropy } => {
            (format!("text of entropy {}", short(*entropy)), Some(*record_bytes))
        }
        PayloadSpec::Random { record_bytes } => ("random bytes".to_owned(), Some(*record_bytes)),
        PayloadSpec::File { .. } => ("a file".to_owned(), None),
    };
    let size = match load.payload.sizes {
        Sizes::Fixed => own_size.map_or("its own sizes".to_owned(), |bytes| figures::bytes(bytes as f64)),
        Sizes::Range { min, max } => format!("{} to {}", figures::bytes(min as f64), figures::bytes(max as f64)),
        Sizes::LogNormal { median, sigma, .. } => {
            format!(
                "{} in the median (log-normal, sigma {})",
                figures::bytes(median as f64),
                short(sigma)
            )
        }
    };
    let keys = match &load.keys {
        Keys::None => "no keys".to_owned(),
        Keys::Uniform { count } => format!("{} keys", figures::count(*count)),
        Keys::Zipf { count, exponent } => format!("{} keys by Zipf {}", figures::count(*count), short(*exponent)),
        Keys::File { .. } => "keys of a file".to_owned(),
    };
    format!("{size} of {kind}, {keys}")
}

fn producer(settings: &ProducerSettings) -> String {
    let acks = if settings.acks == -1 {
        "all".to_owned()
    } else {
        settings.acks.to_string()
    };
    let mut text = format!(
        "{}, batches of {}, linger {} ms, {} in flight, acks {acks}",
        settings.client,
        figures::bytes(f64::from(settings.batch_bytes)),
        short(settings.linger_us as f64 / 1e3),
        settings.in_flight
    );
    if settings.compression != Compression::default() {
        text.push_str(&format!(", {}", settings.compression));
    }
    if settings.idempotence {
        text.push_str(", idempotent");
    } else if settings.retries {
        text.push_str(", retries");
    }
    text
}
