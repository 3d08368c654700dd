//! A table of request shapes, and a walk over them in front of the protocol crate.
//!
//! The crate reserves memory for as many array elements as the wire claims. [`check_request`] walks the body first and
//! holds every length against the bytes that remain, so that only bodies that really carry their elements get through.

use Type::{Array, Bool, Bytes, I8, I16, I32, I64, NullableString, Str, Structs, Uuid};

use crate::ApiKey;
use crate::cursor::{Cursor, Result, WireError};

/// Elements of all arrays and unknown tagged fields of one request together, Produce and Fetch too; Kafka's own tools
/// stay far below. An element of a few bytes on the wire takes some hundred in memory, and its answer again as many.
pub const ELEMENTS_MAX: usize = 100_000;

#[derive(Clone, Copy)]
enum Type {
    Bool,
    I8,
    I16,
    I32,
    I64,
    Uuid,
    Str,
    NullableString,
    Bytes,
    /// An array of primitives.
    Array(&'static Type),
    /// An array of structures.
    Structs(&'static [Field]),
}

/// A field and the versions that carry it.
struct Field(Type, i16, i16);

const LATEST: i16 = i16::MAX;

// Macros and not functions: only literals are promoted to `'static`.
macro_rules! always {
    ($ty:expr) => {
        Field($ty, 0, LATEST)
    };
}
macro_rules! from {
    ($ty:expr, $version:literal) => {
        Field($ty, $version, LATEST)
    };
}

/// The bodies, field by field, from Kafka's message definitions (clients/src/main/resources/common/message).
fn shape(key: ApiKey) -> Option<&'static [Field]> {
    Some(match key {
        // Their bodies are read by this crate itself.
        ApiKey::Produce | ApiKey::Fetch => return None,
        ApiKey::ListOffsets => &[
            always!(I32),
            from!(I8, 2),
            always!(Structs(&[
                always!(Str),
                always!(Structs(&[always!(I32), from!(I32, 4), always!(I64)])),
            ])),
            from!(I32, 10),
        ],
        ApiKey::Metadata => &[
            always!(Structs(&[from!(Uuid, 10), always!(NullableString)])),
            from!(Bool, 4),
            Field(Bool, 8, 10),
            from!(Bool, 8),
        ],
        ApiKey::OffsetCommit => &[
            always!(Str),
            always!(I32),
            always!(Str),
            from!(NullableString, 7),
            Field(I64, 2, 4),
            always!(Structs(&[
                always!(Str),
                always!(Structs(&[
                    always!(I32),
                    always!(I64),
                    from!(I32, 6),
                    always!(NullableString)
                ])),
            ])),
        ],
        ApiKey::OffsetFetch => &[
            Field(Str, 0, 7),
            Field(Structs(&[always!(Str), always!(Array(&I32))]), 0, 7),
            from!(
                Structs(&[
                    always!(Str),
                    from!(NullableString, 9),
                    from!(I32, 9),
                    always!(Structs(&[always!(Str), always!(Array(&I32))])),
                ]),
                8
            ),
            from!(Bool, 7),
        ],
        ApiKey::JoinGroup => &[
            always!(Str),
            always!(I32),
            from!(I32, 1),
            always!(Str),
            from!(NullableString, 5),
            always!(Str),
            always!(Structs(&[always!(Str), always!(Bytes)])),
            from!(NullableString, 8),
        ],
        ApiKey::Heartbeat => &[always!(Str), always!(I32), always!(Str), from!(NullableString, 3)],
        ApiKey::LeaveGroup => &[
            always!(Str),
            Field(Str, 0, 2),
            from!(
                Structs(&[always!(Str), always!(NullableString), from!(NullableString, 5)]),
                3
            ),
        ],
        ApiKey::SyncGroup => &[
            always!(Str),
            always!(I32),
            always!(Str),
            from!(NullableString, 3),
            from!(NullableString, 5),
            from!(NullableString, 5),
            always!(Structs(&[always!(Str), always!(Bytes)])),
        ],
        ApiKey::DescribeGroups => &[always!(Array(&Str)), from!(Bool, 3)],
        ApiKey::ListGroups => &[from!(Array(&Str), 4), from!(Array(&Str), 5)],
        ApiKey::DeleteGroups => &[always!(Array(&Str))],
        ApiKey::OffsetDelete => &[
            always!(Str),
            always!(Structs(&[always!(Str), always!(Structs(&[always!(I32)]))])),
        ],
        ApiKey::FindCoordinator => &[Field(Str, 0, 3), from!(I8, 1), from!(Array(&Str), 4)],
        ApiKey::ApiVersions => &[from!(Str, 3), from!(Str, 3)],
        ApiKey::CreateTopics => &[
            always!(Structs(&[
                always!(Str),
                always!(I32),
                always!(I16),
                always!(Structs(&[always!(I32), always!(Array(&I32))])),
                always!(Structs(&[always!(Str), always!(NullableString)])),
            ])),
            always!(I32),
            always!(Bool),
        ],
        ApiKey::DeleteTopics => &[
            from!(Structs(&[always!(NullableString), always!(Uuid)]), 6),
            Field(Array(&Str), 0, 5),
            always!(I32),
        ],
        ApiKey::DeleteRecords => &[
            always!(Structs(&[
                always!(Str),
                always!(Structs(&[always!(I32), always!(I64)]))
            ])),
            always!(I32),
        ],
        ApiKey::InitProducerId => &[always!(NullableString), always!(I32), from!(I64, 3), from!(I16, 3)],
        ApiKey::OffsetForLeaderEpoch => &[
            from!(I32, 3),
            always!(Structs(&[
                always!(Str),
                always!(Structs(&[always!(I32), always!(I32), always!(I32)])),
            ])),
        ],
        ApiKey::DescribeConfigs => &[
            always!(Structs(&[always!(I8), always!(Str), always!(Array(&Str))])),
            always!(Bool),
            from!(Bool, 3),
        ],
        ApiKey::CreatePartitions => &[
            always!(Structs(&[
                always!(Str),
                always!(I32),
                always!(Structs(&[always!(Array(&I32))])),
            ])),
            always!(I32),
            always!(Bool),
        ],
        ApiKey::DescribeCluster => &[always!(Bool), from!(I8, 1)],
        ApiKey::ConsumerGroupHeartbeat => &[
            always!(Str),
            always!(Str),
            always!(I32),
            always!(NullableString),
            always!(NullableString),
            always!(I32),
            always!(Array(&Str)),
            from!(NullableString, 1),
            always!(NullableString),
            always!(Structs(&[always!(Uuid), always!(Array(&I32))])),
        ],
        ApiKey::ConsumerGroupDescribe => &[always!(Array(&Str)), always!(Bool)],
    })
}

/// Walks over the body of a control request and leaves the cursor at its end, in front of what a client may leave behind it.
///
/// # Errors
/// Whatever is truncated, negative, too many, not UTF-8, or left over; [`WireError::Unsupported`] for a version that
/// is not served.
pub fn check_request(cursor: &mut Cursor, key: ApiKey, version: i16) -> Result<()> {
    let unsupported = WireError::Unsupported {
        key: key.code(),
        version,
    };
    let fields = shape(key).filter(|_| key.serves(version)).ok_or(unsupported)?;
    let mut walk = Walk {
        version,
        flexible: key.is_flexible(version),
        elements: 0,
    };
    walk.fields(cursor, fields)?;
    if key == ApiKey::Metadata && walk.flexible && cursor.remaining() <= LIBRDKAFKA_LEAVES {
        return Ok(());
    }
    cursor.finish()
}

/// librdkafka (2.12 at least) leaves so many bytes behind a Metadata request for all topics, which it sends for every subscription by pattern:
/// it reserves four bytes for the number of topics, of which the null of a compact array takes one. Kafka never looks behind a body.
const LIBRDKAFKA_LEAVES: usize = 3;

/// Fails when a request has more than [`ELEMENTS_MAX`] elements so far.
pub(crate) fn check_elements(at: usize, elements: usize) -> Result<()> {
    let limit = ELEMENTS_MAX;
    if elements > limit {
        return Err(WireError::TooManyElements { at, limit });
    }
    Ok(())
}

struct Walk {
    version: i16,
    flexible: bool,
    elements: usize,
}

impl Walk {
    fn fields(&mut self, c: &mut Cursor, fields: &[Field]) -> Result<()> {
        for Field(ty, min, max) in fields {
            if (*min..=*max).contains(&self.version) {
                self.value(c, ty)?;
            }
        }
        if self.flexible {
            let at = c.position();
            let tags = c.skip_tagged_fields()?;
            self.add(at, tags)?;
        }
        Ok(())
    }

