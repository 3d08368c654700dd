//! One scenario, carried out once: a folder, a broker, the schedule, the judgement, and what is left afterwards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use chaos::group_run::{self, PROTOCOL_FILE};
use chaos::proxy::Proxy;
use chaos::run::RunError;
use chaos::scenario::GroupWorkload;
use chaos::{Cluster, Findings, Outcome, PlantedBug, Scenario, Schedule, Verdict, checker, render};

use workloads::load::librdkafka;
use workloads::member::MemberClient;

use super::host::Host;
use super::manifest::{Manifest, SCHEMA_VERSION};
use super::progress::{Bar, scheduled};
use crate::measure::machine;
use crate::members::MemberProcesses;
use crate::members::java::{self, JavaMembers};
use crate::output::{self, wrapped};
use crate::run_folder;
use crate::run_verb::{command, seed_from_clock};
use crate::target::TargetName;
use crate::target::jars::Installed;

/// The findings, in the run folder.
pub const FINDINGS_FILE: &str = "findings.json";

/// What JVMs of members print, in the run folder.
const MEMBERS_LOG: &str = "members.log";
/// Where their program lies meanwhile.
const MEMBERS_FOLDER: &str = "members";

/// What is to be done.
#[derive(Clone)]
pub struct Order {
    /// What is broken.
    pub target: TargetName,
    /// The scenario.
    pub scenario: Scenario,
    /// Its timeline.
    pub schedule: Schedule,
    /// Settings of the broker beside its defaults.
    pub settings: BTreeMap<String, String>,
    /// A bug in the broker, which has to be found.
    pub planted: Option<PlantedBug>,
    /// What members with Java's client are run with.
    pub java: Option<Installed>,
    /// Keeps the broker's data whatever the verdict.
    pub keep_data: bool,
    /// Has members of a group go through a proxy that reads what they and their coordinator say to each other.
    pub is_traced: bool,
    /// What stands in front of the scenario's names already; empty unless it is a replay.
    pub names_behind: String,
    /// Name of the folder whose schedule this is.
    pub replay_of: Option<String>,
    /// Prints nothing but trouble: one of many, whose caller says what came out.
    pub is_quiet: bool,
}

impl Order {
    /// Whether the members of its group are Java's.
    pub fn needs_java(&self) -> bool {
        let client = self.scenario.group.as_ref().map(|group| group.client);
        client == Some(MemberClient::Java)
    }

    /// Whose client members are, with its version; `None` without a group.
    fn client(&self) -> Option<String> {
        self.scenario.group.as_ref()?;
        Some(match self.java.as_ref().filter(|_| self.needs_java()) {
            Some(installed) => java::told(installed),
            None => format!("librdkafka {}", librdkafka::version()),
        })
    }
}

/// How it ended.
pub enum End {
    /// Judged; findings are in the folder.
    Judged(Box<Findings>),
    /// It could not be judged: inconclusive.
    Unjudged,
    /// By Ctrl-C.
    Interrupted,
}

impl End {
    /// The verdict, when there is one.
    pub fn verdict(&self) -> Option<Verdict> {
        match self {
            End::Judged(findings) => Some(findings.verdict),
            End::Unjudged => Some(Verdict::Inconclusive),
            End::Interrupted => None,
        }
    }
}

/// Carries out an order in a new folder below `out`, and prints what came out.
///
/// # Errors
/// Of the environment: a folder that can't be written, a broker that does not start at all.
pub fn carry_out(order: &Order, out: &Path, interrupt: &AtomicBool) -> anyhow::Result<End> {
    let (scenario, schedule) = (&order.scenario, &order.schedule);
    let folder = run_folder::create(out, &format!("chaos-{}", scenario.name))?;
    outln!("{}: {}", scenario.name, wrapped(&scenario.why, 2, output::text_width()));
    outln!(
        "{} faults, seed {}, about {} s",
        schedule.faults(),
        schedule.seed,
        scheduled(scenario, schedule).as_secs() + 1
    );
    if let Some(client) = order.client() {
        outln!("members are {client}");
    }
    outln!("folder {}\n", folder.display());
    carry_out_in(order, &folder, interrupt)
}

