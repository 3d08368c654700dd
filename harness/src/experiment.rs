//! One experiment from its plan to its report: targets are started and warmed up, trials run block by block, and every row is on disk
//! before the next trial begins.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use broker_under_test::Config;
use results::analysis::Analysis;
use results::schema::{Manifest, Measurement, PlannedTrial, SCHEMA_VERSION, TrialRole};
use results::writer::RunWriter;
use workloads::definition::{
    self, BUNDLED, Definition, DefinitionError, KAFKA, Kept, NULL, PayloadKind, ProfileName, TARGET_FACTOR, Work,
};
use workloads::facts::FactsDefinition;
use workloads::payload::{Cut, PayloadSpec};

use crate::interrupt::Interrupted;
use crate::measure::bench::{self, Bench};
use crate::measure::client::side_by_side;
use crate::measure::machine;
use crate::measure::outcome::TrialOutcome;
use crate::measure::stage::Stage;
use crate::members::java::{self, JavaMembers};
use crate::process::Cpus;
use crate::progress::Progress;
use crate::scratch::{self, Scratch};
use crate::target::Available;
use crate::{card, report_verb, run_folder, run_verb};

/// Trials in a row that may fail before the run is given up.
const FAILURES_IN_A_ROW_MAX: u32 = 5;

/// What `assay run` was told beside names and targets.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How much is measured.
    pub profile: ProfileName,
    /// `None` takes the pinned one.
    pub kafka_version: Option<String>,
    /// Heap of each Kafka process, MiB.
    pub kafka_heap_mb: u32,
    /// `None` takes the clock.
    pub seed: Option<u64>,
    /// Folder for run folders.
    pub out: PathBuf,
    /// A file instead of generated records.
    pub payload: Option<(PathBuf, Cut)>,
    /// Instead of the profile's.
    pub blocks: Option<u32>,
    /// Levels of the only cells to measure; empty for all.
    pub only: Vec<Kept>,
    /// Instead of the profile's.
    pub window_ms: Option<u32>,
}

/// An experiment: the definitions of one name, each for a target of its own, or statements to look up.
#[derive(Debug, Clone)]
pub struct Experiment {
    name: String,
    definitions: Vec<Definition>,
    /// Statements instead of definitions.
    pub facts: Option<FactsDefinition>,
}

/// All experiments in the binary, by name.
///
/// # Errors
/// See [`definition::embedded`].
pub fn embedded() -> Result<Vec<Experiment>, Box<DefinitionError>> {
    let mut by_name: BTreeMap<String, Experiment> = BTreeMap::new();
    for definition in definition::embedded()? {
        let named = by_name.entry(definition.name.clone()).or_insert_with(|| Experiment {
            name: definition.name.clone(),
            definitions: Vec::new(),
            facts: None,
        });
        named.definitions.push(definition);
    }
    for facts in workloads::facts::embedded()? {
        let name = facts.name.clone();
        let facts = Experiment {
            name: name.clone(),
            definitions: Vec::new(),
            facts: Some(facts),
        };
        by_name.insert(name, facts);
    }
    Ok(by_name.into_values().collect())
}

/// The experiment of a user's file.
///
/// # Errors
/// See [`definition::load`].
pub fn load(path: &Path) -> Result<Experiment, Box<DefinitionError>> {
    let definition = definition::load(path)?;
    Ok(Experiment {
        name: definition.name.clone(),
        definitions: vec![definition],
        facts: None,
    })
}

impl Experiment {
    /// The name that its definitions share.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names of the targets that it is made for, without repetition.
    pub fn targets(&self) -> Vec<String> {
        let mut targets: Vec<String> = self.definitions.iter().flat_map(Definition::targets).collect();
        if self.facts.is_some() {
            targets.push(KAFKA.to_owned());
        }
        targets.dedup();
        targets
    }

    /// The targets of a run that names none.
    pub fn default_targets(&self) -> Vec<String> {
        let all = self.targets();
        match self.compares_targets() || !all.iter().any(|target| target == BUNDLED) {
            true => all,
            false => vec![BUNDLED.to_owned()],
        }
    }

    /// Whether targets are what it compares.
    pub fn compares_targets(&self) -> bool {
        self.definitions
            .iter()
            .any(|definition| definition.treatment == TARGET_FACTOR)
    }

    /// Whether members of its groups are Java's in some arm.
    pub fn needs_java(&self, profile: ProfileName) -> bool {
        self.definitions.iter().any(|definition| definition.needs_java(profile))
    }