    fn value(&mut self, c: &mut Cursor, ty: &Type) -> Result<()> {
        match ty {
            Bool | I8 => c.take(1).map(drop),
            I16 => c.take(2).map(drop),
            I32 => c.take(4).map(drop),
            I64 => c.take(8).map(drop),
            Uuid => c.take(16).map(drop),
            Str => c.string(self.flexible).map(drop),
            NullableString => c.nullable_string(self.flexible).map(drop),
            Bytes => {
                let at = c.position();
                let bytes = c.nullable_bytes(self.flexible)?;
                bytes.map(drop).ok_or(WireError::InvalidLength { at, length: -1 })
            }
            Array(element) => {
                for _ in 0..self.count(c)? {
                    self.value(c, element)?;
                }
                Ok(())
            }
            Structs(fields) => {
                for _ in 0..self.count(c)? {
                    self.fields(c, fields)?;
                }
                Ok(())
            }
        }
    }

    fn count(&mut self, c: &mut Cursor) -> Result<usize> {
        let at = c.position();
        let count = c.array_len(self.flexible, 1)?.unwrap_or(0);
        self.add(at, count)?;
        Ok(count)
    }

    fn add(&mut self, at: usize, count: usize) -> Result<()> {
        self.elements += count;
        check_elements(at, self.elements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_that_aborts_the_crate_is_refused() {
        let mut cursor = Cursor::new(&[0x7f, 0xff, 0xff, 0xff]);
        assert!(check_request(&mut cursor, ApiKey::Metadata, 1).is_err());
    }

    #[test]
    fn null_topics_mean_all() {
        assert!(check_request(&mut Cursor::new(&[0xff; 4]), ApiKey::Metadata, 1).is_ok());
        assert!(check_request(&mut Cursor::new(&[0, 1, 0, 0, 0]), ApiKey::Metadata, 9).is_ok());
    }

    #[test]
    fn what_librdkafka_leaves_behind_a_request_for_all_topics_is_passed_over() {
        let body = [0, 0, 0, 0, 0, 1, 0];
        assert!(check_request(&mut Cursor::new(&body), ApiKey::Metadata, 12).is_ok());
        let longer = [0, 0, 0, 0, 0, 1, 0, 0];
        assert!(check_request(&mut Cursor::new(&longer), ApiKey::Metadata, 12).is_err());
        assert!(check_request(&mut Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0]), ApiKey::Metadata, 1).is_err());
    }
}
