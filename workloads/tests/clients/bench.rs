//! A broker, records that are known by their sequence, and how they are sent and received.

use broker_under_test::{Config, Server, ServerError};
use std::path::Path;
use std::time::Duration;
use workloads::load::consume::{self, ConsumeSpec, Receipts, Start};
use workloads::load::{
    Arrivals, ClientKind, Delivered, Handed, LoadPayload, LoadSpec, Outgoing, Partitioner, ProducerSettings, Producing,
    Stamp, clock,
};
use workloads::native::{Admin, Bootstrap, ClientError, NewTopic, Security, Spread};
use workloads::payload::PayloadSpec;

/// Long enough for a machine that does much else.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Bytes of a value: its stamp, and what compresses well.
const VALUE_BYTES: usize = 200;
/// The run of all records in here.
pub const RUN: u32 = 77;

/// A broker in a folder of its own.
pub struct Broker {
    pub server: Server,
    pub brokers: Bootstrap,
    folder: tempfile::TempDir,
}

pub fn broker() -> Broker {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), 0).unwrap();
    Broker {
        brokers: Bootstrap::from(server.address),
        server,
        folder,
    }
}

/// A broker that can be started again where it was: its port is none that the system gives to others meanwhile.
pub fn broker_to_restart() -> Broker {
    let folder = tempfile::tempdir().unwrap();
    let first = 20_000 + (std::process::id() % 10_000) as u16;
    let server = (first..first + 100).find_map(|port| start(folder.path(), port).ok());
    let server = server.expect("one of a hundred ports is free");
    Broker {
        brokers: Bootstrap::from(server.address),
        server,
        folder,
    }
}

fn start(folder: &Path, port: u16) -> Result<Server, ServerError> {
    let data_dir = folder.join("data");
    let mut config = Config::default();
    for (key, value) in [
        ("log.dirs", data_dir.to_str().unwrap()),
        ("listeners", &format!("PLAINTEXT://127.0.0.1:{port}")),
    ] {
        config.set(key, value, "test").unwrap();
    }
    Server::start(config.complete().unwrap(), None)
}

impl Broker {
    /// A topic with so many partitions.
    pub fn topic(&self, name: &str, partitions: u32) -> Spread {
        let mut admin = Admin::connect(&self.brokers, &Security::default()).unwrap();
        admin.create_topic(&NewTopic::new(name, partitions)).unwrap();
        Spread::one_topic(name, partitions)
    }

    /// Stops it, lets `meanwhile` happen, and starts it again.
    pub fn restart(self, meanwhile: impl FnOnce()) -> Self {
        let port = self.server.address.port();
        self.server.stop().unwrap();
        meanwhile();
        Self {
            server: start(self.folder.path(), port).unwrap(),
            ..self
        }
    }
}

/// A load of which only the spread and the settings matter in here.
pub fn load(spread: &Spread, settings: ProducerSettings) -> LoadSpec {
    LoadSpec {
        spread: spread.clone(),
        arrivals: Arrivals::Closed { outstanding: 1 },
        keys: workloads::load::Keys::None,
        payload: LoadPayload::new(PayloadSpec::Random { record_bytes: 100 }),
        partitioner: Partitioner::RoundRobin,
        producer: settings,
        records_max: None,
        first_sequence: 0,
        patience_ms: None,
        seed: 1,
    }
}

pub fn producer(broker: &Broker, spread: &Spread, settings: ProducerSettings) -> Box<dyn Producing> {
    workloads::load::connect(&broker.brokers, &Security::default(), &load(spread, settings)).unwrap()
}

/// The value of a record, by its sequence.
pub fn value(sequence: u64) -> Vec<u8> {
    let mut value = vec![b'a' + (sequence % 26) as u8; VALUE_BYTES];
    let stamp = Stamp {
        run: RUN,
        sequence,
        intended_ns: clock::now_ns(),
    };
    stamp.write(&mut value);
    value
}

/// What became of records that were sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fates {
    pub acknowledged: Vec<u64>,
    pub failed: Vec<u64>,
    pub errors: Vec<String>,
    /// How often a record had to wait.
    pub full: u64,
}

impl Fates {
    pub fn note(&mut self, delivered: Delivered<'_>) {
        match delivered.error {
            None => self.acknowledged.extend(delivered.tokens),
            Some(error) => {
                self.failed.extend(delivered.tokens);
                self.errors.push(error.to_owned());
            }
        }
    }
}

/// Sends `records` over `places` places in turn, and waits for what becomes of them.
pub fn send(
    producer: &mut dyn Producing,
    places: usize,
    records: std::ops::Range<u64>,
    fates: &mut Fates,
) -> Result<(), ClientError> {
    for sequence in records {
        let value = value(sequence);
        let key = sequence.to_be_bytes();
        let record = Outgoing {
            place: sequence as usize % places,
            key: (!sequence.is_multiple_of(3)).then_some(&key),
            value: &value,
            timestamp_ms: 1_700_000_000_000 + sequence as i64,
            token: sequence,
        };
        while producer.send(record)? == Handed::Full {
            fates.full += 1;
            producer.poll(after(LIMIT), &mut |delivered| fates.note(delivered))?;
        }
    }
    producer.flush(after(LIMIT), &mut |delivered| fates.note(delivered))
}

pub fn after(time: Duration) -> u64 {
    clock::now_ns() + time.as_nanos() as u64
}

/// A consumer of all places from their beginning.
pub fn reading(spread: &Spread, client: ClientKind) -> ConsumeSpec {
    ConsumeSpec {
        client,
        from: Start::Earliest,
        fetch_max_wait_ms: 100,
        check_crcs: true,
        ..ConsumeSpec::new(spread.clone())
    }
}

/// Receives `records` records and checks each of them; answers what was received.
pub fn receive(broker: &Broker, spec: &ConsumeSpec, records: u64) -> Receipts {
    let plain = Security::default();
    let mut admin = Admin::connect(&broker.brokers, &plain).unwrap();
    let starts = consume::starts(&mut admin, spec).unwrap();
    let mut receipts = Receipts::new(&starts);
    let mut consumer = consume::connect(&broker.brokers, &plain, spec, &starts).unwrap();
    let until = after(LIMIT);
    while consumer.counts().records < records && clock::now_ns() < until {
        consumer
            .poll(until, &mut |received| {
                let stamp = Stamp::parse(received.value).expect("every record is stamped");
                let sequence = stamp.sequence;
                assert_eq!(received.value[24..], value(sequence)[24..], "record {sequence}");
                let key = sequence.to_be_bytes();
                assert_eq!(
                    received.key,
                    (!sequence.is_multiple_of(3)).then_some(&key[..]),
                    "record {sequence}"
                );
                assert_eq!(received.timestamp_ms, 1_700_000_000_000 + sequence as i64);
                assert!(receipts.take(&received).is_some(), "its time is known");
            })
            .unwrap();
    }
    receipts
}
