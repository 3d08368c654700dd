//! The group of a scenario: who its members are, what befalls them, and how a file says so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Spanned;
use workloads::member::{Commits, GroupProtocol, HandlerSpec, MemberBug, MemberClient, MemberTimes};

use super::wire::Checked;
use super::{PARTITIONS_MAX, Place, Span, TIME_MS_MAX};
use crate::checker::group::{GroupContext, GroupRules, GroupTopic};

/// Members of a group at most, those included that join later.
pub const MEMBERS_MAX: u32 = 500;
/// Topics of a group at most.
const TOPICS_MAX: usize = 16;

/// A consumer group, whose members are real clients in processes of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupWorkload {
    /// `group.id`.
    pub id: String,
    /// Members at the start.
    pub members: u32,
    /// Members that share a process; a fault that strikes one strikes them all.
    pub members_per_process: u32,
    /// Whose client they are.
    #[serde(default)]
    pub client: MemberClient,
    /// How they agree on who reads what.
    pub protocol: GroupProtocol,
    /// `group.remote.assignor` of KIP-848; the broker chooses where there is none.
    #[serde(default)]
    pub remote_assignor: Option<String>,
    /// Whether each slot has a `group.instance.id`.
    pub static_membership: bool,
    /// When they commit.
    pub commits: Commits,
    /// What they do with a record.
    pub handler: HandlerSpec,
    /// Records handed to the handler at once.
    pub max_poll_records: u32,
    /// Their timeouts.
    pub times: MemberTimes,
    /// Topics beside the workload's own, which producers fill, too.
    pub more_topics: Vec<TopicSpec>,
    /// What members subscribe to at the start: names, or patterns that begin with `^`.
    pub subscription: Vec<String>,
    /// How long the group may take until every partition has one owner, at the start and after each trigger.
    pub settle_within_ms: u64,
    /// How long members may read on after the producers have stopped.
    pub drain_within_ms: u64,
    /// What befalls them, one after another.
    pub triggers: Vec<Trigger>,
    /// What must hold.
    pub rules: GroupRules,
    /// A bug in every member, which has to be found.
    #[serde(default)]
    pub planted: Option<MemberBug>,
}

/// A topic to create and fill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: u32,
}

/// A kind of trigger, with the ranges that its values are drawn from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TriggerKind {
    /// SIGKILL of a member's process; another one is started in its slot after a while.
    Kill {
        /// After which time.
        heal_after_ms: Span,
    },
    /// SIGSTOP, and SIGCONT after a while: a member that may have been declared dead meanwhile.
    Pause {
        /// How long.
        for_ms: Span,
    },
    /// A member's handler is stuck with one batch.
    SlowHandler {
        /// How long.
        for_ms: Span,
    },
    /// A member's process gets the CPU for a part of the time only.
    Starve {
        /// How long.
        for_ms: Span,
        /// Share of each 100 ms that it runs, per cent.
        run_percent: u32,
    },
    /// Members join, all at once.
    Join {
        /// How many.
        members: Span,
    },
    /// A member leaves for good.
    Leave,
    /// Each member is closed and started again, one after another.
    RollingRestart,
    /// The workload's own topic is given more partitions.
    AddPartitions {
        /// How many more.
        by: Span,
    },
    /// All members subscribe to something else.
    Subscribe {
        /// Names, or patterns that begin with `^`.
        topics: Vec<String>,
    },
    /// One of several, drawn for each repetition.
    Any {
        /// Which.
        of: Vec<TriggerKind>,
    },
}

/// A trigger and its timing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// What is done.
    pub kind: TriggerKind,
    /// How often, at least 1.
    pub repeat: u32,
    /// From the warm-up's end, or from the moment when the group has settled again, to the trigger.
    pub gap_ms: Span,
}

