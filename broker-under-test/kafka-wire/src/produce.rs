//! Produce, versions 3 to 12: the broker reads requests and writes responses, the client does the reverse.

use bytes::BufMut;

use crate::admin::CLIENT_ID;
use crate::cursor::{Cursor, Result, WireError};
use crate::encode::Encode;
use crate::frame::{finish_frame_with, start_request};
use crate::schema::check_elements;
use crate::{ApiKey, ErrorCode};

/// The version that the native client speaks.
pub const CLIENT_VERSION: i16 = 9;

/// The records for one partition, borrowed from the frame.
#[derive(Debug, Clone, Copy)]
pub struct ProducePartition<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// One record batch, or null.
    pub records: Option<&'a [u8]>,
    /// Where the batch begins in the frame, so that its header can be stamped in place.
    pub records_at: usize,
}

/// A decoded request.
#[derive(Debug, Clone)]
pub struct ProduceRequest<'a> {
    /// Set by transactional producers.
    pub transactional_id: Option<&'a str>,
    /// 0 none, 1 leader, -1 all in-sync replicas.
    pub acks: i16,
    /// Milliseconds to wait for replicas.
    pub timeout_ms: i32,
    /// In the order of the request; the same topic stays together.
    pub partitions: Vec<ProducePartition<'a>>,
}

impl<'a> ProduceRequest<'a> {
    /// Reads the body behind the header; positions count from the start of the cursor's slice.
    pub fn decode(c: &mut Cursor<'a>, version: i16) -> Result<Self> {
        let flexible = ApiKey::Produce.is_flexible(version);
        let transactional_id = c.nullable_string(flexible)?;
        let acks = c.i16()?;
        let timeout_ms = c.i32()?;
        let mut partitions = Vec::new();
        for _ in 0..c.array_len(flexible, 2)?.unwrap_or(0) {
            let topic = c.string(flexible)?;
            for _ in 0..c.array_len(flexible, 5)?.unwrap_or(0) {
                check_elements(c.position(), partitions.len() + 1)?;
                let partition = c.i32()?;
                let records = c.nullable_bytes(flexible)?;
                let records_at = c.position() - records.map_or(0, <[u8]>::len);
                if flexible {
                    c.skip_tagged_fields()?;
                }
                partitions.push(ProducePartition {
                    topic,
                    partition,
                    records,
                    records_at,
                });
            }
            if flexible {
                c.skip_tagged_fields()?;
            }
        }
        if flexible {
            c.skip_tagged_fields()?;
        }
        c.finish()?;
        Ok(ProduceRequest {
            transactional_id,
            acks,
            timeout_ms,
            partitions,
        })
    }
}

/// The answer for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceResult {
    /// Topic name.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Kafka's error code.
    pub error: i16,
    /// Offset of the first record, -1 on an error.
    pub base_offset: i64,
    /// Time of the append where it is the broker's to tell; -1 otherwise, as records keep their producer's time.
    pub append_time_ms: i64,
    /// First offset in the log, -1 on an error.
    pub log_start_offset: i64,
    /// What is wrong, in words (from version 8).
    pub message: Option<String>,
}

/// Writes the body of a response; results of one topic must stand together.
pub fn encode_response(out: &mut Vec<u8>, version: i16, results: &[ProduceResult]) {
    let flexible = ApiKey::Produce.is_flexible(version);
    let topics: Vec<&[ProduceResult]> = results.chunk_by(|a, b| a.topic == b.topic).collect();
    out.put_array_len(topics.len(), flexible);
    for topic in topics {
        out.put_string(&topic[0].topic, flexible);
        out.put_array_len(topic.len(), flexible);
        for result in topic {
            out.put_i32(result.partition);
            out.put_i16(result.error);
            out.put_i64(result.base_offset);
            out.put_i64(result.append_time_ms);
            if version >= 5 {
                out.put_i64(result.log_start_offset);
            }
            if version >= 8 {
                out.put_array_len(0, flexible);
                out.put_nullable_string(result.message.as_deref(), flexible);
            }
            out.put_no_tags(flexible);
        }
        out.put_no_tags(flexible);
    }
    out.put_i32(0); // throttle time
    out.put_no_tags(flexible);
}

/// Appends a whole request frame with one batch for one partition, in [`CLIENT_VERSION`].
pub fn encode_request(out: &mut Vec<u8>, correlation_id: i32, topic: &str, partition: i32, acks: i16, batch: &[u8]) {
    encode_request_head(out, correlation_id, topic, partition, acks, batch.len());
    out.put_slice(batch);
    out.put_slice(&REQUEST_TAIL);
}

