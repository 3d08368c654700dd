//! Opens a run folder, from the files alone.
//!
//! A file that is wrong is an error that names the file, the line, the column and the remedy. A last line that was torn
//! by a crash is no error: it is left out, and a note says so. Absent series, latencies, ledger, facts, phases and traces are
//! fine. Nothing is judged here.

pub mod timelines;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use timelines::Timeline;

use crate::schema::{
    Fact, FactVerdict, Factors, LedgerEntry, Manifest, Measurement, Phase, PhasePoint, PlannedTrial, SCHEMA_VERSION,
    SeriesPoint, TraceCount, TrialRole, file,
};

/// Why a run folder could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file that every run has is missing.
    #[error("{path} is missing: is this a run folder? `assay run` makes one under assay-runs/")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not hold what the schema says.
    #[error("{path}, line {line}, {place}: {reason}; {remedy}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// The column's name, or the position in the line.
        place: String,
        /// What is wrong.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// The run was written by a newer version.
    #[error("{path} has schema version {found}, this program reads up to {SCHEMA_VERSION}: use a newer assay")]
    TooNew {
        /// The manifest.
        path: PathBuf,
        /// Its schema version.
        found: u32,
    },
}

/// A run folder in memory.
#[derive(Debug)]
pub struct Run {
    /// The folder.
    pub dir: PathBuf,
    /// `manifest.json`.
    pub manifest: Manifest,
    /// `plan.jsonl`, in run order; empty when absent.
    pub plan: Vec<PlannedTrial>,
    /// `trials.csv`, in file order.
    pub trials: Vec<Measurement>,
    /// `series.csv`; empty when absent.
    pub series: Vec<SeriesPoint>,
    /// `ledger.csv`; empty when absent.
    pub ledger: Vec<LedgerEntry>,
    /// `facts.csv`, in file order; empty when absent.
    pub facts: Vec<Fact>,
    /// `phases.csv`, in file order; empty when absent.
    pub phases: Vec<PhasePoint>,
    /// `traces.csv`, in file order; empty when absent.
    pub traces: Vec<TraceCount>,
    /// `timelines/`, in the order of the plan; empty when absent.
    pub timelines: Vec<Timeline>,
    /// `latency.hlog`: the intervals of each tag merged into one histogram of nanoseconds.
    pub latencies: BTreeMap<String, Histogram<u64>>,
    /// What was odd about the files, in whole sentences.
    pub notes: Vec<String>,
}

impl Run {
    /// Reads a run folder.
    ///
    /// # Errors
    /// [`RunError`], naming the file, line, column and remedy.
    pub fn open(dir: &Path) -> Result<Self, RunError> {
        let mut notes = Vec::new();
        let manifest = read_manifest(&dir.join(file::MANIFEST))?;
        let plan = match TextFile::read(dir.join(file::PLAN))? {
            Some(text) => read_plan(&text, &mut notes)?,
            None => Vec::new(),
        };
        let trials_path = dir.join(file::TRIALS);
        let trials = TextFile::read(trials_path.clone())?.ok_or(RunError::Missing { path: trials_path })?;
        let trials = read_table(&trials, &mut notes, measurement)?;
        let series = read_optional(dir.join(file::SERIES), &mut notes, series_point)?;
        let ledger = read_optional(dir.join(file::LEDGER), &mut notes, ledger_entry)?;
        let facts = read_optional(dir.join(file::FACTS), &mut notes, fact)?;
        let phases = read_optional(dir.join(file::PHASES), &mut notes, phase_point)?;
        let traces = read_optional(dir.join(file::TRACES), &mut notes, trace_count)?;
        let timelines = timelines::read(dir, &plan, &mut notes)?;
        let latencies = match TextFile::read(dir.join(file::LATENCY))? {
            Some(text) => read_latencies(&text, &mut notes)?,
            None => BTreeMap::new(),
        };
        Ok(Self {
            dir: dir.to_owned(),
            manifest,
            plan,
            trials,
            series,
            ledger,
            facts,
            phases,
            traces,
            timelines,
            latencies,
            notes,
        })
    }
}

