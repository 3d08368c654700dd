//! Fetch, versions 4 to 12.
//!
//! A response is written in pieces, because the records come from a file: [`ResponseWriter`] gives the bytes around
//! them. The native client speaks version 11, whose response ends with the records of the last partition, so that a
//! response is one header and one run of file bytes; version 12 adds three bytes of empty tagged fields behind it.

use bytes::BufMut;

use crate::ApiKey;
use crate::cursor::{Cursor, Result};
use crate::encode::Encode;
use crate::frame::{finish_frame, start_request};
use crate::schema::check_elements;

/// The version that the native client speaks.
pub const CLIENT_VERSION: i16 = 11;

/// What is asked of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchPartition<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// The leader epoch that the client knows, or -1.
    pub current_leader_epoch: i32,
    /// First offset wanted.
    pub fetch_offset: i64,
    /// Most bytes wanted; the first batch comes whole all the same (KIP-74).
    pub bytes_max: i32,
}

/// A decoded request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRequest<'a> {
    /// How long to wait for `bytes_min`, in milliseconds.
    pub wait_ms_max: i32,
    /// Bytes that end the wait.
    pub bytes_min: i32,
    /// Most bytes over all partitions.
    pub bytes_max: i32,
    /// 0 read uncommitted, 1 read committed.
    pub isolation_level: i8,
    /// KIP-227 session id; the broker has no sessions and answers 0.
    pub session_id: i32,
    /// KIP-227 session epoch: -1 none, 0 wants a new one.
    pub session_epoch: i32,
    /// In the order of the request.
    pub partitions: Vec<FetchPartition<'a>>,
}

impl<'a> FetchRequest<'a> {
    /// Reads the body behind the header.
    pub fn decode(c: &mut Cursor<'a>, version: i16) -> Result<Self> {
        let flexible = ApiKey::Fetch.is_flexible(version);
        c.i32()?; // replica id
        let wait_ms_max = c.i32()?;
        let bytes_min = c.i32()?;
        let bytes_max = c.i32()?;
        let isolation_level = c.i8()?;
        let (session_id, session_epoch) = if version >= 7 { (c.i32()?, c.i32()?) } else { (0, -1) };
        let mut partitions = Vec::new();
        for _ in 0..c.array_len(flexible, 2)?.unwrap_or(0) {
            let topic = c.string(flexible)?;
            for _ in 0..c.array_len(flexible, 16)?.unwrap_or(0) {
                check_elements(c.position(), partitions.len() + 1)?;
                let partition = c.i32()?;
                let current_leader_epoch = if version >= 9 { c.i32()? } else { -1 };
                let fetch_offset = c.i64()?;
                if version >= 12 {
                    c.i32()?; // last fetched epoch
                }
                if version >= 5 {
                    c.i64()?; // log start offset, of followers
                }
                let bytes_max = c.i32()?;
                if flexible {
                    c.skip_tagged_fields()?;
                }
                partitions.push(FetchPartition {
                    topic,
                    partition,
                    current_leader_epoch,
                    fetch_offset,
                    bytes_max,
                });
            }
            if flexible {
                c.skip_tagged_fields()?;
            }
        }
        if version >= 7 {
            for _ in 0..c.array_len(flexible, 2)?.unwrap_or(0) {
                c.string(flexible)?;
                let partitions = c.array_len(flexible, 4)?.unwrap_or(0);
                c.take(partitions * 4)?;
                if flexible {
                    c.skip_tagged_fields()?;
                }
            }
        }
        if version >= 11 {
            c.nullable_string(flexible)?; // rack
        }
        if flexible {
            c.skip_tagged_fields()?;
        }
        c.finish()?;
        Ok(FetchRequest {
            wait_ms_max,
            bytes_min,
            bytes_max,
            isolation_level,
            session_id,
            session_epoch,
            partitions,
        })
    }
}

/// What a response says of one partition, in front of its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchResult {
    /// Partition.
    pub partition: i32,
    /// Kafka's error code.
    pub error: i16,
    /// Offset behind the last record that may be read, -1 on an error.
    pub high_watermark: i64,
    /// First offset in the log, -1 on an error.
    pub log_start_offset: i64,
    /// Bytes of records that follow.
    pub records_bytes: usize,
}

/// Writes the bytes of a response around the records.
///
/// The last stable offset equals the high watermark and no transaction is aborted, as there are none.
#[derive(Debug, Clone, Copy)]
pub struct ResponseWriter {
    version: i16,
    flexible: bool,
}

impl ResponseWriter {
    /// For responses of `version`.
    pub fn new(version: i16) -> Self {
        ResponseWriter {
            version,
            flexible: ApiKey::Fetch.is_flexible(version),
        }
    }

