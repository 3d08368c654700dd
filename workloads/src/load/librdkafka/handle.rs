//! librdkafka's own objects: each is freed when its owner is dropped, and what they say is turned into our errors.

use super::traffic::Traffic;
use crate::native::ClientError;
use rdkafka_sys as sys;
use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::time::Duration;

/// Longest message of librdkafka that is kept, bytes.
const MESSAGE_BYTES: usize = 512;

/// The version of librdkafka that is built in.
pub fn version() -> String {
    // SAFETY: it returns a constant string.
    unsafe { text(sys::rd_kafka_version_str()) }
}

/// Copies a string of librdkafka; empty for a null pointer.
///
/// # Safety
/// `message` is null or a string that ends with a zero and lives as long as the call.
pub(super) unsafe fn text(message: *const c_char) -> String {
    match message.is_null() {
        true => String::new(),
        // SAFETY: as the caller promises.
        false => unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned(),
    }
}

/// The name of an error, such as `_MSG_TIMED_OUT` or `NOT_LEADER_FOR_PARTITION`.
pub(crate) fn error_name(code: i32) -> String {
    match sys::rd_kafka_resp_err_t::try_from(code) {
        // SAFETY: it returns a constant string for each error.
        Ok(known) => unsafe { text(sys::rd_kafka_err2name(known)) },
        Err(_) => "an error that librdkafka does not know".to_owned(),
    }
}

/// What went wrong while `doing`.
pub(crate) fn failed(doing: &'static str, message: impl Into<String>) -> ClientError {
    ClientError::Librdkafka {
        doing,
        message: message.into(),
    }
}

/// Room for a message.
struct Message([u8; MESSAGE_BYTES]);

impl Message {
    fn new() -> Self {
        Self([0; MESSAGE_BYTES])
    }

    fn room(&mut self) -> (*mut c_char, usize) {
        (self.0.as_mut_ptr().cast(), MESSAGE_BYTES)
    }

    fn text(&self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(MESSAGE_BYTES);
        String::from_utf8_lossy(&self.0[..end]).into_owned()
    }
}

/// Text for librdkafka, which has no zero in it.
pub(super) fn c_text(text: &str) -> Result<CString, ClientError> {
    CString::new(text).map_err(|_| failed("reading its properties", format!("`{text:?}` holds a zero byte")))
}

/// Properties that a client is made of.
pub(super) struct Conf {
    raw: *mut sys::rd_kafka_conf_t,
}

impl Conf {
    /// Its defaults, without a line on stderr for everything that happens: what matters comes as an event.
    pub fn new() -> Self {
        // SAFETY: they make an object of their own and change it; no callback is a valid one.
        unsafe {
            let raw = sys::rd_kafka_conf_new();
            sys::rd_kafka_conf_set_log_cb(raw, None);
            Self { raw }
        }
    }

    /// Sets a property.
    ///
    /// # Errors
    /// It does not exist, or does not have such a value; librdkafka says which it has.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ClientError> {
        let (c_name, c_value, mut message) = (c_text(name)?, c_text(value)?, Message::new());
        let (room, bytes) = message.room();
        // SAFETY: the object is ours, the strings end with a zero, and the room is as large as it says.
        let result = unsafe { sys::rd_kafka_conf_set(self.raw, c_name.as_ptr(), c_value.as_ptr(), room, bytes) };
        match result {
            sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK => Ok(()),
            _ => Err(failed(
                "setting a property",
                format!("{name}={value}: {}", message.text()),
            )),
        }
    }

    /// Whether a feature is built in, such as `gzip` or `ssl`.
    pub fn has_feature(&self, feature: &str) -> bool {
        let features = self.get("builtin.features");
        features.is_ok_and(|features| features.split(',').any(|built| built == feature))
    }

    /// What a property is, its default included; of a long one the beginning.
    ///
    /// # Errors
    /// It does not exist.
    pub fn get(&self, name: &str) -> Result<String, ClientError> {
        let mut value = [0u8; MESSAGE_BYTES];
        let mut bytes = value.len();
        let c_name = c_text(name)?;
        // SAFETY: the object is ours, the name ends with a zero, and the room is as large as it says.
        let result =
            unsafe { sys::rd_kafka_conf_get(self.raw, c_name.as_ptr(), value.as_mut_ptr().cast(), &mut bytes) };
        if result != sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
            return Err(failed("reading a property", format!("there is no {name}")));
        }
        let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
        Ok(String::from_utf8_lossy(&value[..end]).into_owned())
    }

    /// Which kinds of events come by the queue, instead of callbacks.
    pub fn set_events(&mut self, events: i32) {
        // SAFETY: the object is ours.
        unsafe { sys::rd_kafka_conf_set_events(self.raw, events) };
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        // SAFETY: it is ours, and no client has taken it.
        unsafe { sys::rd_kafka_conf_destroy(self.raw) };
    }
}

