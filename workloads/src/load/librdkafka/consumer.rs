//! The consumer: partitions are read from given offsets, as `kcat -C` does it, and records come out of one queue, many with a call.
//!
//! It asks for no group and no coordinator, so that no broker makes its topic for groups while something is measured.

use super::handle::{Handle, Queue, Topic, code, error_name, failed, place, topics};
use super::properties;
use super::traffic::{FETCH, Traffic};
use super::wake::Wake;
use crate::load::clock;
use crate::load::consume::{ConsumeCounts, ConsumeSpec, Consuming, Received};
use crate::native::{Bootstrap, ClientError, Security};
use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_resp_err_t as error;
use std::ptr;

const DOING: &str = "consuming";
/// Records of one call, at most.
const RECORDS_MAX: usize = 1_024;

/// What passes by itself: librdkafka goes on trying.
const PASSING: [i32; 8] = [
    error::RD_KAFKA_RESP_ERR__TRANSPORT as i32,
    error::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN as i32,
    error::RD_KAFKA_RESP_ERR__RESOLVE as i32,
    error::RD_KAFKA_RESP_ERR__TIMED_OUT as i32,
    error::RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE as i32,
    error::RD_KAFKA_RESP_ERR__NODE_UPDATE as i32,
    error::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION as i32,
    error::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE as i32,
];

/// librdkafka as a consumer. What stands on the client is dropped before it.
pub struct Consumer {
    batch: Vec<*mut sys::rd_kafka_message_t>,
    /// Partitions that are read.
    started: Vec<(usize, i32)>,
    topics: Vec<Topic>,
    wake: Wake,
    handle: Handle,
    counts: ConsumeCounts,
}

impl Consumer {
    /// Starts its threads, which begin to fetch. `starts` holds each place that is read with its first offset.
    ///
    /// # Errors
    /// A property that it refuses.
    pub fn connect(
        brokers: &Bootstrap,
        security: &Security,
        spec: &ConsumeSpec,
        starts: &[(usize, i64)],
    ) -> Result<Self, ClientError> {
        let conf = properties::of_consumer(brokers, security, spec)?;
        let kind = sys::rd_kafka_type_t::RD_KAFKA_CONSUMER;
        let handle = Handle::start(kind, conf, Traffic::of(FETCH, 0))?;
        let mut consumer = Self {
            batch: Vec::with_capacity(RECORDS_MAX),
            started: Vec::with_capacity(starts.len()),
            topics: topics(&handle, &spec.spread.topics())?,
            wake: Wake::over(Queue::new(&handle))?,
            handle,
            counts: ConsumeCounts::default(),
        };
        for (place, offset) in starts {
            let (topic, partition) = match spec.spread.topic_each {
                true => (*place, 0),
                false => (0, i32::try_from(*place).unwrap_or(i32::MAX)),
            };
            consumer.start(topic, partition, *offset)?;
        }
        Ok(consumer)
    }

    /// Begins to read a partition of the `topic`th topic.
    fn start(&mut self, topic: usize, partition: i32, offset: i64) -> Result<(), ClientError> {
        let Some(raw) = self.topics.get(topic).map(Topic::raw) else {
            return Err(failed(DOING, format!("there is no topic {topic} in the spread")));
        };
        let queue = self.wake.queue().raw();
        // SAFETY: topic and queue live until the reading is stopped, in `drop`.
        match unsafe { sys::rd_kafka_consume_start_queue(raw, partition, offset, queue) } {
            0 => {
                self.started.push((topic, partition));
                Ok(())
            }
            _ => {
                // SAFETY: it reads what the call before left for this thread.
                let error = unsafe { sys::rd_kafka_last_error() };
                Err(failed("starting to read", error_name(error as i32)))
            }
        }
    }

