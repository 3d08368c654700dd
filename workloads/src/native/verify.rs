//! The full check: reads a topic once and holds every batch against its CRC, its neighbours and the ledger.
//!
//! It runs once per arm and is not timed. It finds; it does not judge: each check is a line of `ledger.csv`.

use super::ClientError;
use super::admin::Admin;
use super::batches::BATCH_BYTES_MAX;
use super::connection::{ConnectOptions, Connection};
use super::endpoint::Bootstrap;
use super::ledger::{Checksum, Ledger, PartitionLedger};
use super::security::Security;
use kafka_wire::fetch::{ResponseHead, encode_request};
use kafka_wire::{BatchHeader, BatchIter, Decompressor};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Largest number of batches that are read beyond the ledger before the reader stops.
const EXTRA_BATCHES_MAX: u64 = 16;
/// How long the broker may hold a fetch back, ms.
const WAIT_MS: i32 = 100;
/// How long the replicas may take to have what the leader alone has acknowledged; only then may it be read.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two looks at that.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(20);
/// Most partitions that are listed by number.
const LISTED_MAX: usize = 16;

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// What the ledger says.
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

/// What a pass over a partition, or over several of them, saw.
#[derive(Debug, Default)]
struct Seen {
    batches: u64,
    bytes: u64,
    records: u64,
    batches_broken: u64,
    batches_misplaced: u64,
    next_offset: i64,
    high_watermark: i64,
    checksum: Checksum,
}

impl Seen {
    fn is(&self, expected: &PartitionLedger) -> bool {
        self.batches == expected.batches
            && self.bytes == expected.bytes
            && self.records == expected.records
            && self.batches_broken + self.batches_misplaced == 0
            && self.high_watermark == expected.next_offset
            && self.checksum == expected.checksum
    }
}

/// Reads what the ledger names, each partition from its first offset to its end, in responses of `response_bytes`, and lists the
/// checks. A partition without an acknowledged batch is not read.
///
/// # Errors
/// The connection breaks or the broker refuses. What is wrong with the data is in the checks.
pub fn verify(
    brokers: &Bootstrap,
    security: &Security,
    ledger: &Ledger,
    response_bytes: u32,
) -> Result<Vec<Check>, ClientError> {
    let by_number = |number| ledger.partitions.iter().find(|found| found.partition == number);
    let spread = ledger.spread();
    let leaders = Admin::connect(brokers, security)?.leaders_of(&spread)?;
    let mut seen = Vec::new();
    for (endpoint, places) in &leaders.brokers {
        let mut connection = Connection::open(endpoint, security, &ConnectOptions::default())?;
        for expected in places.iter().filter_map(|place| by_number(*place)) {
            if expected.batches > 0 {
                let at = spread.at(expected.partition as usize);
                let found = read_partition(&mut connection, (&at.0, at.1), expected, response_bytes)?;
                seen.push((expected, found));
            }
        }
    }
    seen.sort_by_key(|(expected, _)| expected.partition);
    Ok(checks(&seen))
}

/// One line per property, summed over the partitions; sums can't hide a difference from the checksum of all of them.
fn checks(seen: &[(&PartitionLedger, Seen)]) -> Vec<Check> {
    let sum = |one: &dyn Fn(&(&PartitionLedger, Seen)) -> u64| seen.iter().map(one).sum::<u64>();
    let offsets = |one: &dyn Fn(&(&PartitionLedger, Seen)) -> i64| {
        let sum = seen.iter().map(|both| i128::from(one(both))).sum::<i128>();
        sum.to_string()
    };
    let checksum = |one: &dyn Fn(&(&PartitionLedger, Seen)) -> Checksum| {
        let all = match seen {
            [only] => one(only),
            several => several.iter().fold(Checksum::default(), |mut all, both| {
                all.add_partition(one(both));
                all
            }),
        };
        format!("{:016x}", all.value())
    };
    let mut checks = vec![
        Check::equal("batches", &sum(&|(l, _)| l.batches), &sum(&|(_, s)| s.batches)),
        Check::equal("bytes", &sum(&|(l, _)| l.bytes), &sum(&|(_, s)| s.bytes)),
        Check::equal(
            "batches with a wrong CRC or count",
            &0,
            &sum(&|(_, s)| s.batches_broken),
        ),
        Check::equal("batches at another offset", &0, &sum(&|(_, s)| s.batches_misplaced)),
        Check::equal("records", &sum(&|(l, _)| l.records), &sum(&|(_, s)| s.records)),
        Check::equal(
            "high watermark",
            &offsets(&|(l, _)| l.next_offset),
            &offsets(&|(_, s)| s.high_watermark),
        ),
        Check::equal(
            "payload checksum",
            &checksum(&|(l, _)| l.checksum),
            &checksum(&|(_, s)| s.checksum),
        ),
    ];
    if seen.len() > 1 {
        let differ: Vec<String> = seen
            .iter()
            .filter(|(expected, found)| !found.is(expected))
            .map(|(expected, _)| expected.partition.to_string())
            .collect();
        let listed = match differ.len() {
            0 => "none".to_owned(),
            few if few <= LISTED_MAX => differ.join(" "),
            many => format!("{many} of {}", seen.len()),
        };
        checks.push(Check::equal("partitions that differ", &"none".to_owned(), &listed));
    }
    checks
}

