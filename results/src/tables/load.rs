//! One load, for a terminal and as Markdown: what was asked for, what came of it, how long it took, and the curve of a search.

use comfy_table::Color;

use crate::figures;
use crate::load::{Consumed, Found, LoadRun, Percentiles, Produced, Timing, Tried};

use super::Terminal;
use super::sheet::{Sheet, SheetRow, sheet_as_markdown, sheet_for_terminal};
use super::text::escape_markdown;

/// What stands where there is no figure.
const NONE: &str = "–";

/// The tables of a load before they take on a form.
#[derive(Debug)]
pub struct LoadTables {
    /// On what, and which load.
    heading: String,
    /// Each rate that was tried, by rising rate, and how the search ended.
    curve: Option<(Sheet, String)>,
    figures: Sheet,
    latency: Option<Sheet>,
    /// Whole sentences, the gravest first.
    notes: Vec<String>,
}

impl LoadTables {
    /// Everything there is to tell of a load.
    pub fn of(run: &LoadRun) -> Self {
        let manifest = &run.manifest;
        let partitions = match manifest.partitions {
            1 => "1 partition".to_owned(),
            several => format!("{several} partitions"),
        };
        let terms: Vec<String> = manifest
            .terms
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        let mut notes = Vec::new();
        if manifest.interrupted {
            notes.push("It was interrupted: the figures are of what was measured until then.".to_owned());
        }
        if let Some(limit) = manifest.produced.as_ref().and_then(Produced::generator_limit) {
            notes.push(sentence(&limit));
        }
        notes.extend(manifest.notes.iter().cloned());
        notes.extend(run.notes.iter().cloned());
        Self {
            heading: format!(
                "Load on {} {}, topic {}, {partitions}: {}",
                manifest.target.name,
                manifest.target.version,
                manifest.topic,
                terms.join("; ")
            ),
            curve: manifest
                .found
                .as_ref()
                .map(|found| (curve(found), sentence(&found.ending))),
            figures: figures_sheet(manifest.produced.as_ref(), manifest.consumed.as_ref()),
            latency: latency(run),
            notes,
        }
    }

    /// For a terminal. Colour only when told so; `width` in columns, when known.
    pub fn terminal(&self, colour: bool, width: Option<u16>) -> String {
        let page = Terminal { colour, width };
        let mut text = format!("{}\n", page.wrapped("", &self.heading));
        if let Some((curve, ending)) = &self.curve {
            let table = sheet_for_terminal(curve, colour, width);
            text.push_str(&format!("\n{table}\n\n{}\n", page.wrapped("", ending)));
        }
        for sheet in [Some(&self.figures), self.latency.as_ref()].into_iter().flatten() {
            if !sheet.rows.is_empty() {
                text.push_str(&format!("\n{}\n", sheet_for_terminal(sheet, colour, width)));
            }
        }
        if !self.notes.is_empty() {
            text.push('\n');
            text.push_str(&page.notes(&self.notes));
        }
        text
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("# {}\n", escape_markdown(&self.heading));
        if let Some((curve, ending)) = &self.curve {
            text.push_str(&format!(
                "\n{}\n{}\n",
                sheet_as_markdown(curve),
                escape_markdown(ending)
            ));
        }
        for sheet in [Some(&self.figures), self.latency.as_ref()].into_iter().flatten() {
            if !sheet.rows.is_empty() {
                text.push_str(&format!("\n{}", sheet_as_markdown(sheet)));
            }
        }
        if !self.notes.is_empty() {
            let notes: Vec<String> = self
                .notes
                .iter()
                .map(|note| format!("- {}\n", escape_markdown(note)))
                .collect();
            text.push_str(&format!("\n{}", notes.concat()));
        }
        text
    }
}

fn sentence(text: &str) -> String {
    let mut capital: String = text.chars().take(1).flat_map(char::to_uppercase).collect();
    capital.extend(text.chars().skip(1));
    if !capital.ends_with('.') {
        capital.push('.');
    }
    capital
}

