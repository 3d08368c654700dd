//! `assay chaos`: breaks a broker while it works, and says what became of the records.
//!
//! Try `assay chaos run kill-broker`. Each scenario gets a run folder with manifest, schedule, evidence, histories, findings and JUnit;
//! `assay chaos check DIR` judges such a folder again from its files alone, and `assay chaos replay DIR` runs its schedule again.

mod cluster;
pub mod host;
mod manifest;
mod progress;
mod seeds;
mod session;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use broker_under_test::Config;
use chaos::run::{RunError, SCENARIO_FILE, SCHEDULE_FILE};
use chaos::scenario::GroupWorkload;
use chaos::{Findings, Outcome, PlantedBug, Scenario, Schedule, Verdict, checker, scenario};
use workloads::member::{Commits, GroupProtocol, MemberClient};

use crate::members::java;
use crate::output::{self, wrapped};
use crate::run_verb::seed_from_clock;
use crate::target::{TargetName, bundled};
use crate::{EXIT_INTERRUPTED, run_folder};
use host::Host;
use manifest::Manifest;
use session::{End, Order};

/// Fault scenarios: break a broker while it works
#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 every invariant holds; 1 one is violated; 2 inconclusive; 3 usage or environment; 130 interrupted."
)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Run scenarios, all by default
    #[command(
        after_long_help = "Examples:\n  assay chaos run kill-broker\n  assay chaos run kill-broker --repeat 100 --seed 7\n  \
        assay chaos run kill-broker --planted ack-before-write\n  \
        assay chaos run lost-responses --idempotence off\n  assay chaos run cut-producer --seeds 100\n  \
        assay chaos run kill-consumer --group-protocol cooperative --trace"
    )]
    Run(RunArgs),
    /// Run the schedule of an earlier run again, and compare the verdicts
    Replay(ReplayArgs),
    /// Names of the scenarios there are
    List,
    /// Print a scenario's file
    Show {
        /// Name of a scenario
        name: String,
    },
    /// Check scenario files without running them
    Validate {
        /// Names, or paths of .toml files
        #[arg(required = true)]
        scenarios: Vec<String>,
    },
    /// Judge a run folder again, from its files alone
    Check {
        /// Folder of a run
        folder: PathBuf,
        /// Also write each history as JSON Lines beside it
        #[arg(long)]
        export: bool,
    },
}

#[derive(clap::Args)]
struct RunArgs {
    /// Names as in `assay chaos list`, or paths of .toml files
    #[arg(value_name = "NAME|FILE")]
    scenarios: Vec<String>,
    /// What is broken: bundled, and for scenarios with a group also kafka (started by the suite) or kafka://host:port
    #[arg(long, value_name = "TARGET", default_value = bundled::NAME)]
    target: TargetName,
    /// Fixes what the faults strike and when, and the sizes of the batches; chosen from the clock and recorded when it is not given
    #[arg(long)]
    seed: Option<u64>,
    /// Run each scenario with so many seeds, counting up from --seed or 1, and keep the folders of those that do not hold
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), conflicts_with = "keep_data")]
    seeds: Option<u32>,
    /// Seeds that are carried out at a time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64), requires = "seeds")]
    at_a_time: u32,
    /// Whether producers number their batches, so that the broker can tell a repeated one, instead of what the scenario says. With on
    /// nothing may come twice; with off what comes twice must be explained by a response that was lost on the way
    #[arg(long, value_name = "on|off")]
    idempotence: Option<Switch>,
    /// Whose client the members of a group are, instead of what the scenario says; java is Kafka's own, and needs a JDK and
    /// `assay target fetch kafka`
    #[arg(long, value_name = "librdkafka|java", value_parser = parse_client)]
    client: Option<MemberClient>,
    /// How a group agrees on who reads what, instead of what the scenario says; eager is range, cooperative is cooperative-sticky, consumer is
    /// KIP-848
    #[arg(long, value_name = "eager|roundrobin|cooperative|consumer", value_parser = parse_protocol)]
    group_protocol: Option<GroupProtocol>,
    /// When members of a group commit, instead of what the scenario says: auto-at-hand-over, auto-after-processing, sync-per-record,
    /// sync-per-batch, async-per-batch, before-processing. Where commits don't follow processing, records that are moved past are counted
    #[arg(long, value_name = "POLICY", value_parser = parse_commits)]
    commits: Option<Commits>,
    /// Whether members of a group have a group.instance.id, instead of what the scenario says
    #[arg(long, value_name = "on|off")]
    static_membership: Option<Switch>,
    /// Read on the way what members of a group and their coordinator say to each other, and leave it in protocol.txt, with the faults between the
    /// lines, and in protocol.csv
    #[arg(long)]
    trace: bool,
    /// How often each fault comes, instead of what the scenario says
    #[arg(long, value_name = "N")]
    repeat: Option<u32>,
    /// One setting of the broker; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_setting)]
    set: Vec<(String, String)>,
    /// A bug to plant: ack-before-write, skip-crc, forget-sequences, forget-to-fence-generation into the broker, commit-before-processing into
    /// members of a group; the run must find it
    #[arg(long, value_name = "BUG")]
    planted: Option<PlantedBug>,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(clap::Args)]
