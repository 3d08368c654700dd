//! Produce: the batch is checked (header, record count, CRC), stamped and stored as it came.
//!
//! What has to be flushed before it may be acknowledged is [`Owed`]: the connection collects what its client sent behind it, and one flush serves all.

use kafka_wire::codec::Decompressor;
use kafka_wire::frame::finish_frame;
use kafka_wire::produce::{ProducePartition, ProduceRequest, ProduceResult, encode_response};
use kafka_wire::{BatchError, BatchHeader, Cursor, ErrorCode, WireError};

use std::sync::Arc;

use super::{Call, Outcome};
use crate::counters::Counter;
use crate::groups;
use crate::log::{AppendError, Appended, Log, SequenceError};
use crate::planted::PlantedBug;

/// What one batch of a compacted topic may take decompressed.
const DECOMPRESSED_BYTES_MAX: usize = 128 << 20;
/// Batches between two that [`PlantedBug::AckBeforeWrite`] forgets.
const FORGET_EVERY: u64 = 64;

pub(super) fn produce(call: &Call, cursor: &mut Cursor, answers: &mut Vec<u8>) -> Result<Outcome, WireError> {
    let request = ProduceRequest::decode(cursor, call.version)?;
    let refuse_all = if !matches!(request.acks, -1..=1) {
        Some((
            ErrorCode::InvalidRequiredAcks,
            format!("acks={} is none of -1, 0, 1", request.acks),
        ))
    } else if request.transactional_id.is_some() {
        let message = "transactions are not supported by this broker";
        Some((ErrorCode::TransactionalIdAuthorizationFailed, message.to_owned()))
    } else {
        None
    };
    let mut results = Vec::with_capacity(request.partitions.len());
    let mut flushes = Vec::new();
    for p in &request.partitions {
        let stored = match &refuse_all {
            Some((error, message)) => Err((*error, message.clone()).into()),
            None => append(call, p),
        };
        match stored {
            Ok((result, flush)) => {
                flushes.extend(flush.map(|(log, until)| (results.len(), log, until)));
                results.push(result);
            }
            Err(refusal) => results.push(refusal.result(p)),
        }
    }
    let version = call.version;
    let silent = request.acks == 0;
    if !flushes.is_empty() {
        return Ok(Outcome::Owed(Owed {
            frame: call.start(),
            version,
            silent,
            results,
            flushes,
        }));
    }
    if silent {
        return Ok(match failure(&results) {
            Some(reason) => Outcome::Close(reason),
            None => Outcome::Silent,
        });
    }
    let start = answers.len();
    call.start_in(answers);
    encode_response(answers, version, &results);
    finish_frame(answers, start);
    Ok(Outcome::Replied)
}

/// What can't be said in a response when there is none (acks=0), so the connection says it.
fn failure(results: &[ProduceResult]) -> Option<String> {
    let failed = results.iter().find(|r| r.error != 0)?;
    let error = ErrorCode::from_code(failed.error).unwrap_or(ErrorCode::UnknownServerError);
    Some(format!(
        "Produce with acks=0 to {}-{} failed: {error:?}",
        failed.topic, failed.partition
    ))
}

/// A response that waits for flushes.
#[derive(Debug)]
pub struct Owed {
    /// Begun: length placeholder and header.
    frame: Vec<u8>,
    version: i16,
    silent: bool,
    results: Vec<ProduceResult>,
    /// Which result waits for which log, up to where.
    flushes: Vec<(usize, Arc<dyn Log>, u64)>,
}

impl Owed {
    /// Waits for the flushes and appends the whole frame to `answers`.
    ///
    /// # Errors
    /// Why the connection must be closed: there is no response that could carry the error.
    pub fn settle(mut self, answers: &mut Vec<u8>) -> Result<(), String> {
        for (result, log, until) in self.flushes {
            if let Err(error) = log.await_flush(until) {
                let (code, message) = storage(error);
                let failed = &mut self.results[result];
                *failed = ProduceResult::refused(&failed.topic, failed.partition, code, Some(message));
            }
        }
        if self.silent {
            return failure(&self.results).map_or(Ok(()), Err);
        }
        encode_response(&mut self.frame, self.version, &self.results);
        finish_frame(&mut self.frame, 0);
        answers.extend_from_slice(&self.frame);
        Ok(())
    }
}

/// Why a partition took nothing.
struct Refusal {
    error: ErrorCode,
    message: String,
    /// Told, as Kafka does, when it is the records that are wrong and not what is around them; otherwise -1.
    log_start_offset: i64,
}

impl From<(ErrorCode, String)> for Refusal {
    fn from((error, message): (ErrorCode, String)) -> Self {
        Refusal {
            error,
            message,
            log_start_offset: -1,
        }
    }
}

impl Refusal {
    fn result(self, p: &ProducePartition) -> ProduceResult {
        let Refusal {
            error,
            message,
            log_start_offset,
        } = self;
        tracing::debug!(
            topic = p.topic,
            partition = p.partition,
            ?error,
            message,
            "produce refused"
        );
        let mut result = ProduceResult::refused(p.topic, p.partition, error, Some(message));
        result.log_start_offset = log_start_offset;
        result
    }
}

/// A log, and up to where it must be flushed in front of the acknowledgement.
type Flush = (Arc<dyn Log>, u64);

