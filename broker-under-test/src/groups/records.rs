//! What stands in `__consumer_offsets`, in Kafka's formats, so that Kafka's own tools can read it: committed offsets, members and assignments.
//!
//! A key begins with its version, which says what it is of; a record without a value takes back what the key names.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes};
use kafka_wire::encode::Encode;
use kafka_wire::{Cursor, WireError};

use super::consumer::records::{Part, decode_key};
use super::group::{Group, Limits, State};
use super::member::{Member, Protocol};
use super::offsets::Committed;

/// Of an offset's key; version 0 is an older one with the same fields.
const OFFSET_KEYS: std::ops::RangeInclusive<i16> = 0..=1;
const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;
/// The last version of an offset's value without compact lengths; 1 is the one that has a time of expiry.
const OFFSET_VALUE: i16 = 3;
const EXPIRING_OFFSET_VALUE: i16 = 1;
/// The last version of a group's value without compact lengths.
const GROUP_VALUE: i16 = 3;

/// A record to write; no value takes the key's record back.
pub(crate) type Record = (Vec<u8>, Option<Vec<u8>>);

/// What a key names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    Offset {
        group: String,
        topic: String,
        partition: i32,
    },
    Group(String),
    /// Of a group of KIP-848's protocol.
    Consumer(String, Part),
}

impl Key {
    /// `None` for what other versions of Kafka write there.
    pub fn decode(bytes: &[u8]) -> Result<Option<Key>, WireError> {
        let c = &mut Cursor::new(bytes);
        let version = c.i16()?;
        let key = match version {
            GROUP_KEY => Key::Group(c.string(false)?.to_owned()),
            version if OFFSET_KEYS.contains(&version) => Key::Offset {
                group: c.string(false)?.to_owned(),
                topic: c.string(false)?.to_owned(),
                partition: c.i32()?,
            },
            version => match decode_key(version, c)? {
                Some((group, part)) => Key::Consumer(group, part),
                None => return Ok(None),
            },
        };
        c.finish().map(|()| Some(key))
    }
}

pub(crate) fn offset_key(group: &str, topic: &str, partition: i32) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_i16(OFFSET_KEY);
    out.put_string(group, false);
    out.put_string(topic, false);
    out.put_i32(partition);
    out
}

pub(crate) fn group_key(group: &str) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_i16(GROUP_KEY);
    out.put_string(group, false);
    out
}

pub(crate) fn offset_value(committed: &Committed) -> Vec<u8> {
    let mut out = Vec::new();
    let expiring = committed.expires_ms.is_some();
    out.put_i16(if expiring { EXPIRING_OFFSET_VALUE } else { OFFSET_VALUE });
    out.put_i64(committed.offset);
    if !expiring {
        out.put_i32(committed.leader_epoch);
    }
    out.put_string(&committed.metadata, false);
    out.put_i64(committed.at_ms);
    if let Some(expires_ms) = committed.expires_ms {
        out.put_i64(expires_ms);
    }
    out
}

/// `None` for a version that is not known.
pub(crate) fn read_offset(bytes: &[u8]) -> Result<Option<Committed>, WireError> {
    let c = &mut Cursor::new(bytes);
    let version = c.i16()?;
    if !(0..=OFFSET_VALUE).contains(&version) {
        return Ok(None);
    }
    let offset = c.i64()?;
    let leader_epoch = if version >= 3 { c.i32()? } else { -1 };
    let metadata = c.string(false)?.to_owned();
    let at_ms = c.i64()?;
    let expires_ms = if version == EXPIRING_OFFSET_VALUE {
        Some(c.i64()?)
    } else {
        None
    };
    c.finish()?;
    Ok(Some(Committed {
        offset,
        leader_epoch,
        metadata,
        at_ms,
        expires_ms: expires_ms.filter(|ms| *ms >= 0),
    }))
}

