//! The targets of a run while it goes on: started and stopped by it, or running elsewhere and left as they were found.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use results::schema::{Phase, PhasePoint, PhaseSummary, TargetReceipt};
use workloads::definition::{BUNDLED, CLUSTER, Definition, KAFKA, NULL, TARGET_FACTOR, Work};
use workloads::native::admin::Admin;
use workloads::native::endpoint::Bootstrap;
use workloads::native::security::{Security, Tls};

use crate::experiment::Settings;
use crate::measure::bench::Setup;
use crate::target::bundled::{BrokerSpec, BundledBroker};
use crate::target::connected::Cluster;
use crate::target::kafka::{Kafka, KafkaSpec};
use crate::target::{Available, CONGESTION_CONTROL, null};

/// The factor that decides about durability.
const FLUSH_POLICY: &str = "flush.policy";
/// How often a target is started where starting is compared.
const STARTS: u32 = 3;

/// Where the clients of a trial connect, and whose CPU time is the broker's.
#[derive(Debug, Clone)]
pub struct Served {
    /// Brokers to begin with.
    pub brokers: Bootstrap,
    /// TLS and SASL.
    pub security: Security,
    /// The broker's processes; empty where they are not on this machine.
    pub processes: Vec<u32>,
    /// Where the partitions lie, when they lie on this machine.
    pub data_dirs: Vec<PathBuf>,
    /// Replicas that a topic gets.
    pub replicas: u16,
}

/// What the stage has to tell since it was asked last.
#[derive(Debug, Default)]
pub struct Told {
    /// For `phases.csv`.
    pub points: Vec<PhasePoint>,
    /// For the manifest.
    pub summaries: Vec<PhaseSummary>,
    /// For the manifest.
    pub receipts: Vec<TargetReceipt>,
    /// For the manifest.
    pub notes: Vec<String>,
}

/// The running targets.
pub struct Stage {
    kafka: Option<Kafka>,
    bundled: Option<BundledBroker>,
    null: Option<BundledBroker>,
    cluster: Option<Cluster>,
    /// Topics that were made on the cluster and not deleted yet.
    guests: RefCell<Vec<String>>,
    told: Told,
}

impl Stage {
    /// Starts what `parts` need and nothing else.
    ///
    /// # Errors
    /// A target does not start or does not answer, or Ctrl-C.
    pub fn start(
        parts: &[Definition],
        available: &Available,
        settings: &Settings,
        setup: &Setup,
        doing: impl Fn(&str),
    ) -> anyhow::Result<Self> {
        let mut stage = Stage {
            kafka: None,
            bundled: None,
            null: None,
            cluster: None,
            guests: RefCell::default(),
            told: Told::default(),
        };
        for part in parts {
            let compares = part.treatment == TARGET_FACTOR;
            // Started in turns, so that one is not started on a quieter machine than the other.
            for attempt in 0..if compares { STARTS } else { 1 } {
                let is_last = !compares || attempt + 1 == STARTS;
                for target in part.targets() {
                    match target.as_str() {
                        KAFKA if stage.kafka.is_none() => {
                            doing("starting kafka");
                            let kafka = stage.start_kafka(part, settings, setup, attempt)?;
                            match is_last {
                                true => stage.kafka = Some(kafka),
                                false => kafka.stop()?,
                            }
                        }
                        // The paths of the bundled broker get a broker of their own per trial.
                        BUNDLED if compares => {
                            doing("starting bundled");
                            let broker = stage.start_bundled(part, setup, attempt)?;
                            match is_last {
                                true => stage.bundled = Some(broker),
                                false => broker.stop()?,
                            }
                        }
                        NULL if stage.null.is_none() => {
                            doing("starting null");
                            let broker = stage.start_null(part, setup)?;
                            stage.told.receipts.push(with_terms(broker.receipt(&[]), part, setup));
                            stage.null = Some(broker);
                        }
                        CLUSTER if stage.cluster.is_none() => {
                            let cluster = available.cluster().context("a cluster")?.clone();
                            stage
                                .told
                                .receipts
                                .push(with_terms(cluster.receipt.clone(), part, setup));
                            stage.cluster = Some(cluster);
                        }
                        _ => {}
                    }
                }
            }
            if compares {
                stage.summarise_starts(part);
            }
        }
        if let Some(kafka) = &stage.kafka {
            let part = parts
                .iter()
                .find(|part| part.targets().iter().any(|target| target == KAFKA));
            stage
                .told
                .receipts
                .push(with_terms(kafka.receipt()?, part.context("a part for Kafka")?, setup));
            if let Some(Err(why)) = kafka.congestion_control() {
                stage.told.notes.push(format!(
                    "the congestion control of Kafka's connections is the kernel's default: {why}"
                ));
            }
        }
        if let (Some(broker), Some(part)) = (&stage.bundled, parts.first()) {
            stage.told.receipts.push(with_terms(broker.receipt(&[]), part, setup));
        }
        Ok(stage)
    }

