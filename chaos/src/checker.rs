//! The ledger checker: reads histories and nothing else, and says what was lost, duplicated, reordered, torn.
//!
//! It streams each file three times (faults, accounts, times of the examples) and keeps intervals of sequences, never an entry per
//! record, so memory does not grow with a run's length but with its irregularities, up to a bound. Whatever keeps it from judging
//! is an error or an unknown, and both are inconclusive: a checker that fails never passes a run.

mod accounts;
mod explain;
pub mod group;
mod judgement;
mod lost_answers;
mod times;

use std::path::{Path, PathBuf};

use workloads::history::{Event, HistoryError, HistoryReader, Stamped};

use crate::findings::{FaultFound, Findings};
use crate::scenario::Scenario;
use group::GroupContext;
use lost_answers::LostAnswers;

/// Most faults that are kept apart.
const FAULTS_MAX: usize = 100_000;

/// Why a run could not be checked; the verdict is then inconclusive (exit code 2).
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A history cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The run folder lacks something.
    #[error("{path}: {what}; give the folder of a run that `assay chaos run` has finished")]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The events contradict each other.
    #[error("the histories contradict each other: {0}; repeat the run, and report it if it happens again")]
    Contradiction(String),
    /// The bound on memory is reached.
    #[error("the histories are too irregular to be checked within bounded memory: more than {limit} {what}")]
    TooIrregular {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
}

/// Checks a run folder: `scenario.json` and `histories/*.bin` in it.
///
/// # Errors
/// [`CheckError`]: treat it as inconclusive.
pub fn check_folder(folder: &Path) -> Result<Findings, CheckError> {
    let path = folder.join(crate::run::SCENARIO_FILE);
    let wrong = |path: &Path, what: String| CheckError::Folder {
        path: path.to_path_buf(),
        what,
    };
    let text = std::fs::read_to_string(&path).map_err(|error| wrong(&path, error.to_string()))?;
    let scenario: Scenario = serde_json::from_str(&text).map_err(|error| wrong(&path, error.to_string()))?;
    let files = history_files(folder)?;
    // A history that is not there would be no loss of its records, so each that a run leaves is asked for.
    let expected = (0..u64::from(scenario.workload.producers)).map(crate::run::producer_history);
    let missing = expected
        .map(|name| folder.join(crate::run::HISTORIES_FOLDER).join(name))
        .filter(|path| !files.contains(path))
        .map(|path| format!("{} is missing", path.display()))
        .collect();
    let context = match &scenario.group {
        Some(_) => Some(group_context(folder)?),
        None => None,
    };
    check_files(&files, missing, &scenario, context.as_ref())
}

/// What the run of a group knows beside its histories.
fn group_context(folder: &Path) -> Result<GroupContext, CheckError> {
    let path = folder.join(crate::run::GROUP_FILE);
    let wrong = |what: String| CheckError::Folder {
        path: path.clone(),
        what,
    };
    let text = std::fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
}

/// The histories of a run folder, sorted by name.
///
/// # Errors
/// When there is none.
pub fn history_files(folder: &Path) -> Result<Vec<PathBuf>, CheckError> {
    let folder = &folder.join(crate::run::HISTORIES_FOLDER);
    let wrong = |what: String| CheckError::Folder {
        path: folder.to_path_buf(),
        what,
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| wrong(error.to_string()))? {
        let path = entry.map_err(|error| wrong(error.to_string()))?.path();
        if path.extension().is_some_and(|extension| extension == "bin") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        Err(wrong("there is no history in it".to_owned()))
    } else {
        Ok(files)
    }
}

/// Checks histories against a scenario's invariants; those of a group are left out, as they need what [`check_folder`] finds beside them.
///
/// # Errors
/// [`CheckError`]: treat it as inconclusive.
pub fn check(files: &[PathBuf], scenario: &Scenario) -> Result<Findings, CheckError> {
    check_files(files, Vec::new(), scenario, None)
}