/// A client, with its threads.
pub(super) struct Handle {
    raw: *mut sys::rd_kafka_t,
    /// Its threads write here until it is destroyed; behind a pointer, so that it stays where it is.
    traffic: Box<Traffic>,
}

impl Handle {
    /// Starts a client, whose requests are counted in `traffic`.
    ///
    /// # Errors
    /// Properties that don't go together.
    pub fn start(kind: sys::rd_kafka_type_t, conf: Conf, traffic: Traffic) -> Result<Self, ClientError> {
        let (traffic, mut message) = (Box::new(traffic), Message::new());
        traffic.count_for(conf.raw)?;
        let (room, bytes) = message.room();
        // SAFETY: the properties are ours, the room is as large as it says, and what counts the requests outlives the client, which is
        // destroyed before it is dropped.
        let raw = unsafe { sys::rd_kafka_new(kind, conf.raw, room, bytes) };
        if raw.is_null() {
            return Err(failed("starting", message.text()));
        }
        // The client has them now.
        std::mem::forget(conf);
        Ok(Self { raw, traffic })
    }

    /// For calls; valid as long as `self`.
    pub fn raw(&self) -> *mut sys::rd_kafka_t {
        self.raw
    }

    /// What its threads have sent and received.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// What made it useless, if something did.
    pub fn fatal_error(&self) -> Option<String> {
        let mut message = Message::new();
        let (room, bytes) = message.room();
        // SAFETY: the client lives, and the room is as large as it says.
        let error = unsafe { sys::rd_kafka_fatal_error(self.raw, room, bytes) };
        (error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR)
            .then(|| format!("{}: {}", error_name(error as i32), message.text()))
    }

    /// Asks for the metadata of the topics that it knows of, so that the first record does not wait for them.
    ///
    /// # Errors
    /// No broker answers within `limit_ms`.
    pub fn learn_topics(&self, limit_ms: i32) -> Result<(), ClientError> {
        let mut metadata = ptr::null();
        // SAFETY: the client lives; what it answers is freed at once and not looked at.
        let error = unsafe {
            let error = sys::rd_kafka_metadata(self.raw, 0, ptr::null_mut(), &mut metadata, limit_ms);
            if !metadata.is_null() {
                sys::rd_kafka_metadata_destroy(metadata);
            }
            error
        };
        match error {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            error => Err(failed("asking for metadata", error_name(error as i32))),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: it is ours, and everything that stands on it is dropped before it. It returns when all of its threads have ended.
        unsafe { sys::rd_kafka_destroy(self.raw) };
    }
}

/// A queue of a client.
pub(super) struct Queue {
    raw: *mut sys::rd_kafka_queue_t,
}

impl Queue {
    /// The one that a producer's events come by.
    pub fn main(handle: &Handle) -> Self {
        // SAFETY: the client lives, and gives a reference that is ours to destroy.
        let raw = unsafe { sys::rd_kafka_queue_get_main(handle.raw) };
        Self { raw }
    }

    /// One more, for the records of a consumer.
    pub fn new(handle: &Handle) -> Self {
        // SAFETY: as in `main`.
        let raw = unsafe { sys::rd_kafka_queue_new(handle.raw) };
        Self { raw }
    }

