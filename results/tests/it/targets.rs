//! Seeded run folders with several targets, facts, phases and traces. Every figure is invented: the machine is called a
//! synthetic one and a note in the manifest says so.

use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use results::schema::*;
use results::writer::RunWriter;

use crate::synthetic::{Truth, at_least, faster, gaussian, manifest};

/// The durability class that the bundled broker and a Kafka of one node share.
pub const CLASS: &str = "flush never, acks 1, one replica";

/// The receipt of an invented Kafka.
pub fn kafka(class: &str) -> TargetReceipt {
    let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    TargetReceipt {
        name: "kafka".into(),
        version: "4.0-synthetic".into(),
        effective_config: map(&[("log.segment.bytes", "1073741824"), ("socket.send.buffer.bytes", "-1")]),
        differs_from_default: map(&[("socket.send.buffer.bytes", "-1")]),
        durability_class: class.into(),
        differences: vec!["It validates every record of a batch, not only the batch.".into()],
        terms: map(&[("client", "Assay's own, 1 connection"), ("heap", "512 MiB (-Xmx512m)")]),
    }
}

/// zero-copy with a card for the bundled broker and one for Kafka.
pub fn two_cards(truth: &Truth, class: &str) -> Manifest {
    let mut manifest = manifest(truth, vec![faster(), at_least(1.6)]);
    manifest.targets[0].terms = [("client".to_owned(), "Assay's own, 1 connection".to_owned())].into();
    manifest.targets.push(kafka(class));
    let mut card = manifest.experiments[0].clone();
    card.target = "kafka".into();
    card.factors[0] = FactorCard {
        name: "listener".into(),
        label: "listener".into(),
        unit: String::new(),
        levels: vec!["tls".into(), "plain".into()],
    };
    (card.treatment, card.baseline, card.focus) = ("listener".into(), "tls".into(), "plain".into());
    card.also_differs = vec!["The TLS listener also encrypts, so its cost is not that of the copy alone.".into()];
    card.claims = vec![ClaimCard::Faster {
        id: "plain-is-faster".into(),
        text: "The plain listener delivers more than the TLS listener".into(),
        metric: "throughput".into(),
        level: "plain".into(),
        only: Factors::new(),
    }];
    manifest.experiments.push(card);
    manifest
}

/// An arm of a synthetic plan: target, id, role, factors, and what is true of it by metric.
struct Arm<'a> {
    target: &'a str,
    id: String,
    role: TrialRole,
    factors: Vec<(&'a str, &'a str)>,
    truth: Vec<(&'a str, &'a str, f64)>,
}

/// Writes blocks of the arms: a weather for each block, noise for each trial.
fn write_blocks(writer: &mut RunWriter, experiment: &str, truth: &Truth, arms: &[Arm<'_>]) {
    let mut random = ChaCha8Rng::seed_from_u64(truth.seed);
    let mut trial = 0;
    for block in 0..truth.blocks {
        let weather = (0.15 * gaussian(&mut random)).exp();
        for (position, arm) in (0..).zip(arms) {
            let pairs = arm
                .factors
                .iter()
                .map(|(name, level)| ((*name).to_owned(), (*level).to_owned()));
            let planned = PlannedTrial {
                trial,
                experiment: experiment.into(),
                target: arm.target.into(),
                block,
                position,
                arm: arm.id.clone(),
                role: arm.role,
                factors: pairs.collect(),
                seed: random.random(),
            };
            trial += 1;
            writer.plan(std::slice::from_ref(&planned)).unwrap();
            let rows = arm.truth.iter().map(|(metric, unit, value)| {
                let value = value * weather * (truth.noise * gaussian(&mut random)).exp();
                Measurement::of(&planned, arm.target, metric, unit, value, &[])
            });
            writer.trial(&rows.collect::<Vec<_>>()).unwrap();
        }
    }
}

/// Writes zero-copy on both targets. In the cell of 64 KiB all arms run, at 1 MiB those of the bundled broker only; sendfile
/// is 1.9 times as fast as read-write, plain 2.5 times as fast as TLS, and TLS half as fast as read-write. The `cpu` says
/// whether Kafka's CPU could be read.
pub fn write_two_cards(dir: &Path, class: &str, cpu: bool) -> RunWriter {
    let truth = Truth {
        blocks: 8,
        ..Truth::one_cell(1.9)
    };
    let mut writer = RunWriter::create(dir, &two_cards(&truth, class)).unwrap();
    let mut arms = Vec::new();
    let mut add = |target, treatment, level: &'static str, size, role, speed: f64| {
        let prefix = if role == TrialRole::Control { "control/" } else { "" };
        let mut truth = vec![("throughput", "MB/s", 2_000.0 * speed)];
        if cpu || target == "bundled" {
            truth.push(("broker_cpu_s_per_gb", "s/GB", 0.5 / speed));
        }
        arms.push(Arm {
            target,
            id: format!("{prefix}{level}/{size}/discard/hot"),
            role,
            factors: vec![
                (treatment, level),
                ("response_bytes", size),
                ("receiver", "discard"),
                ("cache", "hot"),
            ],
            truth,
        });
    };
    for size in ["65536", "1048576"] {
        add("bundled", "fetch.path", "read-write", size, TrialRole::Measured, 1.0);
        add("bundled", "fetch.path", "sendfile", size, TrialRole::Measured, 1.9);
    }
    add("bundled", "fetch.path", "read-write", "65536", TrialRole::Control, 1.0);
    add("bundled", "fetch.path", "bare-sendfile", "65536", TrialRole::Limit, 2.1);
    add("kafka", "listener", "tls", "65536", TrialRole::Measured, 0.5);
    add("kafka", "listener", "plain", "65536", TrialRole::Measured, 1.25);
    add("kafka", "listener", "tls", "65536", TrialRole::Control, 0.5);
    write_blocks(&mut writer, "zero-copy", &truth, &arms);
    writer
}

