//! What has to be known or done around a trial: versions, leaders, topics, settings.
//!
//! One blocking connection per broker, made when it is needed. Everything that takes its time in a cluster is waited for by asking,
//! with a bound.

use super::ClientError;
use super::connection::{ConnectOptions, Connection};
use super::endpoint::{Bootstrap, Endpoint};
use super::security::Security;
use super::spread::Spread;
use kafka_wire::ErrorCode;
use kafka_wire::admin::{
    self as wire, ApiVersions, ConfigEntry, DescribedConfigs, Metadata, TopicOutcome, TopicToCreate,
};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a topic may take to come or go; Kafka needs some seconds for thousands of partitions.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause between two questions.
const SETTLE_PAUSE: Duration = Duration::from_millis(20);
/// How long the broker itself may work on a change, ms.
const CHANGE_TIMEOUT_MS: i32 = 30_000;
/// Topics of one request: a broker opens the logs of all of them before it answers.
const TOPICS_PER_CHANGE: usize = 64;
/// The feature whose level tells the release of a KRaft cluster.
const METADATA_VERSION_FEATURE: &str = "metadata.version";

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Name.
    pub name: String,
    /// Partitions.
    pub partitions: u32,
    /// Replicas of each partition.
    pub replicas: u16,
    /// Settings, by Kafka's names, such as `retention.ms`.
    pub configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// With one replica of each partition and no settings of its own.
    pub fn new(name: &str, partitions: u32) -> Self {
        Self {
            name: name.to_owned(),
            partitions,
            replicas: 1,
            configs: BTreeMap::new(),
        }
    }

    /// With one more setting.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.configs.insert(name.to_owned(), value.to_owned());
        self
    }
}

/// Which broker leads each partition of a topic, or of a [`Spread`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaders {
    /// Each leader with its partitions, or its places in the spread, in rising order; none is missing.
    pub brokers: Vec<(Endpoint, Vec<i32>)>,
}

/// A client for everything but records.
#[derive(Debug)]
pub struct Admin {
    security: Security,
    options: ConnectOptions,
    bootstrap: (Endpoint, Connection),
    /// Connections to advertised addresses, by node id.
    brokers: BTreeMap<i32, (Endpoint, Connection)>,
}

impl Admin {
    /// Connects to the first of the brokers that answers.
    ///
    /// # Errors
    /// None of them does; the error is that of the last one.
    pub fn connect(
        brokers: impl TryInto<Bootstrap, Error: std::fmt::Display>,
        security: &Security,
    ) -> Result<Self, ClientError> {
        let bootstrap = brokers
            .try_into()
            .map_err(|error| ClientError::Spec(error.to_string()))?;
        let options = ConnectOptions::default();
        let mut failure = None;
        for endpoint in bootstrap.endpoints() {
            match open_and_ask(endpoint, security, &options) {
                Ok(connection) => {
                    return Ok(Self {
                        security: security.clone(),
                        options,
                        bootstrap: (endpoint.clone(), connection),
                        brokers: BTreeMap::new(),
                    });
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| ClientError::Spec("no broker is given; write host:port".to_owned())))
    }

    /// The broker that was connected to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.bootstrap.0
    }

    /// APIs with their versions, and feature levels.
    ///
    /// # Errors
    /// The connection breaks.
    pub fn api_versions(&mut self) -> Result<ApiVersions, ClientError> {
        let frame = self.bootstrap.1.ask(wire::encode_api_versions)?;
        Ok(wire::decode_api_versions(frame)?)
    }

    /// What the broker tells of its version: the level of `metadata.version`, which each Kafka release raises. A broker never tells its
    /// release itself; `None` when it tells nothing.
    ///
    /// # Errors
    /// The connection breaks.
    pub fn broker_version(&mut self) -> Result<Option<String>, ClientError> {
        let features = self.api_versions()?.finalized_features;
        let level = features.get(METADATA_VERSION_FEATURE);
        Ok(level.map(|level| format!("{METADATA_VERSION_FEATURE} {level}")))
    }

