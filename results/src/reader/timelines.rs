//! What happened to a group in single trials: `timelines/trial-N/`, with `ownership.csv`, `duplicates.csv` and `rebalances.csv` as the checker of histories writes
//! them. Not every run has them, and of each arm one trial at most.

use std::path::Path;

use super::{Row, RunError, TextFile, read_table};
use crate::schema::PlannedTrial;

/// The folder in a run folder.
pub const FOLDER: &str = "timelines";
/// More rows of a file than this are not read: they could not be told apart in a chart.
const ROWS_MAX: usize = 100_000;

/// Name of a trial's folder in there.
pub fn folder_of(trial: u32) -> String {
    format!("trial-{trial}")
}

/// Who held what, what came twice, and what struck the group. Times in milliseconds since the first event of the trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    /// The trial of the plan.
    pub trial: PlannedTrial,
    /// In the order of the file.
    pub held: Vec<Held>,
    /// In the order of the file.
    pub repeated: Vec<Repeated>,
    /// In the order of their begin.
    pub triggers: Vec<Trigger>,
}

/// A time in which a member held a partition.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// Which consumer.
    pub slot: u32,
    /// Which member it was: one that is started again is another one.
    pub member: u32,
    /// What.
    pub partition: u32,
    /// From when on.
    pub from_ms: f64,
    /// Until when.
    pub to_ms: f64,
}

/// Records that came once more, one behind another.
#[derive(Debug, Clone, PartialEq)]
pub struct Repeated {
    /// When.
    pub at_ms: f64,
    /// To which consumer; `None` where that is not known.
    pub slot: Option<u32>,
    /// Of which partition.
    pub partition: u32,
    /// How many.
    pub records: u64,
}

/// What struck the group.
#[derive(Debug, Clone, PartialEq)]
pub struct Trigger {
    /// What it was.
    pub kind: String,
    /// When it began.
    pub at_ms: f64,
    /// From its begin to its end; `None` when it had none.
    pub healed_ms: Option<f64>,
    /// From its begin to the last change of ownership; `None` without any.
    pub settled_ms: Option<f64>,
    /// From its begin until every partition that was given delivered again; `None` when one never did.
    pub again_ms: Option<f64>,
}

/// Reads those of the trials in the plan, in its order.
pub(super) fn read(dir: &Path, plan: &[PlannedTrial], notes: &mut Vec<String>) -> Result<Vec<Timeline>, RunError> {
    let mut timelines = Vec::new();
    if !dir.join(FOLDER).is_dir() {
        return Ok(timelines);
    }
    for trial in plan {
        let folder = dir.join(FOLDER).join(folder_of(trial.trial));
        let Some(ownership) = TextFile::read(folder.join("ownership.csv"))? else {
            continue;
        };
        let held = first(read_table(&ownership, notes, held)?);
        let repeated = match TextFile::read(folder.join("duplicates.csv"))? {
            Some(text) => first(read_table(&text, notes, repeated)?),
            None => Vec::new(),
        };
        let triggers = match TextFile::read(folder.join("rebalances.csv"))? {
            Some(text) => first(read_table(&text, notes, trigger)?),
            None => Vec::new(),
        };
        timelines.push(Timeline {
            trial: trial.clone(),
            held,
            repeated,
            triggers,
        });
    }
    Ok(timelines)
}

fn first<T>(mut rows: Vec<T>) -> Vec<T> {
    rows.truncate(ROWS_MAX);
    rows
}

fn held(row: &Row<'_>) -> Result<Held, RunError> {
    Ok(Held {
        slot: row.parse("slot")?,
        member: row.parse("member")?,
        partition: row.parse("partition")?,
        from_ms: row.parse("from_ms")?,
        to_ms: row.parse("to_ms")?,
    })
}

fn repeated(row: &Row<'_>) -> Result<Repeated, RunError> {
    Ok(Repeated {
        at_ms: row.parse("at_ms")?,
        slot: match row.text("slot")? {
            "" => None,
            _ => Some(row.parse("slot")?),
        },
        partition: row.parse("partition")?,
        records: row.parse("records")?,
    })
}

fn trigger(row: &Row<'_>) -> Result<Trigger, RunError> {
    let perhaps = |column: &str| match row.text(column)? {
        "" => Ok(None),
        _ => row.parse(column).map(Some),
    };
    Ok(Trigger {
        kind: row.text("kind")?.to_owned(),
        at_ms: row.parse("at_ms")?,
        healed_ms: perhaps("healed_ms")?,
        settled_ms: perhaps("settled_ms")?,
        again_ms: perhaps("again_ms")?,
    })
}