/// The workload, record size, batch size and partitions of a cell of the head-to-head.
pub type Load = (&'static str, &'static str, &'static str, &'static str);

/// Sixteen loads, as in the real one.
pub fn loads() -> Vec<Load> {
    let mut loads = Vec::new();
    for workload in ["produce", "fetch"] {
        for (record, batch) in [
            ("1024", "16384"),
            ("1024", "65536"),
            ("1024", "1048576"),
            ("100", "16384"),
        ] {
            for partitions in ["1", "16"] {
                loads.push((workload, record, batch, partitions));
            }
        }
    }
    loads
}

/// The head-to-head: one card that compares targets.
pub fn head_to_head_manifest(truth: &Truth, class: &str, cluster: bool) -> Manifest {
    let mut manifest = manifest(truth, vec![]);
    manifest.name = "head-to-head".into();
    manifest.targets.push(kafka(class));
    let mut targets = vec!["kafka".to_owned(), "bundled".to_owned()];
    if cluster {
        targets.push("cluster".into());
        manifest.targets.push(TargetReceipt {
            name: "cluster".into(),
            durability_class: CLASS.into(),
            ..TargetReceipt::default()
        });
    }
    let factor = |name: &str, label: &str, unit: &str, levels: &[&str]| FactorCard {
        name: name.into(),
        label: label.into(),
        unit: unit.into(),
        levels: levels.iter().map(|level| (*level).to_owned()).collect(),
    };
    let metric = |name: &str, label: &str, unit: &str, better, chart| MetricCard {
        name: name.into(),
        label: label.into(),
        unit: unit.into(),
        better,
        chart,
    };
    let claim = |workload: &str, batch: &str, ratio: f64| ClaimCard::AtLeast {
        id: format!("{workload}-{batch}"),
        text: format!(
            "The bundled broker takes at most 1/{ratio} of Kafka's CPU per MB to {workload} in batches of {batch}"
        ),
        metric: "broker_cpu_ms_per_mb".into(),
        level: "bundled".into(),
        ratio,
        together: false,
        only: [
            ("workload".to_owned(), workload.to_owned()),
            ("batch_bytes".to_owned(), batch.to_owned()),
        ]
        .into(),
    };
    let card = &mut manifest.experiments[0];
    card.name = "head-to-head".into();
    card.target = "bundled".into();
    card.title = "The bundled broker against Kafka".into();
    card.factors = vec![
        FactorCard {
            levels: targets,
            ..factor("target", "target", "", &[])
        },
        factor("workload", "workload", "", &["produce", "fetch"]),
        factor("record_bytes", "record size", "bytes", &["100", "1024"]),
        factor("batch_bytes", "batch size", "bytes", &["16384", "65536", "1048576"]),
        factor("partitions", "partitions", "", &["1", "16"]),
    ];
    (card.treatment, card.baseline, card.focus) = ("target".into(), "kafka".into(), "bundled".into());
    card.metrics = vec![
        metric(
            "broker_cpu_ms_per_mb",
            "broker CPU per MB",
            "ms/MB",
            Better::Lower,
            true,
        ),
        metric("throughput", "throughput", "MB/s", Better::Higher, true),
        metric("latency_p99_us", "99th percentile", "us", Better::Lower, true),
        metric("broker_rss_mb", "resident memory", "MB", Better::Lower, false),
    ];
    card.deciding_metric = "broker_cpu_ms_per_mb".into();
    card.claims = vec![
        claim("produce", "16384", 4.0),
        claim("produce", "65536", 3.0),
        claim("fetch", "16384", 2.0),
    ];
    manifest
}

