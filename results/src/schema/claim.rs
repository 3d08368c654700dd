//! What an experiment's card claims.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Factors;

/// A claim and how it is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ClaimCard {
    /// The level beats the baseline by more than the margin.
    Faster {
        /// Unique inside the experiment.
        id: String,
        /// The claim in words.
        text: String,
        /// The deciding metric.
        metric: String,
        /// The level that is claimed to be better.
        level: String,
        /// The levels of other factors to which it is confined; empty is everywhere.
        #[serde(default, skip_serializing_if = "Factors::is_empty")]
        only: Factors,
    },
    /// The level is at least `ratio` times as good as the baseline.
    AtLeast {
        /// Unique inside the experiment.
        id: String,
        /// The claim in words.
        text: String,
        /// The deciding metric.
        metric: String,
        /// The level that is claimed to be better.
        level: String,
        /// The claimed size, e.g. 1.6.
        ratio: f64,
        /// Judged over all of its cells together and not in each.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        together: bool,
        /// The levels of other factors to which it is confined; empty is everywhere.
        #[serde(default, skip_serializing_if = "Factors::is_empty")]
        only: Factors,
    },
    /// The metric has exactly these counts.
    Counts {
        /// Unique inside the experiment.
        id: String,
        /// The claim in words.
        text: String,
        /// The deciding metric.
        metric: String,
        /// The claimed count per level of the treatment.
        expected: BTreeMap<String, f64>,
        /// The levels of other factors to which it is confined; empty is everywhere.
        #[serde(default, skip_serializing_if = "Factors::is_empty")]
        only: Factors,
    },
    /// The level keeps at least `ratio` of what it reaches at another level of `factor`.
    Keeps {
        /// Unique inside the experiment.
        id: String,
        /// The claim in words.
        text: String,
        /// The deciding metric.
        metric: String,
        /// The level of the treatment.
        level: String,
        /// The factor that is gone along.
        factor: String,
        /// Its level that the others are divided by.
        from: String,
        /// The level that is claimed of; absent for all others.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<String>,
        /// The claimed ratio to what is reached at `from`, e.g. 0.8.
        ratio: f64,
        /// The levels of other factors to which it is confined; empty is everywhere.
        #[serde(default, skip_serializing_if = "Factors::is_empty")]
        only: Factors,
    },
    /// The level reaches at least `ratio` of its physical limit.
    OfLimit {
        /// Unique inside the experiment.
        id: String,
        /// The claim in words.
        text: String,
        /// The deciding metric.
        metric: String,
        /// The level of the treatment.
        level: String,
        /// The claimed ratio to the limit in terms of better: 0.5 of a cost is at most twice the limit's.
        ratio: f64,
        /// The levels of other factors to which it is confined; empty is everywhere.
        #[serde(default, skip_serializing_if = "Factors::is_empty")]
        only: Factors,
    },
    /// The level itself comes to `bound` or better.
    Reaches {
        /// Unique inside the experiment.
        id: String,
        /// The claim in words.
        text: String,
        /// The deciding metric.
        metric: String,
        /// The level of the treatment.
        level: String,
        /// The claimed figure in the metric's unit: at most so much where less is better, otherwise at least.
        bound: f64,
        /// The levels of other factors to which it is confined; empty is everywhere.
        #[serde(default, skip_serializing_if = "Factors::is_empty")]
        only: Factors,
    },
}

impl ClaimCard {
    /// The claim's id, unique inside its experiment.
    pub fn id(&self) -> &str {
        match self {
            Self::Faster { id, .. }
            | Self::AtLeast { id, .. }
            | Self::Counts { id, .. }
            | Self::Keeps { id, .. }
            | Self::OfLimit { id, .. }
            | Self::Reaches { id, .. } => id,
        }
    }

    /// The claim in words.
    pub fn text(&self) -> &str {
        match self {
            Self::Faster { text, .. }
            | Self::AtLeast { text, .. }
            | Self::Counts { text, .. }
            | Self::Keeps { text, .. }
            | Self::OfLimit { text, .. }
            | Self::Reaches { text, .. } => text,
        }
    }

    /// The levels of other factors to which it is confined; empty is everywhere.
    pub fn only(&self) -> &Factors {
        match self {
            Self::Faster { only, .. }
            | Self::AtLeast { only, .. }
            | Self::Counts { only, .. }
            | Self::Keeps { only, .. }
            | Self::OfLimit { only, .. }
            | Self::Reaches { only, .. } => only,
        }
    }

    /// The name of the metric that decides it.
    pub fn metric(&self) -> &str {
        match self {
            Self::Faster { metric, .. }
            | Self::AtLeast { metric, .. }
            | Self::Counts { metric, .. }
            | Self::Keeps { metric, .. }
            | Self::OfLimit { metric, .. }
            | Self::Reaches { metric, .. } => metric,
        }
    }
}
