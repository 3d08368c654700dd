//! `assay run`: from the definition to the report.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use broker_under_test::Config;
use clap::ValueEnum;
use results::schema::{Manifest, Measurement, SCHEMA_VERSION, TrialRole};
use results::verdict::Verdict;
use results::writer::RunWriter;
use workloads::definition::{self, Definition, PayloadKind, ProfileName};
use workloads::native::preload::PreloadSpec;
use workloads::payload::{Cut, PayloadSpec};

use crate::interrupt::{self, Interrupted};
use crate::measure::dataset::{Dataset, TOPIC};
use crate::measure::machine;
use crate::measure::trial::{Bench, TARGET};
use crate::process::Cpus;
use crate::progress::Progress;
use crate::scratch::{self, Scratch};
use crate::target::bundled::BrokerSpec;
use crate::{EXIT_ERROR, EXIT_INTERRUPTED, card, report_verb, run_folder};

/// Timestamp of the first pre-loaded record; constant, so that the same seed gives the same bytes.
const BASE_TIMESTAMP_MS: i64 = 1_700_000_000_000;
/// Trials in a row that may fail before the run is given up.
const FAILURES_IN_A_ROW_MAX: u32 = 5;

/// Run experiments and report: all of them, or the named ones
#[derive(clap::Args)]
#[command(
    after_long_help = "Examples:\n  assay run zero-copy\n  assay run zero-copy --profile full --out /data/runs\n  \
    assay run zero-copy --payload app.log --require zero-copy\n\nExit codes: 0 measured, whatever the findings; 1 a required \
    claim is not confirmed; 2 a required claim is inconclusive; 3 usage, environment, or the measurement was INVALID; 130 interrupted."
)]
pub struct Args {
    /// Names as in `assay list`, or paths of definition files (.toml)
    #[arg(value_name = "NAME|FILE")]
    names: Vec<String>,
    /// How much is measured: quick takes minutes, full the whole grid
    #[arg(long, value_enum, default_value = "quick")]
    profile: Profile,
    /// What is measured
    #[arg(long, value_name = "TARGET", default_value = "bundled")]
    target: Vec<String>,
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

fn parse_cut(text: &str) -> Result<Cut, String> {
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
    check_targets(&args.target)?;
    let definitions = chosen(&args.names)?;
    check_required(&args.require, &definitions)?;
    definitions.iter().try_for_each(check_settings)?;
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
    let mut code = 0;
    for definition in &definitions {
        match measure(args, definition) {
            Ok(this) => code = worse(code, this),
            Err(error) if error.is::<Interrupted>() => return Ok(EXIT_INTERRUPTED.into()),
            Err(error) => return Err(error),
        }
    }
    Ok(code.into())
}

/// 3 (invalid) is worse than 1 (not confirmed), that than 2 (inconclusive), that than 0.
fn worse(a: u8, b: u8) -> u8 {
    let rank = |code: u8| [0, 2, 1, 3].iter().position(|c| *c == code).unwrap_or(3);
    if rank(b) > rank(a) { b } else { a }
}

fn check_targets(targets: &[String]) -> anyhow::Result<()> {
    match targets.iter().find(|t| *t != TARGET) {
        Some(other) => bail!("there is no target '{other}' yet: `--target {TARGET}` is the bundled broker"),
        None => Ok(()),
    }
}

/// The command line; of the program itself the name alone, as a run folder is published and paths are private.
pub fn command() -> Vec<String> {
    let arguments = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned());
    std::iter::once("assay".to_owned()).chain(arguments).collect()
}

/// Asks the broker's own table of settings, so that a wrong one is told before anything starts and not by every trial.
fn check_settings(definition: &Definition) -> anyhow::Result<()> {
    let place = format!("settings of {}", definition.name);
    for (key, value) in &definition.settings {
        Config::default().set(key, value, &place)?;
    }
    let limits: Vec<&String> = definition.limit.keys().collect();
    for factor in &definition.factors {
        let is_setting = factor.name == definition.treatment;
        for level in factor
            .levels
            .iter()
            .filter(|level| is_setting && !limits.contains(level))
        {
            let place = format!("factor {} of {}", factor.name, definition.name);
            Config::default().set(&factor.name, level, &place)?;
        }
    }
    Ok(())
}

/// The definitions of that name or file; all embedded ones without a name.
fn chosen(names: &[String]) -> anyhow::Result<Vec<Definition>> {
    let report = |error: Box<definition::DefinitionError>| anyhow::anyhow!("{:?}", miette::Report::new(*error));
    let embedded = definition::embedded().map_err(report)?;
    if names.is_empty() {
        return Ok(embedded);
    }
    names
        .iter()
        .map(|name| match embedded.iter().find(|d| d.name == *name) {
            Some(definition) => Ok(definition.clone()),
            None if name.ends_with(".toml") => definition::load(Path::new(name)).map_err(report),
            None => {
                let known: Vec<&str> = embedded.iter().map(|d| d.name.as_str()).collect();
                bail!(
                    "there is no experiment '{name}'; there are: {} (or give a .toml file)",
                    known.join(", ")
                )
            }
        })
        .collect()
}

