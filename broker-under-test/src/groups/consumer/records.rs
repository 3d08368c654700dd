//! What stands in `__consumer_offsets` of a group of KIP-848's protocol, in Kafka's formats: versions 3 and 5 to 8 of the keys.
//!
//! Version 4 was of Kafka before 4.1 and version 16 is of patterns, which we match anew: both are left alone. Times when a member is given up are not
//! written: after a restart everybody has a whole session timeout.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::BufMut;
use kafka_wire::encode::Encode;
use kafka_wire::{Cursor, WireError};
use uuid::Uuid;

use super::assignor::Places;
use super::member::{Member, Owned, Progress};
use super::{Changes, ConsumerGroup};
use crate::groups::records::Record;

const GROUP_KEY: i16 = 3;
const MEMBER_KEY: i16 = 5;
const TARGET_EPOCH_KEY: i16 = 6;
const TARGET_KEY: i16 = 7;
const CURRENT_KEY: i16 = 8;

/// What a key names; the group's name is beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// Its epoch.
    Group,
    /// What a member says of itself.
    Member(String),
    /// The epoch of the targets.
    TargetEpoch,
    Target(String),
    /// A member's epoch and what it holds.
    Current(String),
}

/// The rest of a key of that version: the group's name and what it is of; `None` for another version.
pub(crate) fn decode_key(version: i16, c: &mut Cursor) -> Result<Option<(String, Part)>, WireError> {
    if !matches!(
        version,
        GROUP_KEY | MEMBER_KEY | TARGET_EPOCH_KEY | TARGET_KEY | CURRENT_KEY
    ) {
        return Ok(None);
    }
    let group = c.string(false)?.to_owned();
    let part = match version {
        GROUP_KEY => Part::Group,
        TARGET_EPOCH_KEY => Part::TargetEpoch,
        MEMBER_KEY => Part::Member(c.string(false)?.to_owned()),
        TARGET_KEY => Part::Target(c.string(false)?.to_owned()),
        _ => Part::Current(c.string(false)?.to_owned()),
    };
    Ok(Some((group, part)))
}

fn key(version: i16, group: &str, member: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_i16(version);
    out.put_string(group, false);
    if let Some(member) = member {
        out.put_string(member, false);
    }
    out
}

/// The version of all values.
fn value() -> Vec<u8> {
    vec![0, 0]
}

/// The records that make the log tell what the group is, after these changes.
pub(crate) fn records(name: &str, group: &ConsumerGroup, changes: &Changes) -> Vec<Record> {
    let mut records = Vec::new();
    let of = |version, id: &str, write: fn(&Member) -> Vec<u8>| {
        (key(version, name, Some(id)), group.members.get(id).map(write))
    };
    for id in &changes.subscriptions {
        records.push(of(MEMBER_KEY, id, member_value));
    }
    if changes.epoch {
        records.push((key(GROUP_KEY, name, None), Some(group_value(group))));
    }
    for id in &changes.targets {
        records.push(of(TARGET_KEY, id, target_value));
    }
    if changes.target_epoch {
        let mut out = value();
        out.put_i32(group.target_epoch);
        out.put_no_tags(true);
        records.push((key(TARGET_EPOCH_KEY, name, None), Some(out)));
    }
    for id in &changes.currents {
        records.push(of(CURRENT_KEY, id, current_value));
    }
    records
}

/// The records that take back everything of a group.
pub(crate) fn tombstones(name: &str, group: &ConsumerGroup) -> Vec<Record> {
    let mut versions: Vec<(i16, Option<&str>)> = vec![(TARGET_EPOCH_KEY, None), (GROUP_KEY, None)];
    for id in group.members.keys() {
        versions.extend([CURRENT_KEY, TARGET_KEY, MEMBER_KEY].map(|version| (version, Some(id.as_str()))));
    }
    versions
        .into_iter()
        .map(|(version, id)| (key(version, name, id), None))
        .collect()
}

fn group_value(group: &ConsumerGroup) -> Vec<u8> {
    let mut out = value();
    out.put_i32(group.epoch);
    put_tag(&mut out, &group.metadata_hash.to_be_bytes());
    out
}