impl GroupWorkload {
    /// All topics in the order of their numbers; `own` is the workload's.
    pub fn topics(&self, own: &super::Workload) -> Vec<TopicSpec> {
        let own = TopicSpec {
            name: own.topic.clone(),
            partitions: own.partitions,
        };
        std::iter::once(own).chain(self.more_topics.iter().cloned()).collect()
    }

    /// What members are subscribed to after the last trigger.
    pub fn last_subscription(&self) -> &[String] {
        let subscribed = self.triggers.iter().rev().find_map(|trigger| match &trigger.kind {
            TriggerKind::Subscribe { topics } => Some(topics.as_slice()),
            _ => None,
        });
        subscribed.unwrap_or(&self.subscription)
    }

    /// What the checker has to know beside the histories.
    pub fn context(&self, own: &super::Workload, drained: bool) -> GroupContext {
        let topic = |topic: &TopicSpec| GroupTopic {
            partitions: topic.partitions,
            subscribed_at_start: is_subscribed(&self.subscription, &topic.name),
            subscribed_at_end: is_subscribed(self.last_subscription(), &topic.name),
        };
        GroupContext {
            topics: self.topics(own).iter().map(topic).collect(),
            members: self.members,
            drained,
        }
    }

    /// Settings that a broker of Kafka's protocol needs for the timeouts of this group: the floors are lowered, and a new group does not
    /// wait long for more members. They are the same on every target that is started.
    pub fn broker_settings(&self) -> BTreeMap<String, String> {
        let times = &self.times;
        let mut settings = BTreeMap::from([("group.initial.rebalance.delay.ms".to_owned(), "300".to_owned())]);
        let mut set = |key: &str, value: u32| settings.insert(key.to_owned(), value.to_string());
        if self.protocol == GroupProtocol::Consumer {
            for key in ["session.timeout.ms", "min.session.timeout.ms"] {
                set(&format!("group.consumer.{key}"), times.session_timeout_ms);
            }
            for key in ["heartbeat.interval.ms", "min.heartbeat.interval.ms"] {
                set(&format!("group.consumer.{key}"), times.heartbeat_interval_ms);
            }
        } else {
            set("group.min.session.timeout.ms", times.session_timeout_ms);
        }
        settings
    }

    /// The same group under another protocol, for `--group-protocol`.
    #[must_use]
    pub fn with_protocol(mut self, protocol: GroupProtocol) -> Self {
        self.protocol = protocol;
        if protocol != GroupProtocol::Consumer {
            self.remote_assignor = None;
        }
        self
    }

    /// The same group with another policy, for `--commits`. Where commits don't follow processing, records may be moved past that nobody
    /// processed: that is counted then, as it is what the policy means.
    #[must_use]
    pub fn with_commits(mut self, commits: Commits) -> Self {
        self.commits = commits;
        if !commits.follows_processing() {
            self.rules.unprocessed = super::Bound::Counted;
            self.rules.skipped = super::Bound::Counted;
        }
        self
    }
}

impl GroupWorkload {
    /// As [`Scenario::with_names_behind`](super::Scenario::with_names_behind), of what belongs to the group.
    pub(super) fn with_names_behind(mut self, before: &str, prefix: &str) -> Self {
        put_behind(&mut self.id, before, prefix);
        self.more_topics
            .iter_mut()
            .for_each(|topic| put_behind(&mut topic.name, before, prefix));
        let subscriptions = self.triggers.iter_mut().filter_map(|trigger| match &mut trigger.kind {
            TriggerKind::Subscribe { topics } => Some(topics),
            _ => None,
        });
        for wanted in subscriptions.chain(std::iter::once(&mut self.subscription)).flatten() {
            put_behind(wanted, before, prefix);
        }
        self
    }
}

/// Puts `prefix` in front of a name or a pattern, in the place of `before` where that stands there.
pub(crate) fn put_behind(name: &mut String, before: &str, prefix: &str) {
    let at = usize::from(name.starts_with('^'));
    let length = if name[at..].starts_with(before) {
        before.len()
    } else {
        0
    };
    name.replace_range(at..at + length, prefix);
}

