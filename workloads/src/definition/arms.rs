//! The arms of a profile: small cross products of levels, or the whole grid, with their limits and A/A controls.

use super::check::{Checked, Source, check_cold_fits};
use super::wire::{self, CellValue};
use super::{ARMS_MAX, Arm, BLOCKS_MAX, Factor, Profile, Role, Work, client, group, read};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use toml::Spanned;

/// What the cells of a profile are made from.
pub(super) struct Grid<'a> {
    pub factors: &'a [Factor],
    pub treatment: &'a str,
    pub baseline: &'a str,
    /// Bare loop -> levels that it stands for.
    pub limit: &'a BTreeMap<String, Vec<String>>,
    pub work: Work,
    /// Stands in front of the names of the arms; may be empty.
    pub prefix: &'a str,
}

/// One entry of `cells`: levels per factor in the order of the factors, and its switches.
struct Cell {
    span: Range<usize>,
    levels: Vec<Vec<String>>,
    /// Bare loops that run in it.
    limit: Vec<String>,
    control: bool,
}

pub(super) fn expand(
    source: &Source<'_>,
    grid: &Grid<'_>,
    name: &str,
    profile: &Spanned<wire::Profile>,
) -> Checked<Profile> {
    let (wire, span) = (profile.get_ref(), profile.span());
    let blocks = *wire.blocks.get_ref();
    if blocks == 0 || blocks > BLOCKS_MAX {
        let remedy = format!("between 1 and {BLOCKS_MAX}; fewer than 6 give wide intervals");
        return source.fail(
            wire.blocks.span(),
            format!("profile `{name}` has {blocks} blocks"),
            remedy,
        );
    }
    for (what, value, low) in [("warmup_ms", &wire.warmup_ms, 0), ("window_ms", &wire.window_ms, 1)] {
        if *value.get_ref() < low || *value.get_ref() > 600_000 {
            let remedy = format!("between {low} and 600000 ms");
            return source.fail(value.span(), format!("{what} is {}", value.get_ref()), remedy);
        }
    }
    let mut cells = Vec::new();
    if wire.grid {
        let levels = grid.factors.iter().map(|factor| factor.levels.clone()).collect();
        cells.push(Cell {
            span: span.clone(),
            levels,
            limit: limits(source, grid, &span, wire.limit)?,
            control: wire.control,
        });
    } else if wire.limit || wire.control {
        let remedy = "put `limit = true` or `control = true` into a cell, or set `grid = true`";
        return source.fail(
            span,
            format!("profile `{name}` has a switch that only a grid reads"),
            remedy,
        );
    }
    for cell in &wire.cells {
        cells.push(read_cell(source, grid, cell)?);
    }

    let mut arms = Vec::new();
    let mut ids = BTreeSet::new();
    for cell in &cells {
        for arm in cell_arms(source, grid, cell)? {
            if !ids.insert(arm.id.clone()) {
                let remedy = "each combination belongs to one entry of `cells` (and to none when `grid = true`)";
                return source.fail(cell.span.clone(), format!("arm `{}` is there twice", arm.id), remedy);
            }
            arms.push(arm);
        }
    }
    if arms.is_empty() {
        return source.fail(
            span,
            format!("profile `{name}` has no arm"),
            "list `cells`, or set `grid = true`",
        );
    }
    if arms.len() > ARMS_MAX {
        let message = format!("profile `{name}` has {} arms", arms.len());
        return source.fail(span, message, format!("at most {ARMS_MAX}: list fewer levels"));
    }
    Ok(Profile {
        blocks,
        warmup_ms: *wire.warmup_ms.get_ref(),
        window_ms: *wire.window_ms.get_ref(),
        arms,
    })
}