fn read_partition(
    connection: &mut Connection,
    (topic, partition): (&str, i32),
    expected: &PartitionLedger,
    response_bytes: u32,
) -> Result<Seen, ClientError> {
    let bytes_max = i32::try_from(response_bytes.max(1)).unwrap_or(i32::MAX);
    let mut seen = Seen {
        next_offset: expected.first_offset,
        ..Seen::default()
    };
    let mut decompressor = Decompressor::default();
    let deadline = Instant::now() + CATCH_UP_TIMEOUT;
    loop {
        let offset = seen.next_offset;
        let frame = connection.ask(|out, id| encode_request(out, id, topic, partition, offset, bytes_max, WAIT_MS))?;
        let head = ResponseHead::decode(frame)?;
        if let Some(code) = [head.error, head.result.error].into_iter().find(|code| *code != 0) {
            return Err(ClientError::refused("Fetch", topic, Some(partition), code, None));
        }
        let records = frame.get(head.head_bytes..).unwrap_or_default();
        look_at(
            &mut seen,
            &mut decompressor,
            records.get(..head.result.records_bytes).unwrap_or(records),
        );
        seen.high_watermark = head.result.high_watermark;
        let has_progress = seen.next_offset > offset;
        let is_caught_up = seen.high_watermark >= expected.next_offset;
        let is_enough = seen.batches > expected.batches + EXTRA_BATCHES_MAX;
        let is_at_end = !has_progress || seen.next_offset >= seen.high_watermark;
        // Far beyond the ledger, or at the end of what may be read, there is nothing more to learn.
        if is_enough || (is_at_end && (is_caught_up || Instant::now() > deadline)) {
            return Ok(seen);
        }
        if !has_progress {
            std::thread::sleep(CATCH_UP_PAUSE);
        }
    }
}

/// Looks at the batches of one response. Bytes that are no batch count as one broken batch and end the response.
fn look_at(seen: &mut Seen, decompressor: &mut Decompressor, records: &[u8]) {
    let mut batches = BatchIter::new(records);
    for item in batches.by_ref() {
        let Ok((header, batch)) = item else {
            seen.batches_broken += 1;
            return;
        };
        seen.batches_misplaced += u64::from(header.base_offset != seen.next_offset);
        let whole = BatchHeader::checked(batch).is_ok() && records_are_whole(decompressor, header, batch);
        seen.batches_broken += u64::from(!whole);
        seen.records += u64::try_from(header.records_count).unwrap_or_default();
        seen.checksum.add(batch);
        seen.batches += 1;
        seen.bytes += batch.len() as u64;
        seen.next_offset = header.last_offset().saturating_add(1);
    }
}

/// Whether as many records as the header says can be read, compressed or not, and nothing else.
fn records_are_whole(decompressor: &mut Decompressor, header: BatchHeader, batch: &[u8]) -> bool {
    let Ok(mut records) = decompressor.records(header, batch, BATCH_BYTES_MAX) else {
        return false;
    };
    records.all(|record| record.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_wire::batch::{CRC_START, HEADER_BYTES};
    use kafka_wire::{BatchBuilder, Codec, Compression, Compressor};

    fn batch(codec: Codec) -> Vec<u8> {
        let mut builder = BatchBuilder::new(1_000);
        (0..10).for_each(|i| builder.push(1_000 + i, None, &[7; 100]));
        let mut compressor = Compressor::new(Compression::new(codec));
        builder.finish_compressed(&mut compressor).unwrap().to_vec()
    }

    /// Gives `batch` the CRC of what it holds now.
    fn sealed(mut batch: Vec<u8>) -> Vec<u8> {
        let crc = kafka_wire::crc::crc32c(&batch[CRC_START..]);
        batch[CRC_START - 4..CRC_START].copy_from_slice(&crc.to_be_bytes());
        batch
    }

    #[test]
    fn records_of_compressed_batches_are_counted_too() {
        for codec in Codec::ALL {
            let whole = batch(codec);
            let mut damaged = whole.clone();
            damaged[HEADER_BYTES + 1] ^= 0xff;
            let mut miscounted = whole.clone();
            miscounted[CRC_START + 5] -= 1;
            miscounted[HEADER_BYTES - 1] -= 1;
            for (what, bytes, broken) in [
                ("whole", whole, 0),
                ("damaged", sealed(damaged), 1),
                ("a record too many", sealed(miscounted), 1),
            ] {
                let mut seen = Seen::default();
                look_at(&mut seen, &mut Decompressor::default(), &bytes);
                assert_eq!((seen.batches, seen.batches_broken), (1, broken), "{codec}, {what}");
            }
        }
    }
}
