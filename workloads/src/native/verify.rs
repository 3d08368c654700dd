//! The full check: reads a topic once and holds every batch against its CRC, its neighbours and the pre-load index.
//!
//! It runs once per arm and is not timed. It finds; it does not judge: each check is a line of `ledger.csv`.

use super::ClientError;
use super::connection::{ConnectOptions, Connection};
use super::preload::{Checksum, PreloadIndex};
use kafka_wire::fetch::{ResponseHead, encode_request};
use kafka_wire::{BatchHeader, BatchIter, RecordIter};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Largest number of batches that are read beyond the index before the reader stops.
const EXTRA_BATCHES_MAX: u64 = 16;

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// What the index says.
    pub expected: String,
    /// What the broker sent.
    pub observed: String,
    /// Whether they agree.
    pub ok: bool,
}

impl Check {
    fn equal<T: PartialEq + ToString>(name: &str, expected: &T, observed: &T) -> Self {
        Self {
            name: name.to_owned(),
            expected: expected.to_string(),
            observed: observed.to_string(),
            ok: expected == observed,
        }
    }
}

/// What a pass over the topic saw.
#[derive(Debug, Default)]
struct Seen {
    batches: u64,
    bytes: u64,
    records: u64,
    batches_broken: u64,
    batches_misplaced: u64,
    next_offset: i64,
    checksum: Checksum,
}

/// Reads the topic from offset 0 to its end, in responses of `response_bytes`, and lists the checks.
///
/// # Errors
/// The connection breaks or the broker refuses. What is wrong with the data is in the checks.
pub fn verify(address: SocketAddr, index: &PreloadIndex, response_bytes: u32) -> Result<Vec<Check>, ClientError> {
    let mut connection = Connection::connect(address, &ConnectOptions::default())?;
    let batches_expected = index.base_offsets.len() as u64;
    let bytes_max = i32::try_from(response_bytes.max(1)).unwrap_or(i32::MAX);
    let mut seen = Seen::default();
    let mut request = Vec::new();
    let high_watermark = loop {
        let correlation_id = connection.next_correlation_id();
        request.clear();
        encode_request(
            &mut request,
            correlation_id,
            &index.topic,
            0,
            seen.next_offset,
            bytes_max,
            100,
        );
        connection.send(&request)?;
        let frame = connection.receive(correlation_id)?;
        let head = ResponseHead::decode(frame)?;
        if let Some(code) = [head.error, head.result.error].into_iter().find(|code| *code != 0) {
            return Err(ClientError::refused("Fetch", &index.topic, code, None));
        }
        let offset_before = seen.next_offset;
        let records = frame.get(head.head_bytes..).unwrap_or_default();
        look_at(
            &mut seen,
            index,
            records.get(..head.result.records_bytes).unwrap_or(records),
        );
        // Without progress, or far beyond the index, there is nothing more to learn.
        if seen.next_offset <= offset_before || seen.batches > batches_expected + EXTRA_BATCHES_MAX {
            break head.result.high_watermark;
        }
        if seen.next_offset >= head.result.high_watermark {
            break head.result.high_watermark;
        }
    };
    let hexadecimal = |checksum: u64| format!("{checksum:016x}");
    Ok(vec![
        Check::equal("batches", &batches_expected, &seen.batches),
        Check::equal("bytes", &index.total_bytes(), &seen.bytes),
        Check::equal("batches with a wrong CRC or count", &0, &seen.batches_broken),
        Check::equal("batches at another offset", &0, &seen.batches_misplaced),
        Check::equal("records", &(index.end_offset as u64), &seen.records),
        Check::equal("high watermark", &index.end_offset, &high_watermark),
        Check::equal(
            "payload checksum",
            &hexadecimal(index.payload_checksum),
            &hexadecimal(seen.checksum.value()),
        ),
    ])
}

/// Looks at the batches of one response. Bytes that are no batch count as one broken batch and end the response.
fn look_at(seen: &mut Seen, index: &PreloadIndex, records: &[u8]) {
    let mut batches = BatchIter::new(records);
    for item in batches.by_ref() {
        let Ok((header, batch)) = item else {
            seen.batches_broken += 1;
            return;
        };
        let expected_offset = index.base_offsets.get(seen.batches as usize);
        let misplaced = expected_offset != Some(&header.base_offset) || header.base_offset != seen.next_offset;
        seen.batches_misplaced += u64::from(misplaced);
        let whole = BatchHeader::checked(batch).is_ok() && records_are_whole(header, batch);
        seen.batches_broken += u64::from(!whole);
        seen.records += u64::try_from(header.records_count).unwrap_or_default();
        seen.checksum.add(batch);
        seen.batches += 1;
        seen.bytes += batch.len() as u64;
        seen.next_offset = header.last_offset().saturating_add(1);
    }
}

/// Whether as many records as the header says can be read, and nothing else.
fn records_are_whole(header: BatchHeader, batch: &[u8]) -> bool {
    let mut count = 0i64;
    for record in RecordIter::new(header, batch) {
        if record.is_err() {
            return false;
        }
        count += 1;
    }
    count == i64::from(header.records_count)
}
