//! Seeded run folders of an experiment that goes along a number: two layouts of the bundled broker, and Kafka beside them.

use std::collections::BTreeMap;
use std::path::Path;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use results::schema::*;
use results::writer::RunWriter;

use crate::synthetic::{Truth, gaussian, manifest};

/// Numbers of partitions.
pub const PARTITIONS: [u32; 4] = [1, 16, 256, 4096];

/// What is true of such an experiment.
pub struct Shape {
    /// Share of its one-partition rate that the partition log keeps with every batch flushed, by place in [`PARTITIONS`].
    pub kept: [f64; 4],
    /// What the partition log reaches of the commit log's rate without flushes.
    pub unflushed: f64,
    /// Share of its limit that the commit log reaches.
    pub of_limit: f64,
    /// Whether Kafka ran too.
    pub with_kafka: bool,
    /// How many blocks.
    pub blocks: u32,
}

impl Shape {
    /// The partition log falls behind from 256 partitions on.
    pub fn crossing() -> Self {
        Self {
            kept: [1.0, 1.0, 0.5, 0.1],
            unflushed: 1.0,
            of_limit: 0.8,
            with_kafka: true,
            blocks: 8,
        }
    }
}

/// "commit-log keeps 80 %", "it reaches 70 % of its limit", "it is ahead".
pub fn claims() -> Vec<ClaimCard> {
    let only = |policy: &str| Factors::from([("flush.policy".to_owned(), policy.to_owned())]);
    let keeps = |id: &str, level: &str, at: Option<&str>| ClaimCard::Keeps {
        id: id.into(),
        text: format!("{level} keeps 80 % of its rate"),
        metric: "throughput".into(),
        level: level.into(),
        factor: "partitions".into(),
        from: "1".into(),
        at: at.map(str::to_owned),
        ratio: 0.8,
        only: only("every-batch"),
    };
    let of_limit = |id: &str, metric: &str| ClaimCard::OfLimit {
        id: id.into(),
        text: "commit-log is near to its limit".into(),
        metric: metric.into(),
        level: "commit-log".into(),
        ratio: 0.7,
        only: Factors::new(),
    };
    vec![
        keeps("commit-keeps", "commit-log", Some("4096")),
        keeps("partition-keeps", "partition-log", None),
        of_limit("rate-of-limit", "throughput"),
        of_limit("cost-of-limit", "broker_cpu_ms_per_mb"),
        ClaimCard::Faster {
            id: "ahead".into(),
            text: "commit-log is ahead".into(),
            metric: "throughput".into(),
            level: "commit-log".into(),
            only: only("every-batch"),
        },
    ]
}

fn card(target: &str, layouts: &[&str], claims: Vec<ClaimCard>) -> ExperimentCard {
    let factor = |name: &str, label: &str, levels: &[&str]| FactorCard {
        name: name.into(),
        label: label.into(),
        unit: String::new(),
        levels: levels.iter().map(|level| (*level).to_owned()).collect(),
    };
    let metric = |name: &str, label: &str, unit: &str, better| MetricCard {
        name: name.into(),
        label: label.into(),
        unit: unit.into(),
        better,
        chart: better == Better::Lower,
    };
    let both = || vec!["partition-log".to_owned(), "commit-log".to_owned()];
    ExperimentCard {
        name: "partition-contention".into(),
        target: target.into(),
        title: "Do many partitions contend?".into(),
        factors: vec![
            factor("log.layout", "Layout", layouts),
            factor("partitions", "Partitions", &["1", "16", "256", "4096"]),
            factor("flush.policy", "Flush", &["never", "every-batch"]),
        ],
        treatment: "log.layout".into(),
        baseline: layouts[0].into(),
        focus: layouts[layouts.len() - 1].into(),
        metrics: vec![
            metric("throughput", "Throughput", "MB/s", Better::Higher),
            metric("broker_cpu_ms_per_mb", "Broker CPU per MB", "ms/MB", Better::Lower),
        ],
        deciding_metric: "throughput".into(),
        claims,
        limits: match layouts.len() {
            1 => BTreeMap::new(),
            _ => BTreeMap::from([("bare-append".to_owned(), both())]),
        },
        ..manifest(&Truth::one_cell(1.0), vec![]).experiments.remove(0)
    }
}

