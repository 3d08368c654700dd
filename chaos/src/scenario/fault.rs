//! A fault as a scenario file has it, and the keys that each kind takes.

use serde::Deserialize;
use toml::Spanned;

use super::group::{self, MEMBERS_MAX, Trigger, TriggerKind};
use super::wire::{Checked, MinMax};
use super::{FaultKind, PARTITIONS_MAX, Place, REPEAT_MAX, Role, Span, TIME_MS_MAX};
use crate::proxy::{Api, Ending, Then};

/// Most requests or responses that a fault lets pass before it strikes.
const NTH_MAX: u64 = 1_000_000;
/// How long a fault on the way may take when the file does not say.
const OVER_WITHIN_MS: u64 = 30_000;

/// Every key that any kind takes; which of them this kind takes is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    kind: Spanned<String>,
    aim: Aim,
    repeat: Spanned<u32>,
    gap_ms: Spanned<MinMax>,
    heal_after_ms: Option<Spanned<MinMax>>,
    ready_within_ms: Option<Spanned<u64>>,
    api: Option<Spanned<String>>,
    nth: Option<Spanned<MinMax>>,
    ending: Option<Spanned<String>>,
    then: Option<Spanned<String>>,
    by_ms: Option<Spanned<MinMax>>,
    for_ms: Option<Spanned<MinMax>>,
    run_percent: Option<Spanned<u32>>,
    members: Option<Spanned<MinMax>>,
    by: Option<Spanned<MinMax>>,
    topics: Option<Spanned<Vec<String>>>,
    of: Option<Spanned<Vec<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Aim {
    role: Spanned<String>,
}

/// The kinds with the keys that they take beside those that all have.
const KINDS: [(&str, &[&str]); 6] = [
    ("kill", &["heal_after_ms", "ready_within_ms"]),
    ("cut", &["ending", "ready_within_ms"]),
    ("cut-request", &["api", "nth", "ending", "ready_within_ms"]),
    ("drop-response", &["api", "nth", "then", "ready_within_ms"]),
    ("delay-response", &["api", "nth", "by_ms", "ready_within_ms"]),
    ("refuse", &["for_ms", "ready_within_ms"]),
];

/// What a fault is aimed at that befalls members of a group.
const CONSUMER: &str = "consumer";

/// The kinds that befall members, with the keys that they take beside those that all have.
const TRIGGERS: [(&str, &[&str]); 10] = [
    ("kill", &["heal_after_ms"]),
    ("pause", &["for_ms"]),
    ("slow-handler", &["for_ms"]),
    ("starve", &["for_ms", "run_percent"]),
    ("join", &["members"]),
    ("leave", &[]),
    ("rolling-restart", &[]),
    ("add-partitions", &["by"]),
    ("subscribe", &["topics"]),
    (
        "any",
        &["of", "heal_after_ms", "for_ms", "run_percent", "members", "by"],
    ),
];

impl Fault {
    /// Whether it befalls members of a group.
    pub(super) fn is_of_a_group(&self) -> bool {
        self.aim.role.get_ref() == CONSUMER
    }

    /// Where it is.
    pub(super) fn span(&self) -> std::ops::Range<usize> {
        self.aim.role.span()
    }

    /// A trigger of a group.
    pub(super) fn trigger(&self, place: &Place<'_>) -> Checked<Trigger> {
        let name = self.takes_only_its_own(place, &TRIGGERS)?;
        Ok(Trigger {
            kind: self.trigger_kind(place, name)?,
            repeat: place.bounded("repeat", &self.repeat, 1..=REPEAT_MAX)?,
            gap_ms: place.range("gap_ms", &self.gap_ms, 0..=TIME_MS_MAX)?,
        })
    }

