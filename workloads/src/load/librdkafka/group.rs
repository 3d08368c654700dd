//! A member of a consumer group, behind calls that are safe: everything it tells comes as an event out of one queue.
//!
//! No callback is used, so all that happens to a member happens on the thread that asks it. Each question for the next event is a poll in the
//! sense of `max.poll.interval.ms`. A rebalance waits until its answer ([`GroupClient::assign`], [`GroupClient::unassign`]) is given.

use super::handle::{Event, Handle, Queue, c_text, code, failed, text};
use super::properties;
use super::traffic::{FETCH, Traffic};
use crate::native::{Bootstrap, ClientError, Security};
use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_resp_err_t as error;
use std::time::Duration;

const DOING: &str = "being a member of a group";
/// Events that come by the queue.
const EVENTS: i32 = sys::RD_KAFKA_EVENT_FETCH
    | sys::RD_KAFKA_EVENT_REBALANCE
    | sys::RD_KAFKA_EVENT_OFFSET_COMMIT
    | sys::RD_KAFKA_EVENT_ERROR;

/// A record, as long as its event lives.
pub(crate) struct RawRecord<'a> {
    /// Its topic.
    pub topic: &'a [u8],
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its value.
    pub value: &'a [u8],
}

/// A partition with an offset and the code of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// An offset, negative for none.
    pub offset: i64,
    /// 0, a code of Kafka, or a negative one of librdkafka.
    pub code: i32,
}

/// What a member hears.
pub(crate) enum Heard<T> {
    /// A record was handed over, and what was read out of it.
    Record(T),
    /// Partitions are given or taken.
    Rebalance {
        /// They are given.
        is_assign: bool,
        /// Which.
        partitions: Places,
    },
    /// The answer to a commit; an error of the whole stands at each place.
    Committed(Vec<Place>),
    /// Something is wrong.
    Failed {
        /// A code of Kafka, or a negative one of librdkafka.
        code: i32,
        /// The client is of no use any more.
        is_fatal: bool,
        /// In words.
        message: String,
    },
    /// Something that is of no interest here.
    Other,
}

/// A list of partitions in librdkafka's own memory, with whatever it keeps beside them.
pub(crate) struct Places {
    raw: *mut sys::rd_kafka_topic_partition_list_t,
}

impl Places {
    /// An empty list.
    pub fn new() -> Self {
        // SAFETY: it makes an object of its own.
        let raw = unsafe { sys::rd_kafka_topic_partition_list_new(8) };
        Self { raw }
    }

    /// Adds a partition; with an offset below 0 none is set.
    ///
    /// # Errors
    /// A topic with a zero byte in its name.
    pub fn add(&mut self, topic: &str, partition: i32, offset: i64) -> Result<(), ClientError> {
        let topic = c_text(topic)?;
        // SAFETY: the list is ours, and what was added to it lives in it.
        unsafe {
            let added = sys::rd_kafka_topic_partition_list_add(self.raw, topic.as_ptr(), partition);
            if offset >= 0 {
                (*added).offset = offset;
            }
        }
        Ok(())
    }

    /// What stands in it.
    pub fn to_vec(&self) -> Vec<Place> {
        // SAFETY: the list is ours and not changed meanwhile.
        unsafe { places(self.raw) }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        // SAFETY: it is ours.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.raw) };
    }
}

/// # Safety
/// `raw` is null or a list that lives as long as the call.
unsafe fn places(raw: *const sys::rd_kafka_topic_partition_list_t) -> Vec<Place> {
    // SAFETY: as the caller promises; a list has as many elements as it says, and each has a topic.
    unsafe {
        let Some(list) = raw.as_ref() else { return Vec::new() };
        let count = usize::try_from(list.cnt).unwrap_or(0);
        if count == 0 {
            return Vec::new();
        }
        let elements = std::slice::from_raw_parts(list.elems, count);
        let place = |element: &sys::rd_kafka_topic_partition_t| Place {
            topic: text(element.topic),
            partition: element.partition,
            offset: element.offset,
            // A code that the bindings have no name for is read, too.
            code: (&raw const element.err).cast::<i32>().read(),
        };
        elements.iter().map(place).collect()
    }
}

/// A member of a group.
pub(crate) struct GroupClient {
    queue: Queue,
    handle: Handle,
}

impl GroupClient {
    /// Makes the client with its threads; it joins nothing before it subscribes.
    ///
    /// # Errors
    /// A property that librdkafka refuses.
    pub fn connect(brokers: &Bootstrap, security: &Security, pairs: &[(&str, String)]) -> Result<Self, ClientError> {
        let mut conf = properties::of_member(brokers, security, pairs)?;
        conf.set_events(EVENTS);
        let handle = Handle::start(sys::rd_kafka_type_t::RD_KAFKA_CONSUMER, conf, Traffic::of(FETCH, 0))?;
        // SAFETY: the client lives. Errors and answers to commits then come by the consumer's queue, too.
        checked("taking its queue", unsafe {
            sys::rd_kafka_poll_set_consumer(handle.raw())
        })?;
        Ok(Self {
            queue: Queue::of_consumer(&handle),
            handle,
        })
    }