fn check_required(required: &[String], definitions: &[Definition]) -> anyhow::Result<()> {
    for name in required {
        let (experiment, claim) = name
            .split_once('/')
            .map_or((name.as_str(), None), |(e, c)| (e, Some(c)));
        let Some(definition) = definitions.iter().find(|d| d.name == experiment) else {
            bail!("--require {name}: '{experiment}' is not among the experiments of this run");
        };
        let ids: Vec<&str> = definition.claims.iter().map(definition::Claim::id).collect();
        if claim.is_some_and(|c| !ids.contains(&c)) {
            bail!("--require {name}: {experiment} claims {}", ids.join(", "));
        }
    }
    Ok(())
}

fn measure(args: &Args, definition: &Definition) -> anyhow::Result<u8> {
    let began = Instant::now();
    let seed = args.seed.unwrap_or_else(seed_from_clock);
    let mut definition = definition.clone();
    let profile_name = ProfileName::from(args.profile);
    let profile = match profile_name {
        ProfileName::Quick => &mut definition.quick,
        ProfileName::Full => &mut definition.full,
    };
    profile.blocks = args.blocks.unwrap_or(profile.blocks);
    profile.window_ms = args.window_ms.unwrap_or(profile.window_ms);
    let profile = definition.profile(profile_name).clone();
    let plan: Vec<_> = workloads::plan::plan(&definition, profile_name, seed)
        .iter()
        .map(card::planned)
        .collect();

    let dir = run_folder::create(&args.out, &definition.name)?;
    for abandoned in scratch::remove_abandoned(&args.out) {
        errln!("removed {}, which a killed run left", abandoned.display());
    }
    let scratch = Scratch::create(&dir)?;
    let mut manifest = Manifest {
        schema_version: SCHEMA_VERSION,
        name: definition.name.clone(),
        command: command(),
        started_utc: run_folder::now_utc(),
        seed,
        profile: profile_name.as_str().to_owned(),
        assay_version: env!("CARGO_PKG_VERSION").to_owned(),
        git_revision: option_env!("ASSAY_GIT_REVISION").map(str::to_owned),
        machine: machine::receipt(&dir),
        targets: Vec::new(),
        experiments: vec![card::card(&definition, profile.blocks)],
        phases_summary: Vec::new(),
    };
    let cpus = Cpus::halves();
    manifest.machine.notes.push(match &cpus {
        Some((sender, receiver)) => format!("sender on CPU {sender}, receiver on CPU {receiver}"),
        None => "one CPU: sender and receiver share it".to_owned(),
    });
    let payload = payload_spec(args, &definition);
    manifest.machine.notes.push(describe_payload(&payload, seed)?);
    let mut writer = RunWriter::create(&dir, &manifest)?;
    writer.plan(&plan)?;

    outln!("{}: {}", definition.name, definition.title);
    outln!(
        "{} trials: {} arms x {} blocks, {} ms each; profile {}, seed {seed}",
        plan.len(),
        profile.arms.len(),
        profile.blocks,
        profile.window_ms,
        profile_name.as_str()
    );
    outln!("folder {}", dir.display());
    let mut progress = Progress::start(plan.len(), profile.blocks);
    let kept = |done: usize| match done {
        0 => format!("no trial had ended; {} holds the plan", dir.display()),
        _ => format!(
            "{done} of {} trials are kept; draw them with: assay report {}",
            plan.len(),
            dir.display()
        ),
    };
    let bench = match prepare(&definition, &profile, &scratch.path, cpus, payload, seed) {
        Err(error) if error.is::<Interrupted>() => {
            progress.end();
            errln!("interrupted: {}", kept(0));
            return Err(error);
        }
        prepared => prepared?,
    };
    let mut checked = BTreeSet::new();
    let mut measured = BTreeSet::new();
    let mut failures_in_a_row = 0;
    for (done, trial) in plan.iter().enumerate() {
        progress.begins(trial);
        let check = trial.role != TrialRole::Limit && !checked.contains(&trial.arm);
        let start_s = began.elapsed().as_secs_f64();
        match bench.run(trial, check) {
            Ok(outcome) => {
                failures_in_a_row = 0;
                measured.insert(trial.arm.as_str());
                writer.trial(&outcome.rows)?;
                writer.series(&outcome.series)?;
                writer.latency(&trial.arm, start_s, outcome.window_s, &outcome.latency)?;
                if check {
                    writer.ledger(&outcome.ledger)?;
                    checked.insert(trial.arm.clone());
                }
                if let (true, Some(receipt)) = (manifest.targets.is_empty(), outcome.receipt) {
                    manifest.targets.push(receipt);
                    writer.update_manifest(&manifest)?;
                }
            }
            Err(error) if error.is::<Interrupted>() => {
                progress.end();
                errln!("interrupted: {}", kept(done));
                return Err(error);
            }
            Err(error) => {
                failures_in_a_row += 1;
                progress.say(&format!("trial {} ({}) failed: {error:#}", trial.trial, trial.arm));
                writer.trial(&[Measurement::failed(trial, TARGET, &format!("{error:#}"))])?;
                if failures_in_a_row >= FAILURES_IN_A_ROW_MAX {
                    progress.end();
                    return Err(error.context(format!(
                        "{failures_in_a_row} trials failed one after the other, so the run was given up; {}",
                        kept(done + 1)
                    )));
                }
            }
        }
        progress.ended();
    }
    progress.end();
    drop(writer);
    drop(scratch);
    let rendered = report_verb::render_and_print(&dir)?;
    outln!("measured in {:.0} s", began.elapsed().as_secs_f64());
    let never: BTreeSet<&str> = plan
        .iter()
        .map(|t| t.arm.as_str())
        .filter(|arm| !measured.contains(arm))
        .collect();
    if !never.is_empty() {
        let names: Vec<&str> = never.into_iter().collect();
        errln!(
            "error: every trial of these arms failed, they were not measured: {}",
            names.join(", ")
        );
        return Ok(EXIT_ERROR);
    }
    Ok(exit_code(&rendered.analysis, &args.require))
}

