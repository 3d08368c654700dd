//! From a definition (what `workloads` knows) to the card in the manifest (what `results` needs).

use results::schema::{Better, ClaimCard, ExperimentCard, FactorCard, Factors, MetricCard, PlannedTrial, TrialRole};
use workloads::definition::{self, Claim, Definition, Role};

/// The card of an experiment that is run in `blocks` blocks.
pub fn card(definition: &Definition, blocks: u32) -> ExperimentCard {
    let factor = |f: &definition::Factor| FactorCard {
        name: f.name.clone(),
        label: f.label.clone(),
        unit: f.unit.clone(),
        levels: f.levels.clone(),
    };
    let metric = |m: &definition::Metric| MetricCard {
        name: m.name.clone(),
        label: m.label.clone(),
        unit: m.unit.clone(),
        better: match m.better {
            definition::Better::Higher => Better::Higher,
            definition::Better::Lower => Better::Lower,
            definition::Better::Neither => Better::Neither,
        },
        chart: m.chart,
    };
    ExperimentCard {
        name: definition.name.clone(),
        target: definition.target.clone(),
        title: definition.title.clone(),
        claim: definition.claim.clone(),
        source: definition.source.clone(),
        why: definition.why.clone(),
        published: definition.published.clone(),
        definition_sha: definition.digest.clone(),
        transport: definition.transport.clone(),
        factors: definition.factors.iter().map(factor).collect(),
        treatment: definition.treatment.clone(),
        baseline: definition.baseline.clone(),
        focus: definition.focus.clone(),
        also_differs: definition.also_differs.clone(),
        margin: definition.margin,
        blocks,
        metrics: definition.metrics.iter().map(metric).collect(),
        deciding_metric: definition.deciding_metric.clone(),
        claims: definition.claims.iter().map(claim).collect(),
        limits: definition.limit.clone(),
    }
}

fn claim(claim: &Claim) -> ClaimCard {
    match claim.clone() {
        Claim::Faster {
            id,
            text,
            metric,
            level,
            only,
        } => ClaimCard::Faster {
            id,
            text,
            metric,
            level,
            only,
        },
        Claim::AtLeast {
            id,
            text,
            metric,
            level,
            ratio,
            together,
            only,
        } => ClaimCard::AtLeast {
            id,
            text,
            metric,
            level,
            ratio,
            together,
            only,
        },
        Claim::Counts {
            id,
            text,
            metric,
            expected,
            only,
        } => ClaimCard::Counts {
            id,
            text,
            metric,
            expected,
            only,
        },
        Claim::Keeps {
            id,
            text,
            metric,
            level,
            factor,
            from,
            at,
            ratio,
            only,
        } => ClaimCard::Keeps {
            id,
            text,
            metric,
            level,
            factor,
            from,
            at,
            ratio,
            only,
        },
        Claim::OfLimit {
            id,
            text,
            metric,
            level,
            ratio,
            only,
        } => ClaimCard::OfLimit {
            id,
            text,
            metric,
            level,
            ratio,
            only,
        },
        Claim::Reaches {
            id,
            text,
            metric,
            level,
            bound,
            only,
        } => ClaimCard::Reaches {
            id,
            text,
            metric,
            level,
            bound,
            only,
        },
    }
}

/// A planned trial in the words of the run folder.
pub fn planned(trial: &workloads::plan::PlannedTrial) -> PlannedTrial {
    PlannedTrial {
        trial: trial.trial,
        experiment: trial.experiment.clone(),
        target: trial.target.clone(),
        block: trial.block,
        position: trial.position,
        arm: trial.arm.clone(),
        role: match trial.role {
            Role::Measured => TrialRole::Measured,
            Role::Control => TrialRole::Control,
            Role::Limit => TrialRole::Limit,
        },
        factors: Factors::clone(&trial.factors),
        seed: trial.seed,
    }
}