fn read_manifest(path: &Path) -> Result<Manifest, RunError> {
    let text = TextFile::read(path.to_owned())?.ok_or_else(|| RunError::Missing { path: path.to_owned() })?;
    /// Only the version, which is looked at before the rest is understood.
    #[derive(serde::Deserialize)]
    struct Version {
        schema_version: u32,
    }
    let version: Version = serde_json::from_str(&text.contents).map_err(|error| text.json_error(1, &error))?;
    if version.schema_version > SCHEMA_VERSION {
        return Err(RunError::TooNew {
            path: path.to_owned(),
            found: version.schema_version,
        });
    }
    serde_json::from_str(&text.contents).map_err(|error| text.json_error(1, &error))
}

fn read_plan(text: &TextFile, notes: &mut Vec<String>) -> Result<Vec<PlannedTrial>, RunError> {
    let mut plan = Vec::new();
    for (number, line) in text.whole_lines(notes) {
        if !line.trim().is_empty() {
            plan.push(serde_json::from_str(line).map_err(|error| text.json_error(number, &error))?);
        }
    }
    Ok(plan)
}

pub(crate) fn read_latencies(
    text: &TextFile,
    notes: &mut Vec<String>,
) -> Result<BTreeMap<String, Histogram<u64>>, RunError> {
    let mut merged: BTreeMap<String, Histogram<u64>> = BTreeMap::new();
    let mut deserializer = Deserializer::new();
    for (number, line) in text.whole_lines(notes) {
        let fail =
            |reason: String| text.malformed(number, "histogram", reason, "remove the line, its interval is lost");
        for entry in IntervalLogIterator::new(format!("{line}\n").as_bytes()) {
            let LogEntry::Interval(interval) = entry.map_err(|error| fail(format!("{error:?}")))? else {
                continue;
            };
            let tag = interval.tag().map(|tag| tag.as_str().to_owned()).unwrap_or_default();
            let bytes = STANDARD
                .decode(interval.encoded_histogram())
                .map_err(|error| fail(error.to_string()))?;
            let histogram: Histogram<u64> = deserializer
                .deserialize(&mut bytes.as_slice())
                .map_err(|error| fail(error.to_string()))?;
            match merged.get_mut(&tag) {
                Some(sum) => sum.add(&histogram).map_err(|error| fail(error.to_string()))?,
                None => {
                    let mut sum = histogram;
                    sum.auto(true);
                    merged.insert(tag, sum);
                }
            }
        }
    }
    Ok(merged)
}