/// One tagged field, number 0.
fn put_tag(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_uvarint(1);
    out.put_uvarint(0);
    out.put_uvarint(bytes.len() as u32);
    out.put_slice(bytes);
}

fn member_value(member: &Member) -> Vec<u8> {
    let mut out = value();
    out.put_nullable_string(member.instance.as_deref(), true);
    out.put_nullable_string(member.rack.as_deref(), true);
    out.put_string(&member.client_id, true);
    out.put_string(&member.client_host, true);
    out.put_array_len(member.topics.len(), true);
    for topic in &member.topics {
        out.put_string(topic, true);
    }
    out.put_nullable_string(Some(member.pattern.as_str()).filter(|p| !p.is_empty()), true);
    out.put_i32(i32::try_from(member.rebalance_timeout.as_millis()).unwrap_or(i32::MAX));
    out.put_nullable_string(member.assignor.as_deref(), true);
    out.put_no_tags(true);
    out
}

fn target_value(member: &Member) -> Vec<u8> {
    let mut out = value();
    out.put_array_len(member.target.len(), true);
    for (topic, partitions) in &member.target {
        out.put_slice(topic.as_bytes());
        out.put_array_len(partitions.len(), true);
        partitions.iter().for_each(|partition| out.put_i32(*partition));
        out.put_no_tags(true);
    }
    out.put_no_tags(true);
    out
}

fn current_value(member: &Member) -> Vec<u8> {
    let mut out = value();
    out.put_i32(member.epoch);
    out.put_i32(member.previous_epoch);
    out.put_i8(member.progress.code());
    put_owned(&mut out, &member.owned);
    put_owned(&mut out, &member.revoking);
    out.put_no_tags(true);
    out
}

fn put_owned(out: &mut Vec<u8>, owned: &Owned) {
    out.put_array_len(owned.len(), true);
    for (topic, partitions) in owned {
        out.put_slice(topic.as_bytes());
        out.put_array_len(partitions.len(), true);
        partitions.keys().for_each(|partition| out.put_i32(*partition));
        let mut epochs = Vec::new();
        epochs.put_array_len(partitions.len(), true);
        partitions.values().for_each(|epoch| epochs.put_i32(*epoch));
        put_tag(out, &epochs);
    }
}

/// The bytes of tagged field 0, if it is there; the others are passed over.
fn read_tag<'a>(c: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, WireError> {
    let mut found = None;
    for _ in 0..c.uvarint()? {
        let tag = c.uvarint()?;
        let length = c.uvarint()? as usize;
        let bytes = c.take(length)?;
        found = found.or((tag == 0).then_some(bytes));
    }
    Ok(found)
}

fn read_uuid(c: &mut Cursor) -> Result<Uuid, WireError> {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(c.take(16)?);
    Ok(Uuid::from_bytes(bytes))
}

fn read_i32s(c: &mut Cursor) -> Result<Vec<i32>, WireError> {
    (0..c.array_len(true, 4)?.unwrap_or(0)).map(|_| c.i32()).collect()
}

fn read_owned(c: &mut Cursor) -> Result<Owned, WireError> {
    let mut owned = Owned::new();
    for _ in 0..c.array_len(true, 18)?.unwrap_or(0) {
        let topic = read_uuid(c)?;
        let partitions = read_i32s(c)?;
        let epochs = match read_tag(c)? {
            Some(bytes) => read_i32s(&mut Cursor::new(bytes))?,
            None => Vec::new(),
        };
        // Without an epoch, as Kafka before 4.3 writes it, the partition counts as the member's since ever.
        let epochs = epochs.into_iter().chain(std::iter::repeat(0));
        owned.insert(topic, partitions.into_iter().zip(epochs).collect());
    }
    Ok(owned)
}

fn read_target(c: &mut Cursor) -> Result<Places, WireError> {
    let mut target = Places::new();
    for _ in 0..c.array_len(true, 18)?.unwrap_or(0) {
        let topic = read_uuid(c)?;
        let partitions: BTreeSet<i32> = read_i32s(c)?.into_iter().collect();
        c.skip_tagged_fields()?;
        target.insert(topic, partitions);
    }
    Ok(target)
}