    /// Brokers, controller, and the topics with their leaders; `None` means all topics. A topic that does not exist has the error
    /// for it and does not come into being.
    ///
    /// # Errors
    /// The connection breaks.
    pub fn metadata(&mut self, topics: Option<&[&str]>) -> Result<Metadata, ClientError> {
        metadata(&mut self.bootstrap.1, topics)
    }

    /// Names of all topics, also internal ones.
    ///
    /// # Errors
    /// The connection breaks.
    pub fn list_topics(&mut self) -> Result<Vec<String>, ClientError> {
        let topics = self.metadata(None)?.topics;
        Ok(topics.into_iter().map(|topic| topic.name).collect())
    }

    /// Creates a topic and waits until each partition has a leader that has opened its log.
    ///
    /// # Errors
    /// The broker refuses, for example because the topic exists already, or the partitions don't come within a minute.
    pub fn create_topic(&mut self, topic: &NewTopic) -> Result<(), ClientError> {
        self.create_topics(std::slice::from_ref(topic))
    }

    /// Creates topics, many with one request, and waits until each partition has a leader that has opened its log.
    ///
    /// # Errors
    /// As [`Self::create_topic`]; those of an earlier request, or of the same one, may exist then.
    pub fn create_topics(&mut self, topics: &[NewTopic]) -> Result<(), ClientError> {
        for some in topics.chunks(TOPICS_PER_CHANGE) {
            let wanted = some.iter().map(to_create).collect::<Result<Vec<_>, _>>()?;
            let frame = self
                .bootstrap
                .1
                .ask(|out, id| wire::encode_create_topics(out, id, &wanted, CHANGE_TIMEOUT_MS))?;
            let names: Vec<&str> = some.iter().map(|topic| topic.name.as_str()).collect();
            accepted("CreateTopics", &names, &wire::decode_create_topics(frame)?)?;
        }
        topics
            .iter()
            .try_for_each(|topic| self.wait_until_writable(&topic.name, topic.partitions))
    }

    /// Gives a topic more partitions and waits until each has a leader that has opened its log.
    ///
    /// # Errors
    /// The broker refuses, for example because the topic has as many already, or the partitions don't come within a minute.
    pub fn create_partitions(&mut self, topic: &str, partitions: u32) -> Result<(), ClientError> {
        let count = i32::try_from(partitions).unwrap_or(i32::MAX);
        let frame = self
            .bootstrap
            .1
            .ask(|out, id| wire::encode_create_partitions(out, id, topic, count, CHANGE_TIMEOUT_MS))?;
        accepted("CreatePartitions", &[topic], &wire::decode_create_partitions(frame)?)?;
        self.wait_until_writable(topic, partitions)
    }

    /// Waits until each of the partitions has a leader that has opened its log.
    ///
    /// # Errors
    /// The connection breaks, or the partitions don't come within a minute.
    pub fn wait_until_writable(&mut self, topic: &str, partitions: u32) -> Result<(), ClientError> {
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        loop {
            let missing = match self.try_leaders(topic, partitions) {
                Ok(leaders) => match self.offsets_of(topic, &leaders, wire::LATEST)? {
                    Ok(_) => return Ok(()),
                    Err(refused) => refused,
                },
                Err(error @ ClientError::Refused { .. }) => error,
                Err(error) => return Err(error),
            };
            if Instant::now() > deadline {
                return Err(missing);
            }
            std::thread::sleep(SETTLE_PAUSE);
        }
    }

    /// The leader of each of the first `partitions` partitions.
    ///
    /// # Errors
    /// The topic has fewer of them, or one has no leader.
    pub fn leaders(&mut self, topic: &str, partitions: u32) -> Result<Leaders, ClientError> {
        let by_node = self.try_leaders(topic, partitions)?;
        let brokers = by_node.into_values().collect();
        Ok(Leaders { brokers })
    }

