//! A run that looks statements up instead of measuring: Kafka is started, asked, and stopped.

use std::time::Instant;

use results::analysis::Analysis;
use results::schema::{Phase, PhasePoint, PhaseSummary};
use results::writer::RunWriter;
use workloads::definition::KAFKA;
use workloads::facts::FactsDefinition;

use crate::experiment::{self, Settings};
use crate::scratch::{self, Scratch};
use crate::target::kafka::{Kafka, KafkaSpec};
use crate::{facts, report_verb, run_folder, run_verb};

/// Looks up all statements of a definition and reports.
///
/// # Errors
/// Kafka does not start or does not answer, or Ctrl-C.
pub fn run(settings: &Settings, definition: &FactsDefinition) -> anyhow::Result<Analysis> {
    let began = Instant::now();
    let dir = run_folder::create(&settings.out, &definition.name)?;
    for abandoned in scratch::remove_abandoned(&settings.out) {
        errln!("removed {}, which a killed run left", abandoned.display());
    }
    let scratch = Scratch::create(&dir)?;
    let seed = settings.seed.unwrap_or_else(run_verb::seed_from_clock);
    let mut manifest = experiment::manifest(settings, &definition.name, seed, &dir);
    let mut writer = RunWriter::create(&dir, &manifest)?;
    outln!("{}: {}", definition.name, definition.title);
    outln!("{} statements, looked up on Apache Kafka", definition.facts.len());
    outln!("folder {}", dir.display());
    errln!("starting kafka");
    let kafka = Kafka::start(&KafkaSpec {
        dir: scratch.path.join("kafka"),
        nodes: 1,
        version: settings.kafka_version.clone(),
        heap_mb: settings.kafka_heap_mb,
        tls: cfg!(feature = "tls"),
        cpus: None,
        // Its own defaults are what is looked up.
        settings: std::collections::BTreeMap::new(),
        congestion_control: None,
    })?;
    manifest.targets.push(kafka.receipt()?);
    let started_in = kafka.started_in();
    writer.phases(&[PhasePoint {
        experiment: definition.name.clone(),
        target: KAFKA.to_owned(),
        arm: String::new(),
        phase: Phase::Start,
        index: 0,
        at_ms: started_in.as_millis() as u64,
        metric: "start".to_owned(),
        unit: "ms".to_owned(),
        value: started_in.as_secs_f64() * 1e3,
    }])?;
    manifest.phases_summary.push(PhaseSummary {
        target: KAFKA.to_owned(),
        arm: String::new(),
        phase: Phase::Start,
        seconds: started_in.as_secs_f64(),
        windows: 1,
        steady: None,
        rule: String::new(),
        note: "from the start of the process, with its empty data folder, to its first answer".to_owned(),
    });
    writer.update_manifest(&manifest)?;
    errln!("looking up {} statements", definition.facts.len());
    let facts = facts::look_up(&kafka, definition, &scratch.path)?;
    writer.facts(&facts)?;
    kafka.stop()?;
    drop(writer);
    drop(scratch);
    let rendered = report_verb::render_and_print(&dir)?;
    outln!("looked up in {:.0} s", began.elapsed().as_secs_f64());
    Ok(rendered.analysis)
}