/// The seed of a run that was given none: the seconds since 1970.
pub fn seed_from_clock() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    since.as_secs()
}

fn payload_spec(args: &Args, definition: &Definition) -> PayloadSpec {
    let payload = definition.payload;
    let record_bytes = payload.record_bytes as usize;
    match (&args.payload, payload.kind) {
        (Some(path), _) => PayloadSpec::File {
            path: path.clone(),
            cut: args.cut,
        },
        (None, PayloadKind::Json) => PayloadSpec::Json {
            record_bytes,
            entropy: payload.entropy,
        },
        (None, PayloadKind::Text) => PayloadSpec::Text {
            record_bytes,
            entropy: payload.entropy,
        },
        (None, PayloadKind::Random) => PayloadSpec::Random { record_bytes },
    }
}

fn describe_payload(spec: &PayloadSpec, seed: u64) -> anyhow::Result<String> {
    let what = match spec {
        PayloadSpec::Json { record_bytes, .. } => format!("generated JSON events of {record_bytes} bytes"),
        PayloadSpec::Text { record_bytes, .. } => format!("generated text of {record_bytes} bytes"),
        PayloadSpec::Random { record_bytes } => format!("random records of {record_bytes} bytes"),
        // The name alone: a run folder is published, and paths are private.
        PayloadSpec::File { path, cut } => {
            let name = path
                .file_name()
                .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
            match cut {
                Cut::Lines => format!("lines of {name}"),
                Cut::Bytes(n) => format!("{name} in records of {n} bytes"),
            }
        }
    };
    let profile = workloads::payload::profile(spec, seed, 1 << 20)?;
    Ok(format!(
        "payload: {what}, {:.2} bits of order-0 entropy per byte",
        profile.entropy_bits_per_byte
    ))
}

/// Makes the data sets that the arms need.
fn prepare<'a>(
    definition: &'a Definition,
    profile: &definition::Profile,
    scratch: &Path,
    cpus: Option<(Cpus, Cpus)>,
    payload: PayloadSpec,
    seed: u64,
) -> anyhow::Result<Bench<'a>> {
    let fetch = definition.fetch;
    let needs = |level: &str| {
        profile
            .arms
            .iter()
            .any(|arm| arm.factors.get("cache").is_some_and(|l| l == level))
    };
    let make = |name: &str, file_bytes: u64| {
        interrupt::check()?;
        let broker = BrokerSpec {
            data_dir: scratch.join(name),
            port: 0,
            settings: definition.settings.clone(),
            cpus: None,
            log: scratch.join("broker.log"),
            planted: None,
        };
        let preload = PreloadSpec {
            topic: TOPIC.to_owned(),
            partitions: 1,
            replicas: 1,
            configs: Default::default(),
            stored_batch_bytes: fetch.stored_batch_bytes as usize,
            file_bytes,
            payload: payload.clone(),
            seed,
            base_timestamp_ms: BASE_TIMESTAMP_MS,
        };
        Dataset::make(&broker, preload).context("pre-loading failed")
    };
    Ok(Bench {
        definition,
        warmup_ms: profile.warmup_ms,
        window_ms: profile.window_ms,
        hot: needs("hot").then(|| make("hot", fetch.file_bytes)).transpose()?,
        cold: needs("cold").then(|| make("cold", fetch.cold_file_bytes)).transpose()?,
        scratch: scratch.to_owned(),
        cpus,
    })
}

/// What `--require` and the state of the measurement make of the verdicts.
fn exit_code(analysis: &results::analysis::Analysis, required: &[String]) -> u8 {
    let mut code = 0;
    for experiment in &analysis.experiments {
        let invalid = experiment.invalid.is_some() || experiment.claims.iter().any(|c| c.verdict == Verdict::Invalid);
        if invalid {
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
