//! Trials of consumer groups: each is one run of the engine that scenarios use, with one trigger, and what the checker of histories says of it.
//!
//! The bundled broker is started for each trial; Apache Kafka runs the whole time, and each trial has topics and a group of its own there. What the checker does not let pass is a
//! failed check of the trial, so nothing that a group lost has a figure.

mod rows;
mod scenario;

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, bail};
use chaos::run::RunError;
use chaos::{Cluster, ClusterError, Evidence, Role, Scenario, Schedule, checker, group_run};
use results::reader::timelines;
use results::schema::{LedgerEntry, PlannedTrial};
use workloads::definition::{BUNDLED, Definition, Group, Profile};
use workloads::native::phase::latency_histogram;

use crate::interrupt;
use crate::measure::bench::Setup;
use crate::measure::load::host::Host;
use crate::measure::outcome::TrialOutcome;
use crate::measure::stage::{Stage, with_terms};
use crate::members::MemberProcesses;
use crate::scratch::RemoveOnDrop;

/// Files of a trial that a timeline is drawn from.
const DRAWN: [&str; 3] = ["ownership.csv", "duplicates.csv", "rebalances.csv"];

/// A definition's groups.
pub struct GroupBench<'a> {
    definition: &'a Definition,
    group: Group,
    profile: &'a Profile,
    setup: &'a Setup<'a>,
    /// Arms of which one trial is kept to be drawn.
    drawn: Mutex<BTreeSet<String>>,
}

impl<'a> GroupBench<'a> {
    /// Nothing has to be made.
    pub fn new(definition: &'a Definition, group: Group, setup: &'a Setup<'a>) -> Self {
        GroupBench {
            definition,
            group,
            profile: definition.profile(setup.profile),
            setup,
            drawn: Mutex::default(),
        }
    }

    /// Runs one trial.
    ///
    /// # Errors
    /// The broker or a member's process fails, or Ctrl-C. A group that does not settle is no error but a failed check.
    pub fn run(&self, trial: &PlannedTrial, stage: &Stage) -> anyhow::Result<TrialOutcome> {
        interrupt::check()?;
        let levels = trial
            .factors
            .iter()
            .map(|(name, level)| (name.as_str(), level.as_str()));
        let group = self.group.with(levels).map_err(anyhow::Error::msg)?;
        let prefix = format!("{}-{}-", self.setup.prefix, trial.trial);
        let text = scenario::text(&group, &prefix, self.profile.warmup_ms, self.profile.window_ms);
        let scenario = Scenario::parse("trial", &text).context("a trial that is no scenario: report this as a bug")?;
        let schedule = Schedule::from(&scenario, trial.seed);

        let host = self.host(stage, trial, &scenario)?;
        let topics = scenario.topics();
        if !host.is_own() {
            stage.made_topics(&trial.target, &topics);
        }
        let folder = self.setup.scratch.join(format!("group-{}", trial.trial));
        fs::create_dir(&folder).with_context(|| format!("can't make {}", folder.display()))?;
        let _cleanup = RemoveOnDrop(folder.clone());
        let mut cluster = Reached(address(&host)?);
        let mut members = MemberProcesses::of(host.served.brokers.clone(), self.setup.java.clone());
        let carried_out = group_run::execute(
            &scenario,
            &schedule,
            &mut cluster,
            &mut members,
            &folder,
            interrupt::flag(),
            &mut |_| (),
        );
        drop(members);
        let varied: Vec<&str> = self.definition.settings_varied().map(|f| f.name.as_str()).collect();
        let receipt = host.receipt(&varied);
        if !host.is_own() {
            stage.delete_topics(&trial.target, &topics)?;
        }
        host.end()?;
        interrupt::check()?;
        let mut outcome = TrialOutcome {
            rows: Vec::new(),
            latency: latency_histogram(),
            window_s: 0.0,
            series: Vec::new(),
            ledger: Vec::new(),
            receipt: receipt.map(|receipt| with_terms(receipt, self.definition, self.setup)),
            phases: Vec::new(),
        };
        match carried_out {
            Ok(summary) => {
                let findings = checker::check_folder(&folder).context("the histories of a trial can't be judged")?;
                outcome.rows = rows::rows(trial, &group, &findings)?;
                outcome.ledger = rows::ledger(trial, &summary, &findings);
                self.keep_drawn(trial, &folder, &findings)?;
            }
            Err(error @ (RunError::NotSettled(_) | RunError::CannotTakeGroup(_))) => {
                outcome.ledger.push(LedgerEntry {
                    experiment: trial.experiment.clone(),
                    trial: trial.trial,
                    arm: trial.arm.clone(),
                    check: "the group settles before the trigger".to_owned(),
                    expected: "settled".to_owned(),
                    observed: error.to_string(),
                    ok: false,
                });
            }
            Err(error) => return Err(error.into()),
        }
        Ok(outcome)
    }

