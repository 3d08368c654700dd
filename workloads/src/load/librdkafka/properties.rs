//! Our settings in librdkafka's names.

use super::handle::{Conf, failed};
use crate::load::consume::ConsumeSpec;
use crate::load::spec::ProducerSettings;
use crate::native::{Bootstrap, ClientError, SaslMechanism, Security};
use kafka_wire::{Codec, Compression};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

const DOING: &str = "reading its properties";
/// What decides whether its requests are understood and its records come back: nobody may change it.
const OURS: [&str; 8] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "client.id",
    "delivery.report.only.error",
    "enable.partition.eof",
    "group.id",
    "statistics.interval.ms",
    "transactional.id",
];
/// Smallest record that a send queue is laid out for, bytes: it is bounded by bytes, and by records too so that small ones don't take many
/// times their bytes.
const RECORD_BYTES_MIN: u64 = 16;
/// Between two statistics, ms: they alone tell how often something was sent again.
const STATISTICS_MS: u32 = 1_000;

/// The properties of a producer.
pub(super) fn of_producer(
    brokers: &Bootstrap,
    security: &Security,
    settings: &ProducerSettings,
) -> Result<Conf, ClientError> {
    let mut conf = common(brokers, security)?;
    let batch_bytes = u64::from(settings.batch_bytes);
    let kilobytes = (settings.buffer_bytes / 1_024).clamp(1, i32::MAX as u64);
    let records = (settings.buffer_bytes / RECORD_BYTES_MIN).clamp(1, i32::MAX as u64);
    let retries = if settings.retries { i32::MAX } else { 0 };
    let pairs = [
        ("acks", settings.acks.to_string()),
        ("batch.size", batch_bytes.to_string()),
        // The bytes decide, as with Kafka's own client.
        ("batch.num.messages", "1000000".to_owned()),
        ("message.max.bytes", (batch_bytes + 4_096).max(1 << 20).to_string()),
        ("linger.ms", (settings.linger_us as f64 / 1e3).to_string()),
        ("queue.buffering.max.kbytes", kilobytes.to_string()),
        ("queue.buffering.max.messages", records.to_string()),
        ("max.in.flight", settings.in_flight.to_string()),
        ("enable.idempotence", settings.idempotence.to_string()),
        ("message.send.max.retries", retries.to_string()),
        (
            "request.timeout.ms",
            settings.request_timeout_ms.min(900_000).to_string(),
        ),
        (
            "socket.timeout.ms",
            settings.request_timeout_ms.clamp(10, 300_000).to_string(),
        ),
        ("message.timeout.ms", settings.delivery_timeout_ms.to_string()),
    ];
    set_all(&mut conf, &pairs)?;
    if settings.retries {
        conf.set("statistics.interval.ms", &STATISTICS_MS.to_string())?;
    }
    compress(&mut conf, settings.compression)?;
    set_given(&mut conf, &settings.properties)?;
    Ok(conf)
}

/// What properties of a producer are, by its own names, defaults included.
///
/// # Errors
/// A setting that it refuses, or a name that it does not know.
pub fn effective(settings: &ProducerSettings, names: &[&str]) -> Result<Vec<String>, ClientError> {
    // No broker is asked.
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1)).into();
    let conf = of_producer(&nowhere, &Security::default(), settings)?;
    names.iter().map(|name| conf.get(name)).collect()
}

/// The properties of a consumer without a group.
pub(super) fn of_consumer(brokers: &Bootstrap, security: &Security, spec: &ConsumeSpec) -> Result<Conf, ClientError> {
    let mut conf = common(brokers, security)?;
    let response_bytes = spec.response_bytes;
    let pairs = [
        ("auto.commit.enable", "false".to_owned()),
        ("enable.auto.offset.store", "false".to_owned()),
        ("auto.offset.reset", "error".to_owned()),
        ("isolation.level", "read_uncommitted".to_owned()),
        ("check.crcs", spec.check_crcs.to_string()),
        ("fetch.min.bytes", spec.fetch_min_bytes.to_string()),
        ("fetch.wait.max.ms", spec.fetch_max_wait_ms.to_string()),
        ("fetch.max.bytes", response_bytes.to_string()),
        // It may not be above the one before.
        ("message.max.bytes", response_bytes.clamp(1_000, 1_000_000).to_string()),
        (
            "fetch.message.max.bytes",
            spec.partition_bytes.min(1_000_000_000).to_string(),
        ),
        // Its default of 1 s looks like a stall whenever the application falls behind.
        ("fetch.queue.backoff.ms", "1".to_owned()),
        ("fetch.error.backoff.ms", "100".to_owned()),
    ];
    set_all(&mut conf, &pairs)?;
    set_given(&mut conf, &spec.properties)?;
    Ok(conf)
}