fn read_cell(
    source: &Source<'_>,
    grid: &Grid<'_>,
    cell: &Spanned<BTreeMap<Spanned<String>, Spanned<CellValue>>>,
) -> Checked<Cell> {
    let mut read = Cell {
        span: cell.span(),
        levels: vec![Vec::new(); grid.factors.len()],
        limit: Vec::new(),
        control: false,
    };
    for (key, value) in cell.get_ref() {
        let known = || {
            grid.factors
                .iter()
                .map(|factor| factor.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let position = grid.factors.iter().position(|factor| factor.name == *key.get_ref());
        match (key.get_ref().as_str(), value.get_ref(), position) {
            ("limit", CellValue::Switch(on), _) => read.limit = limits(source, grid, &value.span(), *on)?,
            ("limit", CellValue::Levels(loops), _) => {
                for bare in loops {
                    let text = Spanned::new(bare.span(), bare.get_ref().0.clone());
                    read.limit.push(source.known("bare loop", &text, grid.limit.keys())?);
                }
            }
            ("control", CellValue::Switch(on), _) => read.control = *on,
            (_, CellValue::Levels(levels), Some(position)) => {
                let factor = &grid.factors[position];
                for level in levels {
                    let text = Spanned::new(level.span(), level.get_ref().0.clone());
                    read.levels[position].push(source.known(
                        &format!("level of `{}`", factor.name),
                        &text,
                        &factor.levels,
                    )?);
                }
                if levels.is_empty() {
                    return source.fail(
                        value.span(),
                        format!("no level of `{}`", factor.name),
                        "list at least one",
                    );
                }
            }
            ("control", _, _) => {
                return source.fail(
                    value.span(),
                    format!("`{}` is a switch", key.get_ref()),
                    "write true or false",
                );
            }
            (name, CellValue::Switch(_), Some(_)) => {
                return source.fail(
                    value.span(),
                    format!("`{name}` is a factor"),
                    "write a list of its levels",
                );
            }
            (name, _, None) => {
                let remedy = format!("a factor ({}), or `limit` or `control`", known());
                return source.fail(key.span(), format!("unknown factor `{name}` in a cell"), remedy);
            }
        }
    }
    for (factor, levels) in grid.factors.iter().zip(&mut read.levels) {
        if levels.is_empty() {
            let [only] = factor.levels.as_slice() else {
                let remedy = format!(
                    "add `\"{}\" = [..]` with some of: {}",
                    factor.name,
                    factor.levels.join(", ")
                );
                return source.fail(cell.span(), format!("the cell does not say `{}`", factor.name), remedy);
            };
            levels.push(only.clone());
        }
    }
    Ok(read)
}

fn cell_arms(source: &Source<'_>, grid: &Grid<'_>, cell: &Cell) -> Checked<Vec<Arm>> {
    let treatment = grid
        .factors
        .iter()
        .position(|factor| factor.name == grid.treatment)
        .unwrap_or_default();
    let has_baseline = cell.levels[treatment].iter().any(|level| level == grid.baseline);
    if !has_baseline {
        let message = format!("the cell has no `{}`, so there is nothing to divide by", grid.baseline);
        return source.fail(
            cell.span.clone(),
            message,
            format!("add the baseline to `{}`", grid.treatment),
        );
    }
    let product: usize = cell.levels.iter().map(Vec::len).fold(1, usize::saturating_mul);
    if product > ARMS_MAX {
        return source.fail(
            cell.span.clone(),
            format!("the cell has {product} arms"),
            format!("at most {ARMS_MAX}: list fewer levels"),
        );
    }

    let mut arms = Vec::new();
    for levels in cross_product(&cell.levels) {
        let of = |name: &str| {
            grid.factors
                .iter()
                .position(|f| f.name == name)
                .map(|position| levels[position].as_str())
        };
        if let (Some("cold"), Some(Ok(bytes)), Work::Fetch(fetch)) =
            (of("cache"), of("response_bytes").map(str::parse), &grid.work)
        {
            check_cold_fits(source, cell.span.clone(), bytes, fetch)?;
        }
        read::check_cell(source, cell.span.clone(), of)?;
        if let Work::Client(client) = grid.work {
            let named = grid.factors.iter().zip(&levels);
            let named = named.map(|(factor, level)| (factor.name.as_str(), level.as_str()));
            client::check_cell(source, cell.span.clone(), client, named)?;
        }
        if let Work::Group(group) = grid.work {
            let named = grid.factors.iter().zip(&levels);
            let named = named.map(|(factor, level)| (factor.name.as_str(), level.as_str()));
            group::check_cell(source, cell.span.clone(), group, named)?;
        }
        arms.push(arm(grid, Role::Measured, &levels));
        // One cell is all levels but the treatment's: its extra arms come with the baseline.
        if levels[treatment] != grid.baseline {
            continue;
        }
        if cell.control {
            arms.push(arm(grid, Role::Control, &levels));
        }
        for bare in &cell.limit {
            let mut levels = levels.clone();
            levels[treatment].clone_from(bare);
            arms.push(arm(grid, Role::Limit, &levels));
        }
    }
    Ok(arms)
}

/// All bare loops, when they are switched on.
fn limits(source: &Source<'_>, grid: &Grid<'_>, span: &Range<usize>, on: bool) -> Checked<Vec<String>> {
    if on && grid.limit.is_empty() {
        let message = "`limit = true` without a `[limit]` table";
        return source.fail(span.clone(), message, "say which bare loops there are");
    }
    Ok(grid.limit.keys().filter(|_| on).cloned().collect())
}

fn cross_product(levels: &[Vec<String>]) -> Vec<Vec<String>> {
    levels.iter().fold(vec![Vec::new()], |rows, next| {
        let with = |row: &Vec<String>, level: &String| row.iter().chain([level]).cloned().collect();
        rows.iter()
            .flat_map(|row| next.iter().map(move |level| with(row, level)))
            .collect()
    })
}

fn arm(grid: &Grid<'_>, role: Role, levels: &[String]) -> Arm {
    let named = || grid.factors.iter().zip(levels);
    let shown: Vec<String> = named()
        .map(|(factor, level)| shown_level(&factor.unit, level))
        .collect();
    let control = if role == Role::Control { "control/" } else { "" };
    let target = if grid.prefix.is_empty() {
        String::new()
    } else {
        format!("{}/", grid.prefix)
    };
    Arm {
        id: format!("{target}{control}{}", shown.join("/")),
        role,
        factors: named()
            .map(|(factor, level)| (factor.name.clone(), level.clone()))
            .collect(),
    }
}

/// `1048576` bytes as `1MiB`; exact sizes only, all others stay digits.
fn shown_level(unit: &str, level: &str) -> String {
    match level.parse::<u64>() {
        Ok(bytes) if unit == "bytes" && bytes >= 1 << 20 && bytes % (1 << 20) == 0 => format!("{}MiB", bytes >> 20),
        Ok(bytes) if unit == "bytes" && bytes >= 1 << 10 && bytes % (1 << 10) == 0 => format!("{}KiB", bytes >> 10),
        _ => level.to_owned(),
    }
}
