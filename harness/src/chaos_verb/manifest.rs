//! `manifest.json` of a chaos run: who ran what, where, against what. With `scenario.json` and `schedule.json` beside it, a run can be
//! carried out again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use chaos::PlantedBug;
use results::schema::{MachineReceipt, TargetReceipt, file};
use serde::{Deserialize, Serialize};

/// The version of the layout.
pub const SCHEMA_VERSION: u32 = 1;

/// Everything a reader needs beside histories and findings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA_VERSION`] when written by this code.
    pub schema_version: u32,
    /// The scenario's name.
    pub scenario: String,
    /// Digest of the scenario's file.
    pub scenario_digest: String,
    /// The command line, word by word.
    pub command: Vec<String>,
    /// When the run began, RFC 3339 in UTC.
    pub started_utc: String,
    /// The seed that the schedule and the load were drawn from.
    pub seed: u64,
    /// Number of faults in the schedule.
    pub faults: u32,
    /// The bug that was planted into the target, if any.
    pub planted: Option<PlantedBug>,
    /// What was broken, as `--target` names it; manifests of earlier versions mean the bundled broker.
    #[serde(default)]
    pub target: Option<String>,
    /// Whether members reached it through a proxy that read what they said to each other.
    #[serde(default)]
    pub traced: bool,
    /// Whose client members of a group are, with its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_client: Option<String>,
    /// The target's settings as given by `--set`.
    pub settings: BTreeMap<String, String>,
    /// What was put in front of the names of topics and group, on a broker that others use, too.
    #[serde(default)]
    pub names_behind: String,
    /// The run folder's name whose schedule was carried out again.
    pub replay_of: Option<String>,
    /// The version of Assay that ran it.
    pub assay_version: String,
    /// The revision it was built from, when known.
    pub git_revision: Option<String>,
    /// The machine it ran on.
    pub machine: MachineReceipt,
    /// What was broken, with the settings in force.
    pub targets: Vec<TargetReceipt>,
}

impl Manifest {
    /// Where it lies.
    pub fn path_in(folder: &Path) -> PathBuf {
        folder.join(file::MANIFEST)
    }

    /// Writes it into a run folder.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let path = Self::path_in(folder);
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))
    }
}