/// As [`carry_out`], in a folder that exists and is empty.
///
/// # Errors
/// As [`carry_out`].
pub fn carry_out_in(order: &Order, folder: &Path, interrupt: &AtomicBool) -> anyhow::Result<End> {
    let (mut scenario, mut schedule) = (order.scenario.clone(), order.schedule.clone());
    let mut manifest = manifest(order, folder);
    if let TargetName::Cluster(_) = order.target {
        // Nothing there may be taken for ours, and nothing of ours for theirs, an earlier run's neither.
        let (before, prefix) = (&order.names_behind, format!("assay-{:x}-", seed_from_clock()));
        scenario = scenario.with_names_behind(before, &prefix);
        schedule = schedule.with_names_behind(before, &prefix);
        manifest.names_behind = prefix;
    }
    let (scenario, schedule) = (&scenario, &schedule);
    manifest.write(folder)?;
    let compiled = |installed| JavaMembers::compile(installed, &folder.join(MEMBERS_FOLDER), &folder.join(MEMBERS_LOG));
    let java = order.java.as_ref().filter(|_| order.needs_java()).map(compiled);
    let java = java.transpose()?.map(Arc::new);
    // What a group needs of its broker comes first, so that whoever asks for something else gets it.
    let mut settings = scenario
        .group
        .as_ref()
        .map(GroupWorkload::broker_settings)
        .unwrap_or_default();
    settings.extend(order.settings.clone());
    let in_the_broker = order.planted.filter(|bug| bug.is_in_the_broker());
    let mut host = Host::start(&order.target, folder, &settings, in_the_broker)?;
    host.will_have(scenario.topics());
    manifest.targets.extend(host.receipt());
    manifest.write(folder)?;

    let mut bar = (!order.is_quiet).then(|| Bar::start(scenario, schedule));
    let mut tell = |progress| {
        if let Some(bar) = &mut bar {
            bar.tell(progress);
        }
    };
    let mut has_trace = false;
    let carried_out = match &scenario.group {
        None => chaos::run::execute(scenario, schedule, &mut host, folder, interrupt, &mut tell),
        Some(_) => {
            let proxy = order.is_traced.then(|| Proxy::start(host.address())).transpose();
            let proxy = proxy.map_err(RunError::Proxy)?;
            let address = proxy.as_ref().map_or(host.address(), Proxy::address);
            let mut members = MemberProcesses::of(address.into(), java);
            let ended = group_run::execute(
                scenario,
                schedule,
                &mut host,
                &mut members,
                folder,
                interrupt,
                &mut tell,
            );
            // However it ended: why a group does not settle is what a trace tells best.
            has_trace = proxy.is_some_and(|proxy| leave_trace(&proxy, folder));
            ended
        }
    };
    drop(bar);
    drop(host);
    let summary = match carried_out {
        Ok(summary) => summary,
        Err(error @ (RunError::CannotTake(_) | RunError::CannotTakeGroup(_) | RunError::NotSettled(_))) => {
            errln!("inconclusive: {error}");
            return Ok(End::Unjudged);
        }
        Err(error) => return Err(error.into()),
    };
    for trouble in &summary.troubles {
        errln!("trouble: {trouble}");
    }
    if summary.interrupted {
        errln!(
            "interrupted after {} faults; what was recorded: assay chaos check {}",
            summary.faults,
            folder.display()
        );
        remove_data(folder, order.keep_data);
        return Ok(End::Interrupted);
    }
    let end = judge(folder, order.is_quiet)?;
    if let End::Judged(findings) = &end {
        if let Some(bug) = order.planted.filter(|_| !order.is_quiet) {
            outln!("{}", blamed(bug, findings));
        }
        if has_trace && !order.is_quiet {
            outln!("who joined, led and assigned: {}", folder.join(PROTOCOL_FILE).display());
        }
        remove_data(folder, order.keep_data || findings.verdict != Verdict::Holds);
    }
    Ok(end)
}

