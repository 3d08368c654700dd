//! Apache Kafka as processes of the harness: KRaft, every node broker and controller, on free ports of 127.0.0.1.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use results::schema::TargetReceipt;
use workloads::native::{Admin, Security};

use super::jars::{self, Installed, Product};
use super::java::Java;
use super::jvm;
use super::kafka_config::{self, NodeFiles, Ports};
use super::ports::HeldPort;
use super::{Unavailable, kafka_receipt, protocol, sockets};
use crate::interrupt;
use crate::process::{self, Cpus, Process};

/// What `--target` calls it.
pub const NAME: &str = "kafka";
/// A JVM on loaded cores takes its time; an idle machine needs 5 s.
const START_TIMEOUT: Duration = Duration::from_secs(180);
/// How long a graceful stop may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the format of one folder may take.
const FORMAT_TIMEOUT: Duration = Duration::from_secs(120);
/// How often a wait looks around.
const POLL: Duration = Duration::from_millis(20);

/// How Kafka is started.
#[derive(Debug, Clone)]
pub struct KafkaSpec {
    /// Folder for data, logs and certificates; made when it is not there.
    pub dir: PathBuf,
    /// 1 or 3.
    pub nodes: u8,
    /// `None` takes the pinned one.
    pub version: Option<String>,
    /// Heap of each node, MiB: least and most.
    pub heap_mb: u32,
    /// A TLS listener beside the plain one.
    pub tls: bool,
    /// Where it runs.
    pub cpus: Option<Cpus>,
    /// `server.properties` on top of what the harness decides.
    pub settings: BTreeMap<String, String>,
    /// TCP congestion control of accepted connections; `None` leaves the kernel's default.
    pub congestion_control: Option<String>,
}

/// A running Kafka. It is killed and reaped when dropped, and dies with the thread that started it.
#[derive(Debug)]
pub struct Kafka {
    installed: Installed,
    nodes: Vec<Node>,
    classpath: OsString,
    started_in: Duration,
    heap_mb: u32,
    authority: Option<PathBuf>,
    /// What became of the wish for a congestion control.
    congestion_control: Option<Result<String, String>>,
}

#[derive(Debug)]
struct Node {
    process: Process,
    files: NodeFiles,
    ports: Ports,
    _held: Vec<HeldPort>,
}

/// Java, Maven, jars: there, fetched now (stderr says so), or one clear line with the remedy.
///
/// # Errors
/// See [`jars::ensure`].
pub fn ensure(version: Option<&str>) -> Result<Installed, Unavailable> {
    jars::ensure(Product::Kafka, version)
}

impl KafkaSpec {
    /// Whether it can be started, before anything is.
    ///
    /// # Errors
    /// A number of nodes or a setting that can't be.
    pub fn check(&self) -> anyhow::Result<()> {
        if !matches!(self.nodes, 1 | 3) {
            bail!("{} nodes can't be started: give 1 or 3", self.nodes);
        }
        if let Some((key, why)) = self
            .settings
            .keys()
            .find_map(|key| Some((key, kafka_config::refusal(key)?)))
        {
            bail!("{key} can't be set: {why}");
        }
        Ok(())
    }
}

impl Kafka {
    /// Starts Kafka and waits until every node answers ApiVersions and Metadata with all nodes.
    ///
    /// # Errors
    /// Something is missing ([`Unavailable`] as the cause), a node ends or does not answer in time (the last lines of its log
    /// are part of the message), or Ctrl-C ([`interrupt::Interrupted`]). Nothing runs on after an error.
    pub fn start(spec: &KafkaSpec) -> anyhow::Result<Self> {
        let began = Instant::now();
        spec.check()?;
        let installed = ensure(spec.version.as_deref())?;
        interrupt::check()?;
        let held: Vec<Held> = (0..spec.nodes)
            .map(|_| Held::new(spec.tls))
            .collect::<anyhow::Result<_>>()?;
        let ports: Vec<Ports> = held.iter().map(|held| held.ports).collect();
        let mut kafka = Kafka {
            classpath: installed.classpath().into(),
            installed,
            nodes: Vec::new(),
            started_in: Duration::ZERO,
            heap_mb: spec.heap_mb,
            authority: None,
            congestion_control: None,
        };
        let certificates = spec.tls.then(|| certificates(&spec.dir)).transpose()?;
        kafka.authority = certificates.as_ref().map(|_| authority_file(&spec.dir));
        let cluster_id = cluster_id();
        for id in 1..=spec.nodes {
            let files = NodeFiles::new(&spec.dir, id);
            let mut settings = kafka_config::settings(id, &ports, &files, &spec.settings);
            settings.extend(certificates.clone().unwrap_or_default());
            write_files(&files, &settings)?;
            kafka.format(&files, &cluster_id)?;
        }
        for (id, held) in (1..).zip(held) {
            let files = NodeFiles::new(&spec.dir, id);
            let process = kafka.launch(&files, spec.cpus.as_ref())?;
            kafka.nodes.push(Node {
                process,
                files,
                ports: held.ports,
                _held: held.sockets,
            });
        }
        kafka.wait_ready(Instant::now() + START_TIMEOUT)?;
        kafka.congestion_control = spec
            .congestion_control
            .as_deref()
            .map(|name| kafka.set_congestion_control(name));
        kafka.started_in = began.elapsed();
        Ok(kafka)
    }