    /// From the throttle time to the number of topics.
    pub fn start(self, out: &mut Vec<u8>, error: i16, topics: usize) {
        out.put_i32(0); // throttle time
        if self.version >= 7 {
            out.put_i16(error);
            out.put_i32(0); // session id 0: no session
        }
        out.put_array_len(topics, self.flexible);
    }

    /// The name of a topic and the number of its partitions.
    pub fn topic(self, out: &mut Vec<u8>, name: &str, partitions: usize) {
        out.put_string(name, self.flexible);
        out.put_array_len(partitions, self.flexible);
    }

    /// Everything of a partition in front of its records, for who reads uncommitted: the list of aborted transactions is null.
    pub fn partition(self, out: &mut Vec<u8>, result: &FetchResult) {
        self.partition_with(out, result, true);
    }

    /// As [`Self::partition`]; the list of aborted transactions is empty, or null for whom it does not concern, as in Kafka.
    pub fn partition_with(self, out: &mut Vec<u8>, result: &FetchResult, aborted_is_null: bool) {
        out.put_i32(result.partition);
        out.put_i16(result.error);
        out.put_i64(result.high_watermark);
        out.put_i64(result.high_watermark); // last stable offset
        if self.version >= 5 {
            out.put_i64(result.log_start_offset);
        }
        match (aborted_is_null, self.flexible) {
            (false, flexible) => out.put_array_len(0, flexible),
            (true, true) => out.put_uvarint(0),
            (true, false) => out.put_i32(-1),
        }
        if self.version >= 11 {
            out.put_i32(-1); // preferred read replica
        }
        if self.flexible {
            out.put_uvarint(result.records_bytes as u32 + 1);
        } else {
            out.put_i32(result.records_bytes as i32);
        }
    }

    /// What ends a partition, a topic or the body.
    pub fn end(self, out: &mut Vec<u8>) {
        out.put_no_tags(self.flexible);
    }
}

/// Appends a whole request frame for one partition, without a session, in [`CLIENT_VERSION`].
pub fn encode_request(
    out: &mut Vec<u8>,
    correlation_id: i32,
    topic: &str,
    partition: i32,
    fetch_offset: i64,
    bytes_max: i32,
    wait_ms_max: i32,
) {
    let wanted = Wanted {
        partition,
        fetch_offset,
        bytes_max,
    };
    encode_request_of(out, correlation_id, topic, &[wanted], bytes_max, wait_ms_max);
}

/// What is wanted of a partition of the topic that a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Partition.
    pub partition: i32,
    /// First offset wanted.
    pub fetch_offset: i64,
    /// Most bytes wanted of it.
    pub bytes_max: i32,
}

/// Appends a whole request frame for several partitions of one topic, without a session, in [`CLIENT_VERSION`]: at least a byte, at most
/// `bytes_max` over all of them.
pub fn encode_request_of(
    out: &mut Vec<u8>,
    correlation_id: i32,
    topic: &str,
    wanted: &[Wanted],
    bytes_max: i32,
    wait_ms_max: i32,
) {
    let limits = Limits {
        bytes_min: 1,
        bytes_max,
        wait_ms_max,
    };
    encode_request_over(out, correlation_id, &[(topic, wanted)], limits);
}

/// What holds for all partitions of a request together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that end the broker's wait (`fetch.min.bytes`).
    pub bytes_min: i32,
    /// Most bytes wanted (`fetch.max.bytes`).
    pub bytes_max: i32,
    /// How long the broker may wait for `bytes_min`, ms (`fetch.max.wait.ms`).
    pub wait_ms_max: i32,
}

/// Appends a whole request frame for partitions of several topics, without a session, in [`CLIENT_VERSION`].
pub fn encode_request_over(out: &mut Vec<u8>, correlation_id: i32, topics: &[(&str, &[Wanted])], limits: Limits) {
    let start = start_request(out, ApiKey::Fetch, CLIENT_VERSION, correlation_id, "assay");
    out.put_i32(-1); // replica id: a consumer
    out.put_i32(limits.wait_ms_max);
    out.put_i32(limits.bytes_min);
    out.put_i32(limits.bytes_max);
    out.put_i8(0);
    out.put_i32(0);
    out.put_i32(-1);
    out.put_array_len(topics.len(), false);
    for (topic, wanted) in topics {
        out.put_string(topic, false);
        out.put_array_len(wanted.len(), false);
        for one in *wanted {
            out.put_i32(one.partition);
            out.put_i32(-1);
            out.put_i64(one.fetch_offset);
            out.put_i64(-1);
            out.put_i32(one.bytes_max);
        }
    }
    out.put_array_len(0, false);
    out.put_string("", false);
    finish_frame(out, start);
}