/// Writes down what the proxy read, and tells what went wrong in it. That there is no trace is no error of the run, as no verdict stands on it.
fn leave_trace(proxy: &Proxy, folder: &Path) -> bool {
    for note in proxy.notes() {
        errln!("trouble: the proxy: {note}");
    }
    let left = group_run::write_protocol(folder, &proxy.trace());
    if let Err(error) = &left {
        errln!("trouble: no trace: {error}");
    }
    left.is_ok()
}

/// Judges the histories of a run folder, prints the findings unless it `is_quiet`, and leaves them in the folder.
///
/// # Errors
/// A folder that is no run's; a file that can't be written. Histories that can't be judged are no error but inconclusive.
pub fn judge(folder: &Path, is_quiet: bool) -> anyhow::Result<End> {
    let findings = match checker::check_folder(folder) {
        Ok(findings) => findings,
        Err(error @ checker::CheckError::Folder { .. }) => return Err(error.into()),
        Err(error) => {
            // A checker that fails never passes a run.
            errln!("error: {error}");
            outln!("{} (the histories can't be judged)", Verdict::Inconclusive);
            return Ok(End::Unjudged);
        }
    };
    if !is_quiet {
        out!("{}", render::text(&findings, output::wants_colour()));
    }
    for (name, content) in [
        (FINDINGS_FILE, serde_json::to_string_pretty(&findings)?),
        ("findings.txt", render::text(&findings, false)),
        ("junit.xml", render::junit(&findings)),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, content).with_context(|| format!("can't write {}", path.display()))?;
    }
    if let Some(group) = &findings.group {
        checker::group::write_files(folder, group)
            .map_err(|(path, error)| anyhow::Error::from(error).context(format!("can't write {}", path.display())))?;
    }
    Ok(End::Judged(Box::new(findings)))
}

/// Whether the planted bug was found, and under its right name.
pub(super) fn blamed(bug: PlantedBug, findings: &Findings) -> String {
    let violated = findings.names(Outcome::Violated);
    match (violated.is_empty(), violated.contains(&bug.breaks())) {
        (true, _) => format!("planted {bug}: NOT FOUND"),
        (false, true) => format!("planted {bug}: found, blamed on {}", bug.breaks()),
        (false, false) => format!("planted {bug}: found, but NOT BLAMED on {}", bug.breaks()),
    }
}

fn manifest(order: &Order, folder: &Path) -> Manifest {
    Manifest {
        schema_version: SCHEMA_VERSION,
        scenario: order.scenario.name.clone(),
        scenario_digest: order.scenario.digest.clone(),
        command: command(),
        started_utc: run_folder::now_utc(),
        seed: order.schedule.seed,
        faults: order.schedule.faults(),
        planted: order.planted,
        target: Some(order.target.to_string()),
        traced: order.is_traced,
        member_client: order.client(),
        settings: order.settings.clone(),
        names_behind: String::new(),
        replay_of: order.replay_of.clone(),
        assay_version: env!("CARGO_PKG_VERSION").to_owned(),
        git_revision: option_env!("ASSAY_GIT_REVISION").map(str::to_owned),
        machine: machine::receipt(folder),
        targets: Vec::new(),
    }
}

/// The broker's data is needed only to look into a violation, and a hundred runs of it would fill the disk.
fn remove_data(folder: &Path, keep: bool) {
    let data: PathBuf = Host::data_dir(folder);
    if keep {
        outln!("the broker's data and log are kept: {}", folder.display());
    } else if let Err(error) = std::fs::remove_dir_all(&data) {
        errln!("warning: {} can't be removed: {error}", data.display());
    }
}
