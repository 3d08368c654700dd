//! The charts of one load: over time, latency by percentile, and the curve of a search with its knee.

use std::path::Path;

use crate::figures;
use crate::load::knee::{curve, knee};
use crate::load::{Found, Interval, LoadManifest, LoadRun, Timing, Tried};

use super::latency::{PERCENTILES, quantiles};
use super::layout::{Frame, duration_us, look_of_place};
use super::lines::{At, Axis, Line, Mark, Panel, chart, number};
use super::scene::Scene;
use super::{ChartError, of_machine, save};

/// Draws every chart of a load into `folder`; returns their names without ending, with their titles. One that has nothing to show is left out.
///
/// # Errors
/// [`ChartError`] when a file can't be written.
pub fn draw_load(run: &LoadRun, folder: &Path) -> Result<Vec<(String, String)>, ChartError> {
    let mut drawn = Vec::new();
    for (slug, title, scene) in scenes(run) {
        if let Some(scene) = scene {
            save(folder, slug, &scene)?;
            drawn.push((slug.to_owned(), title));
        }
    }
    Ok(drawn)
}

fn scenes(run: &LoadRun) -> Vec<(&'static str, String, Option<Scene>)> {
    let manifest = &run.manifest;
    let frame = |title: &str, subtitle: String| Frame {
        title: title.to_owned(),
        subtitle,
        footer: footer(manifest),
    };
    let mut scenes = Vec::new();
    let mut add = |slug: &'static str, frame: Frame, panels: &[Panel]| {
        let scene = chart(panels, &frame);
        scenes.push((slug, frame.title, scene));
    };
    if let Some(found) = &manifest.found {
        let title = match found.rate {
            Some(rate) => format!(
                "{} is kept up to {} records/s",
                found.objective,
                figures::three_digits(rate)
            ),
            None => format!("{} is kept at no rate", found.objective),
        };
        let until = match found.end_to_end {
            true => "until a consumer had the record",
            false => "to the acknowledgement",
        };
        let subtitle = format!("Every rate that was tried; latency from the moment that the schedule gave {until}");
        add("curve", frame(&title, subtitle), &[curve_panel(found)]);
    }
    let each = "Each point is one interval of the window";
    let subtitle = match manifest.closed {
        true => format!("{each}; the load is closed, so a stall of the broker holds back what it would have delayed"),
        false => format!("{each}; latency counts from the moment that the schedule gave"),
    };
    add("over-time", frame("The load over time", subtitle), &over_time(run));
    let subtitle = "All intervals merged; no percentile with fewer than 10 samples above it";
    add(
        "latency",
        frame("How long does a record take?", subtitle.to_owned()),
        &[by_percentile(run)],
    );
    scenes
}

fn footer(manifest: &LoadManifest) -> String {
    let terms: Vec<&str> = manifest.terms.iter().map(|(_, value)| value.as_str()).collect();
    let machine = &manifest.machine;
    format!(
        "{} · {} · {} · {} · {} · Assay {}",
        machine.transport,
        manifest.target.name,
        terms.join(", "),
        of_machine(machine),
        manifest.started_utc,
        manifest.assay_version
    )
}

fn time_axis() -> Axis {
    Axis {
        label: "seconds since the window began".to_owned(),
        logarithmic: false,
        tick: number,
    }
}

fn plain(label: &str) -> Axis {
    Axis {
        label: label.to_owned(),
        logarithmic: false,
        tick: number,
    }
}

fn durations() -> Axis {
    Axis {
        label: String::new(),
        logarithmic: true,
        tick: duration_us,
    }
}

fn over_time(run: &LoadRun) -> Vec<Panel> {
    let line = |name: &str, place: usize, value: &dyn Fn(&Interval) -> Option<f64>| Line {
        name: name.to_owned(),
        look: look_of_place(place),
        points: run
            .series
            .iter()
            .filter_map(|interval| Some((interval.at_s, value(interval)?)))
            .collect(),
    };
    let rate = |count: u64, interval: &Interval| count as f64 / interval.seconds.max(1e-9);
    let has_producer = run.manifest.produced.is_some();
    let panel = |title: &str, height: f64, lines: Vec<Line>, up: Axis| Panel {
        title: title.to_owned(),
        height,
        lines,
        marks: Vec::new(),
        across: time_axis(),
        up,
        places: None,
    };
    let mut rates = vec![line("acknowledged", 0, &|interval| {
        has_producer.then(|| rate(interval.acknowledged, interval))
    })];
    rates.push(line("received", 1, &|interval| {
        interval.consumed.map(|count| rate(count, interval))
    }));
    let latencies = vec![
        line("p50", 2, &|interval| interval.p50_us),
        line("p99", 3, &|interval| interval.p99_us),
        line("p99.9", 4, &|interval| interval.p99_9_us),
        line("slowest", 5, &|interval| interval.max_us),
    ];
    let received = vec![
        line("p50", 2, &|interval| interval.end_to_end_p50_us),
        line("p99", 3, &|interval| interval.end_to_end_p99_us),
        line("p99.9", 4, &|interval| interval.end_to_end_p99_9_us),
        line("slowest", 5, &|interval| interval.end_to_end_max_us),
    ];
    let waiting = vec![
        line("acknowledged", 0, &|interval| {
            has_producer.then_some(interval.outstanding as f64)
        }),
        line("received", 1, &|interval| interval.lag.map(|lag| lag as f64)),
    ];
    let label = |timing: Timing| format!("latency, {}", timing.label(run.manifest.closed));
    vec![
        panel("records/s", 150.0, rates, plain("")),
        panel(&label(Timing::Acknowledged), 200.0, latencies, durations()),
        panel(&label(Timing::EndToEnd), 200.0, received, durations()),
        panel(
            "records that wait to be acknowledged, or received",
            110.0,
            waiting,
            plain(""),
        ),
    ]
}