/// Members and assignments; `since_ms` is when the group came into its state, milliseconds since 1970.
pub(crate) fn group_value(group: &Group, since_ms: i64) -> Vec<u8> {
    let protocol = group.protocol();
    let mut out = Vec::new();
    out.put_i16(GROUP_VALUE);
    out.put_string(group.protocol_type().unwrap_or_default(), false);
    out.put_i32(group.generation());
    out.put_nullable_string(protocol, false);
    out.put_nullable_string(group.leader(), false);
    out.put_i64(since_ms);
    out.put_array_len(group.members().len(), false);
    for (id, member) in group.members() {
        out.put_string(id, false);
        out.put_nullable_string(member.instance.as_deref(), false);
        out.put_string(&member.client_id, false);
        out.put_string(&member.client_host, false);
        out.put_i32(millis(member.rebalance_timeout));
        out.put_i32(millis(member.session_timeout));
        put_bytes(&mut out, &member.metadata(protocol.unwrap_or_default()));
        put_bytes(&mut out, &member.assignment);
    }
    out
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_i32(bytes.len() as i32);
    out.put_slice(bytes);
}

/// The group as it was written, and since when it was in its state; its members have their whole session timeouts from `now` on. `None` for a
/// version that is not known.
pub(crate) fn read_group(bytes: &[u8], limits: Limits, now: Instant) -> Result<Option<(Group, i64)>, WireError> {
    let c = &mut Cursor::new(bytes);
    let version = c.i16()?;
    if !(0..=GROUP_VALUE).contains(&version) {
        return Ok(None);
    }
    let mut group = Group::new(limits);
    group.protocol_type = Some(c.string(false)?.to_owned()).filter(|name| !name.is_empty());
    group.generation = c.i32()?;
    group.protocol = c.nullable_string(false)?.map(str::to_owned);
    group.leader = c.nullable_string(false)?.map(str::to_owned);
    let since_ms = if version >= 2 { c.i64()? } else { -1 };
    for _ in 0..c.array_len(false, 18)?.unwrap_or(0) {
        let id = c.string(false)?.to_owned();
        let instance = if version >= 3 {
            c.nullable_string(false)?.map(str::to_owned)
        } else {
            None
        };
        let (client_id, client_host) = (c.string(false)?.to_owned(), c.string(false)?.to_owned());
        let rebalance_ms = if version >= 1 { Some(c.i32()?) } else { None };
        let session_ms = c.i32()?;
        let metadata = c.nullable_bytes(false)?.unwrap_or_default();
        let assignment = c.nullable_bytes(false)?.unwrap_or_default();
        let duration = |ms: i32| Duration::from_millis(ms.max(0) as u64);
        let member = Member {
            instance: instance.clone(),
            client_id,
            client_host,
            session_timeout: duration(session_ms),
            rebalance_timeout: duration(rebalance_ms.unwrap_or(session_ms)),
            protocols: vec![Protocol {
                name: group.protocol.clone().unwrap_or_default(),
                metadata: Bytes::copy_from_slice(metadata),
            }],
            assignment: Bytes::copy_from_slice(assignment),
            expires: now + duration(session_ms),
            is_new: false,
            awaits_join: None,
            awaits_sync: None,
        };
        group.instances.extend(instance.map(|name| (name, id.clone())));
        group.members.insert(id, member);
    }
    c.finish()?;
    group.state = if group.members.is_empty() {
        State::Empty
    } else {
        State::Stable
    };
    Ok(Some((group, since_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_offsets_come_back() {
        let key = offset_key("g", "orders", 7);
        // As Kafka writes it: version 1, then strings with two bytes of length.
        assert_eq!(key, [&[0, 1, 0, 1, b'g', 0, 6][..], b"orders", &[0, 0, 0, 7]].concat());
        let found = Key::decode(&key).unwrap().unwrap();
        let (group, topic) = ("g".to_owned(), "orders".to_owned());
        assert_eq!(
            found,
            Key::Offset {
                group,
                topic,
                partition: 7
            }
        );
        assert_eq!(Key::decode(&group_key("g")), Ok(Some(Key::Group("g".to_owned()))));
        assert_eq!(Key::decode(&[0, 9, 1]), Ok(None), "a version of the future");
        assert!(Key::decode(&key[..5]).is_err());
        for expires_ms in [None, Some(99)] {
            let committed = Committed {
                offset: 42,
                leader_epoch: if expires_ms.is_some() { -1 } else { 3 },
                metadata: "said".to_owned(),
                at_ms: 1000,
                expires_ms,
            };
            assert_eq!(read_offset(&offset_value(&committed)), Ok(Some(committed)));
        }
    }
}
