//! `assay list` and `assay show`: what there is, and how it is judged.

use std::process::ExitCode;

use anyhow::bail;
use workloads::definition::{self, Claim, Definition, KAFKA, ProfileName, Role, TARGET_FACTOR};
use workloads::facts::{self, FactsDefinition};

use crate::output::{self, wrapped};

/// Print one experiment: claim, source, factors, how it is judged
#[derive(clap::Args)]
pub struct ShowArgs {
    /// Name as in `assay list`
    name: String,
    /// Only the definition for this target: bundled or kafka
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// Print the definition file itself, to copy and change
    #[arg(long)]
    toml: bool,
}

fn embedded() -> anyhow::Result<Vec<Definition>> {
    definition::embedded().map_err(|error| anyhow::anyhow!("{:?}", miette::Report::new(*error)))
}

fn embedded_facts() -> anyhow::Result<Vec<FactsDefinition>> {
    facts::embedded().map_err(|error| anyhow::anyhow!("{:?}", miette::Report::new(*error)))
}

/// Columns of a name in the list, with the gap behind it.
const NAME_WIDTH: usize = 22;
/// Where the text behind it begins.
const TEXT_INDENT: usize = NAME_WIDTH + 2;

/// Names and questions.
pub fn list() -> anyhow::Result<ExitCode> {
    let width = output::text_width();
    outln!("Experiments (assay run NAME, assay show NAME):");
    for definition in embedded()? {
        let on = match definition.target == KAFKA {
            true => format!(" (--target {KAFKA})"),
            false => String::new(),
        };
        outln!(
            "  {:NAME_WIDTH$}{}",
            definition.name,
            wrapped(&format!("{}{on}", definition.title), TEXT_INDENT, width)
        );
    }
    for facts in embedded_facts()? {
        outln!(
            "  {:NAME_WIDTH$}{}",
            facts.name,
            wrapped(&facts.title, TEXT_INDENT, width)
        );
    }
    outln!("\nFault scenarios (assay chaos run NAME, assay chaos show NAME):");
    for name in chaos::scenario::embedded_names() {
        let scenario = chaos::Scenario::load(&name).map_err(|e| anyhow::anyhow!("{:?}", miette::Report::new(e)))?;
        outln!("  {name:NAME_WIDTH$}{}", wrapped(&scenario.why, TEXT_INDENT, width));
    }
    Ok(ExitCode::SUCCESS)
}

