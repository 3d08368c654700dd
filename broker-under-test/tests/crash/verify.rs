//! After a start: what is there against what was promised, and the indexes against the log.

use std::collections::BTreeMap;

use broker_under_test::broker::Broker;
use broker_under_test::log::{Log, ReadError};
use kafka_wire::{BatchHeader, BatchIter, RecordIter};

use crate::model::{Model, Partition, Random};
use crate::producers;

/// Holds the whole broker against the model, and brings the model up to what is there: from now on readers have seen it.
///
/// # Errors
/// What is wrong, in words.
pub fn broker(broker: &Broker, model: &mut Model, random: &mut Random) -> Result<(), String> {
    let cluster_id = model.cluster_id.get_or_insert_with(|| broker.cluster_id.clone());
    if *cluster_id != broker.cluster_id {
        return Err(format!("the cluster id was {cluster_id} and is {}", broker.cluster_id));
    }
    let there = broker.topics.all();
    if let Some(foreign) = there.iter().find(|topic| !model.topics.contains_key(&topic.name)) {
        return Err(format!("topic {} was deleted, or never created", foreign.name));
    }
    model
        .topics
        .retain(|name, topic| topic.sure || there.iter().any(|t| t.name == *name));
    for (name, expected) in &mut model.topics {
        let found = broker.topics.get(name).ok_or_else(|| format!("topic {name} is gone"))?;
        expected.sure = true;
        let count = found.partitions.len();
        if count < expected.partitions.len() || count > expected.partitions_max {
            return Err(format!(
                "topic {name} has {count} partitions instead of {} to {}",
                expected.partitions.len(),
                expected.partitions_max
            ));
        }
        expected.partitions.resize_with(count, Partition::default);
        expected.partitions_max = count;
        for (number, expected) in expected.partitions.iter_mut().enumerate() {
            let log = found.partitions[number].as_ref();
            let verified = partition(log, expected, random).and_then(|()| producers::repeat_all(log, expected));
            verified.map_err(|problem| format!("{name}-{number}: {problem}"))?;
        }
    }
    Ok(())
}

/// The batches that can be read, by base offset.
fn content(log: &dyn Log, random: &mut Random) -> Result<(BTreeMap<i64, Vec<u8>>, i64), String> {
    let end = log.bounds().high_watermark();
    let mut batches = BTreeMap::new();
    let mut offset = log.bounds().start();
    while offset < end {
        let bytes_max = random.below(3000) as usize;
        let found = log
            .read(offset, bytes_max, true)
            .map_err(|e| format!("read at {offset}: {e}"))?;
        let mut progress = false;
        for slice in &found.slices {
            let bytes = slice.to_vec().map_err(|e| format!("read at {offset}: {e}"))?;
            for batch in BatchIter::new(&bytes) {
                let (header, bytes) = batch.map_err(|e| format!("at {offset}: {e}"))?;
                BatchHeader::checked(bytes).map_err(|e| format!("at {offset}: {e}"))?;
                // Only the first batch may begin in front of where the log begins.
                if header.base_offset != offset && (!batches.is_empty() || header.base_offset > offset) {
                    return Err(format!("offset {} where {offset} should be", header.base_offset));
                }
                if header.last_offset() >= end {
                    return Err(format!(
                        "offset {} is behind the high watermark {end}",
                        header.last_offset()
                    ));
                }
                offset = header.last_offset() + 1;
                batches.insert(header.base_offset, bytes.to_vec());
                progress = true;
            }
        }
        if !progress {
            return Err(format!("nothing at {offset}, in front of the high watermark {end}"));
        }
    }
    Ok((batches, end))
}

fn partition(log: &dyn Log, expected: &mut Partition, random: &mut Random) -> Result<(), String> {
    let (batches, end) = content(log, random)?;
    let start = log.bounds().start();
    if !(expected.start.0..=expected.start.1).contains(&start) {
        return Err(format!("it begins at {start} instead of {:?}", expected.start));
    }
    if log.bounds().end() != end {
        return Err(format!(
            "after a start it ends at {} with the high watermark at {end}",
            log.bounds().end()
        ));
    }
    if end < expected.durable_end {
        return Err(format!(
            "it ends at {end}, and {} was acknowledged",
            expected.durable_end
        ));
    }
    for (base, bytes) in &batches {
        let known = expected
            .written
            .get(base)
            .is_some_and(|versions| versions.contains(bytes));
        if !known {
            return Err(format!("the batch at {base} was never written there"));
        }
        if *base < expected.durable_end && expected.content.get(base) != Some(bytes) {
            return Err(format!("the batch at {base} is not the one that was acknowledged"));
        }
    }
    look_ups(log, &batches, (start, end), random)?;
    expected.start = (start, start);
    expected.end = end;
    expected.content = batches;
    Ok(())
}

/// Every offset leads to its batch; every time to its record; and beyond the ends there is nothing.
fn look_ups(
    log: &dyn Log,
    batches: &BTreeMap<i64, Vec<u8>>,
    (start, end): (i64, i64),
    random: &mut Random,
) -> Result<(), String> {
    for offset in start..end {
        let found = log
            .read(offset, 1, true)
            .map_err(|e| format!("look-up of {offset}: {e}"))?;
        let bytes = found.slices.first().map(|slice| slice.to_vec());
        let bytes = bytes.transpose().map_err(|e| format!("look-up of {offset}: {e}"))?;
        let header =
            BatchHeader::checked(&bytes.unwrap_or_default()).map_err(|e| format!("look-up of {offset}: {e}"))?;
        if !(header.base_offset..=header.last_offset()).contains(&offset) {
            return Err(format!("the look-up of {offset} leads to {}", header.base_offset));
        }
    }
    for beyond in [start - 1, end + 1] {
        if !matches!(log.read(beyond, 1, true), Err(ReadError::OutOfRange { .. })) {
            return Err(format!("offset {beyond} is read outside of [{start}, {end}]"));
        }
    }
    let records = batches.values().flat_map(|bytes| {
        let header = BatchHeader::parse(bytes).unwrap();
        RecordIter::new(header, bytes).map(|record| record.map(|r| (r.offset, r.timestamp_ms)).unwrap())
    });
    let records: Vec<(i64, i64)> = records.filter(|(offset, _)| *offset >= start).collect();
    let latest = records.iter().map(|(_, ms)| *ms).max();
    let expected = records.iter().find(|(_, ms)| Some(*ms) == latest).copied();
    let found = log.max_time().map_err(|e| e.to_string())?;
    // A batch that was deleted in part has its header's latest time still.
    let in_part = batches.keys().next().is_some_and(|base| *base < start);
    if found != expected && !in_part {
        return Err(format!("the latest record is {expected:?}, and {found:?} was found"));
    }
    for _ in 0..4 {
        let asked = 1_000_000 + random.below(100_000) as i64;
        let expected = records.iter().find(|(_, ms)| *ms >= asked).copied();
        let found = log.find_time(asked).map_err(|e| e.to_string())?;
        if found != expected {
            return Err(format!(
                "the first record at {asked} is {expected:?}, and {found:?} was found"
            ));
        }
    }
    Ok(())
}