/// Reads a CSV table that not every run has.
fn read_optional<T>(
    path: PathBuf,
    notes: &mut Vec<String>,
    parse: fn(&Row<'_>) -> Result<T, RunError>,
) -> Result<Vec<T>, RunError> {
    match TextFile::read(path)? {
        Some(text) => read_table(&text, notes, parse),
        None => Ok(Vec::new()),
    }
}

/// Reads a CSV table by column name, leaving out a last line that has no line end.
fn read_table<T>(
    text: &TextFile,
    notes: &mut Vec<String>,
    parse: fn(&Row<'_>) -> Result<T, RunError>,
) -> Result<Vec<T>, RunError> {
    let whole = text.whole_text(notes);
    let mut csv = csv::ReaderBuilder::new().flexible(true).from_reader(whole.as_bytes());
    let header = csv.headers().map_err(|error| text.csv_error(&error))?.clone();
    let columns: BTreeMap<&str, usize> = header.iter().enumerate().map(|(index, name)| (name, index)).collect();
    let mut rows = Vec::new();
    for record in csv.records() {
        let record = record.map_err(|error| text.csv_error(&error))?;
        let line = record
            .position()
            .map_or(0, |position| usize::try_from(position.line()).unwrap_or(usize::MAX));
        rows.push(parse(&Row {
            text,
            line,
            columns: &columns,
            record: &record,
        })?);
    }
    Ok(rows)
}

fn measurement(row: &Row<'_>) -> Result<Measurement, RunError> {
    Ok(Measurement {
        experiment: row.text("experiment")?.to_owned(),
        trial: row.parse("trial")?,
        block: row.parse("block")?,
        position: row.parse("position")?,
        arm: row.text("arm")?.to_owned(),
        role: row.one_of("role", &TrialRole::ALL, TrialRole::as_str)?,
        factors: row.factors("factors")?,
        target: row.text("target")?.to_owned(),
        metric: row.text("metric")?.to_owned(),
        unit: row.text("unit")?.to_owned(),
        value: row.parse("value")?,
        flags: row
            .text("flags")?
            .split(';')
            .filter(|flag| !flag.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}

fn series_point(row: &Row<'_>) -> Result<SeriesPoint, RunError> {
    Ok(SeriesPoint {
        experiment: row.text("experiment")?.to_owned(),
        trial: row.parse("trial")?,
        role: row.text("role")?.to_owned(),
        metric: row.text("metric")?.to_owned(),
        unit: row.text("unit")?.to_owned(),
        at_ms: row.parse("at_ms")?,
        value: row.parse("value")?,
    })
}

fn ledger_entry(row: &Row<'_>) -> Result<LedgerEntry, RunError> {
    Ok(LedgerEntry {
        experiment: row.text("experiment")?.to_owned(),
        trial: row.parse("trial")?,
        arm: row.text("arm")?.to_owned(),
        check: row.text("check")?.to_owned(),
        expected: row.text("expected")?.to_owned(),
        observed: row.text("observed")?.to_owned(),
        ok: row.parse("ok")?,
    })
}

fn fact(row: &Row<'_>) -> Result<Fact, RunError> {
    Ok(Fact {
        experiment: row.text("experiment")?.to_owned(),
        id: row.text("id")?.to_owned(),
        statement: row.text("statement")?.to_owned(),
        source: row.text("source")?.to_owned(),
        verdict: row.one_of("verdict", &FactVerdict::ALL, FactVerdict::as_str)?,
        evidence: row.text("evidence")?.to_owned(),
        evidence_source: row.text("evidence_source")?.to_owned(),
        reference: row.text("reference")?.to_owned(),
        target: row.text("target")?.to_owned(),
        version: row.text("version")?.to_owned(),
    })
}

fn phase_point(row: &Row<'_>) -> Result<PhasePoint, RunError> {
    Ok(PhasePoint {
        experiment: row.text("experiment")?.to_owned(),
        target: row.text("target")?.to_owned(),
        arm: row.text("arm")?.to_owned(),
        phase: row.one_of("phase", &Phase::ALL, Phase::as_str)?,
        index: row.parse("index")?,
        at_ms: row.parse("at_ms")?,
        metric: row.text("metric")?.to_owned(),
        unit: row.text("unit")?.to_owned(),
        value: row.parse("value")?,
    })
}

fn trace_count(row: &Row<'_>) -> Result<TraceCount, RunError> {
    Ok(TraceCount {
        experiment: row.text("experiment")?.to_owned(),
        target: row.text("target")?.to_owned(),
        arm: row.text("arm")?.to_owned(),
        call: row.text("call")?.to_owned(),
        count: row.parse("count")?,
        bytes: match row.text("bytes")? {
            "" => None,
            _ => Some(row.parse("bytes")?),
        },
        example: row.text("example")?.to_owned(),
    })
}

/// One record of a table, read by column name.
struct Row<'a> {
    text: &'a TextFile,
    line: usize,
    columns: &'a BTreeMap<&'a str, usize>,
    record: &'a csv::StringRecord,
}

impl Row<'_> {
    fn text(&self, column: &str) -> Result<&str, RunError> {
        let Some(&index) = self.columns.get(column) else {
            return Err(self.text.malformed(
                1,
                column,
                "the header lacks this column".into(),
                "see results/README.md",
            ));
        };
        self.record
            .get(index)
            .ok_or_else(|| self.fail(column, "the line ends before this column".into()))
    }

    fn parse<T: FromStr>(&self, column: &str) -> Result<T, RunError>
    where
        T::Err: std::fmt::Display,
    {
        let text = self.text(column)?;
        text.parse()
            .map_err(|error| self.fail(column, format!("{text:?}: {error}")))
    }

    /// The value whose word the column holds.
    fn one_of<T: Copy>(&self, column: &str, all: &[T], word: fn(T) -> &'static str) -> Result<T, RunError> {
        let text = self.text(column)?;
        let found = all.iter().copied().find(|value| word(*value) == text);
        found.ok_or_else(|| {
            let words: Vec<&str> = all.iter().copied().map(word).collect();
            self.fail(column, format!("{text:?} is none of {}", words.join(", ")))
        })
    }

    fn factors(&self, column: &str) -> Result<Factors, RunError> {
        self.text(column)?
            .split(';')
            .filter(|pair| !pair.is_empty())
            .map(|pair| match pair.split_once('=') {
                Some((name, level)) => Ok((name.to_owned(), level.to_owned())),
                None => Err(self.fail(column, format!("{pair:?} is not of the form name=level"))),
            })
            .collect()
    }

    fn fail(&self, column: &str, reason: String) -> RunError {
        self.text.malformed(
            self.line,
            column,
            reason,
            "mend or remove the line; see results/README.md for the columns",
        )
    }
}

/// A file's text with its path, for error messages.
pub(crate) struct TextFile {
    path: PathBuf,
    contents: String,
}

impl TextFile {
    /// The file, or nothing when it isn't there. Bytes that are no UTF-8 are replaced: a crash may leave such a tail.
    pub(crate) fn read(path: PathBuf) -> Result<Option<Self>, RunError> {
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(Self {
                path,
                contents: String::from_utf8_lossy(&bytes).into_owned(),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(RunError::Io { path, source }),
        }
    }

    /// The text up to the last line end: a writer that died in the middle of a write leaves a line without one.
    pub(crate) fn whole_text(&self, notes: &mut Vec<String>) -> &str {
        let end = self.contents.rfind('\n').map_or(0, |index| index + 1);
        if end < self.contents.len() {
            let name = self.path.file_name().unwrap_or_default().to_string_lossy();
            notes.push(format!(
                "The last line of {name} is torn (the run was cut off) and was left out."
            ));
        }
        &self.contents[..end]
    }

    fn whole_lines(&self, notes: &mut Vec<String>) -> impl Iterator<Item = (usize, &str)> {
        self.whole_text(notes)
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    }

    fn malformed(&self, line: usize, place: &str, reason: String, remedy: &str) -> RunError {
        RunError::Malformed {
            path: self.path.clone(),
            line,
            place: format!("column {place}"),
            reason,
            remedy: remedy.to_owned(),
        }
    }

    /// `first_line` is the line of the file on which the JSON text begins.
    fn json_error(&self, first_line: usize, error: &serde_json::Error) -> RunError {
        RunError::Malformed {
            path: self.path.clone(),
            line: first_line + error.line().saturating_sub(1),
            place: format!("character {}", error.column()),
            // The position is told above, counted from the top of the file.
            reason: error
                .to_string()
                .split(" at line ")
                .next()
                .unwrap_or_default()
                .to_owned(),
            remedy: "mend it, or run the experiment again".to_owned(),
        }
    }

    fn csv_error(&self, error: &csv::Error) -> RunError {
        let line = error
            .position()
            .map_or(1, |position| usize::try_from(position.line()).unwrap_or(usize::MAX));
        RunError::Malformed {
            path: self.path.clone(),
            line,
            place: "the whole line".to_owned(),
            reason: error.to_string(),
            remedy: "mend or remove the line; see results/README.md for the columns".to_owned(),
        }
    }
}