/// Whether a subscription covers a topic. Of patterns, those are understood that are a prefix followed by `.*`; the parser refuses others.
pub fn is_subscribed(subscription: &[String], topic: &str) -> bool {
    subscription.iter().any(|wanted| match prefix_of(wanted) {
        Some(prefix) => topic.starts_with(prefix),
        None => wanted == topic,
    })
}

/// The prefix that a pattern asks for; `None` for a name.
fn prefix_of(wanted: &str) -> Option<&str> {
    wanted.strip_prefix('^')?.strip_suffix(".*")
}

/// `[group]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    id: Option<Spanned<String>>,
    members: Spanned<u32>,
    members_per_process: Option<Spanned<u32>>,
    client: Option<Spanned<String>>,
    protocol: Spanned<String>,
    remote_assignor: Option<String>,
    #[serde(default)]
    static_membership: bool,
    commits: Spanned<String>,
    #[serde(default)]
    handler: HandlerSpec,
    max_poll_records: Spanned<u32>,
    session_timeout_ms: Spanned<u32>,
    heartbeat_interval_ms: Spanned<u32>,
    max_poll_interval_ms: Spanned<u32>,
    auto_commit_interval_ms: Option<Spanned<u32>>,
    metadata_refresh_ms: Option<Spanned<u32>>,
    #[serde(default)]
    more_topics: Vec<Spanned<TopicSpec>>,
    subscription: Option<Spanned<Vec<String>>>,
    settle_within_ms: Spanned<u64>,
    drain_within_ms: Spanned<u64>,
}

impl Group {
    pub(super) fn check(
        &self,
        place: &Place<'_>,
        scenario: &str,
        own: &super::Workload,
        triggers: Vec<Trigger>,
        rules: GroupRules,
    ) -> Checked<GroupWorkload> {
        let millis = |key: &str, value: &Spanned<u32>| place.bounded(key, value, 1..=3_600_000);
        let times = MemberTimes {
            session_timeout_ms: millis("session_timeout_ms", &self.session_timeout_ms)?,
            heartbeat_interval_ms: millis("heartbeat_interval_ms", &self.heartbeat_interval_ms)?,
            max_poll_interval_ms: millis("max_poll_interval_ms", &self.max_poll_interval_ms)?,
            auto_commit_interval_ms: optional(&self.auto_commit_interval_ms, |value| {
                millis("auto_commit_interval_ms", value)
            })?
            .unwrap_or(1_000),
            metadata_refresh_ms: optional(&self.metadata_refresh_ms, |value| {
                place.bounded("metadata_refresh_ms", value, 10..=3_600_000)
            })?
            .unwrap_or(500),
        };
        if times.heartbeat_interval_ms >= times.session_timeout_ms {
            let message = "a member would be dead before its second heartbeat";
            let remedy = "give a heartbeat_interval_ms of a third of session_timeout_ms or less";
            return Err(place.error(self.heartbeat_interval_ms.span(), message, remedy));
        }
        if times.max_poll_interval_ms < times.session_timeout_ms {
            let message = "librdkafka refuses a max_poll_interval_ms below session_timeout_ms";
            return Err(place.error(self.max_poll_interval_ms.span(), message, "raise it"));
        }
        if own.rate_per_s.is_none() {
            let remedy = "add it to [workload]: members have to keep up, or nothing is ever drained";
            return Err(place.error(self.members.span(), "a group needs a rate_per_s", remedy));
        }
        let client = optional(&self.client, |value| {
            word(place, "client", value, &MemberClient::ALL, MemberClient::name)
        })?
        .unwrap_or_default();
        let commits = word(place, "commits", &self.commits, &Commits::ALL, Commits::name)?;
        if let Some((message, remedy)) = client.refusal(commits, self.handler.threads) {
            return Err(place.error(self.commits.span(), message, remedy));
        }
        let more_topics = self.more_topics(place, own)?;
        let subscription = match &self.subscription {
            Some(given) => subscription(place, given)?,
            None => vec![own.topic.clone()],
        };
        Ok(GroupWorkload {
            id: match &self.id {
                Some(id) if id.get_ref().trim().is_empty() => {
                    return Err(place.error(id.span(), "the group's id is empty", "give it a name"));
                }
                Some(id) => id.get_ref().clone(),
                None => format!("assay-{scenario}"),
            },
            members: place.bounded("members", &self.members, 1..=MEMBERS_MAX)?,
            members_per_process: optional(&self.members_per_process, |value| {
                place.bounded("members_per_process", value, 1..=MEMBERS_MAX)
            })?
            .unwrap_or(1),
            client,
            protocol: word(
                place,
                "protocol",
                &self.protocol,
                &GroupProtocol::ALL,
                GroupProtocol::name,
            )?,
            remote_assignor: self.remote_assignor.clone(),
            static_membership: self.static_membership,
            commits,
            handler: self.handler,
            max_poll_records: place.bounded("max_poll_records", &self.max_poll_records, 1..=100_000)?,
            times,
            more_topics,
            subscription,
            settle_within_ms: place.bounded("settle_within_ms", &self.settle_within_ms, 100..=TIME_MS_MAX)?,
            drain_within_ms: place.bounded("drain_within_ms", &self.drain_within_ms, 100..=TIME_MS_MAX)?,
            triggers,
            rules,
            planted: None,
        })
    }