    /// Plain listeners, one per node.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(Node::address).collect()
    }

    /// TLS listeners, one per node; empty without them.
    pub fn tls_addresses(&self) -> Vec<SocketAddr> {
        let ports = self.nodes.iter().filter_map(|node| node.ports.tls);
        ports
            .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            .collect()
    }

    /// The certificate of the authority that signed the listeners' certificates, PEM.
    pub fn ca_file(&self) -> Option<&Path> {
        self.authority.as_deref()
    }

    /// Process ids, one per node.
    pub fn processes(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.process.id()).collect()
    }

    /// `log.dirs`, one per node.
    pub fn data_dirs(&self) -> Vec<PathBuf> {
        self.nodes.iter().map(|node| node.files.data()).collect()
    }

    /// The log files that exist, of all nodes: Kafka's own and the JVM's output.
    pub fn logs(&self) -> Vec<PathBuf> {
        let files = self
            .nodes
            .iter()
            .flat_map(|node| [node.files.server_log(), node.files.output()]);
        files.filter(|file| file.exists()).collect()
    }

    /// From the call of [`Kafka::start`] until it was ready, format of the folders included.
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Kafka's version.
    pub fn version(&self) -> &str {
        &self.installed.version
    }

    /// The classpath, for Kafka's own tools.
    pub fn classpath(&self) -> &OsStr {
        &self.classpath
    }

    /// The Java that runs it.
    pub fn java(&self) -> &Java {
        &self.installed.java
    }

    /// What runs, for a manifest, with the settings in force of the first node, as it tells them itself. The durability class holds
    /// for topics that are created with the broker's own replication factor, written with acks=all.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn receipt(&self) -> anyhow::Result<TargetReceipt> {
        let asked = Admin::connect(&self.addresses(), &Security::default())
            .and_then(|mut admin| admin.describe_broker_configs(1));
        let settings = asked.context("Kafka does not tell its settings")?;
        let mut receipt = kafka_receipt::of_settings(self.version(), &settings);
        let java = &self.installed.java.version;
        kafka_receipt::add_jvm(&mut receipt, java, &kafka_config::jvm_flags(self.heap_mb), self.heap_mb);
        kafka_receipt::add_terms(&mut receipt, self.nodes.len(), self.congestion_control());
        Ok(receipt)
    }

    /// The congestion control of its connections, or why it could not be set; `None` when the kernel's default was wanted.
    pub fn congestion_control(&self) -> Option<Result<&str, &str>> {
        let outcome = self.congestion_control.as_ref()?;
        Some(outcome.as_deref().map_err(String::as_str))
    }

    /// Fails when a node has ended; the last lines of its log are part of the message.
    ///
    /// # Errors
    /// A node has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.nodes.iter_mut().try_for_each(Node::check)
    }

    /// Stops all nodes gracefully, at the same time.
    ///
    /// # Errors
    /// A node ended in another way. None runs on after an error either.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.check()?;
        let nodes = self.nodes.iter_mut();
        jvm::stop(
            "Kafka",
            nodes.map(|node| (&mut node.process, node.files.server_log())),
            STOP_TIMEOUT,
        )
    }

    /// Formats the data folder of a node.
    fn format(&self, files: &NodeFiles, cluster_id: &str) -> anyhow::Result<()> {
        // A short life: one compiler and a small heap make it start sooner.
        let flags = ["-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];
        let mut command = self.jvm(&flags, files)?;
        command
            .args(["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c"])
            .arg(files.properties());
        let mut process = Process::start(command, None).context("can't start java")?;
        let deadline = Instant::now() + FORMAT_TIMEOUT;
        loop {
            match process.wait(POLL)? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    let end = process::describe(status);
                    bail!("the format of Kafka's folder ended with {end}; {}", files.quote());
                }
                None if Instant::now() > deadline => {
                    bail!(
                        "the format of Kafka's folder took more than {} s",
                        FORMAT_TIMEOUT.as_secs()
                    )
                }
                None => interrupt::check()?,
            }
        }
    }

    /// Starts the process of a node and does not wait for it.
    fn launch(&self, files: &NodeFiles, cpus: Option<&Cpus>) -> anyhow::Result<Process> {
        let mut command = self.jvm(&kafka_config::jvm_flags(self.heap_mb), files)?;
        command.arg("kafka.Kafka").arg(files.properties());
        Process::start(command, cpus).context("can't start java")
    }

    /// `java` with the classpath, all of whose output goes to the node's file.
    fn jvm(&self, flags: &[impl AsRef<OsStr>], files: &NodeFiles) -> anyhow::Result<Command> {
        let mut command = jvm::command(&self.installed, &files.output(), &files.logs(), &files.temporary())?;
        command.args(flags).args(kafka_config::jvm_places(files));
        Ok(command)
    }

    fn set_congestion_control(&self, name: &str) -> Result<String, String> {
        for process in self.processes() {
            sockets::set_congestion_control(process, name).map_err(|error| error.to_string())?;
        }
        Ok(name.to_owned())
    }

    fn wait_ready(&mut self, deadline: Instant) -> anyhow::Result<()> {
        let all = self.nodes.len();
        let mut ready = 0;
        while ready < all {
            self.check()?;
            interrupt::check()?;
            match protocol::live_brokers(self.nodes[ready].address()) {
                Ok(brokers) if brokers == all => {
                    ready += 1;
                    continue;
                }
                _ if Instant::now() > deadline => {
                    let quote = self.nodes[ready].files.quote();
                    bail!("Kafka did not answer within {} s; {quote}", START_TIMEOUT.as_secs());
                }
                _ => std::thread::sleep(POLL),
            }
        }
        Ok(())
    }
}