struct ReplayArgs {
    /// Folder of the run
    run: PathBuf,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args)]
struct Place {
    /// Folder for run folders; the broker's data lies there too
    #[arg(long, value_name = "DIR", default_value = run_folder::DEFAULT_OUT)]
    out: PathBuf,
    /// Keep the broker's data even if every invariant holds
    #[arg(long)]
    keep_data: bool,
}

/// The group of a scenario as the command line wants it.
fn group(args: &RunArgs, group: Option<GroupWorkload>) -> anyhow::Result<Option<GroupWorkload>> {
    let is_changed = args.client.is_some()
        || args.group_protocol.is_some()
        || args.commits.is_some()
        || args.static_membership.is_some();
    let Some(mut group) = group else {
        if (is_changed || args.trace) && !args.scenarios.is_empty() {
            bail!(
                "--client, --group-protocol, --commits, --static-membership and --trace are for scenarios with a group: leave them out, or give one, \
                 such as kill-consumer"
            );
        }
        return Ok(None);
    };
    group.client = args.client.unwrap_or(group.client);
    if let Some(protocol) = args.group_protocol {
        group = group.with_protocol(protocol);
    }
    if let Some(commits) = args.commits {
        group = group.with_commits(commits);
    }
    if let Some(switch) = args.static_membership {
        group.static_membership = switch == Switch::On;
    }
    if let Some((why, remedy)) = group.client.refusal(group.commits, group.handler.threads) {
        bail!("{why}: {remedy}");
    }
    group.planted = args.planted.and_then(PlantedBug::in_a_member);
    Ok(Some(group))
}

fn parse_client(name: &str) -> Result<MemberClient, String> {
    let found = MemberClient::ALL.into_iter().find(|client| client.name() == name);
    found.ok_or_else(|| format!("there are: {}", MemberClient::ALL.map(MemberClient::name).join(", ")))
}

fn parse_protocol(name: &str) -> Result<GroupProtocol, String> {
    let name = match name {
        "eager" => "range",
        "cooperative" => "cooperative-sticky",
        name => name,
    };
    let found = GroupProtocol::ALL.into_iter().find(|protocol| protocol.name() == name);
    found.ok_or_else(|| "there are: eager (range), roundrobin, cooperative (cooperative-sticky), consumer".to_owned())
}

fn parse_commits(name: &str) -> Result<Commits, String> {
    let found = Commits::ALL.into_iter().find(|commits| commits.name() == name);
    found.ok_or_else(|| format!("there are: {}", Commits::ALL.map(Commits::name).join(", ")))
}