/// Everything about one experiment.
pub fn show(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    if let Some(definition) = embedded_facts()?.iter().find(|facts| facts.name == args.name) {
        match args.toml {
            true => facts::embedded_texts()
                .filter(|(path, _)| path.split('.').next() == Some(args.name.as_str()))
                .for_each(|(_, text)| out!("{text}")),
            false => out!("{}", describe_facts(definition)),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let all = embedded()?;
    let named: Vec<&Definition> = all.iter().filter(|d| d.name == args.name).collect();
    if named.is_empty() {
        let facts = embedded_facts()?;
        let names = all.iter().map(|d| d.name.as_str());
        let mut known: Vec<&str> = names.chain(facts.iter().map(|facts| facts.name.as_str())).collect();
        known.sort_unstable();
        known.dedup();
        bail!(
            "there is no experiment '{}'; there are: {}",
            args.name,
            known.join(", ")
        );
    }
    let is_asked = |d: &&Definition| args.target.as_ref().is_none_or(|target| d.targets().contains(target));
    let asked: Vec<&Definition> = named.iter().copied().filter(is_asked).collect();
    let Some(first) = asked.first() else {
        let targets: Vec<String> = named.iter().flat_map(|d| d.targets()).collect();
        bail!("{} has definitions for {}", args.name, targets.join(", "));
    };
    if args.toml {
        // One file, so that what is printed is a definition.
        let texts = definition::embedded_texts();
        texts
            .filter(|(path, _)| *path == first.file_name())
            .for_each(|(_, text)| out!("{text}"));
        for other in &asked[1..] {
            errln!(
                "there is another definition of {}: --target {}",
                other.name,
                other.target
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    for (place, definition) in asked.into_iter().enumerate() {
        if place > 0 {
            outln!();
        }
        out!("{}", describe(definition));
    }
    Ok(ExitCode::SUCCESS)
}

fn describe_facts(definition: &FactsDefinition) -> String {
    let width = output::text_width();
    let mut text = format!(
        "{}: {}\n\n  {}\n\nStatements\n",
        definition.name,
        definition.title,
        wrapped(definition.why.trim(), 2, width)
    );
    for fact in &definition.facts {
        text.push_str(&format!(
            "  {}\n    {}\n",
            fact.id,
            wrapped(fact.statement.trim(), 4, width)
        ));
    }
    text
}

fn describe(definition: &Definition) -> String {
    let width = output::text_width();
    let on = match definition.treatment == TARGET_FACTOR {
        true => definition.targets().join(" and "),
        false => definition.target.clone(),
    };
    let mut text = format!("{} (on {on}): {}\n\n", definition.name, definition.title);
    let mut part = |title: &str, body: &str| {
        if !body.is_empty() {
            text.push_str(&format!("{title}\n"));
            for line in body.trim().lines() {
                let indent = 2 + line.len() - line.trim_start().len();
                text.push_str(&format!("{:indent$}{}\n", "", wrapped(line, indent, width)));
            }
        }
    };
    part("The folklore", &definition.claim);
    part("Source", &definition.source);
    part("Why", &definition.why);
    part("Published by others", &definition.published.join("\n"));
    let factor = |f: &definition::Factor| {
        let role = match f.name == definition.treatment {
            true => format!(" (under test, against {})", definition.baseline),
            false => String::new(),
        };
        format!("{}: {}{role}", f.name, f.levels.join(", "))
    };
    part(
        "Factors",
        &definition.factors.iter().map(factor).collect::<Vec<_>>().join("\n"),
    );
    let settings: Vec<String> = definition.settings.iter().map(|(k, v)| format!("{k} = {v}")).collect();
    part("Held still", &settings.join("\n"));
    for (target, settings) in &definition.settings_of {
        let settings: Vec<String> = settings.iter().map(|(k, v)| format!("{k} = {v}")).collect();
        part(&format!("Held still on {target}"), &settings.join("\n"));
    }
    part("What else differs", &definition.also_differs.join("\n"));
    let claims: Vec<String> = definition.claims.iter().map(|c| judged(definition, c)).collect();
    part("Claims and how they are judged", &claims.join("\n"));
    for name in [ProfileName::Quick, ProfileName::Full] {
        let profile = definition.profile(name);
        let count = |role: Role| profile.arms.iter().filter(|a| a.role == role).count();
        let trials = profile.arms.len() as u64 * u64::from(profile.blocks);
        let body = format!(
            "{} arms ({} measured, {} A/A, {} limits) x {} blocks x {} ms = {trials} trials",
            profile.arms.len(),
            count(Role::Measured),
            count(Role::Control),
            count(Role::Limit),
            profile.blocks,
            profile.window_ms
        );
        part(&format!("Profile {}", name.as_str()), &body);
    }
    text
}

fn judged(definition: &Definition, claim: &Claim) -> String {
    let margin = definition.margin * 100.0;
    let only: Vec<String> = claim
        .only()
        .iter()
        .map(|(factor, level)| format!("{factor} {level}"))
        .collect();
    let only = match only.is_empty() {
        true => String::new(),
        false => format!(", only at {}", only.join(", ")),
    };
    match claim {
        Claim::Faster {
            id,
            text,
            metric,
            level,
            ..
        } => format!(
            "{id}: {}\n    {metric} of {level} against {}, beyond a margin of {margin} %, Holm over the cells{only}",
            text.trim(),
            definition.baseline
        ),
        Claim::AtLeast {
            id,
            text,
            metric,
            level,
            ratio,
            together,
            ..
        } => {
            let together = match together {
                true => ", over all cells together",
                false => "",
            };
            format!(
                "{id}: {}\n    the interval of {metric} of {level} lies above {ratio}, or below it{together}{only}",
                text.trim()
            )
        }
        Claim::Keeps {
            id,
            text,
            metric,
            level,
            factor,
            from,
            at,
            ratio,
            ..
        } => {
            let at = at
                .as_ref()
                .map_or("each other level".to_owned(), |at| format!("{factor} {at}"));
            format!(
                "{id}: {}\n    {metric} of {level} at {at} against {factor} {from}: the interval lies above {ratio}, or below it{only}",
                text.trim()
            )
        }
        Claim::OfLimit {
            id,
            text,
            metric,
            level,
            ratio,
            ..
        } => {
            format!(
                "{id}: {}\n    {metric} of {level} against its physical limit: the interval lies above {ratio} (turned round where less is better), or below it{only}",
                text.trim()
            )
        }
        Claim::Reaches {
            id,
            text,
            metric,
            level,
            bound,
            ..
        } => {
            format!(
                "{id}: {}\n    {metric} of {level} itself against {bound}: the interval lies on the better side of it, or on the other{only}",
                text.trim()
            )
        }
        Claim::Counts {
            id,
            text,
            metric,
            expected,
            ..
        } => {
            let counts: Vec<String> = expected
                .iter()
                .map(|(level, count)| format!("{level} {count}"))
                .collect();
            format!(
                "{id}: {}\n    {metric} counted exactly: {}{only}",
                text.trim(),
                counts.join(", ")
            )
        }
    }
}
