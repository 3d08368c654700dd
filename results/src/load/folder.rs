//! The folder of a load: appended to interval by interval, so that a crash loses nothing that was told.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::{Interval, LOAD_SCHEMA_VERSION, LoadManifest, Timing, Tried, file};
use crate::reader::{RunError, TextFile, read_latencies};
use crate::schema;
use crate::writer::{WriteError, replace_file};

/// The writing end.
#[derive(Debug)]
pub struct LoadFolder {
    dir: PathBuf,
    series: File,
    latency: File,
    intervals: u64,
}

impl LoadFolder {
    /// Begins a folder that exists and holds no load.
    ///
    /// # Errors
    /// [`WriteError::Occupied`] when it holds one; otherwise what the file system says.
    pub fn create(dir: &Path) -> Result<Self, WriteError> {
        if dir.join(file::LOAD).exists() {
            return Err(WriteError::Occupied { path: dir.to_owned() });
        }
        let open = |name: &str| {
            let path = dir.join(name);
            let opened = File::options().append(true).create_new(true).open(&path);
            opened.map_err(|source| WriteError::Io { path, source })
        };
        let mut folder = Self {
            dir: dir.to_owned(),
            series: open(schema::file::SERIES)?,
            latency: open(schema::file::LATENCY)?,
            intervals: 0,
        };
        let tags = Timing::ALL.map(Timing::tag).join(", ");
        let head = format!("#[Histogram log format version 1.3]\n#[values are nanoseconds, tags are {tags}]\n");
        folder.append_latency(head.as_bytes())?;
        Ok(folder)
    }

    /// Appends a row of `series.csv`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn interval(&mut self, interval: &Interval) -> Result<(), WriteError> {
        let path = self.dir.join(schema::file::SERIES);
        let row = csv_rows(&path, self.intervals == 0, std::slice::from_ref(interval))?;
        self.intervals += 1;
        self.series
            .write_all(&row)
            .map_err(|source| WriteError::Io { path, source })
    }

    /// Appends an interval of `latency.hlog`; its start, since the window began, and length in seconds. One without samples is left out.
    ///
    /// # Errors
    /// A time that is none; what the file system says.
    pub fn latency(
        &mut self,
        timing: Timing,
        start_s: f64,
        seconds: f64,
        histogram: &Histogram<u64>,
    ) -> Result<(), WriteError> {
        if histogram.is_empty() {
            return Ok(());
        }
        let row_error = |reason: String| WriteError::Row {
            path: self.dir.join(schema::file::LATENCY),
            reason,
        };
        let time = |value: f64| {
            Duration::try_from_secs_f64(value).map_err(|error| row_error(format!("{value} is no time: {error}")))
        };
        let (start, duration) = (time(start_s)?, time(seconds)?);
        let mut line = Vec::new();
        let mut serializer = V2DeflateSerializer::new();
        let builder = IntervalLogWriterBuilder::new();
        let mut log = builder
            .begin_log_with(&mut line, &mut serializer)
            .map_err(|error| row_error(error.to_string()))?;
        log.write_histogram(histogram, start, duration, Tag::new(timing.tag()))
            .map_err(|error| row_error(format!("{error:?}")))?;
        self.append_latency(&line)
    }

    fn append_latency(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let path = || self.dir.join(schema::file::LATENCY);
        self.latency
            .write_all(bytes)
            .map_err(|source| WriteError::Io { path: path(), source })
    }

    /// Writes `load.json`, and `curve.csv` when rates were tried; again as often as there is more to tell.
    ///
    /// # Errors
    /// What the file system says.
    pub fn manifest(&self, manifest: &LoadManifest) -> Result<(), WriteError> {
        let path = self.dir.join(file::LOAD);
        let mut text = serde_json::to_vec_pretty(manifest).map_err(|error| WriteError::Row {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        text.push(b'\n');
        replace_file(&path, &text).map_err(|source| WriteError::Io { path, source })?;
        let tried: &[Tried] = manifest.found.as_ref().map_or(&[], |found| &found.tried);
        if tried.is_empty() {
            return Ok(());
        }
        let path = self.dir.join(file::CURVE);
        let rows = csv_rows(&path, true, tried)?;
        replace_file(&path, &rows).map_err(|source| WriteError::Io { path, source })
    }
}

fn csv_rows<T: serde::Serialize>(path: &Path, with_header: bool, rows: &[T]) -> Result<Vec<u8>, WriteError> {
    let failed = |reason: String| WriteError::Row {
        path: path.to_owned(),
        reason,
    };
    let mut writer = csv::WriterBuilder::new()
        .has_headers(with_header)
        .from_writer(Vec::new());
    for row in rows {
        writer.serialize(row).map_err(|error| failed(error.to_string()))?;
    }
    writer.into_inner().map_err(|error| failed(error.to_string()))
}

/// A folder read back.
#[derive(Debug)]
pub struct LoadRun {
    /// `load.json`.
    pub manifest: LoadManifest,
    /// `series.csv`, in order.
    pub series: Vec<Interval>,
    /// `latency.hlog`: the intervals of each tag merged.
    pub latencies: BTreeMap<Timing, Histogram<u64>>,
    /// What was left out, in whole sentences.
    pub notes: Vec<String>,
}

impl LoadRun {
    /// Whether the folder holds a load and no run.
    pub fn is_in(dir: &Path) -> bool {
        dir.join(file::LOAD).is_file()
    }

    /// Opens a folder.
    ///
    /// # Errors
    /// It is missing or damaged, with the place.
    pub fn open(dir: &Path) -> Result<Self, RunError> {
        let mut notes = Vec::new();
        let path = dir.join(file::LOAD);
        let text = fs::read_to_string(&path).map_err(|source| RunError::Io {
            path: path.clone(),
            source,
        })?;
        let malformed = |path: &Path, line: usize, reason: String| RunError::Malformed {
            path: path.to_owned(),
            line,
            place: "the whole line".to_owned(),
            reason,
            remedy: "mend it, or run the load again".to_owned(),
        };
        let manifest: LoadManifest =
            serde_json::from_str(&text).map_err(|error| malformed(&path, error.line(), error.to_string()))?;
        if manifest.schema_version != LOAD_SCHEMA_VERSION {
            let reason = format!(
                "layout {} is not {LOAD_SCHEMA_VERSION}, the one that this version of Assay reads",
                manifest.schema_version
            );
            return Err(malformed(&path, 1, reason));
        }
        let mut series = Vec::new();
        let path = dir.join(schema::file::SERIES);
        if let Some(text) = TextFile::read(path.clone())? {
            let whole = text.whole_text(&mut notes);
            for (row, interval) in csv::Reader::from_reader(whole.as_bytes()).deserialize().enumerate() {
                series.push(interval.map_err(|error| malformed(&path, row + 2, error.to_string()))?);
            }
        }
        let mut by_tag = match TextFile::read(dir.join(schema::file::LATENCY))? {
            Some(text) => read_latencies(&text, &mut notes)?,
            None => BTreeMap::new(),
        };
        let latencies = Timing::ALL
            .into_iter()
            .filter_map(|timing| Some((timing, by_tag.remove(timing.tag())?)))
            .collect();
        Ok(Self {
            manifest,
            series,
            latencies,
            notes,
        })
    }
}