    /// The one that all events of a member of a group come by.
    pub fn of_consumer(handle: &Handle) -> Self {
        // SAFETY: as in `main`.
        let raw = unsafe { sys::rd_kafka_queue_get_consumer(handle.raw) };
        Self { raw }
    }

    /// For calls; valid as long as `self`.
    pub fn raw(&self) -> *mut sys::rd_kafka_queue_t {
        self.raw
    }

    /// The next event, if there is one by now.
    pub fn event(&self) -> Option<Event> {
        self.event_within(Duration::ZERO)
    }

    /// The next event, if one comes within `wait`.
    pub fn event_within(&self, wait: Duration) -> Option<Event> {
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue lives, and gives an event that is ours to destroy.
        let raw = unsafe { sys::rd_kafka_queue_poll(self.raw, wait_ms) };
        (!raw.is_null()).then_some(Event { raw })
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the reference is ours.
        unsafe { sys::rd_kafka_queue_destroy(self.raw) };
    }
}

/// Something that a client tells.
pub(super) struct Event {
    raw: *mut sys::rd_kafka_event_t,
}

impl Event {
    /// For calls; valid as long as `self`.
    pub(super) fn raw(&self) -> *mut sys::rd_kafka_event_t {
        self.raw
    }

    /// Which kind, one of `RD_KAFKA_EVENT_*`.
    pub fn kind(&self) -> i32 {
        // SAFETY: the event lives.
        unsafe { sys::rd_kafka_event_type(self.raw) }
    }

    /// The next record whose fate it tells.
    pub fn next_record(&mut self) -> Option<&sys::rd_kafka_message_t> {
        // SAFETY: the event lives, and so does the record, as long as it does.
        unsafe { sys::rd_kafka_event_message_next(self.raw).as_ref() }
    }

    /// Statistics as JSON, in an event that has some.
    pub fn statistics(&self) -> String {
        // SAFETY: the event lives, and its text as long as it does.
        unsafe { text(sys::rd_kafka_event_stats(self.raw)) }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: it is ours.
        unsafe { sys::rd_kafka_event_destroy(self.raw) };
    }
}

/// A topic of a client.
pub(super) struct Topic {
    raw: *mut sys::rd_kafka_topic_t,
}

impl Topic {
    /// The topic of that name, whose partition 0 is place `first_place`.
    fn new(handle: &Handle, name: &str, first_place: usize) -> Result<Self, ClientError> {
        let name = c_text(name)?;
        // SAFETY: the client lives, the name ends with a zero, and the settings belong to the topic from then on.
        let raw = unsafe {
            let conf = sys::rd_kafka_default_topic_conf_dup(handle.raw());
            sys::rd_kafka_topic_conf_set_opaque(conf, ptr::without_provenance_mut(first_place));
            sys::rd_kafka_topic_new(handle.raw(), name.as_ptr(), conf)
        };
        match raw.is_null() {
            true => Err(failed("opening a topic", name.to_string_lossy())),
            false => Ok(Self { raw }),
        }
    }

    /// For calls; valid as long as `self`.
    pub fn raw(&self) -> *mut sys::rd_kafka_topic_t {
        self.raw
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: the reference is ours, and the client is destroyed after its topics.
        unsafe { sys::rd_kafka_topic_destroy(self.raw) };
    }
}

/// The topics of a spread, in the order of their places.
pub(super) fn topics(handle: &Handle, names: &[String]) -> Result<Vec<Topic>, ClientError> {
    let topics = names.iter().enumerate();
    topics.map(|(place, name)| Topic::new(handle, name, place)).collect()
}

/// The place of a record, in the spread.
pub(super) fn place(record: &sys::rd_kafka_message_t) -> usize {
    // SAFETY: the topic lives as long as the record; what it carries is the number that `Topic::new` gave it.
    let first_place = unsafe { sys::rd_kafka_topic_opaque(record.rkt) }.addr();
    first_place + usize::try_from(record.partition).unwrap_or(0)
}

/// The error of a record, also one that the bindings have no name for.
pub(super) fn code(record: &sys::rd_kafka_message_t) -> i32 {
    // SAFETY: the error is an i32, and read as one.
    unsafe { (&raw const record.err).cast::<i32>().read() }
}