    /// Subscribes to topics, or to patterns that begin with `^`; replaces what was subscribed to.
    ///
    /// # Errors
    /// A pattern that can't be understood.
    pub fn subscribe(&self, topics: &[String]) -> Result<(), ClientError> {
        let mut list = Places::new();
        for topic in topics {
            list.add(topic, -1, -1)?;
        }
        // SAFETY: client and list live, and the list is copied.
        checked("subscribing", unsafe {
            sys::rd_kafka_subscribe(self.handle.raw(), list.raw)
        })
    }

    /// The next event, if one comes within `wait`; `read` looks into a record while it lives.
    pub fn poll<T>(&self, wait: Duration, read: impl FnOnce(RawRecord<'_>) -> T) -> Option<Heard<T>> {
        let mut event = self.queue.event_within(wait)?;
        Some(match event.kind() {
            sys::RD_KAFKA_EVENT_FETCH => match event.next_record() {
                Some(record) if code(record) == 0 => Heard::Record(read(raw_record(record))),
                Some(record) => Heard::Failed {
                    code: code(record),
                    is_fatal: false,
                    message: "a record can't be read".to_owned(),
                },
                None => Heard::Other,
            },
            sys::RD_KAFKA_EVENT_REBALANCE => Heard::Rebalance {
                is_assign: event.code() == error::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS as i32,
                partitions: Places {
                    // SAFETY: the list lives as long as the event, and is copied.
                    raw: unsafe { sys::rd_kafka_topic_partition_list_copy(event.places()) },
                },
            },
            sys::RD_KAFKA_EVENT_OFFSET_COMMIT => {
                // SAFETY: the list lives as long as the event.
                let mut committed = unsafe { places(event.places()) };
                let of_all = event.code();
                committed
                    .iter_mut()
                    .filter(|place| place.code == 0)
                    .for_each(|place| place.code = of_all);
                Heard::Committed(committed)
            }
            sys::RD_KAFKA_EVENT_ERROR => Heard::Failed {
                code: event.code(),
                is_fatal: event.is_fatal(),
                message: event.message(),
            },
            _ => Heard::Other,
        })
    }

    /// Whether members keep what they have while they rebalance.
    pub fn is_incremental(&self) -> bool {
        // SAFETY: the client lives, and answers by a constant string.
        unsafe { text(sys::rd_kafka_rebalance_protocol(self.handle.raw())) == "COOPERATIVE" }
    }

    /// Whether what is taken was lost already: others may have it, and no commit can be made for it.
    pub fn is_assignment_lost(&self) -> bool {
        // SAFETY: the client lives.
        unsafe { sys::rd_kafka_assignment_lost(self.handle.raw()) != 0 }
    }

    /// Takes partitions that are given.
    ///
    /// # Errors
    /// The client does not take them, such as one that is closing.
    pub fn assign(&self, partitions: &Places) -> Result<(), ClientError> {
        match self.is_incremental() {
            // SAFETY: client and list live; the list is copied.
            true => unsafe {
                outcome(
                    "taking partitions",
                    sys::rd_kafka_incremental_assign(self.handle.raw(), partitions.raw),
                )
            },
            // SAFETY: as above.
            false => checked("taking partitions", unsafe {
                sys::rd_kafka_assign(self.handle.raw(), partitions.raw)
            }),
        }
    }

    /// Gives partitions back that are taken: all of them, where members don't keep what they have.
    ///
    /// # Errors
    /// As [`GroupClient::assign`].
    pub fn unassign(&self, partitions: &Places) -> Result<(), ClientError> {
        match self.is_incremental() {
            // SAFETY: client and list live; the list is copied.
            true => unsafe {
                outcome(
                    "giving partitions back",
                    sys::rd_kafka_incremental_unassign(self.handle.raw(), partitions.raw),
                )
            },
            // SAFETY: the client lives; no list is none.
            false => checked("giving partitions back", unsafe {
                sys::rd_kafka_assign(self.handle.raw(), std::ptr::null())
            }),
        }
    }

    /// Generation or member epoch as the client knows it; -1 when it knows none.
    pub fn epoch(&self) -> i32 {
        // SAFETY: the client lives, and what it answers is ours to destroy.
        unsafe {
            let metadata = sys::rd_kafka_consumer_group_metadata(self.handle.raw());
            if metadata.is_null() {
                return -1;
            }
            let epoch = sys::rd_kafka_consumer_group_metadata_generation_id(metadata);
            sys::rd_kafka_consumer_group_metadata_destroy(metadata);
            epoch
        }
    }

    /// Commits offsets and waits for the answer: 0, a code of Kafka, or a negative one of librdkafka.
    pub fn commit(&self, offsets: &Places) -> i32 {
        // SAFETY: client and list live; the list is copied.
        unsafe { sys::rd_kafka_commit(self.handle.raw(), offsets.raw, 0) as i32 }
    }

    /// Begins to commit offsets; the answer comes by the queue. Gives a code if it can't even begin.
    pub fn begin_commit(&self, offsets: &Places) -> i32 {
        // SAFETY: client, list and queue live; without a callback the answer is an event.
        unsafe {
            sys::rd_kafka_commit_queue(
                self.handle.raw(),
                offsets.raw,
                self.queue.raw(),
                None,
                std::ptr::null_mut(),
            ) as i32
        }
    }

    /// Leaves offsets to the client, which commits them in its own time. Gives a code when it does not take them, as of a partition that is
    /// no longer the member's.
    pub fn store(&self, offsets: &Places) -> i32 {
        // SAFETY: client and list live.
        unsafe { sys::rd_kafka_offsets_store(self.handle.raw(), offsets.raw) as i32 }
    }

    /// Stops to fetch partitions, or goes on where their last record was handed over.
    pub fn pause(&self, partitions: &Places, is_paused: bool) {
        // SAFETY: client and list live. What can't be paused is told at its place, and is no longer assigned.
        unsafe {
            match is_paused {
                true => sys::rd_kafka_pause_partitions(self.handle.raw(), partitions.raw),
                false => sys::rd_kafka_resume_partitions(self.handle.raw(), partitions.raw),
            }
        };
    }

    /// Begins to close: partitions are taken, the group is left. Events go on until [`GroupClient::is_closed`].
    ///
    /// # Errors
    /// It is closing already.
    pub fn begin_close(&self) -> Result<(), ClientError> {
        // SAFETY: client and queue live.
        unsafe {
            outcome(
                "closing",
                sys::rd_kafka_consumer_close_queue(self.handle.raw(), self.queue.raw()),
            )
        }
    }

    /// Whether closing has come to its end.
    pub fn is_closed(&self) -> bool {
        // SAFETY: the client lives.
        unsafe { sys::rd_kafka_consumer_closed(self.handle.raw()) != 0 }
    }
}

fn raw_record(record: &sys::rd_kafka_message_t) -> RawRecord<'_> {
    // SAFETY: name and value live as long as the record; the value is as long as it says, or null.
    unsafe {
        RawRecord {
            topic: std::ffi::CStr::from_ptr(sys::rd_kafka_topic_name(record.rkt)).to_bytes(),
            partition: record.partition,
            offset: record.offset,
            value: match record.payload.is_null() {
                true => &[],
                false => std::slice::from_raw_parts(record.payload.cast::<u8>(), record.len),
            },
        }
    }
}