    /// The part that can be measured on the targets that there are.
    pub fn on(&self, available: &Available, profile: ProfileName) -> Vec<Definition> {
        let names = available.names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let parts = self.definitions.iter();
        parts
            .flat_map(|definition| definition.for_targets(&names, available.cluster_is_tls()))
            .filter_map(|definition| available.part_of(definition, profile))
            .collect()
    }

    /// Ids of all claims.
    pub fn claim_ids(&self) -> Vec<&str> {
        let claims = self.definitions.iter().flat_map(|definition| &definition.claims);
        claims.map(definition::Claim::id).collect()
    }

    /// Asks the bundled broker's own table of settings, so that a wrong one is told before anything starts and not by every trial.
    ///
    /// # Errors
    /// The first setting or level that it does not know.
    pub fn check_settings(&self) -> anyhow::Result<()> {
        let is_bundled = |target: &String| target == BUNDLED || target == NULL;
        let on_bundled = |d: &&Definition| d.targets().iter().any(is_bundled);
        for definition in self.definitions.iter().filter(on_bundled) {
            let place = format!("settings of {}", definition.name);
            for (key, value) in &definition.settings_for(BUNDLED) {
                Config::default().set(key, value, &place)?;
            }
            for factor in definition.settings_varied() {
                for level in &factor.levels {
                    let place = format!("factor {} of {}", factor.name, definition.name);
                    Config::default().set(&factor.name, level, &place)?;
                }
            }
        }
        Ok(())
    }
}

/// Measures `parts` of an experiment and reports. `None` when an arm could not be measured at all.
///
/// # Errors
/// The environment, Ctrl-C ([`Interrupted`]), or too many failed trials. What was finished is kept.
pub fn measure(
    settings: &Settings,
    experiment: &Experiment,
    mut parts: Vec<Definition>,
    available: &Available,
) -> anyhow::Result<Option<Analysis>> {
    let began = Instant::now();
    let seed = settings.seed.unwrap_or_else(run_verb::seed_from_clock);
    let blocks = settings
        .blocks
        .or_else(|| Some(parts.first()?.profile(settings.profile).blocks))
        .unwrap_or(0);
    for part in &mut parts {
        let profile = part.profile_mut(settings.profile);
        profile.blocks = blocks;
        profile.window_ms = settings.window_ms.unwrap_or(profile.window_ms);
        part.confine(settings.profile, &settings.only)
            .map_err(anyhow::Error::msg)?;
    }
    let plan: Vec<PlannedTrial> = workloads::plan::plan(&parts, settings.profile, seed)
        .iter()
        .map(card::planned)
        .collect();

    let dir = run_folder::create(&settings.out, experiment.name())?;
    for abandoned in scratch::remove_abandoned(&settings.out) {
        errln!("removed {}, which a killed run left", abandoned.display());
    }
    let scratch = Scratch::create(&dir)?;
    let mut manifest = manifest(settings, experiment.name(), seed, &dir);
    manifest.experiments = parts.iter().map(|part| card::card(part, blocks)).collect();
    let cpus = Cpus::halves();
    manifest.machine.notes.push(match &cpus {
        Some((sender, receiver)) => format!("sender on CPU {sender}, receiver on CPU {receiver}"),
        None => "one CPU: sender and receiver share it".to_owned(),
    });
    manifest
        .machine
        .notes
        .extend(available.skipped.iter().map(|skipped| format!("left out: {skipped}")));
    let Some(first) = parts.first() else { return Ok(None) };
    let payload = payload_spec(settings, first);
    if !matches!(first.work, Work::Assign(_) | Work::Group(_)) {
        manifest.machine.notes.push(describe_payload(&payload, seed)?);
    }
    let clients = side_by_side::told(first, settings.profile)?;
    manifest.machine.notes.extend(clients.clone());
    let mut writer = RunWriter::create(&dir, &manifest)?;
    writer.plan(&plan)?;

    outln!("{}: {}", first.name, first.title);
    let arms: usize = parts.iter().map(|part| part.profile(settings.profile).arms.len()).sum();
    outln!(
        "{} trials on {}: {arms} arms x {blocks} blocks, {} ms each; profile {}, seed {seed}",
        plan.len(),
        available.names().join(" and "),
        first.profile(settings.profile).window_ms,
        settings.profile.as_str()
    );
    if let Some(clients) = clients {
        outln!("{clients}");
    }
    outln!("folder {}", dir.display());
    let mut run = Run {
        plan: &plan,
        dir: &dir,
        writer,
        manifest,
        progress: Progress::start(plan.len(), blocks),
        began,
        done: 0,
    };
    let outcome = run.all(settings, &parts, available, &scratch.path, cpus, payload, seed);
    run.progress.end();
    drop(run.writer);
    let measured = match outcome {
        Err(error) => {
            let kept = kept(run.done, plan.len(), &dir);
            if error.is::<Interrupted>() {
                errln!("interrupted: {kept}");
                return Err(error);
            }
            return Err(error.context(format!("the run was given up; {kept}")));
        }
        Ok(measured) => measured,
    };
    drop(scratch);
    let rendered = report_verb::render_and_print(&dir)?;
    outln!("measured in {:.0} s", began.elapsed().as_secs_f64());
    let never: BTreeSet<&str> = plan
        .iter()
        .map(|t| t.arm.as_str())
        .filter(|arm| !measured.contains(*arm))
        .collect();
    if !never.is_empty() {
        let names: Vec<&str> = never.into_iter().collect();
        errln!(
            "error: every trial of these arms failed, they were not measured: {}",
            names.join(", ")
        );
        return Ok(None);
    }
    Ok(Some(rendered.analysis))
}