/// The front of a response for one partition in [`CLIENT_VERSION`], behind the frame's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHead {
    /// Echo of the request.
    pub correlation_id: i32,
    /// Error of the whole response.
    pub error: i16,
    /// The one partition; `records_bytes` follow the head.
    pub result: FetchResult,
    /// Bytes of the head itself, behind the frame's length.
    pub head_bytes: usize,
}

/// Bytes of the head of a response for one partition in [`CLIENT_VERSION`], behind the frame's length.
pub fn response_head_bytes(topic: &str) -> usize {
    ResponseStart::BYTES + topic_head_bytes(topic) + FetchResult::BYTES
}

impl ResponseHead {
    /// Reads a head; `bytes` begins behind the frame's length and may go on with records.
    ///
    /// # Errors
    /// Truncation, or a response that does not hold exactly one topic with one partition.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut c = Cursor::new(bytes);
        let (correlation_id, error) = response_start(&mut c)?;
        exactly_one(&mut c)?;
        c.string(false)?;
        exactly_one(&mut c)?;
        let result = partition_head(&mut c)?;
        Ok(ResponseHead {
            correlation_id,
            error,
            result,
            head_bytes: c.position(),
        })
    }
}

/// From the correlation id to the session: the id and the error of the whole response.
fn response_start(c: &mut Cursor) -> Result<(i32, i16)> {
    let correlation_id = c.i32()?;
    c.i32()?; // throttle time
    let error = c.i16()?;
    c.i32()?; // session id
    Ok((correlation_id, error))
}

fn exactly_one(c: &mut Cursor) -> Result<()> {
    let at = c.position();
    match c.i32()? {
        1 => Ok(()),
        n => Err(crate::WireError::InvalidLength {
            at,
            length: i64::from(n),
        }),
    }
}

/// Everything of a partition in front of its records.
fn partition_head(c: &mut Cursor) -> Result<FetchResult> {
    let partition = c.i32()?;
    let error = c.i16()?;
    let high_watermark = c.i64()?;
    c.i64()?; // last stable offset
    let log_start_offset = c.i64()?;
    for _ in 0..c.array_len(false, 16)?.unwrap_or(0) {
        c.take(16)?; // an aborted transaction
    }
    c.i32()?; // preferred read replica
    let at = c.position();
    let records_bytes = match c.i32()? {
        -1 => 0,
        n => usize::try_from(n).map_err(|_| crate::WireError::InvalidLength {
            at,
            length: i64::from(n),
        })?,
    };
    Ok(FetchResult {
        partition,
        error,
        high_watermark,
        log_start_offset,
        records_bytes,
    })
}

/// The front of any response in [`CLIENT_VERSION`], behind the frame's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseStart {
    /// Echo of the request.
    pub correlation_id: i32,
    /// Error of the whole response, which then has no topics.
    pub error: i16,
    /// Topics that follow.
    pub topics: usize,
}

impl ResponseStart {
    /// Its size: correlation id, throttle, error, session, topics.
    pub const BYTES: usize = 4 + 4 + 2 + 4 + 4;

    /// Reads it; `bytes` may go on.
    ///
    /// # Errors
    /// Truncation, or a number of topics that makes no sense.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut c = Cursor::new(bytes);
        let (correlation_id, error) = response_start(&mut c)?;
        Ok(ResponseStart {
            correlation_id,
            error,
            topics: count(&mut c)?,
        })
    }
}

/// Bytes of the name of a topic and of the number of its partitions, in a response in [`CLIENT_VERSION`].
pub fn topic_head_bytes(topic: &str) -> usize {
    2 + topic.len() + 4
}

/// Reads the number of partitions of the topic that `bytes` begins with.
///
/// # Errors
/// Truncation, or a number that makes no sense.
pub fn decode_topic_head(bytes: &[u8]) -> Result<usize> {
    decode_topic(bytes).map(|(_, partitions)| partitions)
}

/// Reads the name of the topic that `bytes` begins with, and the number of its partitions.
///
/// # Errors
/// As [`decode_topic_head`].
pub fn decode_topic(bytes: &[u8]) -> Result<(&str, usize)> {
    let mut c = Cursor::new(bytes);
    let name = c.string(false)?;
    Ok((name, count(&mut c)?))
}

/// A count whose elements have not arrived yet, so that nothing can be held against it.
fn count(c: &mut Cursor) -> Result<usize> {
    let at = c.position();
    let n = c.i32()?;
    usize::try_from(n).map_err(|_| crate::WireError::InvalidLength {
        at,
        length: i64::from(n),
    })
}

