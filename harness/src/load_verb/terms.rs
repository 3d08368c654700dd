//! What a load is, for people.

use std::path::Path;

use kafka_wire::Compression;
use results::figures::{self, short, three_digits};
use workloads::load::consume::Start;
use workloads::load::{Arrivals, ClientKind, ConsumeSpec, Keys, LoadSpec, ProducerSettings, Sizes, librdkafka};
use workloads::payload::PayloadSpec;

/// What a load is, in a few words for each part.
pub fn terms(load: Option<&LoadSpec>, consumers: &[ConsumeSpec]) -> Vec<(String, String)> {
    let mut parts = Vec::new();
    if let Some(load) = load {
        parts.push(("arrivals", arrivals(&load.arrivals)));
        parts.push(("records", records(load)));
        parts.push(("producer", producer(&load.producer)));
    }
    match consumers {
        [] => {}
        [one] => parts.push(("consumer", consumer(one))),
        [first, ..] => parts.push(("consumers", format!("{} x {}", consumers.len(), consumer(first)))),
    }
    parts
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// A file without its folder.
fn name(path: &Path) -> String {
    path.file_name()
        .map_or_else(|| "a file".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// A client, with its version where it is not this program's own.
fn client(kind: ClientKind) -> String {
    match kind {
        ClientKind::Native => kind.to_string(),
        ClientKind::Librdkafka => format!("{kind} {}", librdkafka::version()),
    }
}

fn consumer(spec: &ConsumeSpec) -> String {
    let from = match spec.from {
        Start::Earliest => ", from the first record on",
        Start::Latest | Start::Offsets(_) => "",
    };
    format!(
        "{}, fetch.min.bytes {}, fetch.max.wait.ms {}{from}",
        client(spec.client),
        spec.fetch_min_bytes,
        spec.fetch_max_wait_ms
    )
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
        Arrivals::Trace { path } => format!("as recorded in {}", name(path)),
    }
}

fn records(load: &LoadSpec) -> String {
    let (kind, own_size) = match &load.payload.content {
        PayloadSpec::Json { record_bytes, entropy } => {
            (format!("of json of entropy {}", short(*entropy)), Some(*record_bytes))
        }
        PayloadSpec::Text { record_bytes, entropy } => {
            (format!("of text of entropy {}", short(*entropy)), Some(*record_bytes))
        }
        PayloadSpec::Random { record_bytes } => ("of random bytes".to_owned(), Some(*record_bytes)),
        PayloadSpec::File { path, .. } => (format!("from {}", name(path)), None),
    };
    let size = match load.payload.sizes {
        Sizes::Fixed => own_size.map_or("cut".to_owned(), |bytes| figures::bytes(bytes as f64)),
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
        Keys::File { path } => format!("keys of {}", name(path)),
    };
    format!("{size} {kind}, {keys}")
}

fn producer(settings: &ProducerSettings) -> String {
    let acks = if settings.acks == -1 {
        "all".to_owned()
    } else {
        settings.acks.to_string()
    };
    let mut text = format!(
        "{}, batches of {}, linger {} ms, {} in flight, acks {acks}",
        client(settings.client),
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
