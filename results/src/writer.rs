//! Writes a run folder while the run goes on: append-only and flushed row by row, so that a crash or Ctrl-C loses
//! nothing that was finished.
//!
//! It decides no name and computes no figure; and it never rewrites anything but `manifest.json`, which is replaced in
//! one rename.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::schema::{
    Fact, Factors, LedgerEntry, Manifest, Measurement, PhasePoint, PlannedTrial, SeriesPoint, TraceCount, file,
};

/// The header of `trials.csv`.
pub(crate) const TRIAL_COLUMNS: [&str; 12] = [
    "experiment",
    "trial",
    "block",
    "position",
    "arm",
    "role",
    "factors",
    "target",
    "metric",
    "unit",
    "value",
    "flags",
];

/// The header of `facts.csv`.
const FACT_COLUMNS: [&str; 10] = [
    "experiment",
    "id",
    "statement",
    "source",
    "verdict",
    "evidence",
    "evidence_source",
    "reference",
    "target",
    "version",
];

/// The header of `phases.csv`.
const PHASE_COLUMNS: [&str; 9] = [
    "experiment",
    "target",
    "arm",
    "phase",
    "index",
    "at_ms",
    "metric",
    "unit",
    "value",
];

/// The header of `traces.csv`.
const TRACE_COLUMNS: [&str; 7] = ["experiment", "target", "arm", "call", "count", "bytes", "example"];

/// Why a run folder could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The folder already holds a run.
    #[error("{path} already holds a run: give another folder, or remove that one")]
    Occupied {
        /// The run's folder.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot write {path}: {source}; check the free space and the permissions")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A row can't be expressed as CSV or JSON.
    #[error("cannot put a row into {path}: {reason}")]
    Row {
        /// The file.
        path: PathBuf,
        /// What is wrong with the row.
        reason: String,
    },
}

/// The writing end of a run folder.
#[derive(Debug)]
pub struct RunWriter {
    dir: PathBuf,
    trials: AppendFile,
    series: AppendFile,
    ledger: AppendFile,
    latency: AppendFile,
    /// Made with their first row.
    facts: Option<AppendFile>,
    phases: Option<AppendFile>,
    traces: Option<AppendFile>,
}

impl RunWriter {
    /// Creates the folder with its manifest and the empty tables.
    ///
    /// # Errors
    /// [`WriteError::Occupied`] when the folder holds a manifest already; otherwise what the file system says.
    pub fn create(dir: &Path, manifest: &Manifest) -> Result<Self, WriteError> {
        fs::create_dir_all(dir).map_err(|source| WriteError::Io {
            path: dir.to_owned(),
            source,
        })?;
        if dir.join(file::MANIFEST).exists() {
            return Err(WriteError::Occupied { path: dir.to_owned() });
        }
        write_manifest(dir, manifest)?;
        let mut writer = Self {
            dir: dir.to_owned(),
            trials: AppendFile::create(dir.join(file::TRIALS))?,
            series: AppendFile::create(dir.join(file::SERIES))?,
            ledger: AppendFile::create(dir.join(file::LEDGER))?,
            latency: AppendFile::create(dir.join(file::LATENCY))?,
            facts: None,
            phases: None,
            traces: None,
        };
        writer.trials.append_row(&TRIAL_COLUMNS)?;
        writer
            .series
            .append_row(&["experiment", "trial", "role", "metric", "unit", "at_ms", "value"])?;
        writer
            .ledger
            .append_row(&["experiment", "trial", "arm", "check", "expected", "observed", "ok"])?;
        writer
            .latency
            .append(b"#[Histogram log format version 1.3]\n#[values are nanoseconds, tags are arms]\n")?;
        Ok(writer)
    }

    /// The run's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Replaces `manifest.json` in one rename, e.g. once the effective settings are known.
    ///
    /// # Errors
    /// What the file system says.
    pub fn update_manifest(&mut self, manifest: &Manifest) -> Result<(), WriteError> {
        write_manifest(&self.dir, manifest)
    }

    /// Appends planned trials, in run order.
    ///
    /// # Errors
    /// What the file system says.
    pub fn plan(&mut self, trials: &[PlannedTrial]) -> Result<(), WriteError> {
        let path = self.dir.join(file::PLAN);
        let mut lines = Vec::new();
        for trial in trials {
            serde_json::to_writer(&mut lines, trial).map_err(|error| WriteError::Row {
                path: path.clone(),
                reason: error.to_string(),
            })?;
            lines.push(b'\n');
        }
        AppendFile::open(path)?.append(&lines)
    }