    /// The leader of each place of a spread.
    ///
    /// # Errors
    /// A topic is missing or has fewer partitions, or a partition has no leader.
    pub fn leaders_of(&mut self, spread: &Spread) -> Result<Leaders, ClientError> {
        if !spread.topic_each {
            return self.leaders(&spread.topic, spread.partitions);
        }
        let names = spread.topics();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let metadata = self.metadata(Some(&names))?;
        let mut by_node: BTreeMap<i32, (Endpoint, Vec<i32>)> = BTreeMap::new();
        for (place, name) in (0..).zip(names) {
            for (node, (endpoint, _)) in leaders_in(&metadata, name, 1)? {
                by_node.entry(node).or_insert((endpoint, Vec::new())).1.push(place);
            }
        }
        let brokers = by_node.into_values().collect();
        Ok(Leaders { brokers })
    }

    /// A producer id that nobody has, with its epoch, for a producer without transactions.
    ///
    /// # Errors
    /// The connection breaks, or the broker gives none.
    pub fn init_producer_id(&mut self) -> Result<(i64, i16), ClientError> {
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        loop {
            let found = wire::decode_init_producer_id(self.bootstrap.1.ask(wire::encode_init_producer_id)?)?;
            match found.error {
                0 => return Ok((found.id, found.epoch)),
                // A broker of Kafka's that has just started still asks its controller for a block of ids.
                code if code == ErrorCode::CoordinatorLoadInProgress.code() && Instant::now() < deadline => {
                    std::thread::sleep(SETTLE_PAUSE);
                }
                code => {
                    let of = format!("a producer at {}", self.bootstrap.0);
                    return Err(ClientError::refused_of("InitProducerId", of, code, None));
                }
            }
        }
    }

    /// The offset behind the last record of each of the first `partitions` partitions.
    ///
    /// # Errors
    /// The topic has fewer of them, one has no leader, or its leader refuses.
    pub fn end_offsets(&mut self, topic: &str, partitions: u32) -> Result<Vec<i64>, ClientError> {
        let leaders = self.try_leaders(topic, partitions)?;
        self.offsets_of(topic, &leaders, wire::LATEST)?
    }

    /// The offset of the first record of each of the first `partitions` partitions.
    ///
    /// # Errors
    /// As [`Self::end_offsets`].
    pub fn start_offsets(&mut self, topic: &str, partitions: u32) -> Result<Vec<i64>, ClientError> {
        let leaders = self.try_leaders(topic, partitions)?;
        self.offsets_of(topic, &leaders, wire::EARLIEST)?
    }

    /// Deletes a topic and waits until no broker knows it any more.
    ///
    /// # Errors
    /// The broker refuses, for example because there is no such topic, or the topic does not go within a minute.
    pub fn delete_topic(&mut self, topic: &str) -> Result<(), ClientError> {
        self.delete_topics(&[topic])
    }

    /// Deletes topics, many with one request, and waits until no broker knows any of them any more.
    ///
    /// # Errors
    /// As [`Self::delete_topic`].
    pub fn delete_topics(&mut self, topics: &[&str]) -> Result<(), ClientError> {
        for some in topics.chunks(TOPICS_PER_CHANGE) {
            let frame = self
                .bootstrap
                .1
                .ask(|out, id| wire::encode_delete_topics(out, id, some, CHANGE_TIMEOUT_MS))?;
            accepted("DeleteTopics", some, &wire::decode_delete_topics(frame)?)?;
        }
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        let brokers = self.metadata(Some(&[]))?.brokers;
        for broker in brokers {
            let endpoint = Endpoint {
                host: broker.host,
                port: broker.port,
            };
            loop {
                let answer = metadata(self.connection_to(broker.id, &endpoint)?, Some(topics))?;
                let gone = ErrorCode::UnknownTopicOrPartition.code();
                if answer.topics.iter().all(|found| found.error == gone) {
                    break;
                }
                if Instant::now() > deadline {
                    return Err(ClientError::Timeout {
                        doing: "waiting for a topic to be deleted",
                    });
                }
                std::thread::sleep(SETTLE_PAUSE);
            }
        }
        Ok(())
    }