    fn start_kafka(
        &mut self,
        part: &Definition,
        settings: &Settings,
        setup: &Setup,
        attempt: u32,
    ) -> anyhow::Result<Kafka> {
        let mut properties = part.settings_for(KAFKA);
        let congestion_control = properties.remove(CONGESTION_CONTROL);
        let kafka = Kafka::start(&KafkaSpec {
            dir: setup.scratch.join(format!("kafka-{attempt}")),
            nodes: 1,
            version: settings.kafka_version.clone(),
            heap_mb: settings.kafka_heap_mb,
            tls: part
                .factor("listener")
                .is_some_and(|factor| factor.levels.iter().any(|level| level == "tls")),
            cpus: setup.cpus.as_ref().map(|(broker, _)| broker.clone()),
            settings: properties,
            congestion_control,
        })?;
        self.started(part, KAFKA, attempt, kafka.started_in());
        Ok(kafka)
    }

    fn start_bundled(&mut self, part: &Definition, setup: &Setup, attempt: u32) -> anyhow::Result<BundledBroker> {
        let began = Instant::now();
        let broker = BundledBroker::start(&BrokerSpec {
            data_dir: setup.scratch.join(format!("bundled-{attempt}")),
            port: 0,
            settings: part.settings_for(BUNDLED),
            cpus: setup.cpus.as_ref().map(|(broker, _)| broker.clone()),
            log: setup.scratch.join(format!("bundled-{attempt}.log")),
            planted: None,
        })?;
        self.started(part, BUNDLED, attempt, began.elapsed());
        Ok(broker)
    }

    fn start_null(&mut self, part: &Definition, setup: &Setup) -> anyhow::Result<BundledBroker> {
        let began = Instant::now();
        let broker = BundledBroker::start(&BrokerSpec {
            data_dir: setup.scratch.join(NULL),
            port: 0,
            settings: null::settings(part.settings_for(NULL)),
            cpus: setup.cpus.as_ref().map(|(broker, _)| broker.clone()),
            log: setup.scratch.join("null.log"),
            planted: None,
        })?;
        self.started(part, NULL, 0, began.elapsed());
        Ok(broker)
    }

    fn started(&mut self, part: &Definition, target: &str, attempt: u32, took: Duration) {
        self.told.points.push(PhasePoint {
            experiment: part.name.clone(),
            target: target.to_owned(),
            arm: String::new(),
            phase: Phase::Start,
            index: attempt,
            at_ms: took.as_millis() as u64,
            metric: "start".to_owned(),
            unit: "ms".to_owned(),
            value: took.as_secs_f64() * 1e3,
        });
        if part.treatment != TARGET_FACTOR {
            self.summarise_starts(part);
        }
    }