fn append(call: &Call, p: &ProducePartition) -> Result<(ProduceResult, Option<Flush>), Refusal> {
    if p.topic == groups::TOPIC {
        let message = format!("{} is the broker's own topic", p.topic);
        return Err((ErrorCode::InvalidTopicException, message).into());
    }
    let topic = call.broker.topics.get(p.topic);
    let log = topic
        .as_ref()
        .and_then(|t| t.partitions.get(usize::try_from(p.partition).ok()?));
    let (Some(topic), Some(log)) = (&topic, log) else {
        return Err((
            ErrorCode::UnknownTopicOrPartition,
            "This server does not host this topic-partition.".to_owned(),
        )
            .into());
    };
    let Some(batch) = p.records.filter(|records| !records.is_empty()) else {
        let message = "a partition of a produce request holds exactly one batch, here is none";
        return Err((ErrorCode::InvalidRecord, message.to_owned()).into());
    };
    if batch.len() > topic.batch_bytes_max {
        let message = format!("{} bytes, max.message.bytes is {}", batch.len(), topic.batch_bytes_max);
        return Err((ErrorCode::MessageTooLarge, message).into());
    }
    let checked = match log.is_stored() {
        true => BatchHeader::checked_from_client(batch),
        false => BatchHeader::parse(batch),
    };
    let header = match checked {
        Err(BatchError::Crc { .. }) if call.broker.planted == Some(PlantedBug::SkipCrc) => BatchHeader::parse(batch),
        checked => checked,
    };
    let header = header.map_err(|error| Refusal {
        error: code_of(&error),
        message: error.to_string(),
        log_start_offset: match error {
            BatchError::RecordCount { .. } | BatchError::ControlBatch | BatchError::Sequence(_) => log.bounds().start(),
            _ => -1,
        },
    })?;
    if header.is_transactional() {
        return Err((
            ErrorCode::TransactionalIdAuthorizationFailed,
            "transactions are not supported by this broker".to_owned(),
        )
            .into());
    }
    if header.codec() == 4 && call.version < 7 {
        let message = "zstd needs Produce version 7 (KIP-110)".to_owned();
        return Err((ErrorCode::UnsupportedCompressionType, message).into());
    }
    if topic.is_compacted && log.is_stored() && !has_keys(header, batch) {
        let message = format!(
            "Compacted topic cannot accept message without key in topic partition {}-{}.",
            p.topic, p.partition
        );
        return Err(Refusal {
            error: ErrorCode::InvalidRecord,
            message,
            log_start_offset: log.bounds().start(),
        });
    }
    let forget = call.broker.planted == Some(PlantedBug::AckBeforeWrite)
        && call.broker.counters.get(Counter::Requests) % FORGET_EVERY == FORGET_EVERY - 1;
    let appended = if forget {
        Appended {
            base_offset: log.bounds().end(),
            await_flush: None,
            repeats_ms: None,
        }
    } else if call.broker.planted == Some(PlantedBug::ForgetSequences) {
        let anybody = BatchHeader {
            producer_id: -1,
            ..header
        };
        log.append(&anybody, batch).map_err(|error| refused(error, log))?
    } else {
        log.append(&header, batch).map_err(|error| refused(error, log))?
    };
    let result = ProduceResult {
        topic: p.topic.to_owned(),
        partition: p.partition,
        error: 0,
        base_offset: appended.base_offset,
        // Kafka tells the time of the first one when a batch is repeated.
        append_time_ms: appended.repeats_ms.unwrap_or(-1),
        log_start_offset: log.bounds().start(),
        message: None,
    };
    Ok((result, appended.await_flush.map(|until| (log.clone(), until))))
}

/// What a client is told when nothing was appended.
fn refused(error: AppendError, log: &Arc<dyn Log>) -> Refusal {
    let AppendError::Sequence(sequence) = error else {
        return storage(error).into();
    };
    let error = match sequence {
        SequenceError::OutOfOrder { .. } | SequenceError::NotAtZero { .. } => ErrorCode::OutOfOrderSequenceNumber,
        SequenceError::Fenced { .. } => ErrorCode::InvalidProducerEpoch,
    };
    Refusal {
        error,
        message: sequence.to_string(),
        log_start_offset: log.bounds().start(),
    }
}

/// Whether every record has a key; the one place where records are looked at before they are stored.
fn has_keys(header: BatchHeader, batch: &[u8]) -> bool {
    let mut decompressor = Decompressor::default();
    let records = decompressor.records(header, batch, DECOMPRESSED_BYTES_MAX);
    records.is_ok_and(|mut records| records.all(|record| record.is_ok_and(|record| record.key.is_some())))
}

fn storage(error: AppendError) -> (ErrorCode, String) {
    tracing::error!(%error, "append failed");
    (ErrorCode::KafkaStorageError, error.to_string())
}

fn code_of(error: &BatchError) -> ErrorCode {
    match error {
        BatchError::UnknownCodec(_) => ErrorCode::UnsupportedCompressionType,
        BatchError::Crc { .. } | BatchError::InvalidLength(_) => ErrorCode::CorruptMessage,
        // Kafka too tells an old format, which is none of this version of Produce, from one that there never was.
        BatchError::UnsupportedMagic(0 | 1) => ErrorCode::InvalidRecord,
        BatchError::UnsupportedMagic(_) => ErrorCode::CorruptMessage,
        // No whole batch is there.
        BatchError::Truncated { .. }
        | BatchError::RecordCount { .. }
        | BatchError::ControlBatch
        | BatchError::Sequence(_)
        | BatchError::TrailingBytes(_)
        | BatchError::Compressed(_)
        | BatchError::Record { .. } => ErrorCode::InvalidRecord,
    }
}