/// Writes the head-to-head: the bundled broker takes a fifth of the CPU to produce and 0.4 of it to fetch, at 1.5 times the
/// throughput. A cluster's CPU and memory can't be read.
pub fn write_head_to_head(dir: &Path, loads: &[Load], class: &str, cluster: bool) -> RunWriter {
    let truth = Truth {
        blocks: 6,
        noise: 0.05,
        ..Truth::one_cell(1.0)
    };
    let mut writer = RunWriter::create(dir, &head_to_head_manifest(&truth, class, cluster)).unwrap();
    let mut arms = Vec::new();
    for (index, (workload, record, batch, partitions)) in loads.iter().copied().enumerate() {
        let mut add = |target: &'static str, role, cpu: f64, speed: f64| {
            let prefix = if role == TrialRole::Control { "control/" } else { "" };
            let mut truth = vec![
                ("throughput", "MB/s", 400.0 * speed),
                ("latency_p99_us", "us", 3_000.0 / speed),
            ];
            if target != "cluster" {
                truth.push(("broker_cpu_ms_per_mb", "ms/MB", 2.5 * cpu));
                truth.push(("broker_rss_mb", "MB", 700.0 * cpu));
            }
            arms.push(Arm {
                target,
                id: format!("{prefix}{target}/{workload}/{record}/{batch}/{partitions}"),
                role,
                factors: vec![
                    ("target", target),
                    ("workload", workload),
                    ("record_bytes", record),
                    ("batch_bytes", batch),
                    ("partitions", partitions),
                ],
                truth,
            });
        };
        add("kafka", TrialRole::Measured, 1.0, 1.0);
        add(
            "bundled",
            TrialRole::Measured,
            if workload == "produce" { 0.2 } else { 0.4 },
            1.5,
        );
        if cluster {
            add("cluster", TrialRole::Measured, 1.0, 0.8);
        }
        if index == 0 {
            add("kafka", TrialRole::Control, 1.0, 1.0);
        }
    }
    write_blocks(&mut writer, "head-to-head", &truth, &arms);
    writer
}

/// A statement with every text filled in.
pub fn fact(id: &str, verdict: FactVerdict, statement: &str, evidence: &str) -> Fact {
    Fact {
        experiment: "folklore-facts".into(),
        id: id.into(),
        statement: statement.into(),
        source: "invented for this synthetic run".into(),
        verdict,
        evidence: evidence.into(),
        evidence_source: "synthetic: looked up nowhere".into(),
        reference: "KIP-0, synthetic".into(),
        target: "kafka".into(),
        version: "4.0-synthetic".into(),
    }
}

/// One statement of every kind.
pub fn facts() -> Vec<Fact> {
    vec![
        fact(
            "index-files",
            FactVerdict::True,
            "A folder of a partition holds .log and .index files",
            "topic-0 holds 00000000000000000000.index, 00000000000000000000.log and two others",
        ),
        fact(
            "nineteen-digits",
            FactVerdict::False,
            "The name of a segment has 19 digits",
            "00000000000000000000.log has 20 digits",
        ),
        fact(
            "zookeeper",
            FactVerdict::Outdated,
            "ZooKeeper coordinates the brokers, elects the controller and keeps the topics' configuration",
            "process.roles is broker,controller and no setting names zookeeper.connect; it was true until 3.x",
        ),
        fact(
            "transfer-to",
            FactVerdict::NotLookedUp,
            "transferTo is sendfile",
            "strace is missing: install it, or allow ptrace",
        ),
    ]
}

