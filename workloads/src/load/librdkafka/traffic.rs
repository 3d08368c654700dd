//! Requests and answers of one API, counted by librdkafka's interceptors on the threads that send and receive them.

use super::handle::failed;
use crate::native::ClientError;
use rdkafka_sys as sys;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The name that interceptors are registered by.
const NAME: &CStr = c"assay";
/// Kafka's number of the Produce API.
pub(super) const PRODUCE: i16 = 0;
/// Kafka's number of the Fetch API.
pub(super) const FETCH: i16 = 1;

/// What was sent and received by one API.
pub(super) struct Traffic {
    api: i16,
    /// Of the name of the topic, which stands in each Produce request.
    topic_bytes: usize,
    requests: AtomicU64,
    request_bytes: AtomicU64,
    batch_bytes: AtomicU64,
    responses: AtomicU64,
    response_bytes: AtomicU64,
    failed: AtomicU64,
}

/// [`Traffic`] at one moment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    /// Requests sent.
    pub requests: u64,
    /// Bytes of them.
    pub request_bytes: u64,
    /// Bytes of the batches in Produce requests, of which each has one.
    pub batch_bytes: u64,
    /// Answers received.
    pub responses: u64,
    /// Bytes of them.
    pub response_bytes: u64,
    /// Requests that were not answered, as a connection broke or time was over.
    pub failed: u64,
}

