//! What every case stands on: a broker's address, topics of its own, one way to ask and to read.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kafka_wire::{ApiKey, produce};

use super::group_request;
use super::request::{self, ToCreate, ToProduce};
use super::shape;
use super::wire::Wire;
use super::{CaseError, batches};

/// How long a topic may take until each of its partitions answers: creating returns before the logs exist.
const READY: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// The version in which the bench itself creates, describes and deletes.
const BENCH_VERSION: i16 = 4;

/// A broker under the script.
pub struct Bench {
    address: SocketAddr,
    prefix: String,
    base_ms: i64,
    topics: Vec<String>,
    groups: Vec<String>,
    next_id: i32,
}

impl Bench {
    /// For the broker at `address`. Every topic gets `prefix` in front, which texts leave out.
    pub fn new(address: SocketAddr, prefix: &str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Bench {
            address,
            prefix: prefix.to_owned(),
            // In the past, as a time in the future may be refused.
            base_ms: now.as_millis() as i64 - 60_000,
            topics: Vec::new(),
            groups: Vec::new(),
            next_id: 1,
        }
    }

    /// The timestamp of the first record that cases write, milliseconds since 1970.
    pub(super) fn base_ms(&self) -> i64 {
        self.base_ms
    }

    /// A topic's name with the prefix.
    pub(super) fn name(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }

    pub(super) fn connect(&self) -> Result<Wire, CaseError> {
        Ok(Wire::connect(self.address)?)
    }

    pub(super) fn next_id(&mut self) -> i32 {
        self.next_id += 1;
        self.next_id
    }

    /// Creates a topic and waits until each partition answers; its whole name.
    pub(super) fn topic(&mut self, topic: &str, partitions: i32) -> Result<String, CaseError> {
        let name = self.name(topic);
        let body = request::create_topics(BENCH_VERSION, false, &[ToCreate::new(&name, partitions, 1)]);
        // Noted first: an answer that is lost must not leave the topic behind.
        self.created(&name);
        let answer = self.ask(ApiKey::CreateTopics, BENCH_VERSION, &body)?;
        if answer != format!("topics=[{{name={topic}}}]") {
            return Err(CaseError::Setup(format!("topic {name} could not be created: {answer}")));
        }
        self.ready(&name, partitions)?;
        Ok(name)
    }

    /// Notes a topic that a case created by itself, for [`Self::clean_up`].
    pub(super) fn created(&mut self, name: &str) {
        self.topics.push(name.to_owned());
    }

    /// The name of a group, noted for [`Self::clean_up`].
    pub(super) fn group(&mut self, group: &str) -> String {
        let name = self.name(group);
        self.groups.push(name.clone());
        name
    }

