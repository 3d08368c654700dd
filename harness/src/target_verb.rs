//! `assay target`: the real brokers, fetched, started and stopped by a person.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};

use crate::interrupt;
use crate::target::jars::{self, Product};
use crate::target::kafka::{Kafka, KafkaSpec};

/// Fetch, start and stop real brokers: Apache Kafka
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: TargetCommand,
}

#[derive(Subcommand)]
enum TargetCommand {
    /// Fetch the jars into the cache with Maven, and check every one of them
    Fetch(FetchArgs),
    /// Start it on free ports of 127.0.0.1
    Start(StartArgs),
}

/// What can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Apache Kafka
    Kafka,
}

impl Name {
    fn product(self) -> Product {
        match self {
            Name::Kafka => Product::Kafka,
        }
    }
}

#[derive(clap::Args)]
struct FetchArgs {
    /// What to fetch
    name: Name,
    /// Another version than the pinned one; its checksums are recorded and not known before
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
}

#[derive(clap::Args)]
struct StartArgs {
    /// What to start
    name: Name,
    /// Nodes: 1 or 3
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = nodes)]
    nodes: u8,
    /// Another version than the pinned one
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// A TLS listener beside the plain one
    #[arg(long)]
    tls: bool,
    /// Heap of each node, MiB
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(128..=65536))]
    heap_mb: u32,
    /// A setting of server.properties; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// TCP congestion control of its connections
    #[arg(long, value_name = "NAME")]
    congestion_control: Option<String>,
    /// Folder of its data and logs
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Stay until Ctrl-C instead of running on in the background
    #[arg(long, required = true)]
    foreground: bool,
}

fn nodes(text: &str) -> Result<u8, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("1 or 3".to_owned()),
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("KEY=VALUE is expected".to_owned()),
    }
}

/// Carries the command out.
///
/// # Errors
/// What is missing or failed, with the remedy.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    interrupt::install()?;
    match args.command {
        TargetCommand::Fetch(args) => fetch(&args),
        TargetCommand::Start(args) => start(args),
    }
}

fn fetch(args: &FetchArgs) -> anyhow::Result<ExitCode> {
    let installed = jars::ensure(args.name.product(), args.version.as_deref());
    interrupt::check()?;
    let installed = installed?;
    outln!(
        "{} {} is in {}, checksums {}; Java {} ({})",
        args.name.product().title(),
        installed.version,
        installed.folder.display(),
        if installed.pinned {
            "as pinned"
        } else {
            "as when it was fetched, not pinned"
        },
        installed.java.version,
        installed.java.program.display()
    );
    Ok(ExitCode::SUCCESS)
}

fn start(args: StartArgs) -> anyhow::Result<ExitCode> {
    let dir = args.dir.unwrap_or_else(|| PathBuf::from("assay-targets/kafka"));
    let spec = KafkaSpec {
        dir: std::path::absolute(dir)?,
        nodes: args.nodes,
        version: args.version,
        heap_mb: args.heap_mb,
        tls: args.tls,
        cpus: None,
        settings: args.settings.into_iter().collect::<BTreeMap<_, _>>(),
        congestion_control: args.congestion_control,
    };
    let mut kafka = Kafka::start(&spec)?;
    let join = |items: Vec<String>| items.join(",");
    let receipt = kafka.receipt()?;
    outln!(
        "{} {} is ready after {:.1} s",
        receipt.name,
        kafka.version(),
        kafka.started_in().as_secs_f64()
    );
    outln!(
        "bootstrap.servers={}",
        join(kafka.addresses().iter().map(ToString::to_string).collect())
    );
    if let Some(ca) = kafka.ca_file() {
        outln!(
            "over TLS: {}, signed by {}",
            join(kafka.tls_addresses().iter().map(ToString::to_string).collect()),
            ca.display()
        );
    }
    match kafka.congestion_control() {
        Some(Ok(name)) => outln!("congestion control of its connections: {name}"),
        Some(Err(why)) => {
            outln!("congestion control of its connections: the kernel's default, as it can't be set: {why}")
        }
        None => {}
    }
    outln!(
        "processes: {}",
        join(kafka.processes().iter().map(ToString::to_string).collect())
    );
    for path in kafka.data_dirs().iter().chain(&kafka.logs()) {
        outln!("  {}", path.display());
    }
    outln!(
        "Kafka's own tools: {} -cp '{}' CLASS",
        kafka.java().display(),
        kafka.classpath().display()
    );
    while !interrupt::is_set() {
        kafka.check()?;
        std::thread::sleep(Duration::from_millis(100));
    }
    kafka.stop()?;
    Ok(ExitCode::SUCCESS)
}
