//! Names of the bugs that can be planted in the bundled broker or in clients, so that the checker itself is tested.
//!
//! Broker and clients carry the bugs; this module only names them and says which anomaly must be found.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use workloads::member::MemberBug;

/// A bug that the bundled broker, or a client, can be started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlantedBug {
    /// A batch is acknowledged before it is written.
    AckBeforeWrite,
    /// The CRC of an arriving batch is not checked.
    SkipCrc,
    /// What an idempotent producer repeats is appended again.
    ForgetSequences,
    /// Commits of members that are no longer in the group are accepted.
    ForgetToFenceGeneration,
    /// Members commit what they have not processed yet.
    CommitBeforeProcessing,
}

impl PlantedBug {
    /// Every bug there is.
    pub const ALL: [PlantedBug; 5] = [
        PlantedBug::AckBeforeWrite,
        PlantedBug::SkipCrc,
        PlantedBug::ForgetSequences,
        PlantedBug::ForgetToFenceGeneration,
        PlantedBug::CommitBeforeProcessing,
    ];

    /// Whether the broker carries it; the others are carried by clients.
    pub fn is_in_the_broker(self) -> bool {
        self.in_a_member().is_none()
    }

    /// The bug that members of a group carry.
    pub fn in_a_member(self) -> Option<MemberBug> {
        (self == PlantedBug::CommitBeforeProcessing).then_some(MemberBug::CommitBeforeProcessing)
    }

    /// The name on the command line and in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            PlantedBug::AckBeforeWrite => "ack-before-write",
            PlantedBug::SkipCrc => "skip-crc",
            PlantedBug::ForgetSequences => "forget-sequences",
            PlantedBug::ForgetToFenceGeneration => "forget-to-fence-generation",
            PlantedBug::CommitBeforeProcessing => "commit-before-processing",
        }
    }

    /// The invariant that has to be blamed when the bug is planted.
    pub fn breaks(self) -> &'static str {
        match self {
            PlantedBug::AckBeforeWrite => "lost",
            PlantedBug::SkipCrc => "torn",
            PlantedBug::ForgetSequences => "log_duplicates",
            PlantedBug::ForgetToFenceGeneration => "zombie_overlap",
            PlantedBug::CommitBeforeProcessing => "unprocessed",
        }
    }
}

impl fmt::Display for PlantedBug {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A name that is no planted bug.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no planted bug is called {0:?}; there are: ack-before-write, skip-crc, forget-sequences, forget-to-fence-generation, commit-before-processing"
)]
pub struct UnknownBug(String);

impl FromStr for PlantedBug {
    type Err = UnknownBug;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|bug| bug.name() == name)
            .ok_or_else(|| UnknownBug(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_are_all_in_the_error() {
        for bug in PlantedBug::ALL {
            assert_eq!(bug.name().parse(), Ok(bug));
            assert_eq!(serde_json::to_string(&bug).unwrap(), format!("\"{bug}\""));
            let error = "no-such".parse::<PlantedBug>().unwrap_err().to_string();
            assert!(error.contains(bug.name()), "{error}");
        }
    }
}
