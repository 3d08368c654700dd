//! The fields of each API's answer.
//!
//! Shapes are from Kafka's message definitions (clients/src/main/resources/common/message). A field says how it is shown: what
//! no two brokers share is hidden, or shown as there or not there.

use kafka_wire::ApiKey;

use Show::{Error, Hidden, Present, Time, Value};
use Type::{Array, Bool, Bytes, I8, I16, I32, I64, Mine, Nullable, Numbers, Records, Set, Str, Structs, Tags, Uuid};

/// What a field holds.
#[derive(Clone, Copy)]
pub(super) enum Type {
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
pub(super) enum Show {
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
pub(super) struct Field(
    pub(super) &'static str,
    pub(super) Type,
    pub(super) Show,
    pub(super) i16,
    pub(super) i16,
);

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

/// The body of the API's answer.
pub(super) fn shape(key: ApiKey) -> &'static [Field] {
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
