//! `[group]`: a consumer group, what befalls it, and how its members behave. Each property is held still in the section, or is a factor of the same name.
//!
//! A level of the factor `remedy` is `none`, or a property and its value with a dash between them, as in `max_poll_records-50`: it is set on top of all others.

use super::check::{Checked, Source};
use super::client::number;
use super::wire;
use crate::member::{Commits, GroupProtocol, MemberClient};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;

/// What has to be told.
const REQUIRED: [&str; 6] = ["protocol", "trigger", "commits", "members", "partitions", "rate"];
/// What has a default.
const OPTIONAL: [&str; 21] = [
    CLIENT,
    "static_membership",
    "handler_us",
    "handler_threads",
    "max_poll_records",
    "session_timeout_ms",
    "heartbeat_interval_ms",
    "max_poll_interval_ms",
    "auto_commit_interval_ms",
    "metadata_refresh_ms",
    "for_ms",
    "heal_ms",
    "slow_record_us",
    "run_percent",
    "joining",
    "joining_burst",
    "more_partitions",
    "settle_within_ms",
    "drain_within_ms",
    "record_bytes",
    REMEDY,
];
const REMEDY: &str = "remedy";
const CLIENT: &str = "client";

/// What befalls a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupTrigger {
    /// Members join, `joining` of them.
    Join,
    /// Many join at once, `joining_burst` of them.
    JoinBurst,
    /// A member leaves.
    Leave,
    /// SIGKILL, and another one in its place after `heal_ms`.
    Kill,
    /// SIGSTOP, and SIGCONT after `for_ms`.
    Pause,
    /// Its process gets `run_percent` of the time, for `for_ms`.
    Starve,
    /// A full batch, each record of which takes `slow_record_us`.
    SlowHandler,
    /// Each member is closed and started again.
    RollingRestart,
    /// The topic grows.
    AddPartitions,
    /// Members subscribe to one more topic.
    Subscribe,
}

impl GroupTrigger {
    /// Every one.
    pub const ALL: [GroupTrigger; 10] = [
        GroupTrigger::Join,
        GroupTrigger::JoinBurst,
        GroupTrigger::Leave,
        GroupTrigger::Kill,
        GroupTrigger::Pause,
        GroupTrigger::Starve,
        GroupTrigger::SlowHandler,
        GroupTrigger::RollingRestart,
        GroupTrigger::AddPartitions,
        GroupTrigger::Subscribe,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            GroupTrigger::Join => "join",
            GroupTrigger::JoinBurst => "join-burst",
            GroupTrigger::Leave => "leave",
            GroupTrigger::Kill => "kill",
            GroupTrigger::Pause => "pause",
            GroupTrigger::Starve => "starve",
            GroupTrigger::SlowHandler => "slow-handler",
            GroupTrigger::RollingRestart => "rolling-restart",
            GroupTrigger::AddPartitions => "add-partitions",
            GroupTrigger::Subscribe => "subscribe",
        }
    }

    /// Whether whoever it strikes lives on, so that taking its partitions away was not necessary.
    pub fn spares_its_victim(self) -> bool {
        matches!(
            self,
            GroupTrigger::Pause | GroupTrigger::Starve | GroupTrigger::SlowHandler
        )
    }
}

