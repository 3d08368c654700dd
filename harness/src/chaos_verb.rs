//! `assay chaos`: breaks a broker while it works, and says what became of the records.
//!
//! Try `assay chaos run kill-broker`. Each scenario gets a run folder with histories, schedule, evidence, findings and JUnit; `assay
//! chaos check DIR` judges such a folder again from its files alone. Exit codes: 0 every invariant holds, 1 one is violated, 2
//! inconclusive, 3 usage or environment, 130 interrupted.

mod bundled;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use chaos::run::{Progress, RunError};
use chaos::{Findings, PlantedBug, Scenario, Schedule, Verdict, checker, render, scenario};

use bundled::BundledBroker;

const EXIT_ERROR: u8 = 3;
const EXIT_INTERRUPTED: u8 = 130;

/// Fault scenarios: break a broker while it works
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Run scenarios, all by default
    Run(RunArgs),
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
    /// Names, or paths of .toml files
    scenarios: Vec<String>,
    /// Fixes the times of the faults and the sizes of the batches
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How often each fault comes, instead of what the scenario says
    #[arg(long, value_name = "N")]
    repeat: Option<u32>,
    /// Folder for the run folders
    #[arg(long, value_name = "DIR", default_value = "assay-runs")]
    out: PathBuf,
    /// One setting of the broker; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// A defect to plant into the broker: ack-before-write, skip-crc; the run must find it
    #[arg(long, value_name = "BUG")]
    planted: Option<PlantedBug>,
}

/// Carries out the verb; `interrupt` is set by Ctrl-C.
pub fn run(args: Args, interrupt: &AtomicBool) -> anyhow::Result<ExitCode> {
    match args.verb {
        Verb::Run(args) => run_all(&args, interrupt),
        Verb::List => {
            for name in scenario::embedded_names() {
                println!("{name:16} {}", load(&name)?.why.replace('\n', " "));
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Show { name } => {
            load(&name)?;
            let text = scenario::embedded_text(&name).context("a file is shown by its path: use cat")?;
            print!("{text}");
            Ok(ExitCode::SUCCESS)
        }
        Verb::Validate { scenarios } => {
            for name in &scenarios {
                let scenario = load(name)?;
                println!("{name}: sound, {} faults", Schedule::from(&scenario, 0).faults());
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Check { folder, export } => {
            if export {
                export_histories(&folder)?;
            }
            judge(&folder)
        }
    }
}

/// Loads a scenario; a mistake is shown with its place.
fn load(name: &str) -> anyhow::Result<Scenario> {
    Scenario::load(name).map_err(|error| anyhow::anyhow!("{:?}", miette::Report::new(error)))
}

fn run_all(args: &RunArgs, interrupt: &AtomicBool) -> anyhow::Result<ExitCode> {
    let names = if args.scenarios.is_empty() {
        scenario::embedded_names()
    } else {
        args.scenarios.clone()
    };
    // All files are checked before anything starts.
    let scenarios = names
        .iter()
        .map(|name| load(name))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut worst = Verdict::Holds;
    for scenario in scenarios {
        let scenario = match args.repeat {
            Some(repeat) => scenario.with_repeat(repeat).map_err(anyhow::Error::msg)?,
            None => scenario,
        };
        let folder = run_folder(&args.out, &scenario.name)?;
        println!("{}\nseed {}, folder {}", scenario.why, args.seed, folder.display());
        let schedule = Schedule::from(&scenario, args.seed);
        let mut broker = BundledBroker::start_in(&folder, &args.set, args.planted)?;
        let summary = match chaos::run::execute(&scenario, &schedule, &mut broker, &folder, interrupt, &mut tell) {
            Ok(summary) => summary,
            Err(error @ RunError::CannotTake(_)) => {
                println!("inconclusive: {error}");
                worst = worse(worst, Verdict::Inconclusive);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        drop(broker);
        for trouble in &summary.troubles {
            println!("trouble: {trouble}");
        }
        if summary.interrupted {
            println!("interrupted; what was recorded: assay chaos check {}", folder.display());
            return Ok(EXIT_INTERRUPTED.into());
        }
        match checker::check_folder(&folder) {
            Ok(findings) => {
                keep(&folder, &findings)?;
                worst = worse(worst, findings.verdict);
            }
            Err(error) => {
                // A checker that fails never passes a run.
                println!("inconclusive: {error}");
                worst = worse(worst, Verdict::Inconclusive);
            }
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

/// A fresh `<seconds since 1970>-<name>`, with a number behind it when that is taken.
fn run_folder(out: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_secs();
    std::fs::create_dir_all(out).with_context(|| format!("can't make {}; choose another with --out", out.display()))?;
    for attempt in 0..1000 {
        let suffix = if attempt == 0 {
            String::new()
        } else {
            format!("-{attempt}")
        };
        let folder = out.join(format!("{now}-chaos-{name}{suffix}"));
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("can't make {}", folder.display())),
        }
    }
    bail!(
        "{} has a thousand runs of this second; choose another with --out",
        out.display()
    )
}

fn tell(progress: Progress) {
    match progress {
        Progress::WarmingUp => println!("warming up"),
        Progress::FaultInjected {
            fault,
            of,
            acknowledged,
        } => {
            println!("fault {fault} of {of}: killed, {acknowledged} records acknowledged so far");
        }
        Progress::Healed { fault, took } => {
            println!(
                "fault {fault}: records are acknowledged again after {} ms",
                took.as_millis()
            );
        }
        Progress::Settling => println!("settling"),
        Progress::Reading { acknowledged } => println!("reading the log, {acknowledged} records are acknowledged"),
    }
}

/// Prints the findings and leaves them in the run folder.
fn keep(folder: &Path, findings: &Findings) -> anyhow::Result<()> {
    let text = render::text(findings);
    print!("\n{text}");
    for (name, content) in [
        ("findings.json", serde_json::to_string_pretty(findings)?),
        ("findings.txt", text),
        ("junit.xml", render::junit(findings)),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, content).with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(())
}

fn judge(folder: &Path) -> anyhow::Result<ExitCode> {
    match checker::check_folder(folder) {
        Ok(findings) => {
            keep(folder, &findings)?;
            Ok(findings.verdict.exit_code().into())
        }
        // A folder that is no run's is a mistake of usage; a history that can't be judged is inconclusive.
        Err(error @ checker::CheckError::Folder { .. }) => {
            eprintln!("error: {error}");
            Ok(EXIT_ERROR.into())
        }
        Err(error) => {
            println!("inconclusive: {error}");
            Ok(Verdict::Inconclusive.exit_code().into())
        }
    }
}

fn export_histories(folder: &Path) -> anyhow::Result<()> {
    for path in checker::history_files(folder)? {
        let output = path.with_extension("jsonl");
        let file = std::fs::File::create(&output).with_context(|| format!("can't write {}", output.display()))?;
        let mut file = std::io::BufWriter::new(file);
        let reader = workloads::history::HistoryReader::open(&path)?;
        let events = workloads::history::export_json_lines(reader, &mut file)?;
        std::io::Write::flush(&mut file).with_context(|| format!("can't write {}", output.display()))?;
        println!("{}: {events} events", output.display());
    }
    Ok(())
}
