//! What stands in the way of comparing two runs.
//!
//! A reason either forbids every comparison, or those of figures that depend on the machine: how many bytes are copied and
//! which calls move the records follow from the code and the sizes alone, so such counts may be held against each other
//! wherever they were made.

use std::collections::BTreeSet;

use crate::figures;
use crate::schema::{ClaimCard, ExperimentCard, MachineReceipt, Manifest, TargetReceipt};

/// Counts that follow from the code and the sizes alone. What a claim counts exactly is one of them in any case.
const COUNTS: [&str; 3] = [
    "body_switches_per_response",
    "user_copied_bytes_per_byte",
    "response_bytes_achieved",
];
/// Memory is told with what the kernel keeps for itself, which varies a little.
const MEMORY_TOLERANCE: f64 = 0.02;
/// The entropy of generated records varies with the seed.
const ENTROPY_TOLERANCE_BITS: f64 = 0.1;

/// Reasons against comparing an experiment's figures, in whole clauses that name both sides: `kernel: 6.1 in A, 6.8 in B`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reasons {
    /// These forbid every comparison.
    pub all: Vec<String>,
    /// These forbid all but that of counts.
    pub machine: Vec<String>,
}

impl Reasons {
    /// Whether nothing stands in the way.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.machine.is_empty()
    }

    /// All of them, one after the other.
    pub fn told(&self) -> impl Iterator<Item = &str> {
        self.all.iter().chain(&self.machine).map(String::as_str)
    }
}

/// Whether a metric counts something that no machine and no clock has a part in.
pub fn is_count(card: &ExperimentCard, metric: &str) -> bool {
    let counted = |claim: &ClaimCard| matches!(claim, ClaimCard::Counts { metric: of, .. } if of == metric);
    COUNTS.contains(&metric) || card.claims.iter().any(counted)
}

/// Where the machines differ.
pub(super) fn machines(a: &MachineReceipt, b: &MachineReceipt) -> Vec<String> {
    let known = |value: Option<String>| value.unwrap_or_else(|| "not known".to_owned());
    let is_like = |one: u64, other: u64| (one as f64 - other as f64).abs() <= MEMORY_TOLERANCE * one as f64;
    let memory = |machine: &MachineReceipt| figures::bytes(machine.memory_bytes as f64);
    let l3 = |machine: &MachineReceipt| known(machine.l3_cache_bytes.map(|bytes| figures::bytes(bytes as f64)));
    let read_ahead = |machine: &MachineReceipt| known(machine.read_ahead_kib.map(|kib| format!("{kib} KiB")));
    let virtualised = |machine: &MachineReceipt| {
        known(
            machine
                .virtualised
                .map(|virtualised| if virtualised { "yes" } else { "no" }.to_owned()),
        )
    };
    let mut rows = vec![
        ("CPU", a.cpu_model.clone(), b.cpu_model.clone()),
        ("cores", a.cores.to_string(), b.cores.to_string()),
        ("kernel", a.kernel.clone(), b.kernel.clone()),
        ("file system", a.filesystem.clone(), b.filesystem.clone()),
        ("L3 cache", l3(a), l3(b)),
        ("read-ahead", read_ahead(a), read_ahead(b)),
        ("virtual machine", virtualised(a), virtualised(b)),
        (
            "clock resolution",
            format!("{} ns", a.clock_resolution_ns),
            format!("{} ns", b.clock_resolution_ns),
        ),
    ];
    if !is_like(a.memory_bytes, b.memory_bytes) {
        rows.push(("memory", memory(a), memory(b)));
    }
    rows.into_iter()
        .filter_map(|(name, a, b)| unlike(name, &a, &b))
        .collect()
}

/// What stands in the way between a card of each run, but for the machines.
pub(super) fn conditions(a: (&Manifest, &ExperimentCard), b: (&Manifest, &ExperimentCard)) -> Reasons {
    let ((of_a, card_a), (of_b, card_b)) = (a, b);
    let mut all = definitions(card_a, card_b);
    all.extend(unlike("profile", &of_a.profile, &of_b.profile));
    let window = |manifest: &Manifest| {
        option(&manifest.command, "--window-ms").map_or("the profile's".to_owned(), |window| format!("{window} ms"))
    };
    all.extend(unlike("window", &window(of_a), &window(of_b)));
    all.extend(payloads(&of_a.machine, &of_b.machine));
    for receipt_a in of_a.targets.iter().filter(|receipt| bears_on(card_a, receipt)) {
        match of_b.targets.iter().find(|receipt| receipt.name == receipt_a.name) {
            Some(receipt_b) => all.extend(targets(receipt_a, receipt_b)),
            None => all.push(format!("{} was measured in A only", receipt_a.name)),
        }
    }
    let is_new = |receipt: &&TargetReceipt| of_a.targets.iter().all(|other| other.name != receipt.name);
    let new = of_b.targets.iter().filter(|receipt| bears_on(card_b, receipt));
    all.extend(
        new.filter(is_new)
            .map(|receipt| format!("{} was measured in B only", receipt.name)),
    );
    let transport = |manifest: &Manifest, card: &ExperimentCard| match card.transport.as_str() {
        "" => manifest.machine.transport.clone(),
        transport => transport.to_owned(),
    };
    let machine = unlike("transport", &transport(of_a, card_a), &transport(of_b, card_b));
    Reasons {
        all,
        machine: machine.into_iter().collect(),
    }
}

