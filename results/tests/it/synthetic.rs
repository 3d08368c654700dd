//! Seeded run folders with known answers: every cell is given a true ratio and a noise, and the analysis has to find
//! them again.

use std::collections::BTreeMap;
use std::path::Path;

use hdrhistogram::Histogram;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use results::schema::*;
use results::writer::RunWriter;

/// Response bytes, receiver and cache of a cell, and the true ratio of each level to read-write.
pub type TrueCell = (&'static str, &'static str, &'static str, Vec<(&'static str, f64)>);

/// What is true of a synthetic experiment.
pub struct Truth {
    /// The seed of all noise.
    pub seed: u64,
    /// How many blocks.
    pub blocks: u32,
    /// The standard deviation of one trial's log throughput.
    pub noise: f64,
    /// The cells.
    pub cells: Vec<TrueCell>,
    /// The true ratio of the control to its twin.
    pub control: f64,
    /// Whether the limit arms ran.
    pub limits: bool,
}

impl Truth {
    /// One cell, sendfile against read-write, with little noise.
    pub fn one_cell(ratio: f64) -> Self {
        Self {
            seed: 7,
            blocks: 10,
            noise: 0.01,
            cells: vec![("65536", "discard", "hot", vec![("sendfile", ratio)])],
            control: 1.0,
            limits: false,
        }
    }
}

/// A manifest with one experiment that looks like zero-copy.
pub fn manifest(truth: &Truth, claims: Vec<ClaimCard>) -> Manifest {
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let factor = |name: &str, label: &str, unit: &str, levels: &[&str]| FactorCard {
        name: name.into(),
        label: label.into(),
        unit: unit.into(),
        levels: words(levels),
    };
    let metric = |name: &str, label: &str, unit: &str, better| MetricCard {
        name: name.into(),
        label: label.into(),
        unit: unit.into(),
        better,
        chart: false,
    };
    Manifest {
        schema_version: SCHEMA_VERSION,
        name: "zero-copy".into(),
        command: words(&["assay", "run", "zero-copy"]),
        started_utc: "2025-01-01T00:00:00Z".into(),
        seed: truth.seed,
        profile: "quick".into(),
        assay_version: "0.1.0".into(),
        git_revision: None,
        machine: MachineReceipt {
            cpu_model: "Synthetic CPU".into(),
            cores: 2,
            memory_bytes: 8 << 30,
            kernel: "6.1.0".into(),
            filesystem: "ext4".into(),
            l3_cache_bytes: Some(32 << 20),
            read_ahead_kib: Some(128),
            clock_resolution_ns: 1,
            transport: "loopback".into(),
            virtualised: Some(true),
            notes: vec!["Figures are drawn from a seeded generator.".into()],
        },
        targets: vec![TargetReceipt {
            name: "bundled".into(),
            version: "0.1.0".into(),
            effective_config: BTreeMap::from([
                ("fetch.path".into(), "per arm".into()),
                ("socket.send.buffer.bytes".into(), "1048576".into()),
            ]),
            differs_from_default: BTreeMap::from([("fetch.path".into(), "per arm".into())]),
            durability_class: "flush never, acks 1, one replica".into(),
            ..TargetReceipt::default()
        }],
        phases_summary: vec![],
        experiments: vec![ExperimentCard {
            name: "zero-copy".into(),
            target: "bundled".into(),
            title: "Does zero copy pay?".into(),
            claim: "sendfile sends with one copy where read and write need two, and is 60 % faster".into(),
            source: "Kafka's documentation".into(),
            why: "It is the first reason that is given for Kafka's speed.".into(),
            published: words(&["transferTo takes 65 % less time than read and write (IBM, 2008)"]),
            definition_sha: "00ff".into(),
            transport: "loopback".into(),
            factors: vec![
                factor(
                    "fetch.path",
                    "fetch path",
                    "",
                    &["read-write", "vectored", "mmap", "splice", "sendfile"],
                ),
                factor(
                    "response_bytes",
                    "response size",
                    "bytes",
                    &["4096", "65536", "1048576", "4194304"],
                ),
                factor("receiver", "receiver", "", &["copy", "discard"]),
                factor("cache", "page cache", "", &["hot", "cold"]),
            ],
            treatment: "fetch.path".into(),
            baseline: "read-write".into(),
            focus: "sendfile".into(),
            also_differs: vec![],
            margin: 0.05,
            blocks: truth.blocks,
            metrics: vec![
                metric("throughput", "throughput", "MB/s", Better::Higher),
                metric("broker_cpu_s_per_gb", "broker CPU", "s/GB", Better::Lower),
                metric(
                    "mode_switches_per_response",
                    "mode switches per response",
                    "",
                    Better::Neither,
                ),
            ],
            deciding_metric: "throughput".into(),
            claims,
            limits: BTreeMap::new(),
        }],
    }
}

