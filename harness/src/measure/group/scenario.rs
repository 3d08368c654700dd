//! A trial of a group as the text of a scenario, so that what `assay chaos run` would refuse is refused here, and what it carries out is the same.

use workloads::definition::{Group, GroupTrigger};

/// The topic that members subscribe to, behind a prefix.
pub const TOPIC: &str = "orders";
/// One more that they subscribe to when that is the trigger.
const MORE: &str = "more";
/// One producer for each topic.
const PRODUCERS: u32 = 2;
/// What nobody waits longer for, ms.
const REQUEST_TIMEOUT_MS: u32 = 5_000;

/// The scenario of a trial: so much load before the trigger and behind its consequences, ms.
pub fn text(group: &Group, prefix: &str, quiet_ms: u32, after_ms: u32) -> String {
    let strict = if group.commits.follows_processing() {
        "0"
    } else {
        "\"counted\""
    };
    let more = match group.trigger {
        GroupTrigger::Subscribe => format!(
            "more_topics = [{{ name = \"{prefix}{MORE}\", partitions = {} }}]\n",
            group.more_partitions
        ),
        _ => String::new(),
    };
    format!(
        r#"why = "A trial of an experiment."

[workload]
topic = {{ name = "{prefix}{TOPIC}", partitions = {partitions} }}
producers = {PRODUCERS}
record_bytes = {record_bytes}
batch_records = {{ min = 1, max = 10 }}
rate_per_s = {rate}
acks = "all"
idempotence = true
request_timeout_ms = {REQUEST_TIMEOUT_MS}
warm_up_ms = {quiet_ms}
settle_ms = {after_ms}

[group]
id = "{prefix}group"
members = {members}
client = "{client}"
protocol = "{protocol}"
static_membership = {is_static}
commits = "{commits}"
max_poll_records = {max_poll_records}
handler = {{ per_record_us = {handler_us}, threads = {handler_threads} }}
session_timeout_ms = {session_timeout_ms}
heartbeat_interval_ms = {heartbeat_interval_ms}
max_poll_interval_ms = {max_poll_interval_ms}
auto_commit_interval_ms = {auto_commit_interval_ms}
metadata_refresh_ms = {metadata_refresh_ms}
settle_within_ms = {settle_within_ms}
drain_within_ms = {drain_within_ms}
subscription = ["{prefix}{TOPIC}"]
{more}
[[fault]]
kind = "{kind}"
aim = {{ role = "consumer" }}
repeat = 1
gap_ms = {{ min = 0, max = 500 }}
{values}
[invariants]
lost = 0
log_duplicates = 0
undelivered = 0
skipped = {strict}
unprocessed = {strict}
redelivered = "counted"
redelivered_beyond_budget = 0
commit_regress = 0
zombie_overlap = 0
stalled = "counted"
unsettled = "counted"
"#,
        partitions = group.partitions,
        record_bytes = group.record_bytes,
        rate = group.rate,
        members = group.members,
        client = group.client.name(),
        protocol = group.protocol.name(),
        is_static = group.static_membership,
        commits = group.commits.name(),
        max_poll_records = group.max_poll_records,
        handler_us = group.handler_us,
        handler_threads = group.handler_threads,
        session_timeout_ms = group.session_timeout_ms,
        heartbeat_interval_ms = group.heartbeat_interval_ms,
        max_poll_interval_ms = group.max_poll_interval_ms,
        auto_commit_interval_ms = group.auto_commit_interval_ms,
        metadata_refresh_ms = group.metadata_refresh_ms,
        settle_within_ms = group.settle_within_ms,
        drain_within_ms = group.drain_within_ms,
        kind = kind(group.trigger),
        values = values(group, prefix),
    )
}

/// What a scenario calls the trigger: there a burst is a join of many.
fn kind(trigger: GroupTrigger) -> &'static str {
    match trigger {
        GroupTrigger::JoinBurst => GroupTrigger::Join.name(),
        trigger => trigger.name(),
    }
}

/// The keys of the trigger.
fn values(group: &Group, prefix: &str) -> String {
    let exactly = |key: &str, value: u64| format!("{key} = {{ min = {value}, max = {value} }}\n");
    match group.trigger {
        GroupTrigger::Join => exactly("members", group.joining.into()),
        GroupTrigger::JoinBurst => exactly("members", group.joining_burst.into()),
        GroupTrigger::Kill => exactly("heal_after_ms", group.heal_ms.into()),
        GroupTrigger::Pause => exactly("for_ms", group.for_ms.into()),
        GroupTrigger::Starve => {
            let share = format!("run_percent = {}\n", group.run_percent);
            exactly("for_ms", group.for_ms.into()) + &share
        }
        GroupTrigger::SlowHandler => exactly("for_ms", group.slow_batch_ms().max(1)),
        GroupTrigger::AddPartitions => exactly("by", group.more_partitions.into()),
        GroupTrigger::Subscribe => format!("topics = [\"{prefix}{TOPIC}\", \"{prefix}{MORE}\"]\n"),
        GroupTrigger::Leave | GroupTrigger::RollingRestart => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chaos::Scenario;

    #[test]
    fn every_trigger_makes_a_scenario_that_is_one() {
        for trigger in GroupTrigger::ALL {
            let group = Group {
                trigger,
                slow_record_us: 1_000,
                ..Group::default()
            };
            let text = text(&group, "assay-t-", 1_000, 500);
            let scenario =
                Scenario::parse("trial", &text).unwrap_or_else(|error| panic!("{trigger:?}: {error}\n{text}"));
            let workload = scenario.group.unwrap();
            assert_eq!(workload.triggers.len(), 1);
            assert_eq!(workload.subscription, ["assay-t-orders"]);
            assert_eq!(
                workload.last_subscription().len(),
                if trigger == GroupTrigger::Subscribe { 2 } else { 1 }
            );
        }
    }
}