fn by_percentile(run: &LoadRun) -> Panel {
    let closed = run.manifest.closed;
    let lines: Vec<Line> = Timing::ALL
        .into_iter()
        .enumerate()
        .filter_map(|(place, timing)| {
            Some(Line {
                name: timing.label(closed).to_owned(),
                look: look_of_place(place),
                points: quantiles(run.latencies.get(&timing)?),
            })
        })
        .collect();
    let most = lines.iter().flat_map(|line| &line.points).map(|(nines, _)| *nines);
    let most = most.fold(1.0, f64::max);
    let places = PERCENTILES.into_iter().map(|(quantile, label)| {
        let nines: f64 = -(1.0 - quantile).log10();
        (nines, label.to_owned())
    });
    Panel {
        title: "latency".to_owned(),
        height: 320.0,
        lines,
        marks: Vec::new(),
        across: plain("percentile"),
        up: durations(),
        places: Some(places.filter(|(nines, _)| *nines <= most.ceil() + 1e-9).collect()),
    }
}

fn curve_panel(found: &Found) -> Panel {
    let timing = match found.end_to_end {
        true => Timing::EndToEnd,
        false => Timing::Acknowledged,
    };
    let line = |name: &str, place: usize, value: fn(&Tried) -> Option<f64>| {
        let points: Vec<(f64, f64)> = found
            .tried
            .iter()
            .filter_map(|tried| Some((tried.rate, value(tried)?)))
            .collect();
        Line {
            name: name.to_owned(),
            look: look_of_place(place),
            points: curve(&points),
        }
    };
    let lines = vec![
        line("p50", 2, |tried| tried.p50_us),
        line("p90", 1, |tried| tried.p90_us),
        line("p99", 3, |tried| tried.p99_us),
        line("p99.9", 4, |tried| tried.p99_9_us),
        line("slowest", 5, |tried| tried.max_us),
    ];
    let mut marks = vec![Mark {
        at: At::Up(found.bound_us),
        label: found.objective.clone(),
    }];
    let bends = lines.iter().find(|line| line.name == "p99").map(|line| &line.points);
    let broken = found.tried.iter().filter(|tried| !tried.kept).map(|tried| tried.rate);
    let lowest_broken = broken.fold(f64::INFINITY, f64::min);
    if let Some(rate) = bends.and_then(|points| knee(points, lowest_broken)) {
        marks.push(Mark {
            at: At::Across(rate),
            label: format!("knee of p99 at {}/s", figures::three_digits(rate)),
        });
    }
    if let Some(rate) = found.rate {
        marks.push(Mark {
            at: At::Across(rate),
            label: format!("confirmed {}/s", figures::three_digits(rate)),
        });
    }
    Panel {
        title: format!("latency, {}", timing.label(false)),
        height: 380.0,
        lines,
        marks,
        across: plain("records/s that were asked for"),
        up: durations(),
        places: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::Shape;
    use super::*;
    use crate::load::LoadRun;

    fn texts(scene: &Scene) -> Vec<&str> {
        let shapes = scene.shapes.iter();
        shapes
            .filter_map(|shape| match shape {
                Shape::Text { text, .. } => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn the_curve_shows_objective_knee_and_what_was_confirmed() {
        let run = crate::load::samples::searched();
        let scenes = scenes(&run);
        let (_, title, scene) = scenes.iter().find(|(slug, ..)| *slug == "curve").unwrap();
        assert_eq!(title, "p99 < 10 ms is kept up to 8,000 records/s");
        let texts = texts(scene.as_ref().unwrap());
        for text in ["p99 < 10 ms", "confirmed 8,000/s", "slowest"] {
            assert!(texts.contains(&text), "{text}: {texts:?}");
        }
        assert!(
            texts.iter().any(|text| text.starts_with("knee of p99 at ")),
            "{texts:?}"
        );
    }

    #[test]
    fn no_text_leaves_the_picture_or_lies_on_another() {
        for run in [crate::load::samples::searched(), crate::load::samples::end_to_end()] {
            let scenes = scenes(&run);
            assert!(scenes.iter().filter(|(.., scene)| scene.is_some()).count() >= 2);
            for (slug, _, scene) in scenes
                .into_iter()
                .filter_map(|(slug, title, scene)| Some((slug, title, scene?)))
            {
                super::super::tests::assert_legible(slug, &scene);
            }
        }
    }

    #[test]
    fn a_load_without_intervals_has_no_charts() {
        let run = LoadRun {
            series: Vec::new(),
            latencies: Default::default(),
            ..crate::load::samples::end_to_end()
        };
        assert!(scenes(&run).iter().all(|(.., scene)| scene.is_none()));
    }
}