    fn trigger_kind(&self, place: &Place<'_>, name: &str) -> Checked<TriggerKind> {
        let for_ms = || self.span_of(place, "for_ms", &self.for_ms, 1..=TIME_MS_MAX);
        let of = |value: &Option<Spanned<Vec<String>>>, key: &str| match value {
            Some(value) => group::subscription(place, value),
            None => Err(self.missing(place, key)),
        };
        Ok(match name {
            "kill" => TriggerKind::Kill {
                heal_after_ms: self.span_of(place, "heal_after_ms", &self.heal_after_ms, 0..=TIME_MS_MAX)?,
            },
            "pause" => TriggerKind::Pause { for_ms: for_ms()? },
            "slow-handler" => TriggerKind::SlowHandler { for_ms: for_ms()? },
            "starve" => TriggerKind::Starve {
                for_ms: for_ms()?,
                run_percent: match &self.run_percent {
                    Some(percent) => place.bounded("run_percent", percent, 1..=99)?,
                    None => return Err(self.missing(place, "run_percent")),
                },
            },
            "join" => TriggerKind::Join {
                members: self.span_of(place, "members", &self.members, 1..=u64::from(MEMBERS_MAX))?,
            },
            "leave" => TriggerKind::Leave,
            "rolling-restart" => TriggerKind::RollingRestart,
            "add-partitions" => TriggerKind::AddPartitions {
                by: self.span_of(place, "by", &self.by, 1..=u64::from(PARTITIONS_MAX))?,
            },
            "subscribe" => TriggerKind::Subscribe {
                topics: of(&self.topics, "topics")?,
            },
            _ => {
                let Some(kinds) = &self.of else {
                    return Err(self.missing(place, "of"));
                };
                let kind = |name: &String| match TRIGGERS.iter().any(|kind| kind.0 == name.as_str()) && name != "any" {
                    true => self.trigger_kind(place, name),
                    false => {
                        let message = format!("there is no trigger called {name:?}");
                        Err(place.error(
                            kinds.span(),
                            message,
                            format!("the triggers there are: {}", names(&TRIGGERS)),
                        ))
                    }
                };
                let of: Vec<TriggerKind> = kinds.get_ref().iter().map(kind).collect::<Checked<_>>()?;
                if of.is_empty() {
                    return Err(place.error(kinds.span(), "of is empty", "name one trigger at least"));
                }
                TriggerKind::Any { of }
            }
        })
    }

    pub(super) fn check(&self, place: &Place<'_>) -> Checked<super::Fault> {
        let kind = self.kind(place)?;
        let role_name = self.aim.role.get_ref();
        let Some(role) = Role::ALL.into_iter().find(|role| role.name() == role_name) else {
            let remedy = format!(
                "the roles there are: {}, and {CONSUMER} with a [group]",
                Role::ALL.map(Role::name).join(", ")
            );
            let message = format!("nobody plays the role {role_name:?}");
            return Err(place.error(self.aim.role.span(), message, remedy));
        };
        Ok(super::Fault {
            kind,
            role,
            repeat: place.bounded("repeat", &self.repeat, 1..=REPEAT_MAX)?,
            gap_ms: place.range("gap_ms", &self.gap_ms, 0..=TIME_MS_MAX)?,
            heal_after_ms: match kind {
                FaultKind::Kill => self.span_of(place, "heal_after_ms", &self.heal_after_ms, 0..=TIME_MS_MAX)?,
                _ => Span { min: 0, max: 0 },
            },
            ready_within_ms: match (&self.ready_within_ms, kind) {
                (Some(within), _) => place.bounded("ready_within_ms", within, 100..=TIME_MS_MAX)?,
                (None, FaultKind::Kill) => return Err(self.missing(place, "ready_within_ms")),
                (None, _) => OVER_WITHIN_MS,
            },
        })
    }

    /// The kind's name, if it is one of `kinds` and has no key of another.
    fn takes_only_its_own(&self, place: &Place<'_>, kinds: &[(&str, &[&str])]) -> Checked<&str> {
        let name = self.kind.get_ref().as_str();
        let Some((_, takes)) = kinds.iter().find(|kind| kind.0 == name) else {
            let message = format!("there is no fault called {name:?} yet");
            let remedy = format!("the faults there are: {}", names(kinds));
            return Err(place.error(self.kind.span(), message, remedy));
        };
        let given = [
            ("heal_after_ms", self.heal_after_ms.as_ref().map(Spanned::span)),
            ("ready_within_ms", self.ready_within_ms.as_ref().map(Spanned::span)),
            ("api", self.api.as_ref().map(Spanned::span)),
            ("nth", self.nth.as_ref().map(Spanned::span)),
            ("ending", self.ending.as_ref().map(Spanned::span)),
            ("then", self.then.as_ref().map(Spanned::span)),
            ("by_ms", self.by_ms.as_ref().map(Spanned::span)),
            ("for_ms", self.for_ms.as_ref().map(Spanned::span)),
            ("run_percent", self.run_percent.as_ref().map(Spanned::span)),
            ("members", self.members.as_ref().map(Spanned::span)),
            ("by", self.by.as_ref().map(Spanned::span)),
            ("topics", self.topics.as_ref().map(Spanned::span)),
            ("of", self.of.as_ref().map(Spanned::span)),
        ];
        for (key, span) in given {
            if let Some(span) = span.filter(|_| !takes.contains(&key)) {
                let message = format!("a fault {name:?} has no {key}");
                return Err(place.error(
                    span,
                    message,
                    format!("beside those of all faults it has: {}", takes.join(", ")),
                ));
            }
        }
        Ok(name)
    }