/// What was read of a group so far. Compaction keeps the last record of each key, so parts may come in any order.
#[derive(Debug, Default)]
pub(crate) struct Read {
    epoch: Option<(i32, i64)>,
    target_epoch: i32,
    members: BTreeMap<String, Member>,
    targets: BTreeMap<String, Places>,
    currents: BTreeMap<String, (i32, i32, Progress, Owned, Owned)>,
}

impl Read {
    /// Applies one record; no value takes back what was there.
    pub fn apply(&mut self, part: Part, value: Option<&[u8]>, now: Instant) -> Result<(), WireError> {
        let Some(value) = value else {
            match part {
                Part::Group => self.epoch = None,
                Part::TargetEpoch => self.target_epoch = 0,
                Part::Member(id) => drop(self.members.remove(&id)),
                Part::Target(id) => drop(self.targets.remove(&id)),
                Part::Current(id) => drop(self.currents.remove(&id)),
            }
            return Ok(());
        };
        let c = &mut Cursor::new(value);
        if c.i16()? != 0 {
            // Of a Kafka of the future.
            return Ok(());
        }
        match part {
            Part::Group => {
                let epoch = c.i32()?;
                let hash = match read_tag(c)? {
                    Some(bytes) => Cursor::new(bytes).i64()?,
                    None => 0,
                };
                self.epoch = Some((epoch, hash));
            }
            Part::TargetEpoch => self.target_epoch = c.i32()?,
            Part::Member(id) => drop(self.members.insert(id, read_member(c, now)?)),
            Part::Target(id) => drop(self.targets.insert(id, read_target(c)?)),
            Part::Current(id) => {
                let (epoch, previous_epoch) = (c.i32()?, c.i32()?);
                let progress = Progress::from_code(c.i8()?);
                let current = (epoch, previous_epoch, progress, read_owned(c)?, read_owned(c)?);
                self.currents.insert(id, current);
            }
        }
        Ok(())
    }

    /// The group as it was, or `None` when it was taken back. Members have their whole session timeouts from `now` on.
    pub fn finish(self, limits: super::Limits, now: Instant) -> Option<ConsumerGroup> {
        let (epoch, metadata_hash) = self.epoch?;
        let mut group = ConsumerGroup::new(limits);
        (group.epoch, group.metadata_hash, group.target_epoch) = (epoch, metadata_hash, self.target_epoch);
        let (mut targets, mut currents) = (self.targets, self.currents);
        for (id, mut member) in self.members {
            member.target = targets.remove(&id).unwrap_or_default();
            if let Some((epoch, previous_epoch, progress, owned, revoking)) = currents.remove(&id) {
                (member.epoch, member.previous_epoch, member.progress) = (epoch, previous_epoch, progress);
                (member.owned, member.revoking) = (owned, revoking);
            }
            for (topic, partitions) in member.owned.iter().chain(&member.revoking) {
                group
                    .held
                    .extend(partitions.keys().map(|partition| (*topic, *partition)));
            }
            member.expires = now + group.limits.session_timeout;
            member.revoke_by = (member.progress == Progress::Unrevoked).then_some(now + member.rebalance_timeout);
            group
                .instances
                .extend(member.instance.clone().map(|name| (name, id.clone())));
            group.members.insert(id, member);
        }
        Some(group)
    }
}

fn read_member(c: &mut Cursor, now: Instant) -> Result<Member, WireError> {
    let optional = |c: &mut Cursor| c.nullable_string(true).map(|text| text.map(str::to_owned));
    let mut member = Member::new(now);
    (member.instance, member.rack) = (optional(c)?, optional(c)?);
    (member.client_id, member.client_host) = (c.string(true)?.to_owned(), c.string(true)?.to_owned());
    for _ in 0..c.array_len(true, 1)?.unwrap_or(0) {
        member.topics.insert(c.string(true)?.to_owned());
    }
    member.pattern = optional(c)?.unwrap_or_default();
    member.rebalance_timeout = Duration::from_millis(u64::try_from(c.i32()?).unwrap_or(0));
    member.assignor = optional(c)?;
    Ok(member)
}