impl Node {
    fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.plain))
    }

    fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.process.ended()? {
            let end = process::describe(status);
            bail!("Kafka ended with {end}; {}", self.files.quote());
        }
        Ok(())
    }
}

impl NodeFiles {
    /// The ends of its logs, for an error.
    fn quote(&self) -> String {
        jvm::quote(&[self.server_log(), self.output()])
    }
}

/// The ports of one node, kept for it.
struct Held {
    ports: Ports,
    sockets: Vec<HeldPort>,
}

impl Held {
    fn new(tls: bool) -> anyhow::Result<Self> {
        let (plain, controller) = (HeldPort::new()?, HeldPort::new()?);
        let tls = tls.then(HeldPort::new).transpose()?;
        let ports = Ports {
            plain: plain.port(),
            tls: tls.as_ref().map(HeldPort::port),
            controller: controller.port(),
        };
        let sockets = [plain, controller].into_iter().chain(tls).collect();
        Ok(Self { ports, sockets })
    }
}

/// 16 random bytes as Kafka writes ids; one that begins with a dash would be taken for an option.
fn cluster_id() -> String {
    use base64::Engine;
    loop {
        let id = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(uuid::Uuid::new_v4().as_bytes());
        if !id.starts_with('-') {
            return id;
        }
    }
}

fn authority_file(dir: &Path) -> PathBuf {
    dir.join("tls").join("ca.pem")
}

/// Makes the certificates, writes the authority's for clients, and answers the settings of a TLS listener.
#[cfg(feature = "tls")]
fn certificates(dir: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let made = super::certificates::make()?;
    let file = authority_file(dir);
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(dir.join("tls"))?;
        std::fs::write(&file, made.authority)
    };
    write().with_context(|| format!("can't write {}", file.display()))?;
    Ok(kafka_config::tls_settings(made.server, made.server_key))
}

#[cfg(not(feature = "tls"))]
fn certificates(_: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    bail!("a TLS listener needs a build with the feature `tls`, which is part of the default ones")
}

fn write_files(files: &NodeFiles, settings: &BTreeMap<String, String>) -> anyhow::Result<()> {
    for folder in [files.data(), files.logs(), files.temporary()] {
        std::fs::create_dir_all(&folder).with_context(|| format!("can't create {}", folder.display()))?;
    }
    jvm::write_private(&files.properties(), &kafka_config::properties_text(settings))?;
    jvm::write_private(&files.logging(), kafka_config::LOGGING)
}