/// What ends a request in [`CLIENT_VERSION`], behind the batch: no tagged fields of partition, topic and request.
pub const REQUEST_TAIL: [u8; 3] = [0; 3];

/// Appends what stands in front of the batch, for a client that sends the batch from where it lies; [`REQUEST_TAIL`] must follow it.
pub fn encode_request_head(
    out: &mut Vec<u8>,
    correlation_id: i32,
    topic: &str,
    partition: i32,
    acks: i16,
    batch_bytes: usize,
) {
    let start = start_request(out, ApiKey::Produce, CLIENT_VERSION, correlation_id, CLIENT_ID);
    out.put_nullable_string(None, true);
    out.put_i16(acks);
    out.put_i32(30_000);
    out.put_array_len(1, true);
    out.put_string(topic, true);
    out.put_array_len(1, true);
    out.put_i32(partition);
    out.put_uvarint(batch_bytes as u32 + 1);
    finish_frame_with(out, start, batch_bytes + REQUEST_TAIL.len());
}

/// Where a batch of a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchPlace<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// Bytes of the batch.
    pub bytes: usize,
}

/// Appends everything of a request in [`CLIENT_VERSION`] but its batches, for a client that sends these from where they lie: the batch of
/// each place belongs at the position in `out` that is appended to `cuts`. Places of one topic must stand together.
pub fn encode_request_around(
    out: &mut Vec<u8>,
    cuts: &mut Vec<usize>,
    correlation_id: i32,
    acks: i16,
    batches: &[BatchPlace<'_>],
) {
    let start = start_request(out, ApiKey::Produce, CLIENT_VERSION, correlation_id, CLIENT_ID);
    out.put_nullable_string(None, true);
    out.put_i16(acks);
    out.put_i32(30_000);
    let topics = batches.chunk_by(|a, b| a.topic == b.topic);
    out.put_array_len(topics.clone().count(), true);
    for topic in topics {
        out.put_string(topic[0].topic, true);
        out.put_array_len(topic.len(), true);
        for place in topic {
            out.put_i32(place.partition);
            out.put_uvarint(place.bytes as u32 + 1);
            cuts.push(out.len());
            out.put_no_tags(true);
        }
        out.put_no_tags(true);
    }
    out.put_no_tags(true);
    let batch_bytes: usize = batches.iter().map(|place| place.bytes).sum();
    finish_frame_with(out, start, batch_bytes);
}

/// What an answer says of one partition, borrowed from the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionAnswer<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// Kafka's error code.
    pub error: i16,
    /// Offset of the first record, -1 on an error.
    pub base_offset: i64,
}

/// Reads an answer in [`CLIENT_VERSION`] (behind its length), tells what it says of each partition, and gives its correlation id.
///
/// # Errors
/// Truncation. What was told in front of it stands.
pub fn read_answers<'a>(frame: &'a [u8], mut tell: impl FnMut(PartitionAnswer<'a>)) -> Result<i32> {
    let c = &mut Cursor::new(frame);
    let correlation_id = c.i32()?;
    c.skip_tagged_fields()?;
    for _ in 0..c.array_len(true, 3)?.unwrap_or(0) {
        let topic = c.string(true)?;
        for _ in 0..c.array_len(true, 33)?.unwrap_or(0) {
            let (partition, error, base_offset) = (c.i32()?, c.i16()?, c.i64()?);
            c.i64()?; // time of the append
            c.i64()?; // log start offset
            for _ in 0..c.array_len(true, 6)?.unwrap_or(0) {
                c.i32()?;
                c.nullable_string(true)?;
                c.skip_tagged_fields()?;
            }
            c.nullable_string(true)?;
            c.skip_tagged_fields()?;
            tell(PartitionAnswer {
                topic,
                partition,
                error,
                base_offset,
            });
        }
        c.skip_tagged_fields()?;
    }
    c.i32()?; // throttle time
    c.skip_tagged_fields()?;
    c.finish()?;
    Ok(correlation_id)
}