    fn summarise_starts(&mut self, part: &Definition) {
        let mut by_target: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for point in self.told.points.iter().filter(|point| point.phase == Phase::Start) {
            by_target.entry(&point.target).or_default().push(point.value);
        }
        let of_part = part.targets();
        for (target, mut values) in by_target
            .into_iter()
            .filter(|(target, _)| of_part.iter().any(|t| t == target))
        {
            values.sort_by(f64::total_cmp);
            self.told.summaries.push(PhaseSummary {
                target: target.to_owned(),
                arm: String::new(),
                phase: Phase::Start,
                seconds: values[values.len() / 2] / 1e3,
                windows: values.len() as u32,
                steady: None,
                rule: String::new(),
                note: match values.len() {
                    1 => "from the start of the process, with its empty data folder, to its first answer".to_owned(),
                    n => format!("median of {n} starts in turns, each with an empty data folder, to the first answer"),
                },
            });
        }
    }

    /// What serves `target`; `tls` asks for its TLS listener.
    ///
    /// # Errors
    /// It does not run.
    pub fn served(&self, target: &str, tls: bool) -> anyhow::Result<Served> {
        let not_running = || format!("{target} does not run");
        Ok(match target {
            KAFKA => {
                let kafka = self.kafka.as_ref().with_context(not_running)?;
                let (addresses, security) = match tls {
                    false => (kafka.addresses(), Security::default()),
                    true => (
                        kafka.tls_addresses(),
                        trusting(kafka.ca_file().context("no certificate authority")?),
                    ),
                };
                Served {
                    brokers: Bootstrap::try_from(&addresses).map_err(anyhow::Error::msg)?,
                    security,
                    processes: kafka.processes(),
                    data_dirs: kafka.data_dirs(),
                    replicas: 1,
                }
            }
            BUNDLED | NULL => {
                let running = if target == NULL { &self.null } else { &self.bundled };
                let broker = running.as_ref().with_context(not_running)?;
                Served {
                    brokers: broker.address().into(),
                    security: Security::default(),
                    processes: vec![broker.process.id()],
                    data_dirs: Vec::new(),
                    replicas: 1,
                }
            }
            CLUSTER => {
                let cluster = self.cluster.as_ref().with_context(not_running)?;
                Served {
                    brokers: cluster.brokers.clone(),
                    security: cluster.security.clone(),
                    processes: Vec::new(),
                    data_dirs: Vec::new(),
                    replicas: cluster.replicas,
                }
            }
            other => bail!("nothing is known of a target {other}"),
        })
    }

    /// Remembers topics that are made on `target`, so that they are deleted at the end in any case.
    pub fn made_topics(&self, target: &str, topics: &[String]) {
        if target == CLUSTER {
            self.guests.borrow_mut().extend_from_slice(topics);
        }
    }

    /// Deletes topics that the run made.
    ///
    /// # Errors
    /// The target refuses.
    pub fn delete_topics(&self, target: &str, topics: &[String]) -> anyhow::Result<()> {
        let served = self.served(target, false)?;
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        Admin::connect(served.brokers, &served.security)?.delete_topics(&names)?;
        self.guests.borrow_mut().retain(|guest| !topics.contains(guest));
        Ok(())
    }

    /// Adds to what is told.
    pub fn add(&mut self, points: Vec<PhasePoint>, summary: PhaseSummary) {
        self.told.points.extend(points);
        self.told.summaries.push(summary);
    }

    /// Adds a note to what is told.
    pub fn add_note(&mut self, note: String) {
        self.told.notes.push(note);
    }

    /// What there is to tell since the last time.
    pub fn tell(&mut self) -> Told {
        std::mem::take(&mut self.told)
    }

