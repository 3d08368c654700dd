//! The bundled broker as a process of its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use broker_under_test::ControlClient;
use broker_under_test::control::Info;
use results::schema::TargetReceipt;

use super::null;
use crate::process::{self, Cpus, Process};

/// What `--target` calls it.
pub const NAME: &str = "bundled";
const RETENTION: &str = "log.retention.ms";
/// How long a broker may take from its start to its control socket; recovery of a large log is in it.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a graceful stop may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// How a broker is started.
#[derive(Debug, Clone)]
pub struct BrokerSpec {
    /// Its data folder.
    pub data_dir: PathBuf,
    /// 0 takes a free one.
    pub port: u16,
    /// Settings beside the defaults.
    pub settings: BTreeMap<String, String>,
    /// Where it runs.
    pub cpus: Option<Cpus>,
    /// Its log goes here, appended.
    pub log: PathBuf,
    /// A planted bug by name.
    pub planted: Option<String>,
}

/// A running broker process.
#[derive(Debug)]
pub struct BundledBroker {
    /// The process; killed when dropped.
    pub process: Process,
    /// Its control socket.
    pub control: ControlClient,
    /// What it says of itself.
    pub info: Info,
    log: PathBuf,
}

impl BundledBroker {
    /// Starts a broker and waits until it answers.
    ///
    /// # Errors
    /// When it ends or does not answer in time; the last lines of its log are part of the message.
    pub fn start(spec: &BrokerSpec) -> anyhow::Result<Self> {
        let process = launch(spec)?;
        Self::ready(process, spec, START_TIMEOUT)
    }

    /// Waits until a launched broker answers.
    pub fn ready(mut process: Process, spec: &BrokerSpec, timeout: Duration) -> anyhow::Result<Self> {
        let deadline = Instant::now() + timeout;
        loop {
            let asked = ControlClient::connect(&spec.data_dir).and_then(|mut control| {
                let info = control.info()?;
                Ok((control, info))
            });
            match asked {
                // A socket that an earlier, killed broker left does not answer; one of a foreign process has another pid.
                Ok((control, info)) if info.pid == process.id() => {
                    return Ok(BundledBroker {
                        process,
                        control,
                        info,
                        log: spec.log.clone(),
                    });
                }
                _ => {}
            }
            if let Some(status) = process.ended()? {
                let end = process::describe(status);
                bail!(
                    "the broker ended with {end} before it was ready; its log ends with:\n{}",
                    process::tail(&spec.log, 10)
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "the broker did not answer within {timeout:?}; its log ends with:\n{}",
                    process::tail(&spec.log, 10)
                );
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.info.port))
    }

    /// What runs, for a manifest. Settings that say where it runs, and those in `without`, are left out.
    pub fn receipt(&self, without: &[&str]) -> TargetReceipt {
        let stable = |settings: &BTreeMap<String, String>| {
            let is_kept = |key: &str| !matches!(key, "listeners" | "log.dirs") && !without.contains(&key);
            let kept = settings.iter().filter(|(key, _)| is_kept(key));
            kept.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        TargetReceipt {
            name: match self.info.settings.get("log.layout").map(String::as_str) {
                Some(null::LAYOUT) => null::NAME.to_owned(),
                _ => NAME.to_owned(),
            },
            version: self.info.version.clone(),
            effective_config: stable(&self.info.settings),
            differs_from_default: stable(&self.info.differs),
            durability_class: durability_class(&self.info.settings),
            differences: vec![
                "It checks the header, the record count and the CRC of a batch, and never looks at its records."
                    .to_owned(),
                "It has no replication, no transactions and no metrics.".to_owned(),
            ],
            terms: BTreeMap::from([
                (
                    "heap".to_owned(),
                    "none to bound: compiled, and its buffers are".to_owned(),
                ),
                ("nodes".to_owned(), "1".to_owned()),
                (
                    "socket.congestion.control".to_owned(),
                    match self.info.settings.get("socket.congestion.control").map(String::as_str) {
                        Some("") | None => "the kernel's default".to_owned(),
                        Some(name) => name.to_owned(),
                    },
                ),
            ]),
        }
    }

    /// Stops gracefully.
    ///
    /// # Errors
    /// When it does not end with exit code 0.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let status = self.process.stop(STOP_TIMEOUT)?;
        if !status.success() {
            let end = process::describe(status);
            bail!(
                "the broker ended with {end} when it was stopped; its log ends with:\n{}",
                process::tail(&self.log, 10)
            );
        }
        Ok(())
    }
}

/// In the words that Kafka's settings are put in, so that equal classes read the same.
fn durability_class(settings: &BTreeMap<String, String>) -> String {
    let setting = |name: &str| settings.get(name).map_or("", String::as_str);
    let flush = match setting("flush.policy") {
        _ if setting("log.layout") == null::LAYOUT => return "none: nothing is stored".to_owned(),
        "every-batch" => "flushed before the acknowledgement".to_owned(),
        "interval" => format!("flushed every {} ms", setting("log.flush.interval.ms")),
        _ => "page cache (no flush before the acknowledgement)".to_owned(),
    };
    format!("{flush}, acks=all, 1 replica")
}

/// Starts the process and does not wait for it.
pub fn launch(spec: &BrokerSpec) -> anyhow::Result<Process> {
    let log = open_log(&spec.log)?;
    let data_dir = spec
        .data_dir
        .to_str()
        .with_context(|| format!("{} is not UTF-8", spec.data_dir.display()))?;
    let mut args = vec!["broker".to_owned(), "--data-dir".to_owned(), data_dir.to_owned()];
    args.extend(["--port".to_owned(), spec.port.to_string()]);
    // Records of experiments have times of their own, the same in every run, which retention would take for old.
    if !spec.settings.contains_key(RETENTION) {
        args.extend(["--set".to_owned(), format!("{RETENTION}=-1")]);
    }
    for (key, value) in &spec.settings {
        args.extend(["--set".to_owned(), format!("{key}={value}")]);
    }
    let mut environment = Vec::new();
    if let Some(bug) = &spec.planted {
        // Flag and variable have to agree, so that no bug is ever planted by a slip.
        args.extend(["--planted".to_owned(), bug.clone()]);
        environment.push((broker_under_test::planted::ENVIRONMENT, bug.as_str()));
    }
    let process = Process::start_self_with(args, &environment, spec.cpus.as_ref(), Stdio::from(log), false);
    process.context("can't start the bundled broker")
}

/// Opens a child's log for appending.
pub fn open_log(path: &Path) -> anyhow::Result<File> {
    let file = File::options().create(true).append(true).open(path);
    file.with_context(|| format!("can't write {}", path.display()))
}