impl Traffic {
    /// Of the API of that number.
    pub fn of(api: i16, topic_bytes: usize) -> Self {
        Self {
            api,
            topic_bytes,
            requests: AtomicU64::new(0),
            request_bytes: AtomicU64::new(0),
            batch_bytes: AtomicU64::new(0),
            responses: AtomicU64::new(0),
            response_bytes: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Counts what a client made of `conf` does. `self` must outlive that client, and stay where it is.
    pub fn count_for(&self, conf: *mut sys::rd_kafka_conf_t) -> Result<(), ClientError> {
        let own = (&raw const *self).cast_mut().cast();
        // SAFETY: the properties are those of the caller; the callback has the type that is asked for, and only reads through `own`.
        let error = unsafe { sys::rd_kafka_conf_interceptor_add_on_new(conf, NAME.as_ptr(), Some(on_new), own) };
        match error {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            error => Err(failed("counting its requests", super::handle::error_name(error as i32))),
        }
    }

    /// The counts by now.
    pub fn counted(&self) -> Counted {
        Counted {
            requests: self.requests.load(Relaxed),
            request_bytes: self.request_bytes.load(Relaxed),
            batch_bytes: self.batch_bytes.load(Relaxed),
            responses: self.responses.load(Relaxed),
            response_bytes: self.response_bytes.load(Relaxed),
            failed: self.failed.load(Relaxed),
        }
    }

    fn sent(&self, api: i16, version: i16, bytes: usize) {
        if api == self.api {
            self.requests.fetch_add(1, Relaxed);
            self.request_bytes.fetch_add(bytes as u64, Relaxed);
            if api == PRODUCE {
                let batch_bytes = batch_bytes(version, self.topic_bytes, bytes);
                self.batch_bytes.fetch_add(batch_bytes as u64, Relaxed);
            }
        }
    }

    fn received(&self, api: i16, bytes: usize, is_error: bool) {
        if api != self.api {
            return;
        }
        if is_error {
            self.failed.fetch_add(1, Relaxed);
        } else {
            self.responses.fetch_add(1, Relaxed);
            self.response_bytes.fetch_add(bytes as u64, Relaxed);
        }
    }
}

/// Bytes of the one batch in a Produce request of librdkafka: its frame without what stands around the batch.
fn batch_bytes(version: i16, topic_bytes: usize, frame_bytes: usize) -> usize {
    // Length, API, version, correlation id, and the client's name `assay`.
    let header = 4 + 2 + 2 + 4 + 2 + 5;
    if version < 9 {
        // No transaction, acks, timeout, topics, name, partitions, partition, length of the batch.
        let body = 2 + 2 + 4 + 4 + 2 + topic_bytes + 4 + 4 + 4;
        return frame_bytes.saturating_sub(header + body);
    }
    // The same in compact forms, with tags behind the header, the partition, the topic and the body.
    let body = 1 + 1 + 2 + 4 + 1 + uvarint_bytes(topic_bytes + 1) + topic_bytes + 1 + 4 + 3;
    let rest = frame_bytes.saturating_sub(header + body);
    // The length of the batch stands in front of it, plus one.
    (1..=5)
        .map(|length_bytes| (length_bytes, rest.saturating_sub(length_bytes)))
        .find(|(length_bytes, bytes)| uvarint_bytes(bytes + 1) == *length_bytes)
        .map_or(0, |(_, bytes)| bytes)
}

/// Bytes of an unsigned variable-length number.
fn uvarint_bytes(number: usize) -> usize {
    let bits = usize::BITS - number.leading_zeros();
    bits.max(1).div_ceil(7) as usize
}

/// Called while a client is made; asks for the other two.
unsafe extern "C" fn on_new(
    rk: *mut sys::rd_kafka_t,
    _conf: *const sys::rd_kafka_conf_t,
    own: *mut c_void,
    _message: *mut c_char,
    _message_bytes: usize,
) -> sys::rd_kafka_resp_err_t {
    // SAFETY: the client is being made, and the callbacks have the types that are asked for.
    unsafe {
        let error = sys::rd_kafka_interceptor_add_on_request_sent(rk, NAME.as_ptr(), Some(on_request_sent), own);
        match error {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {
                sys::rd_kafka_interceptor_add_on_response_received(rk, NAME.as_ptr(), Some(on_response_received), own)
            }
            error => error,
        }
    }
}

/// Called by a broker's thread when a request has left.
unsafe extern "C" fn on_request_sent(
    _rk: *mut sys::rd_kafka_t,
    _socket: c_int,
    _broker: *const c_char,
    _broker_id: i32,
    api: i16,
    version: i16,
    _correlation_id: i32,
    bytes: usize,
    own: *mut c_void,
) -> sys::rd_kafka_resp_err_t {
    // SAFETY: it is the `Traffic` of `count_for`, which outlives the client, and is only read through.
    if let Some(traffic) = unsafe { own.cast::<Traffic>().as_ref() } {
        traffic.sent(api, version, bytes);
    }
    sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

/// Called by a broker's thread when an answer came, or none will come.
unsafe extern "C" fn on_response_received(
    _rk: *mut sys::rd_kafka_t,
    _socket: c_int,
    _broker: *const c_char,
    _broker_id: i32,
    api: i16,
    _version: i16,
    _correlation_id: i32,
    bytes: usize,
    _sent: i64,
    error: sys::rd_kafka_resp_err_t,
    own: *mut c_void,
) -> sys::rd_kafka_resp_err_t {
    // SAFETY: as in `on_request_sent`.
    if let Some(traffic) = unsafe { own.cast::<Traffic>().as_ref() } {
        let is_error = error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        traffic.received(api, bytes, is_error);
    }
    sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_wire::produce::encode_request_head;

    /// Both forms, by what the native client would send around a batch.
    #[test]
    fn the_batch_is_what_is_left_of_a_request() {
        for bytes in [100, 126, 127, 16_382, 16_383, 16_384, 2_097_150, 2_097_151, 5_000_000] {
            // `orders`: what stands around it in version 8, counted by hand.
            assert_eq!(batch_bytes(8, 6, 4 + 15 + 26 + 6 + bytes), bytes);
            let mut head = Vec::new();
            encode_request_head(&mut head, 1, "orders", 0, 1, bytes);
            let frame_bytes = head.len() + bytes + kafka_wire::produce::REQUEST_TAIL.len();
            assert_eq!(batch_bytes(9, 6, frame_bytes), bytes, "{bytes}");
        }
        assert_eq!(batch_bytes(9, 6, 3), 0);
    }

    #[test]
    fn only_the_one_api_is_counted() {
        let traffic = Traffic::of(FETCH, 0);
        traffic.sent(FETCH, 11, 100);
        traffic.sent(PRODUCE, 9, 100);
        traffic.received(FETCH, 1_000, false);
        traffic.received(FETCH, 0, true);
        traffic.received(PRODUCE, 7, false);
        let counted = traffic.counted();
        assert_eq!(
            (counted.requests, counted.request_bytes, counted.batch_bytes),
            (1, 100, 0)
        );
        assert_eq!(
            (counted.responses, counted.response_bytes, counted.failed),
            (1, 1_000, 1)
        );
    }
}