/// A group and what befalls it: what is held still, and of what are factors some value in their range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Whose client members are.
    pub client: MemberClient,
    /// How members agree on who reads what.
    pub protocol: GroupProtocol,
    /// What befalls them.
    pub trigger: GroupTrigger,
    /// When they commit.
    pub commits: Commits,
    /// Members at the start, each a process.
    pub members: u32,
    /// Partitions of the topic at the start.
    pub partitions: u32,
    /// Records per second of all producers.
    pub rate: u32,
    /// Size of a record, bytes.
    pub record_bytes: u32,
    /// Whether each member has a `group.instance.id`.
    pub static_membership: bool,
    /// What a record takes in the handler, us.
    pub handler_us: u32,
    /// Threads that handle records beside the one that polls; 0 handles between two polls.
    pub handler_threads: u32,
    /// Records handed to the handler at once.
    pub max_poll_records: u32,
    /// `session.timeout.ms`.
    pub session_timeout_ms: u32,
    /// `heartbeat.interval.ms`.
    pub heartbeat_interval_ms: u32,
    /// `max.poll.interval.ms`.
    pub max_poll_interval_ms: u32,
    /// `auto.commit.interval.ms`.
    pub auto_commit_interval_ms: u32,
    /// `topic.metadata.refresh.interval.ms`.
    pub metadata_refresh_ms: u32,
    /// How long a pause or starvation lasts, ms.
    pub for_ms: u32,
    /// Until a killed member has a successor, ms.
    pub heal_ms: u32,
    /// What a record takes in a handler that is slow, us.
    pub slow_record_us: u32,
    /// Share of the time that a starved process runs, per cent.
    pub run_percent: u32,
    /// Members that join.
    pub joining: u32,
    /// Members that join in a burst.
    pub joining_burst: u32,
    /// Partitions that are added, or that one more topic has.
    pub more_partitions: u32,
    /// How long the group may take to settle, ms.
    pub settle_within_ms: u32,
    /// How long members may read on when nothing is produced any more, ms.
    pub drain_within_ms: u32,
}

impl Default for Group {
    fn default() -> Self {
        Group {
            client: MemberClient::Librdkafka,
            protocol: GroupProtocol::Range,
            trigger: GroupTrigger::Join,
            commits: Commits::SyncPerBatch,
            members: 3,
            partitions: 12,
            rate: 1_000,
            record_bytes: 100,
            static_membership: false,
            handler_us: 0,
            handler_threads: 0,
            max_poll_records: 500,
            session_timeout_ms: 3_000,
            heartbeat_interval_ms: 500,
            max_poll_interval_ms: 6_000,
            auto_commit_interval_ms: 1_000,
            metadata_refresh_ms: 500,
            for_ms: 1_000,
            heal_ms: 1_000,
            slow_record_us: 0,
            run_percent: 10,
            joining: 1,
            joining_burst: 4,
            more_partitions: 6,
            settle_within_ms: 20_000,
            drain_within_ms: 20_000,
        }
    }
}