/// A run with facts and no trials.
pub fn write_facts(dir: &Path, facts: &[Fact]) -> RunWriter {
    let truth = Truth::one_cell(1.0);
    let mut manifest = manifest(&truth, vec![]);
    manifest.name = "folklore-facts".into();
    manifest.command = ["assay", "run", "folklore-facts"].map(str::to_owned).to_vec();
    manifest.experiments.clear();
    manifest.targets = vec![kafka(CLASS)];
    let mut writer = RunWriter::create(dir, &manifest).unwrap();
    writer.facts(facts).unwrap();
    writer
}

/// A warm-up that becomes steady and one that doesn't, a start and a first touch, and two traces.
pub fn add_phases_and_traces(writer: &mut RunWriter, manifest: &mut Manifest) {
    let experiment = manifest.experiments[0].name.clone();
    let point = |arm: &str, phase, index: u32, value: f64| PhasePoint {
        experiment: experiment.clone(),
        target: "kafka".into(),
        arm: arm.into(),
        phase,
        index,
        at_ms: 500 * u64::from(index + 1),
        metric: if phase == Phase::Start { "start" } else { "throughput" }.into(),
        unit: if phase == Phase::Start { "s" } else { "MB/s" }.into(),
        value,
    };
    let mut points = vec![point("", Phase::Start, 0, 4.2)];
    points.extend((0..3).map(|index| point("", Phase::FirstTouch, index, 20.0 + 60.0 * f64::from(index))));
    for index in 0..24 {
        let steady = 900.0 * (1.0 - (-f64::from(index + 1) / 4.0).exp());
        points.push(point("plain", Phase::WarmUp, index, steady));
        points.push(point("tls", Phase::WarmUp, index, 15.0 * f64::from(index + 1)));
    }
    writer.phases(&points).unwrap();
    let summary = |arm: &str, phase, seconds, windows, steady, note: &str| PhaseSummary {
        target: "kafka".into(),
        arm: arm.into(),
        phase,
        seconds,
        windows,
        steady,
        rule: match steady {
            Some(_) => "the last third of 12 windows within 5 % of the first, and a slope of less than 5 %".into(),
            None => String::new(),
        },
        note: note.into(),
    };
    manifest.phases_summary = vec![
        summary("", Phase::Start, 4.2, 1, None, ""),
        summary("", Phase::FirstTouch, 1.5, 3, None, "3 passes over 16 partitions"),
        summary("plain", Phase::WarmUp, 12.0, 24, Some(true), ""),
        summary(
            "tls",
            Phase::WarmUp,
            12.0,
            24,
            Some(false),
            "the limit of 12 s came first",
        ),
    ];
    writer.update_manifest(manifest).unwrap();
    let trace = |arm: &str, call: &str, count, bytes, example: &str| TraceCount {
        experiment: experiment.clone(),
        target: "kafka".into(),
        arm: arm.into(),
        call: call.into(),
        count,
        bytes,
        example: example.into(),
    };
    writer
        .traces(&[
            trace(
                "plain",
                "sendfile",
                4_096,
                Some(268_435_456),
                "sendfile(112, 140, [0] => [65536], 65536) = 65536",
            ),
            trace(
                "plain",
                "write",
                12,
                Some(1_200),
                "write(112, \"\\0\\0\\0\"..., 100) = 100",
            ),
            trace("tls", "sendfile", 0, Some(0), ""),
            trace(
                "tls",
                "write",
                16_400,
                Some(269_000_000),
                "write(113, \"\\27\\3\\3\"..., 16413) = 16413",
            ),
            trace("tls", "epoll_wait", 9_000, None, "epoll_wait(97, [], 1024, 300) = 0"),
        ])
        .unwrap();
}

/// Everything at once, to look at.
pub fn write_everything(dir: &Path) {
    let mut writer = write_two_cards(dir, CLASS, true);
    let truth = Truth {
        blocks: 8,
        ..Truth::one_cell(1.9)
    };
    writer.facts(&facts()).unwrap();
    add_phases_and_traces(&mut writer, &mut two_cards(&truth, CLASS));
}