/// Reads a response frame (behind its length) in `version`: the correlation id and the results.
pub fn decode_response(frame: &[u8], version: i16) -> Result<(i32, Vec<ProduceResult>)> {
    let flexible = ApiKey::Produce.is_flexible(version);
    let mut c = Cursor::new(frame);
    let correlation_id = c.i32()?;
    if flexible {
        c.skip_tagged_fields()?;
    }
    let mut results = Vec::new();
    for _ in 0..c.array_len(flexible, 2)?.unwrap_or(0) {
        let topic = c.string(flexible)?;
        for _ in 0..c.array_len(flexible, 14)?.unwrap_or(0) {
            let partition = c.i32()?;
            let error = c.i16()?;
            let base_offset = c.i64()?;
            let append_time_ms = c.i64()?;
            let log_start_offset = if version >= 5 { c.i64()? } else { -1 };
            let mut message = None;
            if version >= 8 {
                for _ in 0..c.array_len(flexible, 5)?.unwrap_or(0) {
                    c.i32()?;
                    c.nullable_string(flexible)?;
                    if flexible {
                        c.skip_tagged_fields()?;
                    }
                }
                message = c.nullable_string(flexible)?.map(str::to_owned);
            }
            if flexible {
                c.skip_tagged_fields()?;
            }
            results.push(ProduceResult {
                topic: topic.to_owned(),
                partition,
                error,
                base_offset,
                append_time_ms,
                log_start_offset,
                message,
            });
        }
        if flexible {
            c.skip_tagged_fields()?;
        }
    }
    c.i32()?;
    if flexible {
        c.skip_tagged_fields()?;
    }
    c.finish()?;
    Ok((correlation_id, results))
}

/// The answer to a request for one partition in [`CLIENT_VERSION`], borrowed from the frame: for a client that counts and allocates
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHead<'a> {
    /// Echo of the request.
    pub correlation_id: i32,
    /// Partition.
    pub partition: i32,
    /// Kafka's error code.
    pub error: i16,
    /// Offset of the first record, -1 on an error.
    pub base_offset: i64,
    /// What is wrong, in words.
    pub message: Option<&'a str>,
}

impl<'a> ResponseHead<'a> {
    /// Reads a frame behind its length.
    ///
    /// # Errors
    /// Truncation, or an answer that does not hold exactly one topic with one partition.
    pub fn decode(frame: &'a [u8]) -> Result<Self> {
        let c = &mut Cursor::new(frame);
        let one = |c: &mut Cursor, bytes_min| {
            let at = c.position();
            match c.array_len(true, bytes_min)? {
                Some(1) => Ok(()),
                other => Err(WireError::InvalidLength {
                    at,
                    length: other.map_or(-1, |n| n as i64),
                }),
            }
        };
        let correlation_id = c.i32()?;
        c.skip_tagged_fields()?;
        one(c, 3)?;
        c.string(true)?;
        one(c, 33)?;
        let (partition, error, base_offset) = (c.i32()?, c.i16()?, c.i64()?);
        c.i64()?; // time of the append
        c.i64()?; // log start offset
        for _ in 0..c.array_len(true, 6)?.unwrap_or(0) {
            c.i32()?;
            c.nullable_string(true)?;
            c.skip_tagged_fields()?;
        }
        let message = c.nullable_string(true)?;
        Ok(Self {
            correlation_id,
            partition,
            error,
            base_offset,
            message,
        })
    }
}