    fn more_topics(&self, place: &Place<'_>, own: &super::Workload) -> Checked<Vec<TopicSpec>> {
        let mut names = vec![own.topic.as_str()];
        for topic in &self.more_topics {
            let TopicSpec { name, partitions } = topic.get_ref();
            if names.contains(&name.as_str()) || !(1..=PARTITIONS_MAX).contains(partitions) || names.len() >= TOPICS_MAX
            {
                let message = format!("{name:?} with {partitions} partitions can't be one more topic");
                let remedy =
                    format!("give at most {TOPICS_MAX} different names, each with 1 to {PARTITIONS_MAX} partitions");
                return Err(place.error(topic.span(), message, remedy));
            }
            names.push(name);
        }
        if own.producers < names.len() as u32 {
            let message = format!("{} topics want as many producers", names.len());
            return Err(place.error(self.members.span(), message, "raise producers in [workload]"));
        }
        Ok(self.more_topics.iter().map(|topic| topic.get_ref().clone()).collect())
    }
}

/// Names and patterns that the run can follow.
pub(super) fn subscription(place: &Place<'_>, given: &Spanned<Vec<String>>) -> Checked<Vec<String>> {
    let topics = given.get_ref();
    let plain = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    let is_known = |topic: &String| match topic.starts_with('^') {
        true => prefix_of(topic).is_some_and(plain),
        false => !topic.is_empty(),
    };
    if topics.is_empty() || !topics.iter().all(is_known) {
        let message = "this can't be subscribed to here";
        let remedy = "give names of topics, or patterns such as \"^orders.*\": a prefix and .*";
        return Err(place.error(given.span(), message, remedy));
    }
    Ok(topics.clone())
}

fn optional<T, U>(value: &Option<Spanned<T>>, check: impl FnOnce(&Spanned<T>) -> Checked<U>) -> Checked<Option<U>> {
    value.as_ref().map(check).transpose()
}

fn word<T: Copy>(
    place: &Place<'_>,
    key: &str,
    value: &Spanned<String>,
    known: &[T],
    name: impl Fn(T) -> &'static str,
) -> Checked<T> {
    let found = known.iter().find(|word| name(**word) == value.get_ref());
    found.copied().ok_or_else(|| {
        let names: Vec<String> = known.iter().map(|word| format!("{:?}", name(*word))).collect();
        let message = format!("{key} is {:?}", value.get_ref());
        place.error(value.span(), message, format!("write {}", names.join(", ")))
    })
}
