//! The producer: records go in with one call each, and what became of them comes out of a queue, a batch at a time.

use super::handle::{Event, Handle, Queue, Topic, code, error_name, failed, place, topics};
use super::properties;
use super::traffic::{PRODUCE, Traffic};
use super::wake::Wake;
use crate::load::client::{ClientCounts, Delivered, Handed, Outgoing, Producing};
use crate::load::clock;
use crate::load::spec::LoadSpec;
use crate::native::admin::Admin;
use crate::native::{Bootstrap, ClientError, Security};
use kafka_wire::Codec;
use kafka_wire::batch::HEADER_BYTES;
use kafka_wire::encode::varlong_len;
use rdkafka_sys as sys;
use std::ffi::c_void;
use std::ptr;

/// How long metadata may take before the first record, ms.
const METADATA_MS: i32 = 30_000;
/// Records that were refused and not told of yet, at most.
const REFUSED_MAX: usize = 1_024;
/// Between two calls that end the linger of what is enqueued, while a flush goes on.
const FLUSH_NS: u64 = 10_000_000;
/// How long records that are given up may take until they are told of.
const PURGE_NS: u64 = 5_000_000_000;

/// librdkafka as a producer. What stands on the client is dropped before it.
pub struct Producer {
    topics: Vec<Topic>,
    topic_each: bool,
    wake: Wake,
    handle: Handle,
    is_compressed: bool,
    told: Told,
    /// Records that were never enqueued, with their place and error.
    refused: Vec<(u64, usize, i32)>,
    /// Records that were enqueued and not told of yet.
    outstanding: u64,
    /// Whether batches are sent again, which is known from statistics only.
    retries: bool,
}

/// What was told.
#[derive(Default)]
struct Told {
    tokens: Vec<u64>,
    batches: u64,
    failed_batches: u64,
    raw_bytes: u64,
    retries: u64,
    statistics: u64,
}

impl Producer {
    /// Starts its threads and learns who leads the partitions.
    ///
    /// # Errors
    /// A topic or broker that is not there, or a property that it refuses.
    pub fn connect(brokers: &Bootstrap, security: &Security, spec: &LoadSpec) -> Result<Self, ClientError> {
        let settings = &spec.producer;
        settings.check()?;
        let mut conf = properties::of_producer(brokers, security, settings)?;
        conf.set_events(sys::RD_KAFKA_EVENT_DR | sys::RD_KAFKA_EVENT_ERROR | sys::RD_KAFKA_EVENT_STATS);
        // It would wait for a topic that does not exist, or make it.
        Admin::connect(brokers, security)?.leaders_of(&spec.spread)?;
        let names = spec.spread.topics();
        // Of several names, the mean: they differ in the digits of a number.
        let topic_bytes = names.iter().map(String::len).sum::<usize>() / names.len().max(1);
        let traffic = Traffic::of(PRODUCE, topic_bytes);
        let handle = Handle::start(sys::rd_kafka_type_t::RD_KAFKA_PRODUCER, conf, traffic)?;
        let topics = topics(&handle, &names)?;
        handle.learn_topics(METADATA_MS)?;
        Ok(Self {
            topics,
            topic_each: spec.spread.topic_each,
            wake: Wake::over(Queue::main(&handle))?,
            handle,
            is_compressed: settings.compression.codec() != Codec::None,
            told: Told::default(),
            refused: Vec::new(),
            outstanding: 0,
            retries: settings.retries,
        })
    }

