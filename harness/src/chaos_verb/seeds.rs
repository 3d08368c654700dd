//! One scenario with many seeds: a line for each, a table of all in `seeds.csv`, and the folders of those that do not hold.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use chaos::{Findings, Outcome, Schedule, Verdict};

use super::session::{self, End, Order};
use super::worse;
use crate::run_folder;

/// The table, in the folder of all seeds.
const TABLE_FILE: &str = "seeds.csv";
const COLUMNS: &str = "seed,verdict,faults_bit,acknowledged,answers_lost,resent,log_duplicates,lost,reordered,not_held";

/// Carries an order out with `seeds` seeds, from its own on; gives the worst verdict, and `None` when it was interrupted.
///
/// # Errors
/// Of the environment, as for one run.
pub fn carry_out(mut order: Order, seeds: u32, out: &Path, interrupt: &AtomicBool) -> anyhow::Result<Option<Verdict>> {
    let name = order.scenario.name.clone();
    let folder = run_folder::create(out, &format!("chaos-{name}-seeds"))?;
    let path = folder.join(TABLE_FILE);
    let remedy = || format!("can't write {}", path.display());
    let mut table = fs::File::create(&path).with_context(remedy)?;
    writeln!(table, "{COLUMNS}").with_context(remedy)?;
    let first = order.schedule.seed;
    outln!(
        "{name}: {seeds} seeds from {first} on, {} faults each",
        order.schedule.faults()
    );
    outln!("folder {}\n", folder.display());

    let mut sums = Sums::default();
    for seed in (first..).take(seeds as usize) {
        order.schedule = Schedule::from(&order.scenario, seed);
        let place = folder.join(format!("seed-{seed}"));
        fs::create_dir(&place).with_context(|| format!("can't create {}", place.display()))?;
        let findings = match session::carry_out_in(&order, &place, interrupt)? {
            End::Judged(findings) => findings,
            End::Unjudged => {
                sums.add(Verdict::Inconclusive);
                outln!("seed {seed}: {}, see {}", Verdict::Inconclusive, place.display());
                continue;
            }
            End::Interrupted => return Ok(None),
        };
        writeln!(table, "{}", row(seed, &findings)).with_context(remedy)?;
        sums.add_findings(&findings);
        let mut line = format!("seed {seed}: {}, {}", findings.verdict, counted(&findings));
        if let Some(bug) = order.planted {
            line += &format!("; {}", session::blamed(bug, &findings));
        }
        outln!("{line}");
        if findings.verdict == Verdict::Holds {
            fs::remove_dir_all(&place).with_context(|| format!("can't remove {}", place.display()))?;
        } else {
            outln!("  kept: {}; again with --seed {seed}", place.display());
        }
    }
    outln!("\n{name}: {}", sums.told(seeds));
    Ok(Some(sums.worst()))
}

fn row(seed: u64, findings: &Findings) -> String {
    let bit = findings.faults.iter().filter(|fault| fault.evidence > 0).count();
    let not_held = [Outcome::Violated, Outcome::Unknown].map(|outcome| findings.names(outcome).join(" "));
    format!(
        "{seed},{},{bit},{},{},{},{},{},{},{}",
        findings.verdict,
        findings.acknowledged,
        findings.answers_lost,
        findings.resent,
        findings.log_duplicates.count,
        findings.lost.count,
        findings.reordered.count,
        not_held.join(" ").trim()
    )
}

fn counted(findings: &Findings) -> String {
    format!(
        "{} acknowledged, {} acknowledgements lost, {} records sent again for it, {} twice in the log, {} lost, {} reordered",
        findings.acknowledged,
        findings.answers_lost,
        findings.resent,
        findings.log_duplicates.count,
        findings.lost.count,
        findings.reordered.count
    )
}

/// What all seeds came to.
#[derive(Default)]
struct Sums {
    verdicts: Vec<Verdict>,
    acknowledged: u64,
    answers_lost: u64,
    resent: u64,
    twice: u64,
    lost: u64,
    reordered: u64,
}

impl Sums {
    fn add(&mut self, verdict: Verdict) {
        self.verdicts.push(verdict);
    }

    fn add_findings(&mut self, findings: &Findings) {
        self.add(findings.verdict);
        self.acknowledged += findings.acknowledged;
        self.answers_lost += findings.answers_lost;
        self.resent += findings.resent;
        self.twice += findings.log_duplicates.count;
        self.lost += findings.lost.count;
        self.reordered += findings.reordered.count;
    }

    fn worst(&self) -> Verdict {
        self.verdicts.iter().copied().fold(Verdict::Holds, worse)
    }

    fn told(&self, seeds: u32) -> String {
        let count = |wanted| self.verdicts.iter().filter(|&&verdict| verdict == wanted).count();
        format!(
            "of {seeds} seeds {} HOLDS, {} VIOLATED, {} INCONCLUSIVE; {} acknowledged, {} acknowledgements lost, {} records sent again \
             for it, {} twice in the log, {} lost, {} reordered",
            count(Verdict::Holds),
            count(Verdict::Violated),
            count(Verdict::Inconclusive),
            self.acknowledged,
            self.answers_lost,
            self.resent,
            self.twice,
            self.lost,
            self.reordered
        )
    }
}