/// A duration in microseconds, or a dash.
pub(crate) fn duration(value_us: Option<f64>) -> String {
    value_us.map_or_else(|| NONE.to_owned(), figures::duration_us)
}

fn latency(run: &LoadRun) -> Option<Sheet> {
    let closed = run.manifest.closed;
    let row = |(timing, found): (Timing, &Percentiles)| SheetRow {
        texts: std::iter::once(timing.label(closed).to_owned())
            .chain([found.p50, found.p90, found.p99, found.p99_9, found.p99_99, found.max].map(duration))
            .collect(),
        colour: None,
    };
    let told = |timing: Timing| Some((timing, run.manifest.latency_us.get(timing.tag())?));
    let rows: Vec<SheetRow> = Timing::ALL.into_iter().filter_map(told).map(row).collect();
    let header = ["Latency", "p50", "p90", "p99", "p99.9", "p99.99", "slowest"];
    (!rows.is_empty()).then(|| Sheet {
        header: header.map(str::to_owned).to_vec(),
        rows,
        figures: (1..7).collect(),
        mark: 0,
        narrow: Vec::new(),
    })
}

/// The curve by rising rate; a rate that was tried several times has several rows.
fn curve(found: &Found) -> Sheet {
    let mut tried: Vec<&Tried> = found.tried.iter().collect();
    tried.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let row = |tried: &Tried| SheetRow {
        texts: vec![
            if tried.kept { "kept" } else { "broken" }.to_owned(),
            figures::three_digits(tried.rate),
            figures::three_digits(tried.achieved_rate),
            duration(tried.p50_us),
            duration(tried.p99_us),
            duration(tried.p99_9_us),
            tried.stage.clone(),
            tried.why.clone(),
        ],
        colour: Some(if tried.kept { Color::Green } else { Color::Red }),
    };
    let header = [
        format!("{} was", found.objective),
        "records/s".to_owned(),
        "achieved".to_owned(),
        "p50".to_owned(),
        "p99".to_owned(),
        "p99.9".to_owned(),
        "tried to".to_owned(),
        "why".to_owned(),
    ];
    Sheet {
        header: header.to_vec(),
        rows: tried.into_iter().map(row).collect(),
        figures: vec![1, 2, 3, 4, 5],
        mark: 0,
        narrow: Vec::new(),
    }
}

/// Rows of a name, a figure, and what belongs to it.
fn figures_sheet(produced: Option<&Produced>, consumed: Option<&Consumed>) -> Sheet {
    let mut rows = Vec::new();
    let mut add = |name: &str, figure: String, note: String| {
        rows.push(SheetRow {
            texts: vec![name.to_owned(), figure, note],
            colour: None,
        });
    };
    if let Some(produced) = produced {
        produced_rows(produced, &mut add);
    }
    if let Some(consumed) = consumed {
        consumed_rows(consumed, &mut add);
    }
    Sheet {
        header: ["What", "Figure", ""].map(str::to_owned).to_vec(),
        rows,
        figures: vec![1],
        mark: 0,
        narrow: Vec::new(),
    }
}

