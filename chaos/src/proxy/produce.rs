//! What Produce requests hold and what their answers say, in all versions that name their batches: enough to know which batches were
//! applied, and where.

use kafka_wire::{BatchIter, Cursor, WireError};
use workloads::history::OffsetRun;

/// The first version with record batches and a transactional id.
const BATCHES_FROM: i16 = 3;
/// From here on a topic is named by its id.
const TOPIC_IDS_FROM: i16 = 13;

type Result<T> = std::result::Result<T, WireError>;

fn is_flexible(version: i16) -> bool {
    version >= 9
}

/// What is asked for: `acks`, which says whether an answer will come. A part of the frame is enough, as it stands near the front.
pub(super) fn acks(frame: &[u8], version: i16) -> Result<i16> {
    let mut cursor = Cursor::new(frame);
    to_acks(&mut cursor, version)?;
    cursor.i16()
}

fn to_acks(cursor: &mut Cursor<'_>, version: i16) -> Result<()> {
    cursor.take(8)?; // API key, version, correlation id
    cursor.nullable_string(false)?; // client id
    if is_flexible(version) {
        cursor.skip_tagged_fields()?;
    }
    if version >= BATCHES_FROM {
        cursor.nullable_string(is_flexible(version))?; // transactional id
    }
    Ok(())
}

/// Records that a request (behind its length) holds for each partition.
///
/// # Errors
/// A request that does not read as its version says, or whose batches can't be counted.
pub(super) fn records_by_partition(frame: &[u8], version: i16) -> Result<Vec<(i32, u32)>> {
    let flexible = is_flexible(version);
    let mut cursor = Cursor::new(frame);
    to_acks(&mut cursor, version)?;
    cursor.i16()?; // acks
    cursor.i32()?; // timeout
    let mut partitions = Vec::new();
    for _ in 0..cursor.array_len(flexible, 2)?.unwrap_or(0) {
        topic(&mut cursor, version)?;
        for _ in 0..cursor.array_len(flexible, 5)?.unwrap_or(0) {
            let partition = cursor.i32()?;
            let at = cursor.position();
            let records = cursor.nullable_bytes(flexible)?.unwrap_or_default();
            if flexible {
                cursor.skip_tagged_fields()?;
            }
            let mut count = 0_u32;
            for batch in BatchIter::new(records) {
                let Ok((header, _)) = batch else {
                    return Err(WireError::InvalidLength {
                        at,
                        length: records.len() as i64,
                    });
                };
                count = count.saturating_add(header.records_count.max(0).unsigned_abs());
            }
            partitions.push((partition, count));
        }
        if flexible {
            cursor.skip_tagged_fields()?;
        }
    }
    Ok(partitions)
}

fn topic(cursor: &mut Cursor<'_>, version: i16) -> Result<()> {
    if version >= TOPIC_IDS_FROM {
        cursor.take(16)?;
    } else {
        cursor.string(is_flexible(version))?;
    }
    Ok(())
}

/// What an answer says about one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) partition: i32,
    pub(super) error: i16,
    pub(super) base_offset: i64,
}

/// Walks over an answer behind its correlation id, up to the tagged fields at its end.
///
/// # Errors
/// An answer that does not read as `version`.
pub(super) fn walk_answer(cursor: &mut Cursor<'_>, version: i16, each: &mut dyn FnMut(Outcome)) -> Result<()> {
    let flexible = is_flexible(version);
    if flexible {
        cursor.skip_tagged_fields()?;
    }
    for _ in 0..cursor.array_len(flexible, 2)?.unwrap_or(0) {
        topic(cursor, version)?;
        for _ in 0..cursor.array_len(flexible, 14)?.unwrap_or(0) {
            let (partition, error, base_offset) = (cursor.i32()?, cursor.i16()?, cursor.i64()?);
            if version >= 2 {
                cursor.i64()?; // time of the append
            }
            if version >= 5 {
                cursor.i64()?; // log start offset
            }
            if version >= 8 {
                for _ in 0..cursor.array_len(flexible, 5)?.unwrap_or(0) {
                    cursor.i32()?;
                    cursor.nullable_string(flexible)?;
                    if flexible {
                        cursor.skip_tagged_fields()?;
                    }
                }
                cursor.nullable_string(flexible)?; // message
            }
            if flexible {
                cursor.skip_tagged_fields()?;
            }
            each(Outcome {
                partition,
                error,
                base_offset,
            });
        }
        if flexible {
            cursor.skip_tagged_fields()?;
        }
    }
    if version >= 1 {
        cursor.i32()?; // throttle time
    }
    Ok(())
}

/// Where the batches of a request now stand, by its answer (behind its length): those without an error.
///
/// # Errors
/// An answer that does not read as `version`, or that names a partition which was not asked for.
pub(super) fn applied(frame: &[u8], version: i16, asked: &[(i32, u32)]) -> Result<Vec<OffsetRun>> {
    let mut cursor = Cursor::new(frame);
    cursor.i32()?;
    let mut outcomes = Vec::new();
    walk_answer(&mut cursor, version, &mut |outcome| outcomes.push(outcome))?;
    let mut runs = Vec::new();
    for Outcome {
        partition, base_offset, ..
    } in outcomes
        .into_iter()
        .filter(|outcome| outcome.error == 0 && outcome.base_offset >= 0)
    {
        let count = asked.iter().find(|asked| asked.0 == partition).map(|asked| asked.1);
        let run = u32::try_from(partition).ok().zip(count).filter(|run| run.1 > 0);
        let (partition, count) = run.ok_or(WireError::InvalidLength {
            at: cursor.position(),
            length: i64::from(partition),
        })?;
        runs.push(OffsetRun {
            partition,
            base_offset,
            count,
        });
    }
    Ok(runs)
}
