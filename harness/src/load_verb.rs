//! `assay load`: ad-hoc load on a target, with a live line, a table, an HdrHistogram log, CSV and charts.
//!
//! The command line becomes a [`plan::Plan`], the target a [`host::Host`]; [`find`] searches a rate, [`session`] holds one window with a process
//! that produces and some that consume. What it leaves is `results::load`, and `assay report` draws it again.

mod args;
mod ceiling;
mod ends;
mod find;
mod host;
mod intervals;
mod judge;
mod ledger;
mod live;
mod plan;
mod receivers;
mod record;
mod search;
mod session;
mod side;
mod terms;
mod window;
mod words;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use results::load::LoadFolder;
use workloads::native::Security;

pub use args::Args;
use host::Host;
use live::Live;
use plan::Plan;
use record::Record;
use search::Verdict;
use session::Task;

use crate::scratch::{self, Scratch};
use crate::{EXIT_INTERRUPTED, interrupt, output, run_folder};

/// Exit code of records that are missing, and of an objective that was required and is broken.
const EXIT_BROKEN: u8 = 1;
/// More rows and histograms than this would make large files of a long window: then intervals are longer than a second.
const INTERVALS_MAX: f64 = 1_200.0;

/// Puts the load on, and tells what came of it.
///
/// # Errors
/// Usage, the target, a client, the folder; [`interrupt::Interrupted`] when Ctrl-C came before anything was measured.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let plan = Plan::of(args)?;
    interrupt::install()?;
    scratch::remove_abandoned(&args.out);
    let dir = run_folder::create(&args.out, "load")?;
    let measured = Scratch::create(&dir).and_then(|scratch| measure(args, &plan, &dir, &scratch.path));
    if measured.is_err() {
        // Nothing was measured, so nothing is left; a folder that holds something stays.
        let _ = std::fs::remove_dir(&dir);
    }
    let outcome = measured?;
    render_and_print(&dir)?;
    Ok(match outcome {
        Outcome::Interrupted => EXIT_INTERRUPTED.into(),
        Outcome::Lost => EXIT_BROKEN.into(),
        Outcome::Broken if args.find.require_objective => EXIT_BROKEN.into(),
        Outcome::Broken | Outcome::Done => ExitCode::SUCCESS,
    })
}

/// Draws the charts and the summary of a load's folder, and prints its tables.
///
/// # Errors
/// The folder can't be read or written.
pub fn render_and_print(dir: &Path) -> anyhow::Result<()> {
    let rendered = results::load::render(dir)?;
    out!(
        "{}",
        rendered
            .tables
            .terminal(output::wants_colour(), output::terminal_columns())
    );
    outln!("load.json, latency.hlog, CSV, charts, summary.md: {}", dir.display());
    Ok(())
}

/// How a load ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Measured.
    Done,
    /// Measured, and the objective is broken.
    Broken,
    /// Measured, and records that were acknowledged are gone.
    Lost,
    /// Ctrl-C; what was measured until then is told.
    Interrupted,
}

fn measure(args: &Args, plan: &Plan, dir: &Path, scratch: &Path) -> anyhow::Result<Outcome> {
    let live = Live::start();
    live.doing(&format!("starting {}", args.target));
    let host = Host::start(args, plan, scratch)?;
    // For whoever wants to look at it, trace it, or stop it.
    if let Some(told) = host.told(&args.target) {
        live.say(&told);
    }
    let outcome = on_host(args, plan, (dir, scratch), &host, &live);
    live.end();
    // The topic goes whatever happened; its error is told unless there is a graver one.
    let ended = host.end();
    let outcome = outcome?;
    ended?;
    Ok(outcome)
}

fn on_host(
    args: &Args,
    plan: &Plan,
    (dir, scratch): (&Path, &Path),
    host: &Host,
    live: &Live,
) -> anyhow::Result<Outcome> {
    interrupt::check()?;
    let mut record = Record::begin(dir, host, plan);
    if args.ceiling {
        record.ceiling_rate = Some(ceiling::measure(plan, host.partitions, scratch, live)?);
        if host.security != Security::default() {
            record.note("The ceiling is that of the client without TLS and SASL.".to_owned());
        }
    }
    if let (Some(between), Some(objective)) = (plan.find_between, &plan.objective) {
        let found = find::find(host, plan, objective, between, args.find.try_seconds, live)?;
        let rate = found.rate;
        record.found(found);
        let Some(rate) = rate else {
            record.save(&LoadFolder::create(dir)?)?;
            return Ok(if interrupt::is_set() {
                Outcome::Interrupted
            } else {
                Outcome::Broken
            });
        };
        record.at_rate(host, plan, rate);
    }
    let task = Task {
        load: record.load.clone(),
        consumers: plan.consumers(host.partitions),
        warm_up_s: args.warm_up,
        seconds: args.seconds,
        interval_s: (args.seconds / INTERVALS_MAX).ceil().max(1.0),
    };
    if task.load.is_some() {
        live.doing(&format!("warming up for {} s", args.warm_up));
    }
    // Made by the first interval: a client that fails before leaves no files.
    let mut folder = None;
    let mut written = Ok(());
    let produces = task.load.is_some();
    let held = session::hold(host, &task, &mut |closed| {
        live.doing(&live::line(&closed.row, produces, args.seconds - closed.row.at_s));
        if written.is_ok() {
            written = record::interval(&mut folder, dir, closed);
        }
    })?;
    written?;
    let mut folder = record::opened(folder, dir)?;
    let lost = record.held(&mut folder, &held)?;
    let judged = match (&plan.objective, held.interrupted) {
        (Some(objective), false) => {
            let seen = held.seen(objective).context("an objective without a producer")?;
            let (verdict, why) = judge::judge(objective, &seen);
            record.note(match verdict {
                Verdict::Kept => format!("The window kept {}.", objective.text),
                _ => format!("The window broke {}: {why}.", objective.text),
            });
            Some(verdict)
        }
        _ => None,
    };
    record.save(&folder)?;
    Ok(match judged {
        _ if held.interrupted => Outcome::Interrupted,
        _ if lost > 0 => Outcome::Lost,
        None | Some(Verdict::Kept) => Outcome::Done,
        Some(Verdict::Broken | Verdict::GeneratorLimit) => Outcome::Broken,
    })
}