/// What a manifest says before anything has run.
pub fn manifest(settings: &Settings, name: &str, seed: u64, dir: &Path) -> Manifest {
    Manifest {
        schema_version: SCHEMA_VERSION,
        name: name.to_owned(),
        command: run_verb::command(),
        started_utc: run_folder::now_utc(),
        seed,
        profile: settings.profile.as_str().to_owned(),
        assay_version: env!("CARGO_PKG_VERSION").to_owned(),
        git_revision: option_env!("ASSAY_GIT_REVISION").map(str::to_owned),
        machine: machine::receipt(dir),
        targets: Vec::new(),
        experiments: Vec::new(),
        phases_summary: Vec::new(),
    }
}

fn kept(done: usize, planned: usize, dir: &Path) -> String {
    match done {
        0 => format!("no trial had ended; {} holds the plan", dir.display()),
        _ => format!(
            "{done} of {planned} trials are kept; draw them with: assay report {}",
            dir.display()
        ),
    }
}

/// A run under way.
struct Run<'a> {
    plan: &'a [PlannedTrial],
    dir: &'a Path,
    writer: RunWriter,
    manifest: Manifest,
    progress: Progress,
    began: Instant,
    /// Trials that have ended, well or not.
    done: usize,
}

impl Run<'_> {
    /// Starts the targets, runs every trial, and stops the targets. Answers the arms that were measured at least once.
    #[expect(
        clippy::too_many_arguments,
        reason = "what a run is made of, put together in one place"
    )]
    fn all(
        &mut self,
        settings: &Settings,
        parts: &[Definition],
        available: &Available,
        scratch: &Path,
        cpus: Option<(Cpus, Cpus)>,
        payload: PayloadSpec,
        seed: u64,
    ) -> anyhow::Result<BTreeSet<String>> {
        let name = self
            .dir
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let java = available
            .java()
            .filter(|_| parts.iter().any(|part| part.needs_java(settings.profile)));
        if let Some(java) = java {
            let note = format!("members with client java: {}", java::told(java));
            self.manifest.machine.notes.push(note);
        }
        let compiled = |java| JavaMembers::compile(java, &scratch.join("members"), &scratch.join("members.log"));
        let setup = bench::Setup {
            profile: settings.profile,
            scratch,
            cpus,
            payload,
            seed,
            prefix: format!("assay-{name}"),
            java: java.map(compiled).transpose()?.map(Arc::new),
        };
        let mut stage = Stage::start(parts, available, settings, &setup, |doing| self.progress.doing(doing))?;
        self.note(&mut stage)?;
        let mut benches = Vec::new();
        for part in parts {
            let bench = Bench::prepare(part, &mut stage, &setup, |doing| self.progress.doing(doing))?;
            benches.push((part.targets(), bench));
        }
        self.note(&mut stage)?;
        let measured = self.trials(&mut benches, &stage)?;
        for (_, bench) in &mut benches {
            let traces = bench.finish(&mut stage, |doing| self.progress.doing(doing))?;
            self.writer.traces(&traces)?;
        }
        drop(benches);
        self.note(&mut stage)?;
        stage.stop()?;
        Ok(measured)
    }

    /// Writes down what the stage has to tell by now.
    fn note(&mut self, stage: &mut Stage) -> anyhow::Result<()> {
        let told = stage.tell();
        self.writer.phases(&told.points)?;
        self.manifest.phases_summary.extend(told.summaries);
        self.manifest.targets.extend(told.receipts);
        self.manifest.machine.notes.extend(told.notes);
        self.writer.update_manifest(&self.manifest)?;
        Ok(())
    }

    fn trials(&mut self, benches: &mut [(Vec<String>, Bench)], stage: &Stage) -> anyhow::Result<BTreeSet<String>> {
        let mut checked = BTreeSet::new();
        let mut measured = BTreeSet::new();
        let mut failures_in_a_row = 0;
        for trial in self.plan {
            self.progress.begins(trial);
            let Some((_, bench)) = benches.iter_mut().find(|(targets, _)| targets.contains(&trial.target)) else {
                anyhow::bail!("trial {} is on {}, which nothing measures", trial.trial, trial.target);
            };
            let check = trial.role != TrialRole::Limit && !checked.contains(&trial.arm);
            let start_s = self.began.elapsed().as_secs_f64();
            match bench.run(trial, check, stage) {
                Ok(outcome) => {
                    failures_in_a_row = 0;
                    measured.insert(trial.arm.clone());
                    if check {
                        checked.insert(trial.arm.clone());
                    }
                    self.keep(trial, start_s, outcome)?;
                }
                Err(error) if error.is::<Interrupted>() => return Err(error),
                Err(error) => {
                    failures_in_a_row += 1;
                    self.progress
                        .say(&format!("trial {} ({}) failed: {error:#}", trial.trial, trial.arm));
                    let row = Measurement::failed(trial, &trial.target, &format!("{error:#}"));
                    self.writer.trial(&[row])?;
                    if failures_in_a_row >= FAILURES_IN_A_ROW_MAX {
                        self.done += 1;
                        return Err(error.context(format!("{failures_in_a_row} trials failed one after the other")));
                    }
                }
            }
            self.done += 1;
            self.progress.ended();
        }
        Ok(measured)
    }

    fn keep(&mut self, trial: &PlannedTrial, start_s: f64, outcome: TrialOutcome) -> anyhow::Result<()> {
        self.writer.trial(&outcome.rows)?;
        self.writer.series(&outcome.series)?;
        self.writer
            .latency(&trial.arm, start_s, outcome.window_s, &outcome.latency)?;
        self.writer.ledger(&outcome.ledger)?;
        self.writer.phases(&outcome.phases)?;
        if let Some(receipt) = outcome.receipt
            && !self.manifest.targets.iter().any(|known| known.name == receipt.name)
        {
            self.manifest.targets.push(receipt);
            self.writer.update_manifest(&self.manifest)?;
        }
        Ok(())
    }
}

