//! `assay run`: which experiments on which targets, and what the verdicts make of the exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::ValueEnum;
use results::verdict::Verdict;
use workloads::definition::{self, ProfileName};
use workloads::payload::{Cut, PayloadSpec};

use crate::experiment::{self, Experiment, Settings};
use crate::interrupt::{self, Interrupted};
use crate::target::{TargetName, Targets};
use crate::{EXIT_ERROR, EXIT_INTERRUPTED, fact_check, run_folder};

/// Run experiments and report: all of them, or the named ones
#[derive(clap::Args)]
#[command(
    after_long_help = "Examples:\n  assay run zero-copy\n  assay run zero-copy --target bundled --target kafka\n  \
    assay run zero-copy --profile full --out /data/runs\n  assay run head-to-head --target bundled --target kafka://10.0.0.7:9092\n  \
    assay run head-to-head --only workload=fetch --blocks 24\n  assay run zero-copy --payload app.log --require zero-copy\n\nTargets: `bundled` is this program's own broker; `kafka` is Apache Kafka, \
    fetched by Maven and started for the run; `kafka://host:port,host:port` is a Kafka-compatible cluster that runs already: \
    topics with the run's prefix are made there and deleted at the end, nothing else is touched.\n\nExit codes: 0 measured, whatever the \
    findings; 1 a required claim is not confirmed; 2 a required claim is inconclusive; 3 usage, environment, or the measurement was \
    INVALID; 130 interrupted."
)]
pub struct Args {
    /// Names as in `assay list`, or paths of definition files (.toml)
    #[arg(value_name = "NAME|FILE")]
    names: Vec<String>,
    /// How much is measured: quick takes minutes, full the whole grid
    #[arg(long, value_enum, default_value = "quick")]
    profile: Profile,
    /// What is measured: bundled, kafka, or kafka://host:port,..; repeatable. Without it, what the experiment is made for
    #[arg(long, value_name = "TARGET")]
    target: Vec<TargetName>,
    /// Kafka client properties (TLS, SASL) for a kafka:// target
    #[arg(long, value_name = "FILE")]
    client_properties: Option<PathBuf>,
    /// Version of Apache Kafka instead of the pinned one
    #[arg(long, value_name = "VERSION")]
    kafka_version: Option<String>,
    /// Heap of Apache Kafka, MiB
    #[arg(long, value_name = "MIB", default_value = "1024", value_parser = clap::value_parser!(u32).range(256..=65_536))]
    kafka_heap_mb: u32,
    /// Fixes the plan and the payload; chosen from the clock and recorded when it is not given
    #[arg(long)]
    seed: Option<u64>,
    /// Folder for run folders; the data under test lies there too
    #[arg(long, value_name = "DIR", default_value = run_folder::DEFAULT_OUT)]
    out: PathBuf,
    /// Exit with 1 or 2 unless every claim of this experiment is CONFIRMED; NAME/CLAIM for a single one
    #[arg(long, value_name = "NAME[/CLAIM]")]
    require: Vec<String>,
    /// Records cut from this file instead of generated ones
    #[arg(long, value_name = "FILE")]
    payload: Option<PathBuf>,
    /// How --payload is cut: `lines`, or a record size in bytes
    #[arg(long, value_name = "lines|BYTES", default_value = "lines", value_parser = parse_cut)]
    cut: Cut,
    /// Blocks instead of the profile's; below 6 hardly anything can be shown
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    blocks: Option<u32>,
    /// Only cells with this level of a factor, as `assay show` names them; repeatable, and several levels of one factor are alternatives
    #[arg(long, value_name = "FACTOR=LEVEL")]
    only: Vec<definition::Kept>,
    /// Measured time per trial instead of the profile's
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(10..=60_000))]
    window_ms: Option<u32>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Profile {
    Quick,
    Full,
}

impl From<Profile> for ProfileName {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Quick => ProfileName::Quick,
            Profile::Full => ProfileName::Full,
        }
    }
}

/// `lines`, or a number of bytes.
pub fn parse_cut(text: &str) -> Result<Cut, String> {
    match text {
        "lines" => Ok(Cut::Lines),
        bytes => match bytes.parse() {
            Ok(n) if n > 0 => Ok(Cut::Bytes(n)),
            _ => Err("expected `lines` or a number of bytes".to_owned()),
        },
    }
}