impl FetchResult {
    /// Its size in a response in [`CLIENT_VERSION`] to who reads uncommitted: index, error, high watermark, last stable offset, log start,
    /// no aborted transactions, replica, records length.
    pub const BYTES: usize = 4 + 2 + 8 + 8 + 8 + 4 + 4 + 4;

    /// Reads what stands in front of the records of a partition.
    ///
    /// # Errors
    /// Truncation, also by aborted transactions, which who reads uncommitted is not told of.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        partition_head(&mut Cursor::new(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RequestHeader;

    #[test]
    fn request_round_trip() {
        let mut out = Vec::new();
        encode_request(&mut out, 3, "orders", 1, 77, 4096, 500);
        let mut cursor = Cursor::new(&out[4..]);
        let header = RequestHeader::parse(&mut cursor).unwrap();
        assert_eq!((header.api_version, header.correlation_id), (CLIENT_VERSION, 3));
        let request = FetchRequest::decode(&mut cursor, CLIENT_VERSION).unwrap();
        let p = request.partitions[0];
        assert_eq!(
            (p.topic, p.partition, p.fetch_offset, p.bytes_max),
            ("orders", 1, 77, 4096)
        );
        assert_eq!((request.wait_ms_max, request.session_epoch), (500, -1));
    }

    #[test]
    fn response_head_round_trip() {
        let writer = ResponseWriter::new(CLIENT_VERSION);
        let result = FetchResult {
            partition: 2,
            error: 0,
            high_watermark: 9,
            log_start_offset: 1,
            records_bytes: 4096,
        };
        let mut out = Vec::new();
        out.put_i32(8);
        writer.start(&mut out, 0, 1);
        writer.topic(&mut out, "orders", 1);
        writer.partition(&mut out, &result);
        let before = out.len();
        writer.end(&mut out);
        assert_eq!(out.len(), before, "version 11 has nothing behind the records");
        let head = ResponseHead::decode(&out).unwrap();
        assert_eq!(
            head,
            ResponseHead {
                correlation_id: 8,
                error: 0,
                result,
                head_bytes: out.len()
            }
        );
        assert_eq!(response_head_bytes("orders"), out.len());
    }

    #[test]
    fn several_partitions_round_trip() {
        let wanted = |partition, fetch_offset| Wanted {
            partition,
            fetch_offset,
            bytes_max: 1_000,
        };
        let mut out = Vec::new();
        encode_request_of(&mut out, 4, "orders", &[wanted(5, 70), wanted(2, 0)], 1_500, 500);
        let mut cursor = Cursor::new(&out[4..]);
        RequestHeader::parse(&mut cursor).unwrap();
        let request = FetchRequest::decode(&mut cursor, CLIENT_VERSION).unwrap();
        let asked: Vec<(i32, i64, i32)> = request
            .partitions
            .iter()
            .map(|p| (p.partition, p.fetch_offset, p.bytes_max))
            .collect();
        assert_eq!(asked, [(5, 70, 1_000), (2, 0, 1_000)]);
        assert_eq!((request.bytes_min, request.bytes_max), (1, 1_500));

        let writer = ResponseWriter::new(CLIENT_VERSION);
        let mut out = Vec::new();
        out.put_i32(4);
        writer.start(&mut out, 0, 1);
        writer.topic(&mut out, "orders", 2);
        let mut results = Vec::new();
        for (partition, records) in [(5, &b"abc"[..]), (2, b"")] {
            let result = FetchResult {
                partition,
                error: 0,
                high_watermark: 9,
                log_start_offset: 1,
                records_bytes: records.len(),
            };
            writer.partition(&mut out, &result);
            out.extend_from_slice(records);
            results.push((result, records));
        }
        let start = ResponseStart::decode(&out).unwrap();
        assert_eq!((start.correlation_id, start.error, start.topics), (4, 0, 1));
        let mut at = ResponseStart::BYTES;
        assert_eq!(decode_topic_head(&out[at..]), Ok(2));
        at += topic_head_bytes("orders");
        for (result, records) in results {
            assert_eq!(FetchResult::decode(&out[at..at + FetchResult::BYTES]), Ok(result));
            at += FetchResult::BYTES;
            assert_eq!(&out[at..at + records.len()], records);
            at += records.len();
        }
        assert_eq!(at, out.len());
        let aborted = [&[0; 30][..], &1i32.to_be_bytes(), &[0; 8]].concat();
        assert!(FetchResult::decode(&aborted).is_err());
        out[14] = 0x80;
        assert!(ResponseStart::decode(&out).is_err());
    }
}