impl Group {
    /// With the levels of a trial; factors that are no property of a group are left alone, and `remedy` comes last.
    ///
    /// # Errors
    /// What a level can be instead.
    pub fn with<'f>(mut self, levels: impl IntoIterator<Item = (&'f str, &'f str)>) -> Result<Self, String> {
        let mut levels: Vec<(&str, &str)> = levels.into_iter().filter(|(name, _)| is_property(name)).collect();
        levels.sort_by_key(|(name, _)| *name == REMEDY);
        for (name, level) in levels {
            self.set(name, level)
                .map_err(|remedy| format!("`{name}` can't be `{level}`: {remedy}"))?;
        }
        Ok(self)
    }

    /// How long a handler is stuck with a full batch, ms.
    pub fn slow_batch_ms(&self) -> u64 {
        (u64::from(self.slow_record_us) * u64::from(self.max_poll_records)).div_ceil(1_000)
    }

    fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        let named = |all: &[&'static str]| format!("one of: {}", all.join(", "));
        let ms = |text| number(text, 1..=600_000);
        match name {
            CLIENT => {
                let found = MemberClient::ALL.into_iter().find(|one| one.name() == text);
                self.client = found.ok_or_else(|| named(&MemberClient::ALL.map(MemberClient::name)))?;
            }
            "protocol" => {
                let found = GroupProtocol::ALL.into_iter().find(|one| one.name() == text);
                self.protocol = found.ok_or_else(|| named(&GroupProtocol::ALL.map(GroupProtocol::name)))?;
            }
            "trigger" => {
                let found = GroupTrigger::ALL.into_iter().find(|one| one.name() == text);
                self.trigger = found.ok_or_else(|| named(&GroupTrigger::ALL.map(GroupTrigger::name)))?;
            }
            "commits" => {
                let found = Commits::ALL.into_iter().find(|one| one.name() == text);
                self.commits = found.ok_or_else(|| named(&Commits::ALL.map(Commits::name)))?;
            }
            "static_membership" => {
                self.static_membership = match text {
                    "on" | "true" => true,
                    "off" | "false" => false,
                    _ => return Err("on or off".to_owned()),
                }
            }
            "members" => self.members = number(text, 2..=64)?,
            "partitions" => self.partitions = number(text, 1..=1_000)?,
            "rate" => self.rate = number(text, 1..=100_000)?,
            "record_bytes" => self.record_bytes = number(text, 64..=10_000)?,
            "handler_us" => self.handler_us = number(text, 0..=10_000_000)?,
            "handler_threads" => self.handler_threads = number(text, 0..=64)?,
            "max_poll_records" => self.max_poll_records = number(text, 1..=100_000)?,
            "session_timeout_ms" => self.session_timeout_ms = ms(text)?,
            "heartbeat_interval_ms" => self.heartbeat_interval_ms = ms(text)?,
            "max_poll_interval_ms" => self.max_poll_interval_ms = ms(text)?,
            "auto_commit_interval_ms" => self.auto_commit_interval_ms = ms(text)?,
            "metadata_refresh_ms" => self.metadata_refresh_ms = number(text, 10..=600_000)?,
            "for_ms" => self.for_ms = ms(text)?,
            "heal_ms" => self.heal_ms = ms(text)?,
            "slow_record_us" => self.slow_record_us = number(text, 0..=10_000_000)?,
            "run_percent" => self.run_percent = number(text, 1..=99)?,
            "joining" => self.joining = number(text, 1..=64)?,
            "joining_burst" => self.joining_burst = number(text, 2..=64)?,
            "more_partitions" => self.more_partitions = number(text, 1..=1_000)?,
            "settle_within_ms" => self.settle_within_ms = ms(text)?,
            "drain_within_ms" => self.drain_within_ms = ms(text)?,
            REMEDY if text == "none" => {}
            REMEDY => match text.split_once('-') {
                Some((name, value)) if name != REMEDY => self.set(name, value)?,
                _ => return Err("none, or a property and its value, as in max_poll_records-50".to_owned()),
            },
            _ => return Err(format!("one of: {}", names())),
        }
        Ok(())
    }

    /// What does not go together, and what to do.
    fn contradiction(&self) -> Option<(String, &'static str)> {
        if self.heartbeat_interval_ms >= self.session_timeout_ms {
            let message = format!(
                "a member with a heartbeat each {} ms and a session of {} ms would be dead before its second one",
                self.heartbeat_interval_ms, self.session_timeout_ms
            );
            return Some((
                message,
                "give a heartbeat_interval_ms of a third of session_timeout_ms or less",
            ));
        }
        if self.max_poll_interval_ms < self.session_timeout_ms {
            let message = "librdkafka refuses a max_poll_interval_ms below session_timeout_ms";
            return Some((message.to_owned(), "raise max_poll_interval_ms"));
        }
        if let Some((message, remedy)) = self.client.refusal(self.commits, self.handler_threads) {
            return Some((message.to_owned(), remedy));
        }
        if self.trigger == GroupTrigger::SlowHandler && self.slow_record_us == 0 {
            let message = "nothing says how slow the handler is";
            return Some((message.to_owned(), "write `slow_record_us = 10000` into `[group]`"));
        }
        None
    }
}

fn is_property(name: &str) -> bool {
    REQUIRED.contains(&name) || OPTIONAL.contains(&name)
}

/// Whether the group carries the factor out; every other one is a setting of the bundled broker.
pub(super) fn is_of_groups(name: &str) -> bool {
    is_property(name)
}

fn names() -> String {
    [&REQUIRED[..], &OPTIONAL[..]].concat().join(", ")
}

/// The section: properties with their values.
pub(super) type Wire = BTreeMap<Spanned<String>, Spanned<wire::Scalar>>;