/// Checks histories, of which some are known to be `incomplete`, in words.
fn check_files(
    all_files: &[PathBuf],
    mut incomplete: Vec<String>,
    scenario: &Scenario,
    context: Option<&GroupContext>,
) -> Result<Findings, CheckError> {
    // What members of a group tell is judged apart; the log and its producers are one ledger with it and without it.
    let of_ledger: Vec<PathBuf> = all_files
        .iter()
        .filter(|path| !group::is_member_history(path))
        .cloned()
        .collect();
    let files = &of_ledger;
    let (faults, lost_answers) = faults(files)?;
    let mut accounts = accounts::Accounts::new(faults, lost_answers);
    for path in files {
        let (mut events, mut finished) = (0, None);
        for stamped in HistoryReader::open(path)? {
            let stamped = stamped?;
            finished = match stamped.event {
                Event::Finished { events } => Some(events),
                _ => None,
            };
            accounts.apply(stamped)?;
            events += 1;
        }
        // The last event tells how many there were before it.
        if finished.is_none_or(|before| before + 1 != events) {
            incomplete.push(format!("{} is cut short", path.display()));
        }
    }
    let mut findings = judgement::judge(accounts, &incomplete, scenario);
    times::fill_in(&mut findings, files)?;
    match scenario.group.as_ref().zip(context) {
        Some((workload, context)) => {
            let found = group::judge(all_files, &workload.rules, context)?;
            Ok(findings.with_group(found))
        }
        None => Ok(findings),
    }
}

/// Hands each event of all files to `each`.
fn stream(files: &[PathBuf], mut each: impl FnMut(Stamped) -> Result<(), CheckError>) -> Result<(), CheckError> {
    files
        .iter()
        .try_for_each(|path| HistoryReader::open(path)?.try_for_each(|stamped| each(stamped?)))
}

/// All faults in the order of their begin, and the acknowledgements that were lost on the way.
fn faults(files: &[PathBuf]) -> Result<(Vec<FaultFound>, LostAnswers), CheckError> {
    let mut faults: Vec<FaultFound> = Vec::new();
    let mut lost = LostAnswers::default();
    stream(files, |stamped| {
        let (number, at_ns) = match stamped.event {
            Event::AnswerLost { fault, run } => return lost.add(fault, run),
            Event::AnswersUnknown { answers } => {
                lost.unknown += u64::from(answers);
                return Ok(());
            }
            Event::FaultBegin { fault, .. } | Event::FaultBit { fault, .. } | Event::FaultEnd { fault, .. } => {
                (fault, stamped.at_ns)
            }
            _ => return Ok(()),
        };
        if let Event::FaultBegin { fault, kind } = stamped.event {
            if faults.len() >= FAULTS_MAX {
                return Err(CheckError::TooIrregular {
                    what: "faults",
                    limit: FAULTS_MAX,
                });
            }
            faults.push(FaultFound {
                fault,
                kind,
                began_ns: at_ns,
                healed_ns: None,
                evidence: 0,
                interrupted: 0,
                recovered: false,
                acknowledged_after: 0,
                answers_lost: 0,
                duplicates: 0,
            });
            return Ok(());
        }
        // Faults come one after another, so what happens to a fault happens to the last one.
        let Some(found) = faults
            .last_mut()
            .filter(|found| found.fault == number && found.healed_ns.is_none())
        else {
            return Err(CheckError::Contradiction(format!(
                "fault {number} ends or bites without having begun"
            )));
        };
        match stamped.event {
            Event::FaultBit { evidence, .. } => found.evidence += evidence,
            Event::FaultEnd { healing, .. } => {
                found.healed_ns = Some(at_ns);
                found.recovered = healing == workloads::history::Healing::Recovered;
            }
            _ => {}
        }
        Ok(())
    })?;
    if !faults
        .windows(2)
        .all(|pair| pair[0].healed_ns.is_some_and(|healed_ns| healed_ns <= pair[1].began_ns))
    {
        return Err(CheckError::Contradiction("two faults overlap".to_owned()));
    }
    Ok((faults, lost))
}

#[cfg(test)]
mod tests;