    fn kind(&self, place: &Place<'_>) -> Checked<FaultKind> {
        let name = self.takes_only_its_own(place, &KINDS)?;
        Ok(match name {
            "cut" => FaultKind::Cut {
                ending: self.ending(place)?,
            },
            "cut-request" => FaultKind::CutRequest {
                api: self.api(place)?,
                nth: self.nth(place)?,
                ending: self.ending(place)?,
            },
            "drop-response" => FaultKind::DropResponse {
                api: self.api(place)?,
                nth: self.nth(place)?,
                then: self.word(
                    place,
                    "then",
                    &self.then,
                    &[("close", Then::Close), ("withhold", Then::Withhold)],
                )?,
            },
            "delay-response" => FaultKind::DelayResponse {
                api: self.api(place)?,
                nth: self.nth(place)?,
                by_ms: self.span_of(place, "by_ms", &self.by_ms, 1..=TIME_MS_MAX)?,
            },
            "refuse" => FaultKind::Refuse {
                for_ms: self.span_of(place, "for_ms", &self.for_ms, 1..=TIME_MS_MAX)?,
            },
            _ => FaultKind::Kill,
        })
    }

    fn ending(&self, place: &Place<'_>) -> Checked<Ending> {
        let endings = [("reset", Ending::Reset), ("close", Ending::Close)];
        self.word(place, "ending", &self.ending, &endings)
    }

    fn api(&self, place: &Place<'_>) -> Checked<Api> {
        let api = self.api.as_ref().ok_or_else(|| self.missing(place, "api"))?;
        let told = |error| place.error(api.span(), error, format!("the APIs there are: {}", Api::names()));
        api.get_ref().parse().map_err(told)
    }

    fn nth(&self, place: &Place<'_>) -> Checked<Span> {
        self.span_of(place, "nth", &self.nth, 1..=NTH_MAX)
    }

    fn span_of(
        &self,
        place: &Place<'_>,
        key: &str,
        value: &Option<Spanned<MinMax>>,
        bounds: std::ops::RangeInclusive<u64>,
    ) -> Checked<Span> {
        let value = value.as_ref().ok_or_else(|| self.missing(place, key))?;
        place.range(key, value, bounds)
    }

    fn word<T: Copy>(
        &self,
        place: &Place<'_>,
        key: &str,
        value: &Option<Spanned<String>>,
        words: &[(&str, T)],
    ) -> Checked<T> {
        let value = value.as_ref().ok_or_else(|| self.missing(place, key))?;
        let found = words.iter().find(|word| word.0 == value.get_ref());
        found.map(|word| word.1).ok_or_else(|| {
            let known: Vec<String> = words.iter().map(|word| format!("{:?}", word.0)).collect();
            let message = format!("{key} is {:?}", value.get_ref());
            place.error(value.span(), message, format!("write {}", known.join(" or ")))
        })
    }

    fn missing(&self, place: &Place<'_>, key: &str) -> Box<super::ScenarioError> {
        let message = format!("a fault {:?} needs {key}", self.kind.get_ref());
        place.error(self.kind.span(), message, format!("add {key} to this [[fault]]"))
    }
}

fn names(kinds: &[(&str, &[&str])]) -> String {
    let quoted: Vec<String> = kinds.iter().map(|kind| format!("{:?}", kind.0)).collect();
    quoted.join(", ")
}