/// The properties of a member of a group: what all our clients have, then `pairs`.
pub(super) fn of_member(
    brokers: &Bootstrap,
    security: &Security,
    pairs: &[(&str, String)],
) -> Result<Conf, ClientError> {
    let mut conf = common(brokers, security)?;
    set_all(&mut conf, pairs)?;
    Ok(conf)
}

fn common(brokers: &Bootstrap, security: &Security) -> Result<Conf, ClientError> {
    let mut conf = Conf::new();
    let pairs = [
        ("bootstrap.servers", brokers.to_string()),
        ("client.id", "assay".to_owned()),
        // A broker that comes back is found again soon.
        ("reconnect.backoff.ms", "20".to_owned()),
        ("reconnect.backoff.max.ms", "500".to_owned()),
    ];
    set_all(&mut conf, &pairs)?;
    secure(&mut conf, security)?;
    Ok(conf)
}

fn set_all(conf: &mut Conf, pairs: &[(&str, String)]) -> Result<(), ClientError> {
    pairs.iter().try_for_each(|(name, value)| conf.set(name, value))
}

/// What a user gives comes last.
fn set_given(conf: &mut Conf, properties: &BTreeMap<String, String>) -> Result<(), ClientError> {
    if let Some(ours) = properties.keys().find(|name| OURS.contains(&name.as_str())) {
        return Err(failed(DOING, format!("`{ours}` is not for you to set: leave it out")));
    }
    properties.iter().try_for_each(|(name, value)| conf.set(name, value))
}

fn secure(conf: &mut Conf, security: &Security) -> Result<(), ClientError> {
    let needs_ssl = security.tls.is_some()
        || security
            .sasl
            .as_ref()
            .is_some_and(|sasl| sasl.mechanism != SaslMechanism::Plain);
    if needs_ssl && !conf.has_feature("ssl") {
        let message = "this program is built without OpenSSL, which TLS and SCRAM of librdkafka need: build it with `--features librdkafka-ssl`, \
                       or use the native client";
        return Err(failed(DOING, message));
    }
    conf.set("security.protocol", security.protocol())?;
    if let Some(tls) = &security.tls {
        let files = [
            ("ssl.ca.location", &tls.ca_file),
            ("ssl.certificate.location", &tls.certificate_file),
            ("ssl.key.location", &tls.key_file),
        ];
        for (name, file) in files {
            if let Some(file) = file {
                conf.set(name, &file.to_string_lossy())?;
            }
        }
        let identification = if tls.verify_host { "https" } else { "none" };
        conf.set("ssl.endpoint.identification.algorithm", identification)?;
    }
    if let Some(sasl) = &security.sasl {
        conf.set("sasl.mechanism", sasl.mechanism.name())?;
        conf.set("sasl.username", &sasl.username)?;
        conf.set("sasl.password", &sasl.password)?;
    }
    Ok(())
}

fn compress(conf: &mut Conf, compression: Compression) -> Result<(), ClientError> {
    let codec = compression.codec();
    if codec == Codec::Gzip && !conf.has_feature("gzip") {
        let message = "this program is built without zlib, which gzip of librdkafka needs: install zlib's headers (zlib1g-dev) and build it with \
                       `--features librdkafka-gzip`, or use the native client";
        return Err(failed(DOING, message));
    }
    conf.set("compression.codec", codec.name())?;
    // Its own default is what Kafka's is, whatever number that has: the 9 of Java's lz4 is the fast compressor, its own 9 a slow one.
    match compression == Compression::new(codec) {
        true => Ok(()),
        false => conf.set("compression.level", &compression.level().to_string()),
    }
}