    /// Deletes the topics of the run on a cluster, and stops what was started.
    ///
    /// # Errors
    /// A topic stays, or a broker does not end well.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.clear_guests()?;
        if let Some(broker) = self.null.take() {
            broker.stop()?;
        }
        if let Some(broker) = self.bundled.take() {
            broker.stop()?;
        }
        if let Some(kafka) = self.kafka.take() {
            kafka.stop()?;
        }
        Ok(())
    }

    fn clear_guests(&self) -> anyhow::Result<()> {
        let guests = self.guests.borrow().clone();
        if guests.is_empty() {
            return Ok(());
        }
        let delete = || {
            let served = self.served(CLUSTER, false)?;
            let mut admin = Admin::connect(served.brokers, &served.security)?;
            for topic in &guests {
                admin.delete_topic(topic)?;
                self.guests.borrow_mut().retain(|guest| guest != topic);
            }
            anyhow::Ok(())
        };
        delete().with_context(|| format!("these topics may be left on the cluster: {}", guests.join(", ")))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // After an error or Ctrl-C nothing of ours may stay on somebody's cluster.
        if let Err(error) = self.clear_guests() {
            errln!("error: {error:#}");
        }
    }
}

fn trusting(ca_file: &std::path::Path) -> Security {
    Security {
        tls: Some(Tls {
            ca_file: Some(ca_file.to_owned()),
            verify_host: true,
            certificate_file: None,
            key_file: None,
        }),
        sasl: None,
    }
}

/// What is the same for every target, beside its own settings: who sends what, and where it runs.
pub fn with_terms(mut receipt: TargetReceipt, part: &Definition, setup: &Setup) -> TargetReceipt {
    if part.factor(FLUSH_POLICY).is_some() {
        receipt.durability_class = format!("{FLUSH_POLICY} as the arm says, acks=all, 1 replica");
    }
    let mut term = |name: &str, text: String| {
        receipt.terms.entry(name.to_owned()).or_insert(text);
    };
    term(
        "payload",
        format!("{:?}, seed {}", part.payload.kind, setup.seed).to_lowercase(),
    );
    match part.work {
        Work::Load(load) => {
            term(
                "client",
                format!(
                    "Assay's own, {} per leader, {} requests in flight on each, one batch each",
                    match load.connections {
                        1 => "one connection".to_owned(),
                        several => format!("{several} connections"),
                    },
                    load.in_flight
                ),
            );
            term("page cache", "hot: what is fetched was just produced".to_owned());
            term(
                "data per producing window",
                format!("at most {} bytes", load.window_bytes_max),
            );
        }
        Work::Read(read) => {
            term(
                "client",
                format!(
                    "Assay's own, one connection, one fetch at a time over up to {} partitions; a producer beside it has {} connections with {} \
                     requests in flight on each",
                    read.partitions_per_fetch, read.connections, read.in_flight
                ),
            );
        }
        Work::Fetch(fetch) => {
            term(
                "client",
                format!(
                    "Assay's own, one connection, at least {} requests in flight",
                    fetch.in_flight
                ),
            );
            term("stored batch", format!("{} bytes", fetch.stored_batch_bytes));
        }
        Work::LookUp(look_up) => {
            term(
                "client",
                "Assay's own, one connection, one request in flight".to_owned(),
            );
            term("stored batch", format!("{} bytes", look_up.stored_batch_bytes));
            term("page cache", "hot".to_owned());
        }
        Work::Client(client) => {
            let who = match part.factor("client") {
                Some(_) => "as the arm says".to_owned(),
                None => client.client.to_string(),
            };
            let consumes = match client.consumers.processes > 0 || part.factor("consumers").is_some() {
                true => "; processes that consume what comes, each with its share of the partitions",
                false => "",
            };
            term(
                "client",
                format!("{who}, one process that is handed record by record{consumes}"),
            );
        }
        Work::Group(group) => {
            let members = format!(
                "librdkafka consumers, each a process; {} at the start, and max.poll.records emulated: so many are collected, then handled \
                 without polling",
                group.members
            );
            term("client", members);
            term(
                "timeouts",
                "a tenth to a third of Kafka's defaults, the same on every target".to_owned(),
            );
        }
        // No broker, and no receipt of one.
        Work::Blocks(_) | Work::Assign(_) => {}
    }
    receipt
}