fn parse_setting(pair: &str) -> Result<(String, String), String> {
    let (key, value) = pair.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Carries out the verb; `interrupt` is set by Ctrl-C.
pub fn run(args: Args, interrupt: &AtomicBool) -> anyhow::Result<ExitCode> {
    match args.verb {
        Verb::Run(args) => run_all(&args, interrupt),
        Verb::Replay(args) => replay(&args, interrupt),
        Verb::List => list(),
        Verb::Show { name } => {
            let text = scenario::embedded_text(&name);
            if text.is_none() {
                load(&name)?;
            }
            out!("{}", text.context("a file is shown by its path: use cat")?);
            Ok(ExitCode::SUCCESS)
        }
        Verb::Validate { scenarios } => {
            for name in &scenarios {
                let scenario = load(name)?;
                let schedule = Schedule::from(&scenario, 0);
                let seconds = progress::scheduled(&scenario, &schedule).as_secs() + 1;
                outln!("{name}: sound, {} faults in about {seconds} s", schedule.faults());
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Check { folder, export } => {
            if export {
                export_histories(&folder)?;
            }
            Ok(exit_code(&session::judge(&folder, false)?))
        }
    }
}

fn exit_code(end: &End) -> ExitCode {
    end.verdict().map_or(EXIT_INTERRUPTED, Verdict::exit_code).into()
}

/// Loads a scenario; a mistake is shown with its place.
fn load(name: &str) -> anyhow::Result<Scenario> {
    Scenario::load(name).map_err(|error| anyhow::anyhow!("{:?}", miette::Report::new(error)))
}

fn list() -> anyhow::Result<ExitCode> {
    let names = scenario::embedded_names();
    let indent = names.iter().map(String::len).max().unwrap_or(0) + 2;
    for name in &names {
        let why = load(name)?.why;
        outln!("{name:indent$}{}", wrapped(&why, indent, output::text_width()));
    }
    Ok(ExitCode::SUCCESS)
}

fn run_all(args: &RunArgs, interrupt: &AtomicBool) -> anyhow::Result<ExitCode> {
    if args.target == TargetName::Bundled {
        for (key, value) in &args.set {
            Config::default().set(key, value, "--set")?;
        }
    } else if args.planted.is_some_and(PlantedBug::is_in_the_broker) {
        bail!("bugs are planted into the bundled broker only: leave --target out");
    }
    let names = match args.scenarios.as_slice() {
        [] => scenario::embedded_names(),
        names => names.to_vec(),
    };
    let seed = match args.seeds {
        Some(_) => args.seed.unwrap_or(1),
        None => args.seed.unwrap_or_else(seed_from_clock),
    };
    let settings: BTreeMap<String, String> = args.set.iter().cloned().collect();
    // All files are checked before anything starts.
    let (mut orders, mut worst) = (Vec::new(), Verdict::Holds);
    for name in &names {
        let mut scenario = load(name)?;
        if let Some(repeat) = args.repeat {
            scenario = scenario.with_repeat(repeat).map_err(anyhow::Error::msg)?;
        }
        if let Some(switch) = args.idempotence {
            let changed = scenario.with_idempotence(switch == Switch::On);
            scenario = changed.map_err(anyhow::Error::msg)?;
        }
        scenario.group = group(args, scenario.group)?;
        let missing = scenario.roles_missing_from(&Host::roles_of(&args.target)?);
        if !missing.is_empty() {
            errln!(
                "inconclusive: {name} on {}: {}",
                args.target,
                RunError::CannotTake(missing)
            );
            worst = Verdict::Inconclusive;
            continue;
        }
        orders.push(Order {
            target: args.target.clone(),
            schedule: Schedule::from(&scenario, seed),
            is_traced: args.trace && scenario.group.is_some(),
            scenario,
            settings: settings.clone(),
            planted: args.planted,
            java: None,
            keep_data: args.place.keep_data,
            names_behind: String::new(),
            replay_of: None,
            is_quiet: args.seeds.is_some(),
        });
    }
    if orders.iter().any(Order::needs_java) {
        let found = java::look()?;
        orders.iter_mut().for_each(|order| order.java = Some(found.clone()));
    }
    for order in orders {
        let verdict = match args.seeds {
            Some(seeds) => seeds::carry_out(&order, seeds, args.at_a_time, &args.place.out, interrupt)?,
            None => session::carry_out(&order, &args.place.out, interrupt)?.verdict(),
        };
        match verdict {
            Some(verdict) => worst = worse(worst, verdict),
            None => return Ok(EXIT_INTERRUPTED.into()),
        }
    }
    Ok(worst.exit_code().into())
}

/// A violation outweighs an unknown, and an unknown outweighs a pass.
fn worse(one: Verdict, other: Verdict) -> Verdict {
    let weight = |verdict| match verdict {
        Verdict::Holds => 0,
        Verdict::Inconclusive => 1,
        Verdict::Violated => 2,
    };
    if weight(one) >= weight(other) { one } else { other }
}

/// Runs an earlier schedule again. The faults come at the same times; the machine's scheduler is another matter, so a verdict that
/// hangs on a race may differ.
fn replay(args: &ReplayArgs, interrupt: &AtomicBool) -> anyhow::Result<ExitCode> {
    let manifest: Manifest = read_json(&Manifest::path_in(&args.run))?;
    let before: Findings = read_json(&args.run.join(session::FINDINGS_FILE))?;
    let target = manifest.target.as_deref().unwrap_or(bundled::NAME);
    let mut order = Order {
        target: target.parse().map_err(anyhow::Error::msg)?,
        scenario: read_json(&args.run.join(SCENARIO_FILE))?,
        schedule: read_json(&args.run.join(SCHEDULE_FILE))?,
        settings: manifest.settings,
        planted: manifest.planted,
        java: None,
        keep_data: args.place.keep_data,
        is_traced: manifest.traced,
        names_behind: manifest.names_behind,
        replay_of: args.run.file_name().map(|name| name.to_string_lossy().into_owned()),
        is_quiet: false,
    };
    order.java = order.needs_java().then(java::look).transpose()?;
    let end = session::carry_out(&order, &args.place.out, interrupt)?;
    if let End::Judged(now) = &end {
        let then = summary(&before);
        match summary(now) {
            now if now == then => outln!("replay: {now}, as before"),
            now => outln!("replay: {now}, and before {then}"),
        }
    }
    Ok(exit_code(&end))
}

/// The verdict with what it follows from.
fn summary(findings: &Findings) -> String {
    let names = match findings.verdict {
        Verdict::Holds => return findings.verdict.to_string(),
        Verdict::Violated => findings.names(Outcome::Violated),
        Verdict::Inconclusive => findings.names(Outcome::Unknown),
    };
    format!("{} ({})", findings.verdict, names.join(", "))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let remedy = "give the folder of a run that `assay chaos run` has finished";
    let text = std::fs::read_to_string(path).with_context(|| format!("can't read {}; {remedy}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged; {remedy}", path.display()))
}

fn export_histories(folder: &Path) -> anyhow::Result<()> {
    for path in checker::history_files(folder)? {
        let output = path.with_extension("jsonl");
        let file = std::fs::File::create(&output).with_context(|| format!("can't write {}", output.display()))?;
        let mut file = std::io::BufWriter::new(file);
        let reader = workloads::history::HistoryReader::open(&path)?;
        let events = workloads::history::export_json_lines(reader, &mut file)?;
        std::io::Write::flush(&mut file).with_context(|| format!("can't write {}", output.display()))?;
        outln!("{}: {events} events", output.display());
    }
    Ok(())
}
