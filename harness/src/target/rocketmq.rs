//! Apache RocketMQ as processes of the harness: a name server and a broker on free ports of 127.0.0.1.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::jars::{self, Installed, Product};
use super::ports::HeldPort;
use super::rocketmq_config::{self as config, BROKER, Ports, Role, RoleFiles};
use super::{jvm, remoting, sockets};
use crate::interrupt;
use crate::process::{self, Process};

/// What `--target` calls it.
pub const NAME: &str = "rocketmq";
/// On loaded cores it takes about 20 s.
const START_TIMEOUT: Duration = Duration::from_secs(180);
/// How long a graceful stop of one process may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a wait looks around.
const POLL: Duration = Duration::from_millis(20);
/// The broker listens on this much below its port as well.
const SECOND_PORT_BELOW: u16 = 2;

/// How RocketMQ is started.
#[derive(Debug, Clone)]
pub struct RocketMqSpec {
    /// Folder for data and logs; made when it is not there.
    pub dir: PathBuf,
    /// `None` takes the pinned one.
    pub version: Option<String>,
    /// Heap of the broker, MiB, and as much direct memory; the name server gets at most 256.
    pub heap_mb: u32,
}

/// A running RocketMQ. It is killed and reaped when dropped, and dies with the thread that started it.
#[derive(Debug)]
pub struct RocketMq {
    installed: Installed,
    // Dropped first: it talks to the name server.
    broker: Service,
    name_server: Service,
    ports: Ports,
    started_in: Duration,
    /// What became of the sockets that RocketMQ can't be told to bind to loopback.
    kept_on_loopback: Result<Vec<u16>, String>,
    _held: Vec<HeldPort>,
}

#[derive(Debug)]
struct Service {
    role: Role,
    process: Process,
    files: RoleFiles,
}

impl RocketMq {
    /// Starts both and waits until the broker answers and the name server knows it.
    ///
    /// # Errors
    /// Something is missing ([`super::Unavailable`] as the cause), a process ends or does not answer in time (its log is
    /// quoted), or Ctrl-C ([`interrupt::Interrupted`]). Nothing runs on after an error.
    pub fn start(spec: &RocketMqSpec) -> anyhow::Result<Self> {
        let began = Instant::now();
        let installed = jars::ensure(Product::RocketMq, spec.version.as_deref())?;
        interrupt::check()?;
        let (broker, second) = HeldPort::pair(SECOND_PORT_BELOW)?;
        let (name_server, replication) = (HeldPort::new()?, HeldPort::new()?);
        let ports = Ports {
            name_server: name_server.port(),
            broker: broker.port(),
            replication: replication.port(),
        };
        let name_server_process = Service::launch(Role::NameServer, spec, &installed, ports)?;
        let broker_process = Service::launch(Role::Broker, spec, &installed, ports)?;
        let mut rocketmq = RocketMq {
            installed,
            broker: broker_process,
            name_server: name_server_process,
            ports,
            started_in: Duration::ZERO,
            kept_on_loopback: Ok(Vec::new()),
            _held: vec![broker, second, name_server, replication],
        };
        rocketmq.wait_ready(Instant::now() + START_TIMEOUT)?;
        rocketmq.started_in = began.elapsed();
        Ok(rocketmq)
    }

    /// Where clients ask for routes.
    pub fn name_server(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.name_server))
    }

    /// Where the broker listens.
    pub fn broker(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.broker))
    }

    /// Process ids: the name server's, the broker's.
    pub fn processes(&self) -> Vec<u32> {
        vec![self.name_server.process.id(), self.broker.process.id()]
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.installed.version
    }

    /// From the call of [`RocketMq::start`] until it was ready.
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Ports that RocketMQ opens for every address and that were bound to the loopback device afterwards, or why they could not be.
    pub fn kept_on_loopback(&self) -> Result<&[u16], &str> {
        self.kept_on_loopback.as_deref().map_err(String::as_str)
    }

    /// Fails when a process has ended; its log is quoted.
    ///
    /// # Errors
    /// A process has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.name_server.check()?;
        self.broker.check()
    }

    /// Stops both gracefully, the broker first.
    ///
    /// # Errors
    /// One ended in another way. None runs on after an error either.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.check()?;
        for service in [&mut self.broker, &mut self.name_server] {
            let name = format!("RocketMQ's {}", service.role.name());
            jvm::stop(
                &name,
                std::iter::once((&mut service.process, service.files.log())),
                STOP_TIMEOUT,
            )?;
        }
        Ok(())
    }

    fn wait_ready(&mut self, deadline: Instant) -> anyhow::Result<()> {
        loop {
            self.check()?;
            interrupt::check()?;
            // The port for replicas opens before the broker answers.
            let bound = sockets::keep_on_loopback(self.broker.process.id()).map_err(|error| error.to_string());
            self.kept_on_loopback = match (std::mem::replace(&mut self.kept_on_loopback, Ok(Vec::new())), bound) {
                (Ok(mut ports), Ok(more)) => {
                    ports.extend(more);
                    Ok(ports)
                }
                (_, Err(error)) | (Err(error), _) => Err(error),
            };
            let is_known = remoting::knows_broker(self.name_server(), BROKER).unwrap_or(false);
            if is_known && remoting::answers(self.broker()).is_ok() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let quote = self.broker.quote();
                bail!("RocketMQ did not answer within {} s; {quote}", START_TIMEOUT.as_secs());
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Service {
    fn launch(role: Role, spec: &RocketMqSpec, installed: &Installed, ports: Ports) -> anyhow::Result<Self> {
        let files = RoleFiles::new(&spec.dir, role);
        for folder in [files.data(), files.logs(), files.temporary()] {
            std::fs::create_dir_all(&folder).with_context(|| format!("can't create {}", folder.display()))?;
        }
        jvm::write_private(&files.properties(), &config::properties(role, ports, &files))?;
        jvm::write_private(&files.logging(), config::LOGGING)?;
        let mut command = jvm::command(installed, &files.output(), &files.logs(), &files.temporary())?;
        command.args(config::jvm_flags(role, spec.heap_mb));
        command.arg(jvm::with_path("-Duser.home=", files.home()));
        command.arg(jvm::with_path("-Drmq.logback.configurationFile=", &files.logging()));
        command.arg(jvm::with_path("-Dassay.log=", &files.log()));
        command.arg(role.class()).arg("-c").arg(files.properties());
        command.env("ROCKETMQ_HOME", files.home());
        let process = Process::start(command, None).context("can't start java")?;
        Ok(Service { role, process, files })
    }

    fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.process.ended()? {
            let end = process::describe(status);
            bail!("RocketMQ's {} ended with {end}; {}", self.role.name(), self.quote());
        }
        Ok(())
    }

    fn quote(&self) -> String {
        jvm::quote(&[self.files.log(), self.files.output()])
    }
}
