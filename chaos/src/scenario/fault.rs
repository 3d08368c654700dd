//! A fault as a scenario file has it, and the keys that each kind takes.

use serde::Deserialize;
use toml::Spanned;

use super::wire::{Checked, MinMax};
use super::{FaultKind, Place, REPEAT_MAX, Role, Span, TIME_MS_MAX};
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

impl Fault {
    pub(super) fn check(&self, place: &Place<'_>) -> Checked<super::Fault> {
        let kind = self.kind(place)?;
        let role_name = self.aim.role.get_ref();
        let Some(role) = Role::ALL.into_iter().find(|role| role.name() == role_name) else {
            let remedy = format!("the roles there are: {}", Role::ALL.map(Role::name).join(", "));
            let message = format!("nobody plays the role {role_name:?}");
            return Err(place.error(self.aim.role.span(), message, remedy));
        };
        Ok(super::Fault {
            kind,
            role,
            repeat: place.bounded("repeat", &self.repeat, 1..=REPEAT_MAX)?,
            gap_ms: place.range("gap_ms", &self.gap_ms, 0..=TIME_MS_MAX)?,
            heal_after_ms: match kind {
                FaultKind::Kill => self.span(place, "heal_after_ms", &self.heal_after_ms, 0..=TIME_MS_MAX)?,
                _ => Span { min: 0, max: 0 },
            },
            ready_within_ms: match (&self.ready_within_ms, kind) {
                (Some(within), _) => place.bounded("ready_within_ms", within, 100..=TIME_MS_MAX)?,
                (None, FaultKind::Kill) => return Err(self.missing(place, "ready_within_ms")),
                (None, _) => OVER_WITHIN_MS,
            },
        })
    }

    fn kind(&self, place: &Place<'_>) -> Checked<FaultKind> {
        let name = self.kind.get_ref().as_str();
        let Some((_, takes)) = KINDS.into_iter().find(|kind| kind.0 == name) else {
            let message = format!("there is no fault called {name:?} yet");
            let kinds = KINDS.map(|kind| format!("{:?}", kind.0)).join(", ");
            return Err(place.error(self.kind.span(), message, format!("the faults there are: {kinds}")));
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
                by_ms: self.span(place, "by_ms", &self.by_ms, 1..=TIME_MS_MAX)?,
            },
            "refuse" => FaultKind::Refuse {
                for_ms: self.span(place, "for_ms", &self.for_ms, 1..=TIME_MS_MAX)?,
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
        self.span(place, "nth", &self.nth, 1..=NTH_MAX)
    }

    fn span(
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