/// Runs everything that was asked for, one run folder per experiment.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let asked = Targets::asked(&args.target, args.client_properties.as_deref())?;
    let experiments = chosen(&args.names)?;
    check_required(&args.require, &experiments)?;
    experiments.iter().try_for_each(Experiment::check_settings)?;
    if let Some(path) = &args.payload {
        // Opened before anything starts, so that a wrong file is known at once.
        workloads::payload::profile(
            &PayloadSpec::File {
                path: path.clone(),
                cut: args.cut,
            },
            0,
            1 << 20,
        )?;
    }
    interrupt::install()?;
    let settings = Settings {
        profile: args.profile.into(),
        kafka_version: args.kafka_version.clone(),
        kafka_heap_mb: args.kafka_heap_mb,
        seed: args.seed,
        out: args.out.clone(),
        payload: args.payload.clone().map(|path| (path, args.cut)),
        blocks: args.blocks,
        only: args.only.clone(),
        window_ms: args.window_ms,
    };
    let mut code = 0;
    let mut measured = 0;
    for experiment in &experiments {
        // What nobody named is left out when its broker is not there; what was named is an error then.
        let is_named = !args.names.is_empty() || !args.target.is_empty();
        let targets = asked.for_experiment(experiment, is_named, &settings)?;
        let outcome = match &experiment.facts {
            Some(facts) if targets.has_kafka() => fact_check::run(&settings, facts).map(Some),
            Some(_) => {
                errln!("{}: {}", experiment.name(), targets.why_nothing(experiment));
                continue;
            }
            None => {
                let parts = experiment.on(&targets, settings.profile);
                if parts.is_empty() {
                    errln!("{}: {}", experiment.name(), targets.why_nothing(experiment));
                    continue;
                }
                experiment::measure(&settings, experiment, parts, &targets)
            }
        };
        match outcome {
            Ok(Some(analysis)) => {
                measured += 1;
                code = worse(code, exit_code(&analysis, &args.require));
            }
            Ok(None) => code = worse(code, EXIT_ERROR),
            Err(error) if error.is::<Interrupted>() => return Ok(EXIT_INTERRUPTED.into()),
            Err(error) => return Err(error),
        }
    }
    if measured == 0 && code == 0 {
        errln!("error: nothing could be measured");
        code = EXIT_ERROR;
    }
    Ok(code.into())
}

/// 3 (invalid) is worse than 1 (not confirmed), that than 2 (inconclusive), that than 0.
fn worse(a: u8, b: u8) -> u8 {
    let rank = |code: u8| [0, 2, 1, 3].iter().position(|c| *c == code).unwrap_or(3);
    if rank(b) > rank(a) { b } else { a }
}

/// The command line; of the program itself the name alone, as a run folder is published and paths are private.
pub fn command() -> Vec<String> {
    let arguments = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned());
    std::iter::once("assay".to_owned()).chain(arguments).collect()
}

/// The experiments of that name or file; all embedded ones without a name.
fn chosen(names: &[String]) -> anyhow::Result<Vec<Experiment>> {
    let report = |error: Box<definition::DefinitionError>| anyhow::anyhow!("{:?}", miette::Report::new(*error));
    let embedded = experiment::embedded().map_err(report)?;
    if names.is_empty() {
        return Ok(embedded);
    }
    names
        .iter()
        .map(|name| match embedded.iter().find(|e| e.name() == *name) {
            Some(experiment) => Ok(experiment.clone()),
            None if name.ends_with(".toml") => experiment::load(name.as_ref()).map_err(report),
            None => {
                let known: Vec<&str> = embedded.iter().map(Experiment::name).collect();
                bail!(
                    "there is no experiment '{name}'; there are: {} (or give a .toml file)",
                    known.join(", ")
                )
            }
        })
        .collect()
}

fn check_required(required: &[String], experiments: &[Experiment]) -> anyhow::Result<()> {
    for name in required {
        let (experiment, claim) = name
            .split_once('/')
            .map_or((name.as_str(), None), |(e, c)| (e, Some(c)));
        let Some(found) = experiments.iter().find(|e| e.name() == experiment) else {
            bail!("--require {name}: '{experiment}' is not among the experiments of this run");
        };
        let ids = found.claim_ids();
        if claim.is_some_and(|c| !ids.contains(&c)) {
            bail!("--require {name}: {experiment} claims {}", ids.join(", "));
        }
    }
    Ok(())
}

/// The seed of a run that was given none: the seconds since 1970.
pub fn seed_from_clock() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    since.as_secs()
}

/// What `--require` makes of the verdicts: what it names decides alone. Where it names nothing, an INVALID measurement is an error.
fn exit_code(analysis: &results::analysis::Analysis, required: &[String]) -> u8 {
    let mut code = 0;
    for experiment in &analysis.experiments {
        let invalid = experiment.invalid.is_some() || experiment.claims.iter().any(|c| c.verdict == Verdict::Invalid);
        if invalid && required.is_empty() {
            code = worse(code, EXIT_ERROR);
        }
        for finding in &experiment.claims {
            let name = &experiment.card.name;
            let one = format!("{name}/{}", finding.claim.id());
            if required.iter().any(|r| r == name || *r == one) {
                code = worse(
                    code,
                    match finding.verdict {
                        Verdict::Confirmed => 0,
                        Verdict::Inconclusive => 2,
                        Verdict::Invalid => EXIT_ERROR,
                        Verdict::Refuted | Verdict::Equivalent | Verdict::Conditional | Verdict::Incomparable => 1,
                    },
                );
            }
        }
    }
    code
}