fn checked(doing: &'static str, result: sys::rd_kafka_resp_err_t) -> Result<(), ClientError> {
    match result {
        error::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        other => Err(failed(
            DOING,
            format!("{doing}: {}", super::handle::error_name(other as i32)),
        )),
    }
}

/// # Safety
/// `raw` is null or an error that is ours to destroy.
unsafe fn outcome(doing: &'static str, raw: *mut sys::rd_kafka_error_t) -> Result<(), ClientError> {
    if raw.is_null() {
        return Ok(());
    }
    // SAFETY: as the caller promises.
    let message = unsafe {
        let message = text(sys::rd_kafka_error_string(raw));
        sys::rd_kafka_error_destroy(raw);
        message
    };
    Err(failed(DOING, format!("{doing}: {message}")))
}

impl Event {
    /// The code of its error, 0 without one.
    fn code(&self) -> i32 {
        // SAFETY: the event lives.
        unsafe { sys::rd_kafka_event_error(self.raw()) as i32 }
    }

    /// Whether its error made the client useless.
    fn is_fatal(&self) -> bool {
        // SAFETY: the event lives.
        unsafe { sys::rd_kafka_event_error_is_fatal(self.raw()) != 0 }
    }

    /// Its error in words.
    fn message(&self) -> String {
        // SAFETY: the event lives, and its text as long as it does.
        unsafe { text(sys::rd_kafka_event_error_string(self.raw())) }
    }

    /// The partitions that it is about; null for none.
    fn places(&self) -> *const sys::rd_kafka_topic_partition_list_t {
        // SAFETY: the event lives.
        unsafe { sys::rd_kafka_event_topic_partition_list(self.raw()) }
    }
}