    /// Takes what has come by now; answers whether there was something.
    fn take(&mut self, on: &mut dyn FnMut(Received<'_>)) -> Result<bool, ClientError> {
        let room = self.batch.spare_capacity_mut();
        let queue = self.wake.queue().raw();
        // SAFETY: the queue lives, and has room for as many pointers as it is told.
        let taken = unsafe { sys::rd_kafka_consume_batch_queue(queue, 0, room.as_mut_ptr().cast(), room.len()) };
        let taken = usize::try_from(taken).map_err(|_| failed(DOING, "its queue can't be read"))?;
        // SAFETY: so many pointers were written.
        unsafe { self.batch.set_len(taken) };
        let received_ns = clock::now_ns();
        let mut told = Ok(());
        for raw in self.batch.drain(..) {
            // SAFETY: each pointer is a record that is ours until it is destroyed.
            let record = unsafe { &*raw };
            if told.is_ok() {
                told = match code(record) {
                    0 => {
                        tell(record, received_ns, &mut self.counts, on);
                        Ok(())
                    }
                    passing if PASSING.contains(&passing) => {
                        self.counts.errors += 1;
                        Ok(())
                    }
                    other => Err(refused(record, other)),
                };
            }
            // SAFETY: as above, and nothing of it is kept.
            unsafe { sys::rd_kafka_message_destroy(raw) };
        }
        told.map(|()| taken > 0)
    }
}

/// Tells of a record.
fn tell(
    record: &sys::rd_kafka_message_t,
    received_ns: u64,
    counts: &mut ConsumeCounts,
    on: &mut dyn FnMut(Received<'_>),
) {
    // SAFETY: key and value are as long as the record says, or null, and live as long as it does.
    let (key, value) = unsafe { (bytes(record.key, record.key_len), bytes(record.payload, record.len)) };
    let value = value.unwrap_or_default();
    counts.records += 1;
    counts.raw_bytes += (key.unwrap_or_default().len() + value.len()) as u64;
    // SAFETY: the record lives, and the kind of its time is not asked for.
    let timestamp_ms = unsafe { sys::rd_kafka_message_timestamp(record, ptr::null_mut()) };
    on(Received {
        place: place(record),
        offset: record.offset,
        timestamp_ms,
        key,
        value,
        received_ns,
    });
}

/// What ends the consumer.
fn refused(record: &sys::rd_kafka_message_t, code: i32) -> ClientError {
    // SAFETY: the record lives, and its payload is the message where it is an error.
    let message = unsafe { bytes(record.payload, record.len) }.unwrap_or_default();
    let message = String::from_utf8_lossy(message);
    let remedy = match code == error::RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED as i32 {
        true => {
            "; if the records are compressed with gzip, build this program with `--features librdkafka-gzip`, or use the native client"
        }
        false => "",
    };
    failed(DOING, format!("{}: {message}{remedy}", error_name(code)))
}

/// # Safety
/// `start` is null, or `length` bytes are there for as long as the caller uses them.
unsafe fn bytes<'a>(start: *mut std::ffi::c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: as the caller promises.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) })
}

impl Drop for Consumer {
    fn drop(&mut self) {
        for (topic, partition) in &self.started {
            // SAFETY: the topic lives, and the partition is being read.
            unsafe { sys::rd_kafka_consume_stop(self.topics[*topic].raw(), *partition) };
        }
    }
}

impl Consuming for Consumer {
    fn poll(&mut self, until_ns: u64, on: &mut dyn FnMut(Received<'_>)) -> Result<(), ClientError> {
        let records_before = self.counts.records;
        while self.counts.records == records_before {
            if !self.take(on)? {
                if clock::now_ns() >= until_ns {
                    break;
                }
                self.wake.wait(until_ns)?;
            }
        }
        Ok(())
    }

    fn counts(&self) -> ConsumeCounts {
        let counted = self.handle.traffic().counted();
        ConsumeCounts {
            requests: counted.requests,
            responses: counted.responses,
            wire_bytes: counted.response_bytes,
            errors: self.counts.errors + counted.failed,
            ..self.counts
        }
    }
}
