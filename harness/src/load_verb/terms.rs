//! What a load is, for people.

use kafka_wire::Compression;
use results::figures::{self, short, three_digits};
use workloads::load::consume::Start;
use workloads::load::{Arrivals, ConsumeSpec, Keys, LoadSpec, ProducerSettings, Sizes};
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

fn consumer(spec: &ConsumeSpec) -> String {
    let from = match spec.from {
        Start::Earliest => ", from the first record on",
        Start::Latest | Start::Offsets(_) => "",
    };
    format!(
        "{}, fetch.min.bytes {}, fetch.max.wait.ms {}{from}",
        spec.client, spec.fetch_min_bytes, spec.fetch_max_wait_ms
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
