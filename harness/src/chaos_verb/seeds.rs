//! One scenario with many seeds: a line for each, a table of all in `seeds.csv`, and the folders of those that do not hold.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};
use chaos::checker::group::GroupFindings;
use chaos::{Findings, Outcome, Schedule, Verdict};

use super::session::{self, End, Order};
use super::worse;
use crate::run_folder;

/// The table, in the folder of all seeds.
const TABLE_FILE: &str = "seeds.csv";
const COLUMNS: &str = "seed,verdict,faults_bit,acknowledged,answers_lost,resent,log_duplicates,lost,reordered,not_held,polled,redelivered,\
                       skipped,unprocessed,commits_refused,rebalances";

/// Carries an order out with `seeds` seeds, from its own on, so many at a time; gives the worst verdict, and `None` when it was interrupted.
///
/// # Errors
/// Of the environment, as for one run.
pub fn carry_out(
    order: &Order,
    seeds: u32,
    at_a_time: u32,
    out: &Path,
    interrupt: &AtomicBool,
) -> anyhow::Result<Option<Verdict>> {
    let name = &order.scenario.name;
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

    let next = AtomicU32::new(0);
    let collected = Mutex::new(Collected {
        table,
        sums: Sums::default(),
    });
    // A child dies with the thread that started it, so a seed is carried out by one thread from its begin to its end.
    let work = || -> anyhow::Result<bool> {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= seeds {
                return Ok(true);
            }
            let outcome = one(
                order,
                first.wrapping_add(u64::from(place)),
                &folder,
                interrupt,
                &collected,
            );
            if !matches!(outcome, Ok(true)) {
                // The others end what they have begun.
                next.store(seeds, Ordering::Relaxed);
                return outcome;
            }
        }
    };
    let whole = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..at_a_time.clamp(1, seeds)).map(|_| scope.spawn(work)).collect();
        let ended = threads.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| bail!("a seed panicked: please report it"))
        });
        ended.collect::<anyhow::Result<Vec<bool>>>()
    })?;
    if whole.contains(&false) {
        return Ok(None);
    }
    let sums = collected.into_inner().unwrap_or_else(PoisonError::into_inner).sums;
    outln!("\n{name}: {}", sums.told(seeds));
    Ok(Some(sums.worst()))
}

/// What the threads share.
struct Collected {
    table: fs::File,
    sums: Sums,
}

/// One seed; false when it was interrupted.
fn one(
    order: &Order,
    seed: u64,
    folder: &Path,
    interrupt: &AtomicBool,
    collected: &Mutex<Collected>,
) -> anyhow::Result<bool> {
    let order = Order {
        schedule: Schedule::from(&order.scenario, seed),
        ..order.clone()
    };
    let place = folder.join(format!("seed-{seed}"));
    fs::create_dir(&place).with_context(|| format!("can't create {}", place.display()))?;
    let end = session::carry_out_in(&order, &place, interrupt)?;
    let mut collected = collected.lock().unwrap_or_else(PoisonError::into_inner);
    let findings = match end {
        End::Judged(findings) => findings,
        End::Unjudged => {
            collected.sums.add(Verdict::Inconclusive);
            outln!("seed {seed}: {}, see {}", Verdict::Inconclusive, place.display());
            return Ok(true);
        }
        End::Interrupted => return Ok(false),
    };
    writeln!(collected.table, "{}", row(seed, &findings)).with_context(|| format!("can't write {TABLE_FILE}"))?;
    collected.sums.add_findings(&findings);
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
    Ok(true)
}

fn row(seed: u64, findings: &Findings) -> String {
    let bit = findings.faults.iter().filter(|fault| fault.evidence > 0).count();
    let not_held = [Outcome::Violated, Outcome::Unknown].map(|outcome| findings.names(outcome).join(" "));
    format!(
        "{seed},{},{bit},{},{},{},{},{},{},{},{}",
        findings.verdict,
        findings.acknowledged,
        findings.answers_lost,
        findings.resent,
        findings.log_duplicates.count,
        findings.lost.count,
        findings.reordered.count,
        not_held.join(" ").trim(),
        findings.group.as_ref().map_or_else(|| ",,,,,".to_owned(), group_row)
    )
}

fn group_row(group: &GroupFindings) -> String {
    format!(
        "{},{},{},{},{},{}",
        group.polled,
        group.redelivered.count,
        group.skipped.count,
        group.unprocessed.count,
        group.commits_refused.values().sum::<u64>(),
        group.rebalances.iter().map(|found| found.rebalances).sum::<u32>()
    )
}

fn counted(findings: &Findings) -> String {
    if let Some(group) = &findings.group {
        return format!(
            "{} acknowledged, {} lost, {} polled, {} of them again, {} skipped, {} unprocessed, {} commits refused",
            findings.acknowledged,
            findings.lost.count,
            group.polled,
            group.redelivered.count,
            group.skipped.count,
            group.unprocessed.count,
            group.commits_refused.values().sum::<u64>()
        );
    }
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
    /// Of groups: records polled, polled again, skipped, unprocessed; absent without one.
    group: Option<[u64; 4]>,
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
        if let Some(group) = &findings.group {
            let sums = self.group.get_or_insert_default();
            let counts = [
                group.polled,
                group.redelivered.count,
                group.skipped.count,
                group.unprocessed.count,
            ];
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }

    fn worst(&self) -> Verdict {
        self.verdicts.iter().copied().fold(Verdict::Holds, worse)
    }

    fn told(&self, seeds: u32) -> String {
        let count = |wanted| self.verdicts.iter().filter(|&&verdict| verdict == wanted).count();
        if let Some([polled, again, skipped, unprocessed]) = self.group {
            return format!(
                "of {seeds} seeds {} HOLDS, {} VIOLATED, {} INCONCLUSIVE; {} acknowledged, {} lost, {polled} polled, {again} of them again, \
                 {skipped} skipped, {unprocessed} unprocessed",
                count(Verdict::Holds),
                count(Verdict::Violated),
                count(Verdict::Inconclusive),
                self.acknowledged,
                self.lost
            );
        }
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