    /// Appends the rows of one trial with a single write, so that a trial is there wholly or hardly at all.
    ///
    /// # Errors
    /// [`WriteError::Row`] when a factor or flag holds a separator; otherwise what the file system says.
    pub fn trial(&mut self, rows: &[Measurement]) -> Result<(), WriteError> {
        let mut buffer = Vec::new();
        for row in rows {
            let factors = join_factors(&row.factors).map_err(|reason| WriteError::Row {
                path: self.trials.path.clone(),
                reason,
            })?;
            if let Some(flag) = row.flags.iter().find(|flag| flag.contains(';')) {
                let reason = format!("flag {flag:?} holds `;`, which separates flags");
                return Err(WriteError::Row {
                    path: self.trials.path.clone(),
                    reason,
                });
            }
            let fields = [
                row.experiment.clone(),
                row.trial.to_string(),
                row.block.to_string(),
                row.position.to_string(),
                row.arm.clone(),
                row.role.as_str().to_owned(),
                factors,
                row.target.clone(),
                row.metric.clone(),
                row.unit.clone(),
                row.value.to_string(),
                row.flags.join(";"),
            ];
            encode_row(&mut buffer, &fields, &self.trials.path)?;
        }
        self.trials.append(&buffer)
    }

    /// Appends intervals of a time series.
    ///
    /// # Errors
    /// What the file system says.
    pub fn series(&mut self, points: &[SeriesPoint]) -> Result<(), WriteError> {
        let mut buffer = Vec::new();
        for point in points {
            let fields = [
                point.experiment.clone(),
                point.trial.to_string(),
                point.role.clone(),
                point.metric.clone(),
                point.unit.clone(),
                point.at_ms.to_string(),
                point.value.to_string(),
            ];
            encode_row(&mut buffer, &fields, &self.series.path)?;
        }
        self.series.append(&buffer)
    }

    /// Appends the full check of what an arm delivered.
    ///
    /// # Errors
    /// What the file system says.
    pub fn ledger(&mut self, entries: &[LedgerEntry]) -> Result<(), WriteError> {
        let mut buffer = Vec::new();
        for entry in entries {
            let fields = [
                entry.experiment.clone(),
                entry.trial.to_string(),
                entry.arm.clone(),
                entry.check.clone(),
                entry.expected.clone(),
                entry.observed.clone(),
                entry.ok.to_string(),
            ];
            encode_row(&mut buffer, &fields, &self.ledger.path)?;
        }
        self.ledger.append(&buffer)
    }

    /// Appends statements that were looked up. Line ends inside a text become spaces: a torn file must not end inside a
    /// quoted field.
    ///
    /// # Errors
    /// What the file system says.
    pub fn facts(&mut self, facts: &[Fact]) -> Result<(), WriteError> {
        let rows = facts.iter().map(|fact| {
            let texts = [
                &fact.experiment,
                &fact.id,
                &fact.statement,
                &fact.source,
                fact.verdict.as_str(),
                &fact.evidence,
                &fact.evidence_source,
                &fact.reference,
                &fact.target,
                &fact.version,
            ];
            texts.map(one_line)
        });
        append_rows(&mut self.facts, self.dir.join(file::FACTS), &FACT_COLUMNS, rows)
    }

    /// Appends windows of a phase that comes before the measurement.
    ///
    /// # Errors
    /// What the file system says.
    pub fn phases(&mut self, points: &[PhasePoint]) -> Result<(), WriteError> {
        let rows = points.iter().map(|point| {
            [
                one_line(&point.experiment),
                one_line(&point.target),
                one_line(&point.arm),
                point.phase.as_str().to_owned(),
                point.index.to_string(),
                point.at_ms.to_string(),
                one_line(&point.metric),
                one_line(&point.unit),
                point.value.to_string(),
            ]
        });
        append_rows(&mut self.phases, self.dir.join(file::PHASES), &PHASE_COLUMNS, rows)
    }

    /// Appends the counts of an untimed trace. Line ends inside a text become spaces.
    ///
    /// # Errors
    /// What the file system says.
    pub fn traces(&mut self, counts: &[TraceCount]) -> Result<(), WriteError> {
        let rows = counts.iter().map(|count| {
            [
                one_line(&count.experiment),
                one_line(&count.target),
                one_line(&count.arm),
                one_line(&count.call),
                count.count.to_string(),
                count.bytes.map(|bytes| bytes.to_string()).unwrap_or_default(),
                one_line(&count.example),
            ]
        });
        append_rows(&mut self.traces, self.dir.join(file::TRACES), &TRACE_COLUMNS, rows)
    }

