//! What every storm has in common: a broker to attack, and what must be true afterwards.

use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use broker_under_test::counters::Counter;
use kafka_wire::ApiKey;

use crate::memory;
use crate::samples::{self, TOPIC};
use crate::support::{Client, TestBroker, batch};

/// What a storm of small requests on one connection may take at most.
pub const GROWTH_BYTES_MAX: usize = 64 << 20;

/// The correlation id of the request that follows each attack.
const PING: i32 = 0x50_49_4e_47;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
static BROKER_PANICS: AtomicUsize = AtomicUsize::new(0);

/// A broker under attack.
pub struct Storm {
    pub broker: TestBroker,
    started_bytes: usize,
    _alone: MutexGuard<'static, ()>,
}

/// How the broker took an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It answered, or it was silent, and goes on.
    GoesOn,
    /// It closed the connection.
    Closed,
}

impl Storm {
    pub fn begin(settings: &[(&str, &str)]) -> Self {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        count_panics();
        let mut all = vec![
            ("auto.create.topics.enable", "false"),
            ("max.partitions", "64"),
            ("log.segment.bytes", "1048576"),
        ];
        all.extend(settings);
        let broker = TestBroker::start(&all);
        let mut client = broker.client();
        assert_eq!(client.create_topic(TOPIC, 2, &[]), 0);
        client.append(TOPIC, 0, &batch(&[b"one", b"two"]));
        drop(client);
        Storm {
            broker,
            started_bytes: memory::start(),
            _alone: alone,
        }
    }

    /// What the process took in addition since the storm began, at its worst moment.
    pub fn growth_bytes(&self) -> usize {
        memory::peak_bytes().saturating_sub(self.started_bytes)
    }

    /// Sends an attack and a well-formed request behind it, and reads until that one is answered or the connection ends.
    pub fn attack(&self, client: &mut Option<Client>, bytes: &[u8]) -> Taken {
        let connection = client.get_or_insert_with(|| self.broker.client());
        let mut whole = bytes.to_vec();
        whole.extend(samples::frame(ApiKey::ApiVersions, 0, PING));
        connection.send(&whole);
        loop {
            match connection.receive() {
                None => {
                    *client = None;
                    return Taken::Closed;
                }
                Some(answer) if answer.starts_with(&PING.to_be_bytes()) => return Taken::GoesOn,
                Some(_) => {}
            }
        }
    }

    /// Sends bytes on a connection of their own, says that no more will come, and reads to the end.
    pub fn attack_and_hang_up(&self, bytes: &[u8]) {
        let mut client = self.broker.client();
        client.send(bytes);
        // The broker may have closed it already.
        let _ = client.stream.shutdown(Shutdown::Write);
        while client.receive().is_some() {}
    }

    /// The broker must be as well as before.
    pub fn end(self) {
        let mut client = self.broker.client();
        for (id, (key, version)) in (1..).zip(samples::all()) {
            client.send(&samples::frame(key, version, id));
            let answer = client
                .receive()
                .unwrap_or_else(|| panic!("{key:?} v{version} after the storm"));
            samples::error_codes(&answer, key, version, id);
        }
        // An attack may have been a good request to delete records.
        let start = client.list_offset(TOPIC, 0, -2).1;
        assert!(!client.read_all(TOPIC, 0, start).is_empty());
        drop(client);
        assert_eq!(
            BROKER_PANICS.load(Ordering::SeqCst),
            0,
            "a thread of the broker panicked"
        );
        assert_eq!(
            self.broker.counter(Counter::ConnectionsRefused),
            0,
            "connections were left behind"
        );
    }

    /// As [`Self::end`], for a storm that filled the broker.
    pub fn end_of_a_crowd(self) {
        assert_eq!(
            BROKER_PANICS.load(Ordering::SeqCst),
            0,
            "a thread of the broker panicked"
        );
    }
}

/// Counts panics of threads that are not tests.
fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let thread = std::thread::current();
            if thread
                .name()
                .is_some_and(|n| n.starts_with("connection-") || n == "acceptor")
            {
                BROKER_PANICS.fetch_add(1, Ordering::SeqCst);
            }
            before(info);
        }));
    });
}
