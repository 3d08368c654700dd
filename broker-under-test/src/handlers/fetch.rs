//! Fetch: a long poll with a lower bound on bytes, limits per partition and in total, at least one batch, no sessions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_wire::fetch::{FetchPartition, FetchRequest, FetchResult, ResponseWriter};
use kafka_wire::frame::finish_frame_with;
use kafka_wire::{Cursor, ErrorCode, WireError};

use super::{Call, Outcome};
use crate::fetch_path::Piece;
use crate::log::{Found, Log, LogSlice, ReadEnd, ReadError};

/// A longer wait than this is cut: a client that is gone should not hold its thread for days.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// The isolation level that asks for aborted transactions.
const READ_COMMITTED: i8 = 1;
/// How often a parked thread looks whether the broker stops.
const PARK_MAX: Duration = Duration::from_millis(200);

/// What one partition has for a fetch.
struct Share {
    result: FetchResult,
    slices: Vec<LogSlice>,
    /// Bytes that count towards the minimum. More than the slice has when waiting can't make it longer.
    counts_bytes: usize,
}

impl Share {
    fn refused(partition: i32, error: ErrorCode) -> Self {
        Share {
            result: FetchResult {
                partition,
                error: error.code(),
                high_watermark: -1,
                log_start_offset: -1,
                records_bytes: 0,
            },
            slices: Vec::new(),
            counts_bytes: 0,
        }
    }
}

pub(super) fn fetch(call: &Call, cursor: &mut Cursor) -> Result<Outcome, WireError> {
    let request = FetchRequest::decode(cursor, call.version)?;
    // KIP-227: epochs 0 and -1 ask for everything, in a new session or without one; any other goes on with a session.
    if !matches!(request.session_epoch, 0 | -1) {
        return Ok(respond(
            call,
            ErrorCode::FetchSessionIdNotFound.code(),
            &request,
            Vec::new(),
        ));
    }
    let wait = Duration::from_millis(request.wait_ms_max.max(0) as u64).min(WAIT_MAX);
    let mut found = look(call, &request);
    if !enough(call, &found, &request) && !wait.is_zero() {
        let deadline = Instant::now() + wait;
        let thread = std::thread::current();
        let logs: Vec<Arc<dyn Log>> = request
            .partitions
            .iter()
            .filter_map(|p| call.broker.topics.log(p.topic, p.partition))
            .collect();
        loop {
            // Register, look again, then park: an append in between unparks at once.
            logs.iter().for_each(|log| log.bounds().wait(thread.clone()));
            found = look(call, &request);
            let left = deadline.saturating_duration_since(Instant::now());
            if enough(call, &found, &request) || left.is_zero() || call.broker.is_stopping() {
                break;
            }
            std::thread::park_timeout(left.min(PARK_MAX));
            logs.iter().for_each(|log| log.bounds().forget(&thread));
        }
        logs.iter().for_each(|log| log.bounds().forget(&thread));
    }
    let found = found.into_iter().map(readable).collect();
    Ok(respond(call, 0, &request, found))
}

/// Asks the storage while an error can still be told: behind the head of a response it would end the connection.
fn readable(share: Share) -> Share {
    let ask = |slice: &LogSlice| slice.file.open()?.before_kernel_read(slice.position, slice.bytes);
    match share.slices.iter().try_for_each(ask) {
        Ok(()) => share,
        Err(error) => {
            let partition = share.result.partition;
            tracing::error!(partition, %error, "fetch failed");
            Share::refused(partition, ErrorCode::KafkaStorageError)
        }
    }
}

fn enough(call: &Call, found: &[Share], request: &FetchRequest) -> bool {
    let bytes_min = (request.bytes_min.max(0) as usize).min(budget(call, request));
    let bytes = found.iter().fold(0usize, |sum, f| sum.saturating_add(f.counts_bytes));
    bytes >= bytes_min || found.iter().any(|f| f.result.error != 0) || found.is_empty()
}

/// The most record bytes that the response may have, but for a first batch that is larger.
fn budget(call: &Call, request: &FetchRequest) -> usize {
    (request.bytes_max.max(0) as usize).min(call.broker.config.size("fetch.max.bytes"))
}