    /// All settings of a broker, asked for at that broker itself.
    ///
    /// # Errors
    /// There is no such broker, or it refuses.
    pub fn describe_broker_configs(&mut self, broker: i32) -> Result<Vec<ConfigEntry>, ClientError> {
        let known = self.metadata(Some(&[]))?.brokers;
        let Some(found) = known.iter().find(|known| known.id == broker) else {
            let ids: Vec<String> = known.iter().map(|broker| broker.id.to_string()).collect();
            let ids = ids.join(", ");
            return Err(ClientError::Spec(format!(
                "there is no broker {broker}; there are {ids}"
            )));
        };
        let endpoint = Endpoint {
            host: found.host.clone(),
            port: found.port,
        };
        let name = broker.to_string();
        let frame = self
            .connection_to(broker, &endpoint)?
            .ask(|out, id| wire::encode_describe_configs(out, id, wire::RESOURCE_BROKER, &name))?;
        described(frame, format!("broker {broker}"))
    }

    /// All settings of a topic.
    ///
    /// # Errors
    /// There is no such topic, or the broker refuses.
    pub fn describe_topic_configs(&mut self, topic: &str) -> Result<Vec<ConfigEntry>, ClientError> {
        let frame = self
            .bootstrap
            .1
            .ask(|out, id| wire::encode_describe_configs(out, id, wire::RESOURCE_TOPIC, topic))?;
        described(frame, format!("topic `{topic}`"))
    }

    fn try_leaders(
        &mut self,
        topic: &str,
        partitions: u32,
    ) -> Result<BTreeMap<i32, (Endpoint, Vec<i32>)>, ClientError> {
        leaders_in(&self.metadata(Some(&[topic]))?, topic, partitions)
    }

    /// Offsets at a time by partition, or the first refusal of a leader.
    fn offsets_of(
        &mut self,
        topic: &str,
        leaders: &BTreeMap<i32, (Endpoint, Vec<i32>)>,
        time: i64,
    ) -> Result<Result<Vec<i64>, ClientError>, ClientError> {
        let mut ends = BTreeMap::new();
        for (broker, (endpoint, partitions)) in leaders {
            let frame = self
                .connection_to(*broker, endpoint)?
                .ask(|out, id| wire::encode_list_offsets(out, id, topic, partitions, time))?;
            for found in wire::decode_list_offsets(frame)? {
                if found.error != 0 {
                    let partition = Some(found.partition);
                    return Ok(Err(ClientError::refused(
                        "ListOffsets",
                        topic,
                        partition,
                        found.error,
                        None,
                    )));
                }
                ends.insert(found.partition, found.offset);
            }
            if let Some(missing) = partitions.iter().find(|partition| !ends.contains_key(*partition)) {
                let unknown = ErrorCode::UnknownTopicOrPartition.code();
                return Ok(Err(ClientError::refused(
                    "ListOffsets",
                    topic,
                    Some(*missing),
                    unknown,
                    None,
                )));
            }
        }
        Ok(Ok(ends.into_values().collect()))
    }

    fn connection_to(&mut self, broker: i32, endpoint: &Endpoint) -> Result<&mut Connection, ClientError> {
        // A broker that came back at another address is another connection.
        if self.brokers.get(&broker).is_none_or(|(known, _)| known != endpoint) {
            let connection = Connection::open(endpoint, &self.security, &self.options)?;
            self.brokers.insert(broker, (endpoint.clone(), connection));
        }
        match self.brokers.get_mut(&broker) {
            Some((_, connection)) => Ok(connection),
            None => Err(ClientError::Closed { doing: "connecting" }),
        }
    }
}