fn bears_on(card: &ExperimentCard, receipt: &TargetReceipt) -> bool {
    card.compares_targets() || receipt.name == card.target
}

/// The hash tells whether; the cards tell a part of what.
fn definitions(a: &ExperimentCard, b: &ExperimentCard) -> Vec<String> {
    let mut reasons = Vec::new();
    let is_same = a.definition_sha == b.definition_sha;
    if !is_same {
        reasons.push(format!(
            "definition: {} in A, {} in B",
            a.definition_sha, b.definition_sha
        ));
    }
    for factor in &a.factors {
        let others = b.factor(&factor.name).map(|other| other.levels.join(", "));
        let others = others.unwrap_or_else(|| "absent".to_owned());
        reasons.extend(unlike(
            &format!("levels of {}", factor.name),
            &factor.levels.join(", "),
            &others,
        ));
    }
    for factor in b.factors.iter().filter(|factor| a.factor(&factor.name).is_none()) {
        reasons.push(format!(
            "levels of {}: absent in A, {} in B",
            factor.name,
            factor.levels.join(", ")
        ));
    }
    reasons.extend(unlike("baseline", &a.baseline, &b.baseline));
    reasons.extend(unlike("deciding metric", &a.deciding_metric, &b.deciding_metric));
    reasons.extend(unlike(
        "margin",
        &figures::per_cent(a.margin),
        &figures::per_cent(b.margin),
    ));
    reasons
}

/// Durability, terms and chosen settings. A default that a newer version changed is a part of what is compared.
fn targets(a: &TargetReceipt, b: &TargetReceipt) -> Vec<String> {
    let class = |receipt: &TargetReceipt| match receipt.durability_class.trim() {
        "" => "not known".to_owned(),
        class => class.to_owned(),
    };
    let of = |name: &str| format!("{name} of {}", a.name);
    let mut reasons: Vec<String> = unlike(&of("durability class"), &class(a), &class(b))
        .into_iter()
        .collect();
    if a.durability_class.trim().is_empty() && b.durability_class.trim().is_empty() {
        reasons.push(format!("durability class of {}: not known in both", a.name));
    }
    // Runs of version 1 recorded no terms: what is not known is not held against them.
    for (name, of_a) in &a.terms {
        if let Some(of_b) = b.terms.get(name) {
            reasons.extend(unlike(&of(name), without_seed(of_a), without_seed(of_b)));
        }
    }
    let chosen: BTreeSet<&String> = a
        .differs_from_default
        .keys()
        .chain(b.differs_from_default.keys())
        .collect();
    let value = |receipt: &TargetReceipt, name: &String| {
        let chosen = receipt.differs_from_default.get(name);
        let value = chosen.or_else(|| receipt.effective_config.get(name)).cloned();
        value.unwrap_or_else(|| "no such setting".to_owned())
    };
    reasons.extend(
        chosen
            .into_iter()
            .filter_map(|name| unlike(&of(name), &value(a, name), &value(b, name))),
    );
    reasons
}

/// The seed of generated records is another one in every run.
fn without_seed(term: &str) -> &str {
    term.split(", seed ").next().unwrap_or(term)
}

/// The note on the payload: its words, and its entropy within what the seed makes of it.
fn payloads(a: &MachineReceipt, b: &MachineReceipt) -> Option<String> {
    let note = |machine: &MachineReceipt| {
        let mut notes = machine.notes.iter();
        notes.find_map(|note| note.strip_prefix("payload: ").map(str::to_owned))
    };
    let (of_a, of_b) = (note(a)?, note(b)?);
    let split = |note: &str| {
        let (what, rest) = note.rsplit_once(", ")?;
        let bits: f64 = rest.split_once(" bits")?.0.parse().ok()?;
        Some((what.to_owned(), bits))
    };
    let is_like = match (split(&of_a), split(&of_b)) {
        (Some((what_a, bits_a)), Some((what_b, bits_b))) => {
            what_a == what_b && (bits_a - bits_b).abs() <= ENTROPY_TOLERANCE_BITS
        }
        _ => of_a == of_b,
    };
    (!is_like).then(|| format!("payload: {of_a} in A, {of_b} in B"))
}

/// The value of an option on a command line, `--name value` or `--name=value`.
fn option<'a>(command: &'a [String], name: &str) -> Option<&'a str> {
    let mut words = command.iter();
    while let Some(word) = words.next() {
        match word.strip_prefix(name) {
            Some("") => return words.next().map(String::as_str),
            Some(rest) if rest.starts_with('=') => return Some(&rest[1..]),
            _ => {}
        }
    }
    None
}