    /// Appends one interval histogram of nanoseconds under the arm's tag; `start_s` and `duration_s` are seconds since
    /// the run began and the interval's length.
    ///
    /// # Errors
    /// [`WriteError::Row`] when the tag holds a comma or white space, or a time is negative or not finite.
    pub fn latency(
        &mut self,
        arm: &str,
        start_s: f64,
        duration_s: f64,
        histogram: &Histogram<u64>,
    ) -> Result<(), WriteError> {
        let row_error = |reason: String| WriteError::Row {
            path: self.latency.path.clone(),
            reason,
        };
        let tag = Tag::new(arm).ok_or_else(|| row_error(format!("tag {arm:?} must not hold commas or white space")))?;
        let seconds = |value: f64| {
            Duration::try_from_secs_f64(value).map_err(|error| row_error(format!("{value} is no time: {error}")))
        };
        let (start, duration) = (seconds(start_s)?, seconds(duration_s)?);
        let mut buffer = Vec::new();
        let mut serializer = V2DeflateSerializer::new();
        let builder = IntervalLogWriterBuilder::new();
        let mut log = builder
            .begin_log_with(&mut buffer, &mut serializer)
            .map_err(|error| row_error(error.to_string()))?;
        log.write_histogram(histogram, start, duration, Some(tag))
            .map_err(|error| row_error(format!("{error:?}")))?;
        self.latency.append(&buffer)
    }
}

/// Appends rows to a file that most runs don't need: it is made, with its header, by the first of them.
fn append_rows<const COLUMNS: usize>(
    open: &mut Option<AppendFile>,
    path: PathBuf,
    header: &[&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
) -> Result<(), WriteError> {
    let mut buffer = Vec::new();
    for row in rows {
        encode_row(&mut buffer, &row, &path)?;
    }
    if buffer.is_empty() {
        return Ok(());
    }
    let file = match open {
        Some(file) => file,
        None => {
            let mut created = AppendFile::create(path)?;
            created.append_row(header)?;
            open.insert(created)
        }
    };
    file.append(&buffer)
}

fn one_line(text: &str) -> String {
    text.replace("\r\n", " ").replace(['\n', '\r'], " ")
}

/// `k=v;k=v`, sorted by key.
pub(crate) fn join_factors(factors: &Factors) -> Result<String, String> {
    let mut pairs = Vec::with_capacity(factors.len());
    for (name, level) in factors {
        if name.contains(['=', ';']) || level.contains([';', '=']) {
            return Err(format!(
                "factor {name:?} = {level:?} holds `=` or `;`, which separate factors"
            ));
        }
        pairs.push(format!("{name}={level}"));
    }
    Ok(pairs.join(";"))
}

/// Appends one CSV record to `buffer`.
fn encode_row<T: AsRef<[u8]>>(buffer: &mut Vec<u8>, fields: &[T], path: &Path) -> Result<(), WriteError> {
    let mut csv = csv::Writer::from_writer(buffer);
    csv.write_record(fields).map_err(|error| WriteError::Row {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    csv.flush().map_err(|source| WriteError::Io {
        path: path.to_owned(),
        source,
    })
}

fn write_manifest(dir: &Path, manifest: &Manifest) -> Result<(), WriteError> {
    let path = dir.join(file::MANIFEST);
    let mut text = serde_json::to_vec_pretty(manifest).map_err(|error| WriteError::Row {
        path: path.clone(),
        reason: error.to_string(),
    })?;
    text.push(b'\n');
    replace_file(&path, &text).map_err(|source| WriteError::Io { path, source })
}

/// Replaces a file in one rename, so that a reader sees the old text or the new one and never half of it.
pub(crate) fn replace_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = path.with_file_name(name);
    fs::write(&partial, contents)?;
    fs::rename(&partial, path)
}

/// A file that only ever grows; each append is one write(2) and leaves nothing in a buffer of this process.
#[derive(Debug)]
struct AppendFile {
    path: PathBuf,
    file: File,
}

impl AppendFile {
    fn create(path: PathBuf) -> Result<Self, WriteError> {
        let opened = OpenOptions::new().append(true).create_new(true).open(&path);
        Self::opened(path, opened)
    }

    fn open(path: PathBuf) -> Result<Self, WriteError> {
        let opened = OpenOptions::new().append(true).create(true).open(&path);
        Self::opened(path, opened)
    }

    fn opened(path: PathBuf, opened: io::Result<File>) -> Result<Self, WriteError> {
        match opened {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(WriteError::Io { path, source }),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.file.write_all(bytes).map_err(|source| WriteError::Io {
            path: self.path.clone(),
            source,
        })
    }

    fn append_row(&mut self, fields: &[&str]) -> Result<(), WriteError> {
        let mut buffer = Vec::new();
        encode_row(&mut buffer, fields, &self.path)?;
        self.append(&buffer)
    }
}
