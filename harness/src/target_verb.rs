//! `assay target`: the real brokers, fetched, started and stopped by a person.

mod keeper;
mod look;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};

use crate::interrupt;
use crate::target::DEFAULT_FOLDER;
use crate::target::jars::{self, Product};
use crate::target::kafka::KafkaSpec;
use crate::target::place::Place;
use crate::target::rocketmq::RocketMqSpec;
use crate::target::running::Spec;

/// Fetch, start, look at and stop real brokers: Apache Kafka and Apache RocketMQ
#[derive(clap::Args)]
#[command(
    after_long_help = "Examples:\n  assay target start kafka --nodes 3\n  assay target status kafka\n  assay target stop kafka\n\n\
    Everything listens on 127.0.0.1 only. A broker runs in the background until `stop`; its data and logs are in its folder, which \
    `stop` removes.\n\nExit codes: 0 done; for `status` also 1, not all of it runs and answers; 3 usage or environment; 130 interrupted."
)]
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
    /// Stop it and remove its folder
    Stop(StopArgs),
    /// Say what runs, and whether it answers by its protocol
    Status(StatusArgs),
    /// Print the ends of its logs
    Logs(LogsArgs),
}

/// What can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Apache Kafka
    Kafka,
    /// Apache RocketMQ
    Rocketmq,
}

impl Name {
    fn product(self) -> Product {
        match self {
            Name::Kafka => Product::Kafka,
            Name::Rocketmq => Product::RocketMq,
        }
    }

    /// The folder that it has when none is given.
    fn place(self, dir: Option<&Path>) -> anyhow::Result<Place> {
        let default = Path::new(DEFAULT_FOLDER).join(self.product().name());
        Ok(Place::new(std::path::absolute(dir.unwrap_or(&default))?))
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
    /// Nodes of Kafka: 1 or 3
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = nodes)]
    nodes: u8,
    /// Another version than the pinned one
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// A TLS listener of Kafka beside the plain one
    #[arg(long)]
    tls: bool,
    /// Heap of each node, MiB
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(128..=65536))]
    heap_mb: u32,
    /// A setting of Kafka's server.properties; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// TCP congestion control of Kafka's connections, e.g. reno
    #[arg(long, value_name = "NAME")]
    congestion_control: Option<String>,
    /// Folder of its data and logs [default: assay-targets/<NAME>]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Stay until Ctrl-C instead of running on in the background
    #[arg(long)]
    foreground: bool,
}

#[derive(clap::Args)]
struct StopArgs {
    /// What to stop
    name: Name,
    /// Its folder [default: assay-targets/<NAME>]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Keep its data and logs; the next start removes them
    #[arg(long)]
    keep: bool,
}

#[derive(clap::Args)]
struct StatusArgs {
    /// What to look at: kafka, rocketmq, or kafka://host:port,.. for a cluster that runs already [default: both that can be started]
    #[arg(value_parser = look::subject)]
    name: Option<look::Subject>,
    /// Its folder [default: assay-targets/<NAME>]
    #[arg(long, value_name = "DIR", requires = "name")]
    dir: Option<PathBuf>,
    /// Kafka client properties (TLS, SASL) for a kafka:// cluster
    #[arg(long, value_name = "FILE", requires = "name")]
    client_properties: Option<PathBuf>,
}

#[derive(clap::Args)]
struct LogsArgs {
    /// Whose
    name: Name,
    /// Its folder [default: assay-targets/<NAME>]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Lines of each file
    #[arg(long, value_name = "N", default_value_t = 40)]
    lines: usize,
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
        TargetCommand::Stop(args) => {
            keeper::stop(&args.name.place(args.dir.as_deref())?, args.name.product(), args.keep)
        }
        TargetCommand::Status(args) => look::status(&args),
        TargetCommand::Logs(args) => {
            look::logs(&args.name.place(args.dir.as_deref())?, args.name.product(), args.lines)
        }
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
    let place = args.name.place(args.dir.as_deref())?;
    let dir = place.dir().to_owned();
    let spec = match args.name {
        Name::Kafka => Spec::Kafka(KafkaSpec {
            dir,
            nodes: args.nodes,
            version: args.version,
            heap_mb: args.heap_mb,
            tls: args.tls,
            cpus: None,
            settings: args.settings.into_iter().collect::<BTreeMap<_, _>>(),
            congestion_control: args.congestion_control,
        }),
        Name::Rocketmq => {
            if args.nodes != 1 || args.tls || !args.settings.is_empty() || args.congestion_control.is_some() {
                anyhow::bail!(
                    "--nodes, --tls, --set and --congestion-control are Kafka's; RocketMQ is started as one name server and one broker"
                );
            }
            Spec::RocketMq(RocketMqSpec {
                dir,
                version: args.version,
                heap_mb: args.heap_mb,
            })
        }
    };
    if args.foreground {
        keeper::keep(&place, &spec)
    } else {
        keeper::start_in_background(&place, &spec)
    }
}