fn payload_spec(settings: &Settings, definition: &Definition) -> PayloadSpec {
    let payload = definition.payload;
    let record_bytes = payload.record_bytes as usize;
    match (&settings.payload, payload.kind) {
        (Some((path, cut)), _) => PayloadSpec::File {
            path: path.clone(),
            cut: *cut,
        },
        (None, PayloadKind::Json) => PayloadSpec::Json {
            record_bytes,
            entropy: payload.entropy,
        },
        (None, PayloadKind::Text) => PayloadSpec::Text {
            record_bytes,
            entropy: payload.entropy,
        },
        (None, PayloadKind::Random) => PayloadSpec::Random { record_bytes },
    }
}

fn describe_payload(spec: &PayloadSpec, seed: u64) -> anyhow::Result<String> {
    let what = match spec {
        PayloadSpec::Json { record_bytes, .. } => format!("generated JSON events of {record_bytes} bytes"),
        PayloadSpec::Text { record_bytes, .. } => format!("generated text of {record_bytes} bytes"),
        PayloadSpec::Random { record_bytes } => format!("random records of {record_bytes} bytes"),
        // The name alone: a run folder is published, and paths are private.
        PayloadSpec::File { path, cut } => {
            let name = path
                .file_name()
                .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
            match cut {
                Cut::Lines => format!("lines of {name}"),
                Cut::Bytes(n) => format!("{name} in records of {n} bytes"),
            }
        }
    };
    let profile = workloads::payload::profile(spec, seed, 1 << 20)?;
    Ok(format!(
        "payload: {what}, {:.2} bits of order-0 entropy per byte",
        profile.entropy_bits_per_byte
    ))
}
