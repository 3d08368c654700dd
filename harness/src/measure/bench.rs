//! The trials of one definition, whatever kind they are.

use std::path::Path;
use std::sync::Arc;

use results::schema::{PlannedTrial, TraceCount};
use workloads::definition::{BUNDLED, Definition, ProfileName, Work};
use workloads::payload::PayloadSpec;

use crate::measure::assign::AssignBench;
use crate::measure::blocks::BlocksBench;
use crate::measure::client::ClientBench;
use crate::measure::group::GroupBench;
use crate::measure::listener::Listener;
use crate::measure::load::LoadBench;
use crate::measure::look_ups::LookUps;
use crate::measure::outcome::TrialOutcome;
use crate::measure::paths::Paths;
use crate::measure::read::ReadBench;
use crate::measure::stage::Stage;
use crate::members::java::JavaMembers;
use crate::process::Cpus;

/// What all trials of a run share.
#[derive(Debug)]
pub struct Setup<'a> {
    /// How much is measured.
    pub profile: ProfileName,
    /// Folder on the file system under test.
    pub scratch: &'a Path,
    /// Where brokers and clients run.
    pub cpus: Option<(Cpus, Cpus)>,
    /// The records.
    pub payload: PayloadSpec,
    /// Of the records.
    pub seed: u64,
    /// Stands in front of every topic.
    pub prefix: String,
    /// For members of groups with Java's client, when there are any.
    pub java: Option<Arc<JavaMembers>>,
}

/// What runs a definition's trials.
pub enum Bench<'a> {
    /// Fetch paths of the bundled broker.
    Paths(Paths<'a>),
    /// Listeners of a Kafka-compatible broker.
    Listener(Listener<'a>),
    /// Targets against each other.
    Load(LoadBench<'a>),
    /// Blocks, without a broker.
    Blocks(BlocksBench<'a>),
    /// Consumer groups that something befalls.
    Group(GroupBench<'a>),
    /// Assignments, without a broker.
    Assign(AssignBench),
    /// Places in the bundled broker's log.
    LookUps(LookUps<'a>),
    /// Readers of the bundled broker.
    Read(ReadBench<'a>),
    /// Clients as applications have them.
    Client(ClientBench<'a>),
}

impl<'a> Bench<'a> {
    /// Makes the data that the trials need, and warms up what needs it.
    ///
    /// # Errors
    /// A broker or client fails, or Ctrl-C.
    pub fn prepare(
        definition: &'a Definition,
        stage: &mut Stage,
        setup: &'a Setup<'a>,
        doing: impl Fn(&str),
    ) -> anyhow::Result<Self> {
        Ok(match definition.work {
            Work::Load(load) => Bench::Load(LoadBench::prepare(definition, load, stage, setup, doing)?),
            Work::Blocks(blocks) => Bench::Blocks(BlocksBench::prepare(definition, blocks, stage, setup, doing)?),
            Work::Group(group) => Bench::Group(GroupBench::new(definition, group, setup)),
            Work::Assign(assign) => Bench::Assign(AssignBench::new(assign)),
            Work::LookUp(look_up) => Bench::LookUps(LookUps::prepare(definition, look_up, stage, setup, doing)?),
            Work::Read(read) => Bench::Read(ReadBench::new(definition, read, setup)),
            Work::Client(client) => Bench::Client(ClientBench::prepare(definition, client, stage, setup, doing)?),
            Work::Fetch(fetch) if definition.target == BUNDLED => {
                Bench::Paths(Paths::prepare(definition, fetch, setup, doing)?)
            }
            Work::Fetch(fetch) => Bench::Listener(Listener::prepare(definition, fetch, stage, setup, doing)?),
        })
    }

    /// Runs one trial; `check` asks for the full check of what it delivers, after the window.
    ///
    /// # Errors
    /// The trial failed, or Ctrl-C.
    pub fn run(&mut self, trial: &PlannedTrial, check: bool, stage: &Stage) -> anyhow::Result<TrialOutcome> {
        match self {
            Bench::Paths(paths) => paths.run(trial, check),
            Bench::Listener(listener) => listener.run(trial, check, stage),
            Bench::Load(load) => load.run(trial, check, stage),
            Bench::Blocks(blocks) => blocks.run(trial, check),
            Bench::Group(group) => group.run(trial, stage),
            Bench::Assign(assign) => assign.run(trial, check),
            Bench::LookUps(look_ups) => look_ups.run(trial, check),
            Bench::Read(read) => read.run(trial, check),
            Bench::Client(client) => client.run(trial, check, stage),
        }
    }

    /// What comes after the last trial: untimed system-call traces, and what the trials have to tell together.
    ///
    /// # Errors
    /// A client fails, or Ctrl-C. That nothing can be traced here is a note on the stage.
    pub fn finish(&mut self, stage: &mut Stage, doing: impl Fn(&str)) -> anyhow::Result<Vec<TraceCount>> {
        match self {
            Bench::Listener(listener) => listener.traces(stage, doing),
            Bench::Load(load) => {
                load.tell(stage);
                Ok(Vec::new())
            }
            Bench::Paths(_)
            | Bench::Blocks(_)
            | Bench::Group(_)
            | Bench::Assign(_)
            | Bench::LookUps(_)
            | Bench::Read(_)
            | Bench::Client(_) => Ok(Vec::new()),
        }
    }
}