    /// Waits until each partition of a topic answers.
    pub(super) fn ready(&mut self, name: &str, partitions: i32) -> Result<(), CaseError> {
        let deadline = Instant::now() + READY;
        let asked: Vec<(&str, i32, i64)> = (0..partitions).map(|p| (name, p, -1)).collect();
        loop {
            let answer = self.ask(ApiKey::ListOffsets, 1, &request::list_offsets(1, &asked))?;
            if answer.matches(" offset=0}").count() == asked.len() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(CaseError::Setup(format!(
                    "topic {name} is not ready after {READY:?}: {answer}"
                )));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// A topic of one partition that holds three batches of two records each: offsets 0 to 5, times T+0 to T+5.
    pub(super) fn filled(&mut self, topic: &str) -> Result<String, CaseError> {
        let name = self.topic(topic, 1)?;
        for i in 0..3 {
            self.append(&name, 0, &batches::plain(self.base_ms + 2 * i, &[b"first", b"second"]))?;
        }
        Ok(name)
    }

    /// Produces one batch and expects success.
    pub(super) fn append(&mut self, topic: &str, partition: i32, batch: &[u8]) -> Result<(), CaseError> {
        let version = produce::CLIENT_VERSION;
        let one = ToProduce {
            topic,
            partition,
            records: batch,
        };
        let answer = self.ask(ApiKey::Produce, version, &request::produce(version, -1, 30_000, &[one]))?;
        if answer.contains("error=") || !answer.contains("base_offset=") {
            return Err(CaseError::Setup(format!("a batch for {topic}-{partition}: {answer}")));
        }
        Ok(())
    }

    /// Asks on a connection of its own: the answer as text, or that the connection was closed.
    pub(super) fn ask(&mut self, key: ApiKey, version: i16, body: &[u8]) -> Result<String, CaseError> {
        let mut wire = self.connect()?;
        self.ask_on(&mut wire, key, version, body)
    }

    /// As [`Self::ask`], with the frame that the text is of.
    pub(super) fn ask_raw(&mut self, key: ApiKey, version: i16, body: &[u8]) -> Result<(Vec<u8>, String), CaseError> {
        let (mut wire, id) = (self.connect()?, self.next_id());
        wire.send(&request::frame(key.code(), version, key.is_flexible(version), id, body))?;
        let Some(frame) = wire.receive()? else {
            return Err(CaseError::Setup(format!(
                "{key:?} version {version}: the connection was closed"
            )));
        };
        let text = shape::text(&frame, key, version, id, self.base_ms, &self.prefix)?;
        Ok((frame, text))
    }

    /// Asks again until an answer is final; what was answered last.
    pub(super) fn ask_until(
        &mut self,
        key: ApiKey,
        version: i16,
        body: &[u8],
        is_final: impl Fn(&str) -> bool,
    ) -> Result<String, CaseError> {
        let deadline = Instant::now() + READY;
        loop {
            let answer = self.ask(key, version, body)?;
            if is_final(&answer) || Instant::now() > deadline {
                return Ok(answer);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Asks on a connection.
    pub(super) fn ask_on(
        &mut self,
        wire: &mut Wire,
        key: ApiKey,
        version: i16,
        body: &[u8],
    ) -> Result<String, CaseError> {
        let id = self.next_id();
        wire.send(&request::frame(key.code(), version, key.is_flexible(version), id, body))?;
        self.read(wire, key, version, id)
    }

    /// Reads the answer to a request that was sent.
    pub(super) fn read(&self, wire: &mut Wire, key: ApiKey, version: i16, id: i32) -> Result<String, CaseError> {
        let Some(frame) = wire.receive()? else {
            return Ok("connection closed".to_owned());
        };
        Ok(shape::text(&frame, key, version, id, self.base_ms, &self.prefix)?)
    }

    /// Sends bytes as they are, says that no more will come, and tells whether anything is answered.
    pub(super) fn throw(&mut self, bytes: &[u8], hang_up: bool) -> Result<String, CaseError> {
        let mut wire = self.connect()?;
        wire.send(bytes)?;
        if hang_up {
            wire.end()?;
        }
        Ok(match wire.receive()? {
            None => "connection closed".to_owned(),
            Some(frame) => format!("an answer of {} bytes", frame.len()),
        })
    }

    /// Deletes every topic that was created, and every group. Answers the topics that could not be deleted, with the broker's word; a group that
    /// still has a member is given up with it, and its offsets go with their topics.
    pub fn clean_up(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        for name in std::mem::take(&mut self.groups) {
            let _ = self.ask(ApiKey::DeleteGroups, 2, &group_request::delete(2, &[&name]));
        }
        for name in std::mem::take(&mut self.topics) {
            match self.ask(
                ApiKey::DeleteTopics,
                BENCH_VERSION,
                &request::delete_topics(BENCH_VERSION, &[&name]),
            ) {
                Ok(answer) if !answer.contains("error=") || answer.contains("UnknownTopicOrPartition") => {}
                Ok(answer) => left.push(format!("{name}: {answer}")),
                Err(error) => left.push(format!("{name}: {error}")),
            }
        }
        left
    }
}