/// "sendfile is faster".
pub fn faster() -> ClaimCard {
    ClaimCard::Faster {
        id: "faster".into(),
        text: "sendfile is faster than read and write".into(),
        metric: "throughput".into(),
        level: "sendfile".into(),
        only: Factors::new(),
    }
}

/// "sendfile is at least `ratio` times as fast".
pub fn at_least(ratio: f64) -> ClaimCard {
    ClaimCard::AtLeast {
        id: "at-least".into(),
        text: format!("sendfile is at least {ratio} times as fast as read and write"),
        metric: "throughput".into(),
        level: "sendfile".into(),
        ratio,
        together: false,
        only: Factors::new(),
    }
}

/// "read-write has four mode switches per response, sendfile two".
pub fn counts() -> ClaimCard {
    ClaimCard::Counts {
        id: "switches".into(),
        text: "sendfile needs two mode switches where read and write need four".into(),
        metric: "mode_switches_per_response".into(),
        expected: BTreeMap::from([("read-write".into(), 4.0), ("sendfile".into(), 2.0)]),
        only: Factors::new(),
    }
}

/// Writes the run folder of a synthetic experiment.
pub fn write_run(dir: &Path, truth: &Truth, claims: Vec<ClaimCard>) -> RunWriter {
    let mut random = ChaCha8Rng::seed_from_u64(truth.seed);
    let mut writer = RunWriter::create(dir, &manifest(truth, claims)).unwrap();
    let mut trial = 0;
    for block in 0..truth.blocks {
        let weather = (0.15 * gaussian(&mut random)).exp();
        for (position, (arm, role, factors, level)) in (0..).zip(arms(truth)) {
            let planned = PlannedTrial {
                trial,
                experiment: "zero-copy".into(),
                target: "bundled".into(),
                block,
                position,
                arm: arm.clone(),
                role,
                factors,
                seed: random.next_u64(),
            };
            trial += 1;
            writer.plan(std::slice::from_ref(&planned)).unwrap();
            let size: f64 = planned.factors["response_bytes"].parse().unwrap();
            let base = 900.0 * (1.0 + (size / 4096.0).ln());
            let throughput = base * level * weather * (truth.noise * gaussian(&mut random)).exp();
            let cpu = 0.5 / level * (truth.noise * gaussian(&mut random)).exp();
            let switches = if arm.contains("sendfile") { 2.0 } else { 4.0 };
            let row =
                |metric: &str, unit: &str, value: f64| Measurement::of(&planned, "bundled", metric, unit, value, &[]);
            writer
                .trial(&[
                    row("throughput", "MB/s", throughput),
                    row("broker_cpu_s_per_gb", "s/GB", cpu),
                    row("mode_switches_per_response", "", switches),
                ])
                .unwrap();
            let mut histogram = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).unwrap();
            for _ in 0..2_000 {
                let nanoseconds = size / base / level * 1_000.0 * (0.25 * gaussian(&mut random)).exp();
                histogram.record(nanoseconds.max(1.0) as u64).unwrap();
            }
            writer.latency(&arm, f64::from(trial), 0.5, &histogram).unwrap();
        }
    }
    writer
}

type ArmOf = (String, TrialRole, Factors, f64);

fn arms(truth: &Truth) -> Vec<ArmOf> {
    let mut arms = Vec::new();
    for (index, (size, receiver, cache, ratios)) in truth.cells.iter().enumerate() {
        let mut add = |path: &str, role: TrialRole, prefix: &str, level: f64| {
            let pairs = [
                ("fetch.path", path),
                ("response_bytes", size),
                ("receiver", receiver),
                ("cache", cache),
            ];
            let factors = pairs
                .iter()
                .map(|(name, level)| ((*name).to_owned(), (*level).to_owned()))
                .collect();
            arms.push((
                format!("{prefix}{path}/{size}/{receiver}/{cache}"),
                role,
                factors,
                level,
            ));
        };
        add("read-write", TrialRole::Measured, "", 1.0);
        for (path, ratio) in ratios {
            add(path, TrialRole::Measured, "", *ratio);
            if truth.limits && *path == "sendfile" {
                add("bare-sendfile", TrialRole::Limit, "limit/", *ratio * 1.1);
                add("bare-read-write", TrialRole::Limit, "limit/", 1.15);
            }
        }
        if index == 0 {
            add("read-write", TrialRole::Control, "control/", truth.control);
        }
    }
    arms
}

/// A standard normal variate (Box and Muller, 1958).
pub fn gaussian(random: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.random::<f64>()).cos()
}