/// Opens a connection and sees it answer: a listener that wants another security closes it, or never answers.
fn open_and_ask(endpoint: &Endpoint, security: &Security, options: &ConnectOptions) -> Result<Connection, ClientError> {
    let mut connection = Connection::open(endpoint, security, options)?;
    match metadata(&mut connection, Some(&[])) {
        Ok(_) => Ok(connection),
        Err(ClientError::Closed { .. } | ClientError::Wire(_)) => Err(ClientError::Protocol {
            endpoint: endpoint.clone(),
            protocol: security.protocol(),
        }),
        Err(error) => Err(error),
    }
}

fn metadata(connection: &mut Connection, topics: Option<&[&str]>) -> Result<Metadata, ClientError> {
    let frame = connection.ask(|out, id| wire::encode_metadata(out, id, topics))?;
    Ok(wire::decode_metadata(frame)?)
}

/// The leaders of the first `partitions` partitions by node, as an answer tells them.
fn leaders_in(
    metadata: &Metadata,
    topic: &str,
    partitions: u32,
) -> Result<BTreeMap<i32, (Endpoint, Vec<i32>)>, ClientError> {
    let refused = |partition, code| ClientError::refused("Metadata", topic, partition, code, None);
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    let Some(found) = metadata.topics.iter().find(|found| found.name == topic) else {
        return Err(refused(None, unknown));
    };
    if found.error != 0 {
        return Err(refused(None, found.error));
    }
    let known: BTreeMap<i32, &wire::Partition> = found.partitions.iter().map(|p| (p.index, p)).collect();
    let mut leaders: BTreeMap<i32, (Endpoint, Vec<i32>)> = BTreeMap::new();
    for partition in 0..i32::try_from(partitions).unwrap_or(i32::MAX) {
        let Some(found) = known.get(&partition) else {
            return Err(refused(Some(partition), unknown));
        };
        let Some(leader) = metadata.brokers.iter().find(|broker| broker.id == found.leader) else {
            return Err(refused(Some(partition), ErrorCode::LeaderNotAvailable.code()));
        };
        let entry = leaders.entry(leader.id).or_insert_with(|| {
            let (host, port) = (leader.host.clone(), leader.port);
            (Endpoint { host, port }, Vec::new())
        });
        entry.1.push(partition);
    }
    Ok(leaders)
}

fn to_create(topic: &NewTopic) -> Result<TopicToCreate<'_>, ClientError> {
    let (partitions, replicas) = (i32::try_from(topic.partitions), i16::try_from(topic.replicas));
    let (Ok(partitions), Ok(replicas)) = (partitions, replicas) else {
        return Err(ClientError::Spec(format!(
            "{} partitions with {} replicas: no broker has so many",
            topic.partitions, topic.replicas
        )));
    };
    let (name, configs) = (topic.name.as_str(), &topic.configs);
    Ok(TopicToCreate {
        name,
        partitions,
        replicas,
        configs,
    })
}

/// Whether the broker did what was asked for each of the topics.
fn accepted(request: &'static str, topics: &[&str], outcomes: &[TopicOutcome]) -> Result<(), ClientError> {
    for topic in topics {
        match outcomes.iter().find(|outcome| outcome.name == *topic) {
            Some(outcome) if outcome.error == 0 => {}
            Some(outcome) => {
                let (code, message) = (outcome.error, outcome.message.as_deref());
                return Err(ClientError::refused(request, topic, None, code, message));
            }
            None => {
                let message = format!("the answer to {request} does not name topic `{topic}`");
                return Err(ClientError::Spec(message));
            }
        }
    }
    Ok(())
}

fn described(frame: &[u8], of: String) -> Result<Vec<ConfigEntry>, ClientError> {
    let DescribedConfigs {
        error,
        message,
        entries,
    } = wire::decode_describe_configs(frame)?;
    match error {
        0 => Ok(entries),
        code => Err(ClientError::refused_of("DescribeConfigs", of, code, message.as_deref())),
    }
}