fn look(call: &Call, request: &FetchRequest) -> Vec<Share> {
    let mut budget = budget(call, request);
    let mut nothing_yet = true;
    let mut one = |p: &FetchPartition| {
        let limit = (p.bytes_max.max(0) as usize).min(budget);
        let found = look_at(call, p, limit, nothing_yet);
        nothing_yet &= found.result.records_bytes == 0;
        budget = budget.saturating_sub(found.result.records_bytes);
        found
    };
    request.partitions.iter().map(&mut one).collect()
}

fn look_at(call: &Call, p: &FetchPartition, limit: usize, whole_first: bool) -> Share {
    let refused = |error: ErrorCode| Share::refused(p.partition, error);
    let Some(log) = call.broker.topics.log(p.topic, p.partition) else {
        return refused(ErrorCode::UnknownTopicOrPartition);
    };
    if p.current_leader_epoch > log.leader_epoch() {
        return refused(ErrorCode::UnknownLeaderEpoch);
    }
    // Read before the slice is cut, so that it never lies behind what the slice shows.
    let (log_start_offset, high_watermark) = (log.bounds().start(), log.bounds().high_watermark());
    match log.read(p.fetch_offset, limit, whole_first) {
        Ok(found) => share(log.as_ref(), p, found, (log_start_offset, high_watermark), limit),
        Err(ReadError::OutOfRange { .. }) => refused(ErrorCode::OffsetOutOfRange),
        Err(ReadError::Log(error)) => {
            tracing::error!(%error, "fetch failed");
            refused(ErrorCode::KafkaStorageError)
        }
    }
}

fn share(log: &dyn Log, p: &FetchPartition, found: Found, (start, high_watermark): (i64, i64), limit: usize) -> Share {
    let records_bytes = found.bytes();
    let result = FetchResult {
        partition: p.partition,
        error: 0,
        high_watermark: if records_bytes > 0 {
            log.bounds().high_watermark()
        } else {
            high_watermark
        },
        log_start_offset: start,
        records_bytes,
    };
    let counts_bytes = match found.end {
        _ if records_bytes == 0 => 0,
        ReadEnd::Limit => limit.max(records_bytes),
        ReadEnd::Boundary => usize::MAX,
        ReadEnd::Log => records_bytes,
    };
    Share {
        result,
        slices: found.slices,
        counts_bytes,
    }
}

/// Puts the response together: protocol bytes, records, protocol bytes, …
fn respond(call: &Call, error: i16, request: &FetchRequest, found: Vec<Share>) -> Outcome {
    let writer = ResponseWriter::new(call.version);
    let mut pieces = Vec::with_capacity(found.len() * 2 + 1);
    let mut out = call.start();
    let records_bytes: usize = found.iter().map(|f| f.result.records_bytes).sum();
    let mut protocol_bytes = 0;
    // An error of the whole response comes without partitions.
    let asked = if error == 0 { &request.partitions[..] } else { &[] };
    let reads_committed = request.isolation_level == READ_COMMITTED;
    let mut found = found.into_iter();
    let topics: Vec<&[FetchPartition]> = asked.chunk_by(|a, b| a.topic == b.topic).collect();
    writer.start(&mut out, error, topics.len());
    for topic in topics {
        writer.topic(&mut out, topic[0].topic, topic.len());
        for Share { result, slices, .. } in found.by_ref().take(topic.len()) {
            // Who names a topic that is not there gets an empty list in any case.
            let unknown = result.error == ErrorCode::UnknownTopicOrPartition.code();
            writer.partition_with(&mut out, &result, !reads_committed && !unknown);
            if !slices.is_empty() {
                protocol_bytes += out.len();
                pieces.push(Piece::Bytes(std::mem::take(&mut out)));
                pieces.extend(slices.into_iter().map(Piece::Records));
            }
            writer.end(&mut out);
        }
        writer.end(&mut out);
    }
    writer.end(&mut out);
    if pieces.is_empty() {
        finish_frame_with(&mut out, 0, 0);
        return Outcome::Reply(out);
    }
    protocol_bytes += out.len();
    if !out.is_empty() {
        pieces.push(Piece::Bytes(out));
    }
    if let Some(Piece::Bytes(head)) = pieces.first_mut() {
        let behind_head = protocol_bytes - head.len() + records_bytes;
        finish_frame_with(head, 0, behind_head);
    }
    Outcome::Records(pieces)
}