fn produced_rows(produced: &Produced, add: &mut impl FnMut(&str, String, String)) {
    let records = produced.records;
    let megabytes = |bytes: u64| format!("{} MB", figures::three_digits(bytes as f64 / 1e6));
    let asked = match produced.intended_rate {
        Some(rate) => format!(", {} were asked for", figures::three_digits(rate)),
        None => String::new(),
    };
    add(
        "acknowledged",
        format!("{}/s", figures::three_digits(produced.achieved_rate)),
        format!(
            "{} records in {} s{asked}",
            figures::count(records),
            figures::three_digits(produced.seconds)
        ),
    );
    add(
        "record bytes",
        format!(
            "{} MB/s",
            figures::three_digits(produced.record_bytes as f64 / 1e6 / produced.seconds.max(1e-9))
        ),
        format!("{} before compression", megabytes(produced.record_bytes)),
    );
    let errors: Vec<String> = produced
        .errors
        .iter()
        .map(|(error, count)| format!("{} {error}", figures::count(*count)))
        .collect();
    add("failed", figures::count(produced.failed_records), errors.join(", "));
    if let Some(share) = produced.late_share {
        add(
            "late",
            figures::per_cent(share),
            "enqueued more than 200 µs after their moment".to_owned(),
        );
    }
    if produced.blocked_records > 0 {
        let note = "met a full send queue; their latency counts from their moment".to_owned();
        add("blocked", figures::count(produced.blocked_records), note);
    }
    if let Some(batches) = produced.batches.filter(|batches| *batches > 0) {
        let requests = produced
            .requests
            .map(|requests| format!(" in {} requests", figures::count(requests)));
        let retries = match produced.retries {
            Some(1) => ", 1 sent again".to_owned(),
            Some(several) if several > 0 => format!(", {} sent again", figures::count(several)),
            _ => String::new(),
        };
        add(
            "records a batch",
            figures::three_digits(records as f64 / batches as f64),
            format!(
                "{} batches{}{retries}",
                figures::count(batches),
                requests.unwrap_or_default()
            ),
        );
    }
    if let (Some(batch), Some(raw)) = (produced.batch_bytes.filter(|bytes| *bytes > 0), produced.raw_bytes) {
        let wire = produced.wire_bytes.map(|wire| format!(", {} sent", megabytes(wire)));
        add(
            "compressed",
            figures::ratio(raw as f64 / batch as f64),
            format!(
                "{} of batches from {} of records{}",
                megabytes(batch),
                megabytes(raw),
                wire.unwrap_or_default()
            ),
        );
    }
    for (name, cpu_s) in [
        ("producer CPU", produced.client_cpu_s),
        ("broker CPU", produced.broker_cpu_s),
    ] {
        if let Some(cpu_s) = cpu_s {
            add_cpu(name, cpu_s, records, produced.seconds, add);
        }
    }
    if let Some((ceiling, share)) = produced.ceiling_rate.zip(produced.ceiling_share()) {
        let note = format!(
            "what this producer reaches on the target null; this load is {} of it",
            figures::per_cent(share)
        );
        add(
            "client's ceiling",
            format!("{}/s", figures::three_digits(ceiling)),
            note,
        );
    }
}

fn consumed_rows(consumed: &Consumed, add: &mut impl FnMut(&str, String, String)) {
    let missing = if consumed.reached_end {
        "missing"
    } else {
        "not received yet"
    };
    let told = |count: Option<u64>, what: &str| count.map(|count| format!(", {} {what}", figures::count(count)));
    add(
        "received",
        format!(
            "{}/s",
            figures::three_digits(consumed.records as f64 / consumed.seconds.max(1e-9))
        ),
        format!(
            "{} records in {} s{}{}",
            figures::count(consumed.records),
            figures::three_digits(consumed.seconds),
            told(consumed.duplicates, "a second time").unwrap_or_default(),
            told(consumed.missing, missing).unwrap_or_default(),
        ),
    );
    if let Some(cpu_s) = consumed.client_cpu_s {
        add_cpu("consumer CPU", cpu_s, consumed.records, consumed.seconds, add);
    }
}

fn add_cpu(name: &str, cpu_s: f64, records: u64, seconds: f64, add: &mut impl FnMut(&str, String, String)) {
    // Without a record nothing is known of what one costs.
    if records == 0 {
        return;
    }
    let per_million = cpu_s * 1e6 / records as f64;
    add(
        name,
        format!("{} s", figures::three_digits(per_million)),
        format!(
            "per million records, {} of a core",
            figures::per_cent(cpu_s / seconds.max(1e-9))
        ),
    );
}
