//! Fetch: a long poll with a lower bound on bytes, limits per partition and in total, at least one batch, no sessions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_wire::fetch::{FetchPartition, FetchRequest, FetchResult, ResponseWriter};
use kafka_wire::frame::finish_frame_with;
use kafka_wire::{Cursor, ErrorCode, WireError};

use super::{Call, Outcome};
use crate::fetch_path::Piece;
use crate::log::{LogSlice, PartitionLog, ReadError};

/// A longer wait than this is cut: a client that is gone should not hold its thread for days.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// How often a parked thread looks whether the broker stops.
const PARK_MAX: Duration = Duration::from_millis(200);

type Found = (FetchResult, Option<LogSlice>);

pub(super) fn fetch(call: &Call, cursor: &mut Cursor) -> Result<Outcome, WireError> {
    let request = FetchRequest::decode(cursor, call.version)?;
    if request.session_id != 0 {
        return Ok(respond(
            call,
            ErrorCode::FetchSessionIdNotFound.code(),
            &request,
            Vec::new(),
        ));
    }
    let wait = Duration::from_millis(request.wait_ms_max.max(0) as u64).min(WAIT_MAX);
    let mut found = look(call, &request);
    if !enough(&found, &request) && !wait.is_zero() {
        let deadline = Instant::now() + wait;
        let thread = std::thread::current();
        let logs: Vec<Arc<PartitionLog>> = request
            .partitions
            .iter()
            .filter_map(|p| call.broker.topics.log(p.topic, p.partition))
            .collect();
        loop {
            // Register, look again, then park: an append in between unparks at once.
            logs.iter().for_each(|log| log.wait_for_append(thread.clone()));
            found = look(call, &request);
            let left = deadline.saturating_duration_since(Instant::now());
            if enough(&found, &request) || left.is_zero() || call.broker.is_stopping() {
                break;
            }
            std::thread::park_timeout(left.min(PARK_MAX));
            logs.iter().for_each(|log| log.forget(&thread));
        }
        logs.iter().for_each(|log| log.forget(&thread));
    }
    Ok(respond(call, 0, &request, found))
}

fn enough(found: &[Found], request: &FetchRequest) -> bool {
    let bytes: usize = found.iter().map(|(result, _)| result.records_bytes).sum();
    bytes as i64 >= i64::from(request.bytes_min)
        || found.iter().any(|(result, _)| result.error != 0)
        || found.is_empty()
}

fn look(call: &Call, request: &FetchRequest) -> Vec<Found> {
    let mut budget = (request.bytes_max.max(0) as usize).min(call.broker.config.size("fetch.max.bytes"));
    let mut nothing_yet = true;
    let mut one = |p: &FetchPartition| {
        let limit = (p.bytes_max.max(0) as usize).min(budget);
        let (result, slice) = look_at(call, p, limit, nothing_yet);
        nothing_yet &= result.records_bytes == 0;
        budget = budget.saturating_sub(result.records_bytes);
        (result, slice)
    };
    request.partitions.iter().map(&mut one).collect()
}

fn look_at(call: &Call, p: &FetchPartition, limit: usize, whole_first: bool) -> Found {
    let refused = |error: ErrorCode| {
        let (partition, error) = (p.partition, error.code());
        (
            FetchResult {
                partition,
                error,
                high_watermark: -1,
                log_start_offset: -1,
                records_bytes: 0,
            },
            None,
        )
    };
    let Some(log) = call.broker.topics.log(p.topic, p.partition) else {
        return refused(ErrorCode::UnknownTopicOrPartition);
    };
    if p.current_leader_epoch > log.leader_epoch() {
        return refused(ErrorCode::UnknownLeaderEpoch);
    }
    // Read before the slice is cut, so that it never lies behind what the slice shows.
    let (log_start_offset, high_watermark) = (log.start_offset(), log.end_offset());
    match log.read(p.fetch_offset, limit, whole_first) {
        Ok(slice) => {
            let slice = slice.filter(|s| s.bytes > 0);
            let records_bytes = slice.as_ref().map_or(0, |s| s.bytes);
            let high_watermark = if slice.is_some() {
                log.end_offset()
            } else {
                high_watermark
            };
            let result = FetchResult {
                partition: p.partition,
                error: 0,
                high_watermark,
                log_start_offset,
                records_bytes,
            };
            (result, slice)
        }
        Err(ReadError::OutOfRange { .. }) => {
            let mut refusal = refused(ErrorCode::OffsetOutOfRange);
            (refusal.0.high_watermark, refusal.0.log_start_offset) = (high_watermark, log_start_offset);
            refusal
        }
        Err(ReadError::Log(error)) => {
            tracing::error!(%error, "fetch failed");
            refused(ErrorCode::KafkaStorageError)
        }
    }
}

/// Puts the response together: protocol bytes, records, protocol bytes, …
fn respond(call: &Call, error: i16, request: &FetchRequest, found: Vec<Found>) -> Outcome {
    let writer = ResponseWriter::new(call.version);
    let mut pieces = Vec::with_capacity(found.len() * 2 + 1);
    let mut out = call.start();
    let records_bytes: usize = found.iter().map(|(result, _)| result.records_bytes).sum();
    let mut protocol_bytes = 0;
    // An error of the whole response comes without partitions.
    let asked = if error == 0 { &request.partitions[..] } else { &[] };
    let mut found = found.into_iter();
    let topics: Vec<&[FetchPartition]> = asked.chunk_by(|a, b| a.topic == b.topic).collect();
    writer.start(&mut out, error, topics.len());
    for topic in topics {
        writer.topic(&mut out, topic[0].topic, topic.len());
        for (result, slice) in found.by_ref().take(topic.len()) {
            writer.partition(&mut out, &result);
            if let Some(slice) = slice {
                protocol_bytes += out.len();
                pieces.push(Piece::Bytes(std::mem::take(&mut out)));
                pieces.push(Piece::Records(slice));
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