fn unlike(name: &str, a: &str, b: &str) -> Option<String> {
    let told = |value: &str| {
        if value.is_empty() {
            "not known".to_owned()
        } else {
            value.to_owned()
        }
    };
    (a != b).then(|| format!("{name}: {} in A, {} in B", told(a), told(b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Factors;
    use crate::synthetic::{Truth, manifest};

    fn run() -> Manifest {
        let mut manifest = manifest(&Truth::one_cell(1.0), vec![]);
        manifest.machine.notes = vec!["payload: generated JSON, 5.34 bits of order-0 entropy per byte".into()];
        manifest.targets[0]
            .terms
            .insert("payload".into(), "json, seed 1".into());
        manifest
    }

    fn told(change: impl FnOnce(&mut Manifest)) -> (Vec<String>, Vec<String>) {
        let (a, mut b) = (run(), run());
        change(&mut b);
        let mut reasons = conditions((&a, &a.experiments[0]), (&b, &b.experiments[0]));
        reasons.machine.extend(machines(&a.machine, &b.machine));
        (reasons.all, reasons.machine)
    }

    fn all(change: impl FnOnce(&mut Manifest)) -> String {
        let (all, machine) = told(change);
        assert_eq!(machine, Vec::<String>::new());
        all.join("; ")
    }

    fn machine(change: impl FnOnce(&mut Manifest)) -> String {
        let (all, machine) = told(change);
        assert_eq!(all, Vec::<String>::new());
        machine.join("; ")
    }

    #[test]
    fn another_time_version_and_seed_are_no_reason() {
        let same = all(|b| {
            b.started_utc = "2031-01-01T00:00:00Z".into();
            b.assay_version = "9.9.9".into();
            b.seed += 1;
            b.experiments[0].blocks += 4;
            b.targets[0].version = "9.9.9".into();
            b.targets[0].terms.insert("payload".into(), "json, seed 2".into());
            b.targets[0].terms.insert("nodes".into(), "1".into());
            b.targets[0]
                .effective_config
                .insert("new.setting".into(), "true".into());
            b.machine.notes = vec!["payload: generated JSON, 5.31 bits of order-0 entropy per byte".into()];
            b.machine.memory_bytes += 1 << 20;
        });
        assert_eq!(same, "");
    }

    #[test]
    fn every_reason_names_both_sides() {
        assert_eq!(
            all(|b| b.targets[0].durability_class = "every batch".into()),
            "durability class of bundled: flush never, acks 1, one replica in A, every batch in B"
        );
        assert_eq!(
            all(|b| b.experiments[0].definition_sha = "0100".into()),
            "definition: 00ff in A, 0100 in B"
        );
        assert_eq!(
            all(|b| b.experiments[0].factors[2].levels = vec!["copy".into()]),
            "levels of receiver: copy, discard in A, copy in B"
        );
        assert_eq!(all(|b| b.profile = "full".into()), "profile: quick in A, full in B");
        assert_eq!(
            all(|b| b.command.extend(["--window-ms".into(), "50".into()])),
            "window: the profile's in A, 50 ms in B"
        );
        assert_eq!(
            all(|b| b.machine.notes = vec!["payload: app.log, 5.34 bits of order-0 entropy per byte".into()]),
            "payload: generated JSON, 5.34 bits of order-0 entropy per byte in A, app.log, 5.34 bits of order-0 entropy per \
             byte in B"
        );
        assert_eq!(
            all(|b| {
                let value = || "7".to_owned();
                b.targets[0]
                    .effective_config
                    .insert("socket.send.buffer.bytes".into(), value());
                b.targets[0]
                    .differs_from_default
                    .insert("socket.send.buffer.bytes".into(), value());
            }),
            "socket.send.buffer.bytes of bundled: 1048576 in A, 7 in B"
        );
        assert_eq!(all(|b| b.targets.clear()), "bundled was measured in A only");
    }

    #[test]
    fn the_machine_and_the_transport_leave_the_counts() {
        assert_eq!(
            machine(|b| b.machine.kernel = "6.8".into()),
            "kernel: 6.1.0 in A, 6.8 in B"
        );
        assert_eq!(
            machine(|b| {
                b.machine.cpu_model = String::new();
                b.machine.cores = 8;
                b.machine.memory_bytes *= 2;
                b.machine.l3_cache_bytes = None;
            }),
            "CPU: Synthetic CPU in A, not known in B; cores: 2 in A, 8 in B; L3 cache: 32 MiB in A, not known in B; memory: 8 \
             GiB in A, 16 GiB in B"
        );
        assert_eq!(
            machine(|b| b.experiments[0].transport = "veth".into()),
            "transport: loopback in A, veth in B"
        );
    }

    #[test]
    fn what_a_claim_counts_is_a_count() {
        let mut card = run().experiments.remove(0);
        card.claims.push(ClaimCard::Counts {
            id: "switches".into(),
            text: "two switches".into(),
            metric: "mode_switches_per_response".into(),
            expected: [("sendfile".to_owned(), 2.0)].into(),
            only: Factors::new(),
        });
        let is_count = |metric: &str| is_count(&card, metric);
        assert!(is_count("mode_switches_per_response"), "a claim counts it");
        assert!(is_count("user_copied_bytes_per_byte") && !is_count("throughput"));
    }
}