impl ProduceResult {
    /// A refusal.
    pub fn refused(topic: &str, partition: i32, error: ErrorCode, message: Option<String>) -> Self {
        let topic = topic.to_owned();
        ProduceResult {
            topic,
            partition,
            error: error.code(),
            base_offset: -1,
            append_time_ms: -1,
            log_start_offset: -1,
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FrameBuffer, RequestHeader};

    #[test]
    fn request_round_trip() {
        let mut out = Vec::new();
        encode_request(&mut out, 9, "orders", 3, -1, &[1, 2, 3]);
        let mut buffer = FrameBuffer::new(1000);
        buffer.space()[..out.len()].copy_from_slice(&out);
        buffer.advance(out.len());
        let frame = buffer.frame().unwrap().unwrap();
        let mut cursor = Cursor::new(frame);
        let header = RequestHeader::parse(&mut cursor).unwrap();
        assert_eq!((header.served(), header.correlation_id), (Ok(ApiKey::Produce), 9));
        let request = ProduceRequest::decode(&mut cursor, header.api_version).unwrap();
        let p = request.partitions[0];
        assert_eq!((p.topic, p.partition, p.records), ("orders", 3, Some(&[1u8, 2, 3][..])));
        assert_eq!(&frame[p.records_at..p.records_at + 3], [1, 2, 3]);
    }

    #[test]
    fn a_request_around_its_batches_is_a_whole_one() {
        let batches: [&[u8]; 3] = [&[1; 10], &[2; 300], &[3; 1]];
        let place = |topic, partition, bytes| BatchPlace {
            topic,
            partition,
            bytes,
        };
        let places = [place("a", 0, 10), place("a", 7, 300), place("b", 1, 1)];
        let (mut around, mut cuts, mut whole) = (Vec::new(), Vec::new(), Vec::new());
        encode_request_around(&mut around, &mut cuts, 9, -1, &places);
        let mut from = 0;
        for (cut, batch) in cuts.iter().zip(batches) {
            whole.extend_from_slice(&around[from..*cut]);
            whole.extend_from_slice(batch);
            from = *cut;
        }
        whole.extend_from_slice(&around[from..]);
        assert_eq!(whole[..4], (whole.len() as u32 - 4).to_be_bytes());
        let mut cursor = Cursor::new(&whole[4..]);
        let header = RequestHeader::parse(&mut cursor).unwrap();
        let request = ProduceRequest::decode(&mut cursor, header.api_version).unwrap();
        let found = request.partitions.iter().map(|p| (p.topic, p.partition, p.records));
        let due = places
            .iter()
            .zip(batches)
            .map(|(p, batch)| (p.topic, p.partition, Some(batch)));
        assert_eq!(found.collect::<Vec<_>>(), due.collect::<Vec<_>>());
    }

    #[test]
    fn answers_are_told_as_they_were_written() {
        let result = |topic: &str, partition, error, base_offset| ProduceResult {
            topic: topic.to_owned(),
            partition,
            error,
            base_offset,
            append_time_ms: -1,
            log_start_offset: 0,
            message: Some("why".to_owned()),
        };
        let results = [result("a", 0, 0, 5), result("a", 3, 6, -1), result("b", 1, 0, 1 << 40)];
        let mut out = Vec::new();
        out.put_i32(5);
        out.put_no_tags(true);
        encode_response(&mut out, CLIENT_VERSION, &results);
        let mut told = Vec::new();
        assert_eq!(read_answers(&out, |answer| told.push(answer)), Ok(5));
        let told = told.iter().map(|a| (a.topic, a.partition, a.error, a.base_offset));
        let due = results
            .iter()
            .map(|r| (r.topic.as_str(), r.partition, r.error, r.base_offset));
        assert_eq!(told.collect::<Vec<_>>(), due.collect::<Vec<_>>());
        for end in 0..out.len() {
            assert!(read_answers(&out[..end], |_| ()).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn the_head_of_an_answer_is_what_the_whole_answer_says() {
        let result = ProduceResult::refused("orders", 3, ErrorCode::NotLeaderOrFollower, Some("gone".into()));
        let mut out = Vec::new();
        out.put_i32(5);
        out.put_no_tags(true);
        encode_response(&mut out, CLIENT_VERSION, std::slice::from_ref(&result));
        let head = ResponseHead::decode(&out).unwrap();
        assert_eq!((head.correlation_id, head.partition, head.error), (5, 3, result.error));
        assert_eq!((head.base_offset, head.message), (-1, Some("gone")));
        for end in 0..out.len() {
            assert!(
                ResponseHead::decode(&out[..end]).is_err() || end >= out.len() - 7,
                "cut at {end}"
            );
        }
        let mut two = Vec::new();
        two.put_i32(5);
        two.put_no_tags(true);
        encode_response(&mut two, CLIENT_VERSION, &[result.clone(), result]);
        assert!(ResponseHead::decode(&two).is_err());
    }

    #[test]
    fn response_round_trip_in_every_version() {
        let mut result = ProduceResult::refused("a", 1, ErrorCode::CorruptMessage, Some("bad".into()));
        let ok = ProduceResult {
            topic: "b".into(),
            partition: 0,
            error: 0,
            base_offset: 7,
            append_time_ms: 1234,
            log_start_offset: 2,
            message: None,
        };
        for version in 3..=12 {
            let mut out = Vec::new();
            out.put_i32(5);
            out.put_no_tags(version >= 9);
            let mut ok = ok.clone();
            if version < 5 {
                ok.log_start_offset = -1;
            }
            if version < 8 {
                result.message = None;
            } else {
                result.message = Some("bad".into());
            }
            let results = vec![result.clone(), ok];
            encode_response(&mut out, version, &results);
            assert_eq!(decode_response(&out, version), Ok((5, results)), "version {version}");
        }
    }
}