    /// Tells what has come by now; answers whether there was something.
    fn tell(&mut self, on: &mut dyn FnMut(Delivered<'_>)) -> Result<bool, ClientError> {
        let mut is_something = !self.refused.is_empty();
        for (token, place, code) in self.refused.drain(..) {
            self.told.failed_batches += 1;
            on(Delivered {
                tokens: &[token],
                place,
                base_offset: None,
                sent_ns: None,
                acked_ns: clock::now_ns(),
                error: Some(&error_name(code)),
            });
        }
        // To the end, as only a queue that was empty wakes up who waits.
        while let Some(mut event) = self.wake.queue().event() {
            match event.kind() {
                sys::RD_KAFKA_EVENT_DR => {
                    self.outstanding -= self.told.records(&mut event, on);
                    is_something = true;
                }
                sys::RD_KAFKA_EVENT_STATS => self.told.statistics(&event.statistics()),
                // A connection that broke is told by the records that it takes along; an error that ends the producer is not.
                _ => {
                    if let Some(fatal) = self.handle.fatal_error() {
                        return Err(failed("producing", fatal));
                    }
                }
            }
        }
        Ok(is_something)
    }

    /// Gives up what is enqueued; it is told of as failed.
    fn purge(&mut self, on: &mut dyn FnMut(Delivered<'_>)) -> Result<(), ClientError> {
        let flags = sys::RD_KAFKA_PURGE_F_QUEUE | sys::RD_KAFKA_PURGE_F_INFLIGHT;
        // SAFETY: the client lives.
        unsafe { sys::rd_kafka_purge(self.handle.raw(), flags) };
        let until_ns = clock::now_ns() + PURGE_NS;
        while self.outstanding > 0 && clock::now_ns() < until_ns {
            if !self.tell(on)? {
                self.wake.wait(until_ns)?;
            }
        }
        match self.outstanding {
            0 => Ok(()),
            left => Err(failed("giving up records", format!("{left} of them were not told of"))),
        }
    }

    /// Waits until statistics are newer than what was told, where something was sent more often than told.
    fn catch_up_with_retries(&mut self, until_ns: u64, on: &mut dyn FnMut(Delivered<'_>)) -> Result<(), ClientError> {
        let counted = self.handle.traffic().counted();
        let statistics = self.told.statistics;
        while self.retries && counted.requests > self.told.batches && self.told.statistics == statistics {
            if clock::now_ns() >= until_ns {
                break;
            }
            if !self.tell(on)? {
                self.wake.wait(until_ns)?;
            }
        }
        Ok(())
    }
}

impl Producing for Producer {
    fn send(&mut self, record: Outgoing<'_>) -> Result<Handed, ClientError> {
        use sys::rd_kafka_vtype_t as v;
        let (topic, partition) = match self.topic_each {
            true => (self.topics.get(record.place), 0),
            false => (self.topics.first(), i32::try_from(record.place).unwrap_or(i32::MAX)),
        };
        let Some(topic) = topic else {
            return Err(failed(
                "sending",
                format!("there is no place {} in the spread", record.place),
            ));
        };
        if self.refused.len() >= REFUSED_MAX {
            return Ok(Handed::Full);
        }
        let (key, key_bytes) = match record.key {
            None => (ptr::null(), 0),
            Some(key) => (key.as_ptr().cast::<c_void>(), key.len()),
        };
        let opaque: *mut c_void = ptr::without_provenance_mut(record.token as usize);
        // SAFETY: client and topic live, each tag is followed by what it asks for, and key and value are copied.
        let error = unsafe {
            sys::rd_kafka_producev(
                self.handle.raw(),
                v::RD_KAFKA_VTYPE_RKT,
                topic.raw(),
                v::RD_KAFKA_VTYPE_PARTITION,
                partition,
                v::RD_KAFKA_VTYPE_MSGFLAGS,
                sys::RD_KAFKA_MSG_F_COPY,
                v::RD_KAFKA_VTYPE_VALUE,
                record.value.as_ptr().cast::<c_void>(),
                record.value.len(),
                v::RD_KAFKA_VTYPE_KEY,
                key,
                key_bytes,
                v::RD_KAFKA_VTYPE_TIMESTAMP,
                record.timestamp_ms,
                v::RD_KAFKA_VTYPE_OPAQUE,
                opaque,
                v::RD_KAFKA_VTYPE_END,
            )
        };
        match error {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => self.outstanding += 1,
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__QUEUE_FULL => return Ok(Handed::Full),
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__FATAL => {
                let fatal = self.handle.fatal_error().unwrap_or_default();
                return Err(failed("producing", fatal));
            }
            error => self.refused.push((record.token, record.place, error as i32)),
        }
        Ok(Handed::Taken)
    }

    fn poll(&mut self, until_ns: u64, on: &mut dyn FnMut(Delivered<'_>)) -> Result<(), ClientError> {
        while !self.tell(on)? && clock::now_ns() < until_ns {
            self.wake.wait(until_ns)?;
        }
        Ok(())
    }

    fn flush(&mut self, until_ns: u64, on: &mut dyn FnMut(Delivered<'_>)) -> Result<(), ClientError> {
        self.tell(on)?;
        while self.outstanding > 0 {
            if clock::now_ns() >= until_ns {
                return self.purge(on);
            }
            // For a millisecond nothing lingers, which is long enough for its threads to see it.
            // SAFETY: the client lives.
            unsafe { sys::rd_kafka_flush(self.handle.raw(), 1) };
            let slice_ns = clock::now_ns().saturating_add(FLUSH_NS).min(until_ns);
            while self.tell(on)? || (self.outstanding > 0 && clock::now_ns() < slice_ns) {
                if self.outstanding > 0 {
                    self.wake.wait(slice_ns)?;
                }
            }
        }
        self.catch_up_with_retries(until_ns, on)
    }

    fn counts(&self) -> ClientCounts {
        let counted = self.handle.traffic().counted();
        let raw_bytes = if self.is_compressed {
            self.told.raw_bytes
        } else {
            counted.batch_bytes
        };
        ClientCounts {
            requests: counted.requests,
            // One in each of its requests.
            batches: counted.requests,
            wire_bytes: counted.request_bytes,
            batch_bytes: counted.batch_bytes,
            raw_bytes,
            retries: self.told.retries,
            errors: counted.failed + self.told.failed_batches,
            ..ClientCounts::default()
        }
    }
}

impl Told {
    /// Tells of the records of a delivery report, in runs of one place with one fate; answers how many.
    fn records(&mut self, event: &mut Event, on: &mut dyn FnMut(Delivered<'_>)) -> u64 {
        let acked_ns = clock::now_ns();
        let mut run: Option<Run> = None;
        let mut records = 0;
        while let Some(record) = event.next_record() {
            let next = Run::of(record);
            if !run.is_some_and(|run| run.goes_on_with(&next, self.tokens.len())) {
                self.end(run, acked_ns, on);
                run = Some(next);
                self.raw_bytes += HEADER_BYTES as u64;
            }
            self.raw_bytes += framed_bytes(self.tokens.len(), record);
            self.tokens.push(record._private.addr() as u64);
            records += 1;
        }
        self.end(run, acked_ns, on);
        records
    }

    /// Tells of the run that is over.
    fn end(&mut self, run: Option<Run>, acked_ns: u64, on: &mut dyn FnMut(Delivered<'_>)) {
        let Some(run) = run else { return };
        let error = (run.error != 0).then(|| error_name(run.error));
        match &error {
            None => self.batches += 1,
            Some(_) => self.failed_batches += 1,
        }
        on(Delivered {
            tokens: &self.tokens,
            place: run.place,
            base_offset: (run.offset >= 0 && error.is_none()).then_some(run.offset),
            sent_ns: None,
            acked_ns,
            error: error.as_deref(),
        });
        self.tokens.clear();
    }

    /// Takes note of statistics; of text that is none, only that it came.
    fn statistics(&mut self, text: &str) {
        self.statistics += 1;
        let Ok(statistics) = serde_json::from_str::<serde_json::Value>(text) else {
            return;
        };
        let brokers = statistics["brokers"].as_object().into_iter().flatten();
        self.retries = brokers.filter_map(|(_, broker)| broker["txretries"].as_u64()).sum();
    }
}

/// Records of a delivery report that belong together: those of a batch.
#[derive(Debug, Clone, Copy)]
struct Run {
    place: usize,
    error: i32,
    /// Of the first one; below 0 where it is not told.
    offset: i64,
}

impl Run {
    fn of(record: &sys::rd_kafka_message_t) -> Self {
        Self {
            place: place(record),
            error: code(record),
            offset: record.offset,
        }
    }

    /// Whether `next` is its `records`th record.
    fn goes_on_with(self, next: &Run, records: usize) -> bool {
        let is_next = match self.offset >= 0 {
            true => next.offset == self.offset + records as i64,
            false => next.offset < 0,
        };
        self.place == next.place && self.error == next.error && (is_next || self.error != 0)
    }
}

/// Bytes of the `index`th record in its batch, with a timestamp that is near the batch's own.
fn framed_bytes(index: usize, record: &sys::rd_kafka_message_t) -> u64 {
    let key = match record.key.is_null() {
        true => 1,
        false => varlong_len(record.key_len as i64) + record.key_len,
    };
    let body = 1 + 1 + varlong_len(index as i64) + key + varlong_len(record.len as i64) + record.len + 1;
    (varlong_len(body as i64) + body) as u64
}
