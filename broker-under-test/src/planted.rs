//! Defects that can be planted into the broker, so that a checker can be checked.
//!
//! One is active only when the environment variable [`ENVIRONMENT`] and the flag `--planted` name the same, and it is
//! logged at start. Each is asked for once per batch or request.

use std::str::FromStr;

/// The environment variable that must name the bug beside the flag.
pub const ENVIRONMENT: &str = "ASSAY_PLANTED_BUG";

/// A planted defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlantedBug {
    /// Every 64th batch is acknowledged and never written.
    AckBeforeWrite,
    /// A batch whose CRC is wrong is stored.
    SkipCrc,
    /// What an idempotent producer repeats is appended again.
    ForgetSequences,
    /// A commit of a member that is fenced, or of an earlier generation, is accepted.
    ForgetToFenceGeneration,
}

impl PlantedBug {
    /// All of them, with their names.
    pub const ALL: [(PlantedBug, &'static str); 4] = [
        (PlantedBug::AckBeforeWrite, "ack-before-write"),
        (PlantedBug::SkipCrc, "skip-crc"),
        (PlantedBug::ForgetSequences, "forget-sequences"),
        (PlantedBug::ForgetToFenceGeneration, "forget-to-fence-generation"),
    ];
}

impl FromStr for PlantedBug {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        let names = Self::ALL.map(|(_, name)| name).join(", ");
        found
            .map(|(bug, _)| *bug)
            .ok_or_else(|| format!("there is no planted bug '{text}'; there are {names}"))
    }
}