/// An arm, and its true rate and cost.
struct Arm {
    target: &'static str,
    role: TrialRole,
    layout: &'static str,
    partitions: u32,
    policy: &'static str,
    rate: f64,
    cost: f64,
}

fn arms(shape: &Shape) -> Vec<Arm> {
    let mut arms = Vec::new();
    for (kept, partitions) in shape.kept.into_iter().zip(PARTITIONS) {
        for (policy, rate) in [("never", 1_500.0), ("every-batch", 300.0)] {
            let is_flushed = policy == "every-batch";
            let mut add = |target, role, layout, share: f64| {
                arms.push(Arm {
                    target,
                    role,
                    layout,
                    partitions,
                    policy,
                    rate: rate * share,
                    cost: 0.4 / share,
                });
            };
            let kept = if is_flushed { kept } else { shape.unflushed };
            add("bundled", TrialRole::Measured, "partition-log", kept);
            add("bundled", TrialRole::Measured, "commit-log", 1.0);
            if partitions == 1 {
                add("bundled", TrialRole::Control, "partition-log", kept);
                add("bundled", TrialRole::Limit, "bare-append", 1.0 / shape.of_limit);
            }
            if shape.with_kafka {
                add(
                    "kafka",
                    TrialRole::Measured,
                    "partition-log",
                    if is_flushed { kept / 3.0 } else { 0.3 },
                );
            }
        }
    }
    arms
}

/// Writes the run folder; `break_arm` names an arm whose check fails.
pub fn write(dir: &Path, shape: &Shape, break_arm: Option<&str>) {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let truth = Truth {
        blocks: shape.blocks,
        ..Truth::one_cell(1.0)
    };
    let mut manifest = manifest(&truth, vec![]);
    manifest.name = "partition-contention".into();
    manifest.experiments = vec![card("bundled", &["partition-log", "commit-log"], claims())];
    if shape.with_kafka {
        manifest.experiments.push(card("kafka", &["partition-log"], vec![]));
        let mut kafka = manifest.targets[0].clone();
        kafka.name = "kafka".into();
        manifest.targets.push(kafka);
    }
    let mut writer = RunWriter::create(dir, &manifest).unwrap();
    let mut trial = 0;
    for block in 1..=shape.blocks {
        let weather = (0.1 * gaussian(&mut random)).exp();
        for (position, arm) in (1..).zip(arms(shape)) {
            trial += 1;
            let factors = [
                ("log.layout", arm.layout.to_owned()),
                ("partitions", arm.partitions.to_string()),
                ("flush.policy", arm.policy.to_owned()),
            ];
            let planned = PlannedTrial {
                trial,
                experiment: "partition-contention".into(),
                target: arm.target.into(),
                block,
                position,
                arm: format!(
                    "{}/{:?}/{}/{}/{}",
                    arm.target, arm.role, arm.layout, arm.partitions, arm.policy
                ),
                role: arm.role,
                factors: factors.map(|(name, level)| (name.to_owned(), level)).into(),
                seed: random.next_u64(),
            };
            writer.plan(std::slice::from_ref(&planned)).unwrap();
            let mut noisy = |value: f64| value * (0.01 * gaussian(&mut random)).exp();
            let row =
                |metric: &str, unit: &str, value: f64| Measurement::of(&planned, arm.target, metric, unit, value, &[]);
            writer
                .trial(&[
                    row("throughput", "MB/s", noisy(arm.rate) * weather),
                    row("broker_cpu_ms_per_mb", "ms/MB", noisy(arm.cost)),
                ])
                .unwrap();
            if break_arm == Some(planned.arm.as_str()) {
                writer
                    .ledger(&[LedgerEntry {
                        experiment: planned.experiment.clone(),
                        trial,
                        arm: planned.arm.clone(),
                        check: "records".into(),
                        expected: "10".into(),
                        observed: "9".into(),
                        ok: false,
                    }])
                    .unwrap();
            }
        }
    }
}
