//! One metric of one arm in both runs, and what became of it.

use std::fmt;

use crate::analysis::Cell;
use crate::estimate::CONFIDENCE;

use super::judge::Evidence;
use super::welch::Difference;

/// What became of one figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// Surely worse by more than the margin.
    Regressed,
    /// Surely better by more than the margin.
    Improved,
    /// Surely different by more than the margin, and no side of it is the better one.
    Changed,
    /// Surely inside the margin.
    Equivalent,
    /// The very same figures, block by block.
    Equal,
    /// Too wide, or below the A/A spread. Never a success.
    Inconclusive,
    /// Something stands in the way.
    Incomparable,
}

impl Change {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Self; 7] = [
        Self::Regressed,
        Self::Changed,
        Self::Improved,
        Self::Equivalent,
        Self::Equal,
        Self::Inconclusive,
        Self::Incomparable,
    ];

    /// The word in capitals, as in every file and table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Regressed => "REGRESSED",
            Self::Improved => "IMPROVED",
            Self::Changed => "CHANGED",
            Self::Equivalent => "EQUIVALENT",
            Self::Equal => "EQUAL",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Incomparable => "INCOMPARABLE",
        }
    }

    /// Whether a gate must not let it pass as "nothing got worse". A figure without a better side that changed is one.
    pub fn is_violation(self) -> bool {
        matches!(self, Self::Regressed | Self::Changed)
    }

    /// Whether nothing is known from it.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Inconclusive | Self::Incomparable)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// What the figures of both sides of a row were held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// Nothing: the absolute figures are compared.
    Nothing,
    /// The bare loop of the same cell and block, by its level.
    Limit(String),
    /// The baseline of the same cell and block, by its level.
    Baseline(String),
}

impl Reference {
    /// The level, or `absolute`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Nothing => "absolute",
            Self::Limit(level) | Self::Baseline(level) => level,
        }
    }
}

/// One run's side of a row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Side {
    /// The mean of the metric, in its unit.
    pub figure: Option<f64>,
    /// What was compared: the ratio to the reference, or the figure itself.
    pub compared: Option<f64>,
    /// How many blocks went in.
    pub blocks: usize,
}

/// The ratio of what was compared, B/A.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// The ratio of the geometric means.
    pub ratio: f64,
    /// The ends of its interval of [`crate::estimate::CONFIDENCE`].
    pub interval: (f64, f64),
}

/// One metric of one arm.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The cell.
    pub cell: Cell,
    /// The level of the treatment.
    pub level: String,
    /// The metric's name.
    pub metric: String,
    /// What both sides were held against.
    pub reference: Reference,
    /// The first run.
    pub a: Side,
    /// The second run.
    pub b: Side,
    /// Absent where there is none: zeros, gaps, incomparable runs.
    pub ratio: Option<Ratio>,
    /// The ratios between which nothing is called a difference.
    pub margin: (f64, f64),
    /// The A/A spread of both runs together, relative: 0.03 says that equal arms may differ by 3 %. Of an absolute figure at
    /// least what the bare loops moved by. No smaller effect is called one.
    pub spread: f64,
    /// The p value against "not below the margin", corrected over the rows that were judged together.
    pub p_below: Option<f64>,
    /// The p value against "not above the margin", corrected likewise.
    pub p_above: Option<f64>,
    /// Whether it decides, or only explains.
    pub gates: bool,
    /// What became of it.
    pub change: Change,
    /// Why, where the figures alone do not tell.
    pub why: String,
    /// What is known of it as long as it is not judged.
    pub(super) evidence: Option<Evidence>,
}

impl Ratio {
    pub(super) fn of(difference: &Difference) -> Self {
        let (low, high) = difference.interval(CONFIDENCE);
        Self {
            ratio: difference.mean().exp(),
            interval: (low.exp(), high.exp()),
        }
    }

    /// Whether it is one of counts, which don't vary.
    pub fn is_exact(&self) -> bool {
        self.interval.0 == self.interval.1
    }
}

impl Side {
    pub(super) fn absolute(figure: Option<f64>, blocks: usize) -> Self {
        Self {
            figure,
            compared: figure,
            blocks,
        }
    }
}