pub(super) fn check<'l>(
    source: &Source<'_>,
    section: &Spanned<Wire>,
    factors: &[wire::Factor],
    mut limits: impl Iterator<Item = &'l Spanned<String>>,
) -> Checked<Group> {
    if let Some(bare) = limits.next() {
        let message = format!("groups have no bare loop `{}`", bare.get_ref());
        return source.fail(bare.span(), message, "remove `[limit]`");
    }
    let mut group = Group::default();
    for (name, value) in section.get_ref() {
        let text = name.get_ref().as_str();
        if !is_property(text) || text == REMEDY {
            let message = format!("a group has no property `{text}`");
            return source.fail(name.span(), message, format!("one of: {}", names()));
        }
        if factors.iter().any(|factor| factor.name.get_ref() == text) {
            return source.fail(name.span(), format!("{text} is a factor already"), "remove it here");
        }
        set(source, &mut group, text, value)?;
    }
    for factor in factors.iter().filter(|factor| is_property(factor.name.get_ref())) {
        for level in factor.levels.get_ref() {
            // Each level by itself: what one remedy sets is none of the others'.
            set(source, &mut group.clone(), factor.name.get_ref(), level)?;
        }
    }
    let told = |name: &str| {
        let is_held = section.get_ref().keys().any(|held| held.get_ref() == name);
        is_held || factors.iter().any(|factor| factor.name.get_ref() == name)
    };
    if let Some(missing) = REQUIRED.into_iter().find(|name| !told(name)) {
        let remedy = format!("hold it still in `[group]`: `{missing} = ..`, or add a factor of that name");
        return source.fail(section.span(), format!("nothing says `{missing}`"), remedy);
    }
    Ok(group)
}

fn set(source: &Source<'_>, group: &mut Group, name: &str, value: &Spanned<wire::Scalar>) -> Checked<()> {
    let text = &value.get_ref().0;
    match group.set(name, text) {
        Ok(()) => Ok(()),
        Err(remedy) => source.fail(value.span(), format!("`{name}` can't be `{text}`"), remedy),
    }
}

/// Fails when the levels of a cell contradict each other.
pub(super) fn check_cell<'c>(
    source: &Source<'_>,
    span: Range<usize>,
    group: Group,
    levels: impl IntoIterator<Item = (&'c str, &'c str)>,
) -> Checked<()> {
    let (message, remedy) = match group.with(levels) {
        Ok(group) => match group.contradiction() {
            None => return Ok(()),
            Some((message, remedy)) => (message, remedy),
        },
        Err(message) => (message, "remove the level"),
    };
    source.fail(span, message, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_is_set_on_top_of_all_others() {
        let levels = [("remedy", "max_poll_records-5"), ("max_poll_records", "500")];
        let group = Group::default().with(levels).unwrap();
        assert_eq!(group.max_poll_records, 5);
        let same = Group::default().with([("remedy", "none")]).unwrap();
        assert_eq!(same, Group::default());
        let error = Group::default().with([("remedy", "remedy-none")]).unwrap_err();
        assert!(error.contains("as in max_poll_records-50"), "{error}");
        // What no group knows is a setting of the broker.
        let other = Group::default().with([("group.max.size", "3")]).unwrap();
        assert_eq!(other, Group::default());
    }

    #[test]
    fn a_slow_batch_takes_as_long_as_all_of_its_records() {
        let group = Group {
            slow_record_us: 1_500,
            max_poll_records: 3,
            ..Group::default()
        };
        assert_eq!(group.slow_batch_ms(), 5);
    }

    #[test]
    fn times_that_no_client_takes_are_told() {
        let wrong = Group {
            session_timeout_ms: 500,
            ..Group::default()
        };
        assert!(wrong.contradiction().unwrap().0.contains("dead before its second"));
        let wrong = Group {
            max_poll_interval_ms: 2_999,
            ..Group::default()
        };
        assert!(wrong.contradiction().unwrap().0.contains("librdkafka refuses"));
        let wrong = Group {
            client: MemberClient::Java,
            handler_threads: 1,
            ..Group::default()
        };
        assert!(wrong.contradiction().unwrap().0.contains("between two polls"));
        assert_eq!(Group::default().contradiction(), None);
    }
}