    fn host(&self, stage: &Stage, trial: &PlannedTrial, scenario: &Scenario) -> anyhow::Result<Host> {
        if trial.target != BUNDLED {
            return Host::of_stage(stage, &trial.target);
        }
        let group = scenario
            .group
            .as_ref()
            .context("a scenario without a group: report this as a bug")?;
        // What a group needs of its broker comes first, so that a definition may say otherwise.
        let mut settings = group.broker_settings();
        settings.extend(self.definition.settings_of_trial(&trial.factors));
        Host::start(self.setup, settings, &format!("trial-{}", trial.trial))
    }

    /// Leaves what a timeline is drawn from in the run folder, of the first trial of each arm.
    fn keep_drawn(&self, trial: &PlannedTrial, folder: &Path, findings: &chaos::Findings) -> anyhow::Result<()> {
        let Some(group) = &findings.group else { return Ok(()) };
        let mut drawn = self.drawn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !drawn.insert(trial.arm.clone()) {
            return Ok(());
        }
        let wrong =
            |(path, error): (PathBuf, std::io::Error)| anyhow::anyhow!("can't write {}: {error}", path.display());
        checker::group::write_files(folder, group).map_err(wrong)?;
        let run = self
            .setup
            .scratch
            .parent()
            .context("a scratch folder that lies in no run folder")?;
        let kept = run.join(timelines::FOLDER).join(timelines::folder_of(trial.trial));
        fs::create_dir_all(&kept).with_context(|| format!("can't make {}", kept.display()))?;
        for name in DRAWN {
            let (from, to) = (folder.join(name), kept.join(name));
            fs::copy(&from, &to).with_context(|| format!("can't copy {}", from.display()))?;
        }
        Ok(())
    }
}

/// Producers of a scenario know one broker.
fn address(host: &Host) -> anyhow::Result<SocketAddr> {
    let [endpoint] = host.served.brokers.endpoints() else {
        bail!("the producers of a group's trial know one broker: give a target of one node");
    };
    let mut addresses = (endpoint.host.as_str(), endpoint.port).to_socket_addrs()?;
    addresses.next().with_context(|| format!("{endpoint} has no address"))
}

/// A broker that somebody else started, and that no trigger strikes.
struct Reached(SocketAddr);

impl Cluster for Reached {
    fn roles(&self) -> Vec<Role> {
        Vec::new()
    }

    fn address(&self) -> SocketAddr {
        self.0
    }

    fn crashed(&mut self, _role: Role) -> Option<String> {
        None
    }

    fn kill(&mut self, role: Role) -> Result<Evidence, ClusterError> {
        Err(unstruck(role))
    }

    fn start(&mut self, role: Role) -> Result<(), ClusterError> {
        Err(unstruck(role))
    }

    fn wait_ready(&mut self, role: Role, _timeout: Duration) -> Result<(), ClusterError> {
        Err(unstruck(role))
    }
}

fn unstruck(role: Role) -> ClusterError {
    ClusterError::Environment {
        what: format!("nothing strikes the {role} in an experiment with groups"),
        remedy: "report this as a bug".to_owned(),
    }
}
