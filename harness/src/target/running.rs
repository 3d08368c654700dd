//! A broker that `assay target start` keeps: whichever it is.

use std::net::SocketAddr;

use super::kafka::{self, Kafka, KafkaSpec};
use super::rocketmq::{self, RocketMq, RocketMqSpec};
use super::{protocol, remoting, rocketmq_config};

/// What is to be started.
#[derive(Debug, Clone)]
pub enum Spec {
    /// Apache Kafka.
    Kafka(KafkaSpec),
    /// Apache RocketMQ.
    RocketMq(RocketMqSpec),
}

/// What was started.
#[derive(Debug)]
pub enum Running {
    /// Apache Kafka.
    Kafka(Kafka),
    /// Apache RocketMQ.
    RocketMq(RocketMq),
}

impl Running {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// As [`Kafka::start`] and [`RocketMq::start`].
    pub fn start(spec: &Spec) -> anyhow::Result<Self> {
        Ok(match spec {
            Spec::Kafka(spec) => Running::Kafka(Kafka::start(spec)?),
            Spec::RocketMq(spec) => Running::RocketMq(RocketMq::start(spec)?),
        })
    }

    /// Fails when one of its processes has ended.
    ///
    /// # Errors
    /// Its log is quoted.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self {
            Running::Kafka(kafka) => kafka.check(),
            Running::RocketMq(rocketmq) => rocketmq.check(),
        }
    }

    /// Stops it gracefully.
    ///
    /// # Errors
    /// A process ended in another way.
    pub fn stop(self) -> anyhow::Result<()> {
        match self {
            Running::Kafka(kafka) => kafka.stop(),
            Running::RocketMq(rocketmq) => rocketmq.stop(),
        }
    }

    /// Addresses that tell by protocol whether it is there: one per node of Kafka; RocketMQ's name server, then its broker.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Running::Kafka(kafka) => kafka.addresses(),
            Running::RocketMq(rocketmq) => vec![rocketmq.name_server(), rocketmq.broker()],
        }
    }

    /// Its processes.
    pub fn processes(&self) -> Vec<u32> {
        match self {
            Running::Kafka(kafka) => kafka.processes(),
            Running::RocketMq(rocketmq) => rocketmq.processes(),
        }
    }

    /// What a person wants to know of it, a line each.
    ///
    /// # Errors
    /// It does not tell its settings.
    pub fn about(&self) -> anyhow::Result<Vec<String>> {
        match self {
            Running::Kafka(kafka) => about_kafka(kafka),
            Running::RocketMq(rocketmq) => Ok(about_rocketmq(rocketmq)),
        }
    }
}

/// How a target answers at its addresses: a line each, and whether all of it is well.
pub fn answers(name: &str, addresses: &[SocketAddr]) -> (Vec<String>, bool) {
    let mut all_well = true;
    let mut line = |what: &str, address: SocketAddr, answer: Result<String, String>| {
        all_well &= answer.is_ok();
        match answer {
            Ok(how) => format!("{what} {address} answers{how}"),
            Err(error) => format!("{what} {address} does not answer: {error}"),
        }
    };
    let lines = match (name, addresses) {
        (rocketmq::NAME, [name_server, broker]) => {
            let known = match remoting::knows_broker(*name_server, rocketmq_config::BROKER) {
                Ok(true) => Ok(" and knows the broker".to_owned()),
                Ok(false) => Err("it does not know the broker".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            let answers = remoting::answers(*broker)
                .map(|()| String::new())
                .map_err(|error| error.to_string());
            vec![
                line("name server", *name_server, known),
                line("broker", *broker, answers),
            ]
        }
        _ => {
            let all = addresses.len();
            let ask = |address: &SocketAddr| match protocol::live_brokers(*address) {
                Ok(live) if live == all => Ok(format!(", {live} of {all} brokers live")),
                Ok(live) => Err(format!("{live} of {all} brokers live")),
                Err(error) => Err(error.to_string()),
            };
            addresses
                .iter()
                .map(|address| line("node", *address, ask(address)))
                .collect()
        }
    };
    (lines, all_well)
}

fn about_kafka(kafka: &Kafka) -> anyhow::Result<Vec<String>> {
    let receipt = kafka.receipt()?;
    let mut lines = vec![
        format!(
            "{} {} was ready after {:.1} s",
            kafka::NAME,
            kafka.version(),
            kafka.started_in().as_secs_f64()
        ),
        format!("bootstrap.servers={}", joined(&kafka.addresses())),
    ];
    if let Some(ca) = kafka.ca_file() {
        lines.push(format!(
            "over TLS: {}, signed by {}",
            joined(&kafka.tls_addresses()),
            ca.display()
        ));
    }
    match kafka.congestion_control() {
        Some(Ok(name)) => lines.push(format!("congestion control of its connections: {name}")),
        Some(Err(why)) => lines.push(format!(
            "congestion control of its connections: the kernel's default, as it can't be set: {why}"
        )),
        None => {}
    }
    lines.extend(
        kafka
            .data_dirs()
            .iter()
            .map(|folder| format!("data: {}", folder.display())),
    );
    lines.extend(kafka.logs().iter().map(|file| format!("log: {}", file.display())));
    lines.push(format!("durability: {}", receipt.durability_class));
    let differs = receipt.differs_from_default.iter();
    lines.extend(differs.map(|(key, value)| format!("not the default: {key}={value}")));
    lines.push(format!(
        "its own tools: {} -cp '{}' CLASS",
        kafka.java().program.display(),
        kafka.classpath().display()
    ));
    Ok(lines)
}

fn about_rocketmq(rocketmq: &RocketMq) -> Vec<String> {
    let mut lines = vec![
        format!(
            "{} {} was ready after {:.1} s",
            rocketmq::NAME,
            rocketmq.version(),
            rocketmq.started_in().as_secs_f64()
        ),
        format!("name server: {}", rocketmq.name_server()),
        format!("broker: {}", rocketmq.broker()),
    ];
    match rocketmq.kept_on_loopback() {
        Ok(ports) => lines.extend(ports.iter().map(|port| {
            format!("port {port} (for replicas) was opened for every address and is bound to the loopback device since")
        })),
        Err(why) => lines.push(format!(
            "NOT on loopback only: RocketMQ opens its port for replicas for every address, and it can't be bound to loopback: {why}"
        )),
    }
    lines
}

fn joined(addresses: &[SocketAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(",")
}
