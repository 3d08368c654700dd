//! What runs, and what it logged.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use workloads::native::Admin;

use super::keeper;
use super::{Name, StatusArgs};
use crate::process;
use crate::target::cluster::{ClientProperties, ClusterAddress};
use crate::target::jars::Product;
use crate::target::place::{Found, Phase, Place};
use crate::target::{TargetName, running};

/// Exit code of a target that does not run or does not answer.
const EXIT_NOT_WELL: u8 = 1;

/// What can be looked at.
#[derive(Debug, Clone)]
pub enum Subject {
    /// What a person starts.
    Started(Name),
    /// What runs already.
    Cluster(ClusterAddress),
}

/// Reads it from the command line.
pub fn subject(text: &str) -> Result<Subject, String> {
    match text.parse()? {
        TargetName::Kafka => Ok(Subject::Started(Name::Kafka)),
        TargetName::RocketMq => Ok(Subject::Started(Name::Rocketmq)),
        TargetName::Cluster(address) => Ok(Subject::Cluster(address)),
        TargetName::Bundled | TargetName::Null => Err(
            "the bundled broker is started by `assay broker`, with --null or without, and has no status here"
                .to_owned(),
        ),
    }
}

/// Prints what runs. Exit code 1 when what was asked for does not run or does not answer.
///
/// # Errors
/// The folder or the properties can't be read.
pub fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let is_well = match &args.name {
        Some(Subject::Cluster(address)) => cluster(address, args.client_properties.as_deref())?,
        Some(Subject::Started(_)) if args.client_properties.is_some() => {
            bail!("--client-properties is for a kafka:// cluster")
        }
        Some(Subject::Started(name)) => started(&name.place(args.dir.as_deref())?, name.product())?,
        None => {
            for name in [Name::Kafka, Name::Rocketmq] {
                started(&name.place(None)?, name.product())?;
            }
            true
        }
    };
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        EXIT_NOT_WELL.into()
    })
}

fn started(place: &Place, product: Product) -> anyhow::Result<bool> {
    let (name, dir) = (product.name(), place.dir().display());
    match place.look()? {
        Found::Nothing => outln!("{name} does not run in {dir}"),
        Found::Left(state) => {
            outln!("{name} does not run in {dir}: {}", keeper::left(state.as_ref()));
            outln!(
                "its files are still there: assay target logs {name} shows them, assay target stop {name} removes them"
            );
        }
        Found::Kept(Some(state)) if state.phase == Phase::Running => {
            outln!("{} runs in {dir}", state.name);
            for line in &state.about {
                outln!("  {line}");
            }
            let processes: Vec<String> = state.processes.iter().map(u32::to_string).collect();
            outln!("  processes: {}, kept by {}", processes.join(", "), state.keeper.0);
            let (lines, is_well) = running::answers(&state.name, &state.addresses);
            for line in lines {
                outln!("  {line}");
            }
            return Ok(is_well);
        }
        Found::Kept(_) => outln!("{name} is being started in {dir}"),
    }
    Ok(false)
}

fn cluster(address: &ClusterAddress, properties: Option<&std::path::Path>) -> anyhow::Result<bool> {
    let properties = properties.map(ClientProperties::read).transpose()?.unwrap_or_default();
    for line in &properties.ignored {
        errln!("note: {line}");
    }
    if let Some(bootstrap) = properties.bootstrap.filter(|bootstrap| *bootstrap != address.0) {
        errln!("note: bootstrap.servers={bootstrap} of the properties is not used, as {address} is given");
    }
    let mut admin =
        Admin::connect(&address.0, &properties.security).with_context(|| format!("{address} does not answer"))?;
    let metadata = admin.metadata(None)?;
    let version = admin.broker_version()?.unwrap_or_else(|| "version not told".to_owned());
    let (brokers, topics) = (metadata.brokers.len(), metadata.topics.len());
    outln!(
        "{address} answers over {}: {brokers} brokers, {topics} topics, {version}",
        properties.security.protocol()
    );
    for broker in &metadata.brokers {
        outln!("  broker {} at {}:{}", broker.id, broker.host, broker.port);
    }
    Ok(true)
}

/// Prints the ends of the logs.
///
/// # Errors
/// Nothing was started there.
pub fn logs(place: &Place, product: Product, lines: usize) -> anyhow::Result<ExitCode> {
    if matches!(place.look()?, Found::Nothing) {
        bail!(
            "{} does not run in {}: there are no logs",
            product.name(),
            place.dir().display()
        );
    }
    let mut files: Vec<PathBuf> = vec![place.keeper_log()];
    files.extend(place.logs());
    files.sort();
    for file in files {
        let tail = process::tail(&file, lines);
        if !tail.is_empty() {
            outln!("{}:\n{tail}\n", file.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}
