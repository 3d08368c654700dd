//! The answers, field by field, and how they become text.
//!
//! Shapes are from Kafka's message definitions (clients/src/main/resources/common/message). A field says how it is shown: what
//! no two brokers share is hidden, or shown as there or not there.

use std::fmt::Write as _;

use kafka_wire::{ApiKey, BatchHeader, BatchIter, Cursor, ErrorCode, WireError};

use Show::{Error, Hidden, Present, Time, Value};
use Type::{Array, Bool, Bytes, I8, I16, I32, I64, Mine, Nullable, Numbers, Records, Set, Str, Structs, Tags, Uuid};

#[derive(Clone, Copy)]
enum Type {
    Bool,
    I8,
    I16,
    I32,
    I64,
    Uuid,
    /// A string, perhaps null.
    Str,
    /// Bytes, perhaps null, shown as text.
    Bytes,
    /// Record batches, perhaps null.
    Records,
    /// An array of primitives, shown as its length.
    Array(&'static Type),
    /// An array of 32-bit integers whose order says nothing, perhaps null.
    Numbers,
    /// The end of a structure that is not shown as one.
    Tags,
    /// A structure, perhaps null.
    Nullable(&'static [Field]),
    /// An array of structures, perhaps null.
    Structs(&'static [Field]),
    /// The same where the order says nothing.
    Set(&'static [Field]),
    /// The same where others of the same broker may stand too: only what begins with the bench's prefix is shown.
    Mine(&'static [Field]),
}

/// How a value is shown.
#[derive(Clone, Copy)]
enum Show {
    Value,
    /// An error code by its name; nothing when there is none.
    Error,
    /// Milliseconds since 1970, relative to the bench's first timestamp.
    Time,
    /// Whether it is there: not null, not zero, not -1, not empty.
    Present,
    Hidden,
}

/// A field, how it is shown, and the versions that carry it.
struct Field(&'static str, Type, Show, i16, i16);

const LATEST: i16 = i16::MAX;

// Macros and not functions: only literals are promoted to `'static`.
macro_rules! field {
    ($name:literal, $ty:expr, $show:expr) => {
        Field($name, $ty, $show, 0, LATEST)
    };
    ($name:literal, $ty:expr, $show:expr, $from:literal..) => {
        Field($name, $ty, $show, $from, LATEST)
    };
    ($name:literal, $ty:expr, $show:expr, $from:literal..=$to:literal) => {
        Field($name, $ty, $show, $from, $to)
    };
}

fn shape(key: ApiKey) -> &'static [Field] {
    match key {
        ApiKey::Produce => &[
            field!(
                "topics",
                Structs(&[
                    field!("name", Str, Value),
                    field!(
                        "partitions",
                        Structs(&[
                            field!("index", I32, Value),
                            field!("error", I16, Error),
                            field!("base_offset", I64, Value),
                            field!("log_append_time", I64, Time),
                            field!("log_start_offset", I64, Value, 5..),
                            field!(
                                "record_errors",
                                Structs(&[field!("batch_index", I32, Value), field!("message", Str, Hidden)]),
                                Hidden,
                                8..
                            ),
                            field!("message", Str, Hidden, 8..),
                        ]),
                        Value
                    ),
                ]),
                Value
            ),
            field!("throttle", I32, Hidden, 1..),
        ],
        ApiKey::Fetch => &[
            field!("throttle", I32, Hidden),
            field!("error", I16, Error, 7..),
            field!("session", I32, Present, 7..),
            field!(
                "topics",
                Set(&[
                    field!("name", Str, Value),
                    field!(
                        "partitions",
                        Set(&[
                            field!("index", I32, Value),
                            field!("error", I16, Error),
                            field!("high_watermark", I64, Value),
                            field!("last_stable_offset", I64, Value),
                            field!("log_start_offset", I64, Value, 5..),
                            field!(
                                "aborted",
                                Structs(&[field!("producer", I64, Present), field!("first_offset", I64, Value)]),
                                Value
                            ),
                            field!("preferred_replica", I32, Value, 11..),
                            field!("records", Records, Value),
                        ]),
                        Value
                    ),
                ]),
                Value
            ),
        ],
        ApiKey::ListOffsets => &[
            field!("throttle", I32, Hidden, 2..),
            field!(
                "topics",
                Set(&[
                    field!("name", Str, Value),
                    field!(
                        "partitions",
                        Set(&[
                            field!("index", I32, Value),
                            field!("error", I16, Error),
                            field!("timestamp", I64, Time),
                            field!("offset", I64, Value),
                            field!("leader_epoch", I32, Value, 4..),
                        ]),
                        Value
                    ),
                ]),
                Value
            ),
        ],
        ApiKey::Metadata => &[
            field!("throttle", I32, Hidden, 3..),
            field!(
                "brokers",
                Set(&[
                    field!("id", I32, Hidden),
                    field!("host", Str, Present),
                    field!("port", I32, Present),
                    field!("rack", Str, Value, 1..),
                ]),
                Value
            ),
            field!("cluster_id", Str, Present, 2..),
            field!("controller", I32, Present, 1..),
            field!(
                "topics",
                Set(&[
                    field!("error", I16, Error),
                    field!("name", Str, Value),
                    field!("id", Uuid, Present, 10..),
                    field!("internal", Bool, Value, 1..),
                    field!(
                        "partitions",
                        Set(&[
                            field!("error", I16, Error),
                            field!("index", I32, Value),
                            field!("leader", I32, Present),
                            field!("leader_epoch", I32, Value, 7..),
                            field!("replicas", Array(&I32), Value),
                            field!("in_sync", Array(&I32), Value),
                            field!("offline", Array(&I32), Value, 5..),
                        ]),
                        Value
                    ),
                    field!("operations", I32, Value, 8..),
                ]),
                Value
            ),
            field!("cluster_operations", I32, Value, 8..=10),
            field!("error", I16, Error, 13..),
        ],
        ApiKey::OffsetCommit => &[
            field!("throttle", I32, Hidden, 3..),
            field!(
                "topics",
                Set(&[
                    field!("name", Str, Value),
                    field!(
                        "partitions",
                        Set(&[field!("index", I32, Value), field!("error", I16, Error)]),
                        Value
                    ),
                ]),
                Value
            ),
        ],
        ApiKey::OffsetFetch => &[
            field!("throttle", I32, Hidden, 3..),
            field!("topics", Set(COMMITTED_IN_TOPIC), Value, 0..=7),
            field!("error", I16, Error, 2..=7),
            field!(
                "groups",
                Set(&[
                    field!("name", Str, Value),
                    field!("topics", Set(COMMITTED_IN_TOPIC), Value),
                    field!("error", I16, Error),
                ]),
                Value,
                8..
            ),
        ],
        ApiKey::JoinGroup => &[
            field!("throttle", I32, Hidden, 2..),
            field!("error", I16, Error),
            field!("generation", I32, Value),
            field!("protocol_type", Str, Value, 7..),
            field!("protocol", Str, Value),
            field!("leader", Str, Present),
            field!("skip_assignment", Bool, Value, 9..),
            field!("member", Str, Present),
            field!(
                "members",
                Set(&[
                    field!("id", Str, Present),
                    field!("instance", Str, Value, 5..),
                    field!("metadata", Bytes, Value),
                ]),
                Value
            ),
        ],
        ApiKey::SyncGroup => &[
            field!("throttle", I32, Hidden, 1..),
            field!("error", I16, Error),
            field!("protocol_type", Str, Value, 5..),
            field!("protocol", Str, Value, 5..),
            field!("assignment", Bytes, Value),
        ],
        ApiKey::Heartbeat => &[field!("throttle", I32, Hidden, 1..), field!("error", I16, Error)],
        ApiKey::LeaveGroup => &[
            field!("throttle", I32, Hidden, 1..),
            field!("error", I16, Error),
            field!(
                "members",
                Structs(&[
                    field!("id", Str, Present),
                    field!("instance", Str, Value),
                    field!("error", I16, Error),
                ]),
                Value,
                3..
            ),
        ],
        ApiKey::DescribeGroups => &[
            field!("throttle", I32, Hidden, 1..),
            field!(
                "groups",
                Set(&[
                    field!("error", I16, Error),
                    field!("message", Str, Hidden, 6..),
                    field!("name", Str, Value),
                    field!("state", Str, Value),
                    field!("protocol_type", Str, Value),
                    field!("protocol", Str, Value),
                    field!(
                        "members",
                        Set(&[
                            field!("id", Str, Present),
                            field!("instance", Str, Value, 4..),
                            field!("client", Str, Value),
                            field!("host", Str, Value),
                            field!("metadata", Bytes, Value),
                            field!("assignment", Bytes, Value),
                        ]),
                        Value
                    ),
                    field!("operations", I32, Value, 3..),
                ]),
                Value
            ),
        ],
        ApiKey::ListGroups => &[
            field!("throttle", I32, Hidden, 1..),
            field!("error", I16, Error),
            field!(
                "groups",
                Mine(&[
                    field!("name", Str, Value),
                    field!("protocol_type", Str, Value),
                    field!("state", Str, Value, 4..),
                    field!("type", Str, Value, 5..),
                ]),
                Value
            ),
        ],
        ApiKey::ConsumerGroupHeartbeat => &[
            field!("throttle", I32, Hidden),
            field!("error", I16, Error),
            field!("message", Str, Hidden),
            field!("member", Str, Present),
            field!("epoch", I32, Value),
            field!("interval", I32, Value),
            field!(
                "assignment",
                Nullable(&[field!(
                    "topics",
                    Set(&[field!("id", Uuid, Present), field!("partitions", Numbers, Value)]),
                    Value
                )]),
                Value
            ),
        ],
        ApiKey::ConsumerGroupDescribe => &[
            field!("throttle", I32, Hidden),
            field!(
                "groups",
                Set(&[
                    field!("error", I16, Error),
                    field!("message", Str, Hidden),
                    field!("name", Str, Value),
                    field!("state", Str, Value),
                    field!("epoch", I32, Value),
                    field!("assignment_epoch", I32, Value),
                    field!("assignor", Str, Value),
                    field!(
                        "members",
                        Set(&[
                            field!("id", Str, Value),
                            field!("instance", Str, Value),
                            field!("rack", Str, Value),
                            field!("epoch", I32, Value),
                            field!("client", Str, Value),
                            field!("host", Str, Value),
                            field!("topics", Array(&Str), Value),
                            field!("pattern", Str, Value),
                            field!("assignment", Set(ASSIGNED), Value),
                            // The end of the structure that the assignment is alone in.
                            field!("tags", Tags, Hidden),
                            field!("target", Set(ASSIGNED), Value),
                            field!("tags", Tags, Hidden),
                            field!("type", I8, Value, 1..),
                        ]),
                        Value
                    ),
                    field!("operations", I32, Value),
                ]),
                Value
            ),
        ],
        ApiKey::DeleteGroups => &[
            field!("throttle", I32, Hidden),
            field!(
                "groups",
                Set(&[field!("name", Str, Value), field!("error", I16, Error)]),
                Value
            ),
        ],
        ApiKey::OffsetDelete => &[
            field!("error", I16, Error),
            field!("throttle", I32, Hidden),
            field!(
                "topics",
                Set(&[
                    field!("name", Str, Value),
                    field!(
                        "partitions",
                        Set(&[field!("index", I32, Value), field!("error", I16, Error)]),
                        Value
                    ),
                ]),
                Value
            ),
        ],
        ApiKey::FindCoordinator => &[
            field!("throttle", I32, Hidden, 1..),
            field!("error", I16, Error, 0..=3),
            field!("message", Str, Hidden, 1..=3),
            field!("node", I32, Present, 0..=3),
            field!("host", Str, Present, 0..=3),
            field!("port", I32, Present, 0..=3),
            field!(
                "coordinators",
                Set(&[
                    field!("key", Str, Value),
                    field!("node", I32, Present),
                    field!("host", Str, Present),
                    field!("port", I32, Present),
                    field!("error", I16, Error),
                    field!("message", Str, Hidden),
                ]),
                Value,
                4..
            ),
        ],
        ApiKey::ApiVersions => &[
            field!("error", I16, Error),
            field!(
                "apis",
                Structs(&[
                    field!("key", I16, Value),
                    field!("min", I16, Value),
                    field!("max", I16, Value)
                ]),
                Value
            ),
            field!("throttle", I32, Hidden, 1..),
        ],
        ApiKey::CreateTopics => &[
            field!("throttle", I32, Hidden, 2..),
            field!(
                "topics",
                Set(&[
                    field!("name", Str, Value),
                    field!("id", Uuid, Present, 7..),
                    field!("error", I16, Error),
                    field!("message", Str, Hidden, 1..),
                    field!("partitions", I32, Value, 5..),
                    field!("replicas", I16, Value, 5..),
                    field!(
                        "configs",
                        Structs(&[
                            field!("name", Str, Value),
                            field!("value", Str, Value),
                            field!("read_only", Bool, Value),
                            field!("source", I8, Value),
                            field!("sensitive", Bool, Value),
                        ]),
                        Present,
                        5..
                    ),
                ]),
                Value
            ),
        ],
        ApiKey::CreatePartitions => &[
            field!("throttle", I32, Hidden),
            field!(
                "topics",
                Set(&[
                    field!("name", Str, Value),
                    field!("error", I16, Error),
                    field!("message", Str, Hidden),
                ]),
                Value
            ),
        ],
        ApiKey::DeleteTopics => &[
            field!("throttle", I32, Hidden, 1..),
            field!(
                "topics",
                Set(&[
                    field!("name", Str, Value),
                    field!("id", Uuid, Present, 6..),
                    field!("error", I16, Error),
                    field!("message", Str, Hidden, 5..),
                ]),
                Value
            ),
        ],
        ApiKey::DeleteRecords => &[
            field!("throttle", I32, Hidden),
            field!(
                "topics",
                Set(&[
                    field!("name", Str, Value),
                    field!(
                        "partitions",
                        Set(&[
                            field!("index", I32, Value),
                            field!("low_watermark", I64, Value),
                            field!("error", I16, Error),
                        ]),
                        Value
                    ),
                ]),
                Value
            ),
        ],
        ApiKey::InitProducerId => &[
            field!("throttle", I32, Hidden),
            field!("error", I16, Error),
            // The first one that is given out may be 0.
            field!("producer", I64, Hidden),
            field!("epoch", I16, Value),
        ],
        ApiKey::OffsetForLeaderEpoch => &[
            field!("throttle", I32, Hidden, 2..),
            field!(
                "topics",
                Set(&[
                    field!("name", Str, Value),
                    field!(
                        "partitions",
                        Set(&[
                            field!("error", I16, Error),
                            field!("index", I32, Value),
                            field!("leader_epoch", I32, Value, 1..),
                            field!("end_offset", I64, Value),
                        ]),
                        Value
                    ),
                ]),
                Value
            ),
        ],
        ApiKey::DescribeConfigs => &[
            field!("throttle", I32, Hidden),
            field!(
                "resources",
                Set(&[
                    field!("error", I16, Error),
                    field!("message", Str, Hidden),
                    field!("type", I8, Value),
                    field!("name", Str, Value),
                    field!(
                        "configs",
                        Set(&[
                            field!("name", Str, Value),
                            field!("value", Str, Value),
                            field!("read_only", Bool, Value),
                            field!("source", I8, Value, 1..),
                            field!("sensitive", Bool, Value),
                            field!(
                                "synonyms",
                                Structs(&[
                                    field!("name", Str, Value),
                                    field!("value", Str, Value),
                                    field!("source", I8, Value),
                                ]),
                                Value,
                                1..
                            ),
                            field!("type", I8, Value, 3..),
                            field!("documentation", Str, Present, 3..),
                        ]),
                        Value
                    ),
                ]),
                Value
            ),
        ],
        ApiKey::DescribeCluster => &[
            field!("throttle", I32, Hidden),
            field!("error", I16, Error),
            field!("message", Str, Hidden),
            field!("endpoint_type", I8, Value, 1..),
            field!("cluster_id", Str, Present),
            field!("controller", I32, Present),
            field!(
                "brokers",
                Set(&[
                    field!("id", I32, Hidden),
                    field!("host", Str, Present),
                    field!("port", I32, Present),
                    field!("rack", Str, Value),
                    field!("fenced", Bool, Value, 2..),
                ]),
                Value
            ),
            field!("operations", I32, Value),
        ],
    }
}

/// Partitions of a topic that a member has or shall have.
const ASSIGNED: &[Field] = &[
    field!("id", Uuid, Present),
    field!("name", Str, Value),
    field!("partitions", Numbers, Value),
];

/// What a group committed in one topic; epochs are told from version 5 on.
const COMMITTED_IN_TOPIC: &[Field] = &[
    field!("name", Str, Value),
    field!(
        "partitions",
        Set(&[
            field!("index", I32, Value),
            field!("offset", I64, Value),
            field!("leader_epoch", I32, Value, 5..),
            field!("metadata", Str, Value),
            field!("error", I16, Error),
        ]),
        Value
    ),
];

/// The name of an error, or its number when it is none of those that the bundled broker knows.
pub(super) fn error_name(code: i16) -> String {
    ErrorCode::from_code(code).map_or_else(|| format!("error {code}"), |error| format!("{error:?}"))
}

/// A whole answer as text; the correlation id must be the one that was sent.
///
/// `base_ms` is what times are relative to, `prefix` what is left out of topic names.
///
/// # Errors
/// Whatever does not read as the API's answer of that version, to its last byte.
pub(super) fn text(
    frame: &[u8],
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    base_ms: i64,
    prefix: &str,
) -> Result<String, WireError> {
    let mut cursor = Cursor::new(frame);
    let found = cursor.i32()?;
    if found != correlation_id {
        return Ok(format!(
            "an answer with correlation id {found} to request {correlation_id}"
        ));
    }
    if key.response_header_is_flexible(version) {
        cursor.skip_tagged_fields()?;
    }
    let walk = Walk {
        version,
        flexible: key.is_flexible(version),
        base_ms,
        prefix,
    };
    let text = walk.fields(&mut cursor, shape(key))?;
    cursor.finish()?;
    Ok(text)
}

struct Walk<'a> {
    version: i16,
    flexible: bool,
    base_ms: i64,
    prefix: &'a str,
}

impl Walk<'_> {
    fn fields(&self, c: &mut Cursor, fields: &[Field]) -> Result<String, WireError> {
        let mut out = String::new();
        for Field(name, ty, show, from, to) in fields {
            if !(*from..=*to).contains(&self.version) {
                continue;
            }
            if let Some(value) = self.value(c, ty, *show)? {
                let separator = if out.is_empty() { "" } else { " " };
                let _ = write!(out, "{separator}{name}={value}");
            }
        }
        if self.flexible {
            c.skip_tagged_fields()?;
        }
        Ok(out)
    }

    /// What is shown of a value, if it is shown at all.
    fn value(&self, c: &mut Cursor, ty: &Type, show: Show) -> Result<Option<String>, WireError> {
        let (text, is_there) = match ty {
            Bool => shown(c.bool()?, true),
            I8 => shown(c.i8()?, true),
            I16 => {
                let n = c.i16()?;
                if matches!(show, Error) {
                    return Ok((n != 0).then(|| error_name(n)));
                }
                shown(n, n > 0)
            }
            I32 => {
                let n = c.i32()?;
                shown(n, n > 0)
            }
            I64 => {
                let n = c.i64()?;
                if matches!(show, Time) {
                    return Ok(Some(self.time(n)));
                }
                shown(n, n >= 0)
            }
            Uuid => {
                let is_there = c.take(16)?.iter().any(|byte| *byte != 0);
                shown("id", is_there)
            }
            Str => match c.nullable_string(self.flexible)? {
                None => ("null".to_owned(), false),
                Some(s) => (s.strip_prefix(self.prefix).unwrap_or(s).to_owned(), !s.is_empty()),
            },
            Bytes => match c.nullable_bytes(self.flexible)? {
                None => ("null".to_owned(), false),
                Some(bytes) => (format!("'{}'", bytes.escape_ascii()), !bytes.is_empty()),
            },
            Records => (self.records(c)?, true),
            Array(element) => match c.array_len(self.flexible, 1)? {
                None => ("null".to_owned(), false),
                Some(count) => {
                    for _ in 0..count {
                        self.value(c, element, Hidden)?;
                    }
                    shown(count, true)
                }
            },
            Numbers => self.numbers(c)?,
            Tags => shown(c.skip_tagged_fields()?, false),
            Nullable(fields) => match c.i8()? {
                ..0 => ("null".to_owned(), false),
                _ => (format!("{{{}}}", self.fields(c, fields)?), true),
            },
            Structs(fields) => self.structs(c, fields, false, false)?,
            Set(fields) => self.structs(c, fields, true, false)?,
            Mine(fields) => self.structs(c, fields, true, true)?,
        };
        Ok(match show {
            Hidden => None,
            Present if is_there => Some("some".to_owned()),
            Present => Some("none".to_owned()),
            Value | Error | Time => Some(text),
        })
    }

    fn numbers(&self, c: &mut Cursor) -> Result<(String, bool), WireError> {
        let Some(count) = c.array_len(self.flexible, 4)? else {
            return Ok(("null".to_owned(), false));
        };
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(c.i32()?);
        }
        all.sort_unstable();
        let texts: Vec<String> = all.iter().map(i32::to_string).collect();
        Ok((format!("[{}]", texts.join(" ")), count > 0))
    }

    fn structs(
        &self,
        c: &mut Cursor,
        fields: &[Field],
        sort: bool,
        only_mine: bool,
    ) -> Result<(String, bool), WireError> {
        let Some(count) = c.array_len(self.flexible, 1)? else {
            return Ok(("null".to_owned(), false));
        };
        let mut all = Vec::new();
        for _ in 0..count {
            // Their first field is a name.
            let is_mine =
                |c: &Cursor| matches!(c.clone().string(self.flexible), Ok(name) if name.starts_with(self.prefix));
            let is_shown = !only_mine || is_mine(c);
            let text = self.fields(c, fields)?;
            all.extend(is_shown.then(|| format!("{{{text}}}")));
        }
        if sort {
            all.sort_unstable();
        }
        Ok((format!("[{}]", all.join(" ")), count > 0))
    }

    fn time(&self, ms: i64) -> String {
        /// A day: times of the script are near its base.
        const NEAR_MS: i64 = 86_400_000;
        match ms.checked_sub(self.base_ms) {
            Some(n) if n.abs() < NEAR_MS => format!("T{n:+}"),
            _ => ms.to_string(),
        }
    }

    /// Batches by base offset, record count, codec and bytes; what is left of one that was cut off.
    fn records(&self, c: &mut Cursor) -> Result<String, WireError> {
        let Some(bytes) = c.nullable_bytes(self.flexible)? else {
            return Ok("null".to_owned());
        };
        let mut parts = Vec::new();
        let mut batches = BatchIter::new(bytes);
        for batch in batches.by_ref() {
            parts.push(match batch {
                Ok((header, raw)) => batch_text(&header, raw),
                Err(error) => format!("({error})"),
            });
        }
        if !batches.rest().is_empty() {
            parts.push(format!("{} bytes of a batch", batches.rest().len()));
        }
        Ok(format!("[{}]", parts.join(", ")))
    }
}

fn batch_text(header: &BatchHeader, raw: &[u8]) -> String {
    let crc = match BatchHeader::checked(raw) {
        Ok(_) => "",
        Err(_) => " BROKEN",
    };
    format!(
        "offset {} +{} codec {} {} bytes{crc}",
        header.base_offset,
        header.records_count,
        header.codec(),
        raw.len()
    )
}

fn shown(value: impl ToString, is_there: bool) -> (String, bool) {
    (value.to_string(), is_there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_to_its_last_byte() {
        // ListOffsets version 1: one topic "t", partition 0, no error, timestamp 1005, offset 7.
        let mut frame = vec![0, 0, 0, 9, 0, 0, 0, 1, 0, 3, b'p', b'-', b't', 0, 0, 0, 1];
        frame.extend([0, 0, 0, 0, 0, 0]);
        frame.extend(1005i64.to_be_bytes());
        frame.extend(7i64.to_be_bytes());
        let read = |frame: &[u8], id| text(frame, ApiKey::ListOffsets, 1, id, 1000, "p-");
        let expected = "topics=[{name=t partitions=[{index=0 timestamp=T+5 offset=7}]}]";
        assert_eq!(read(&frame, 9).unwrap(), expected);
        assert!(read(&frame, 8).unwrap().contains("correlation id 9"));
        assert!(read(&frame[..frame.len() - 1], 9).is_err());
        frame.push(0);
        assert!(read(&frame, 9).is_err());
    }
}
