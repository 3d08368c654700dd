//! The engine over clients that a test plays: what is asserted are counts and stamps, never durations.

use super::*;
use crate::load::client::Delivered;
use crate::load::keys::Keys;
use crate::load::partitioner::Partitioner;
use crate::load::records::LoadPayload;
use crate::load::spec::ProducerSettings;
use crate::native::Spread;
use crate::payload::PayloadSpec;
use std::cell::RefCell;
use std::rc::Rc;

/// What a client was given: place, key, value.
type Seen = Rc<RefCell<Vec<(usize, Option<Vec<u8>>, Vec<u8>)>>>;

/// Acknowledges at each poll what it has, has room for so many records, and refuses so many times when it has none.
struct Player {
    seen: Seen,
    has: Vec<u64>,
    room: usize,
    /// It acknowledges nothing for so many polls.
    stalls: u32,
    fails_at: Option<u64>,
}

impl Producing for Player {
    fn send(&mut self, record: Outgoing<'_>) -> Result<Handed, ClientError> {
        if self.has.len() == self.room {
            return Ok(Handed::Full);
        }
        self.has.push(record.token);
        let key = record.key.map(<[u8]>::to_vec);
        self.seen.borrow_mut().push((record.place, key, record.value.to_vec()));
        Ok(Handed::Taken)
    }

    fn poll(&mut self, _until_ns: u64, on: &mut dyn FnMut(Delivered<'_>)) -> Result<(), ClientError> {
        if self.stalls > 0 {
            self.stalls -= 1;
            return Ok(());
        }
        let acked_ns = now_ns();
        for token in self.has.drain(..) {
            let error = (self.fails_at == Some(token)).then_some("as asked for");
            on(Delivered {
                tokens: &[token],
                place: 0,
                base_offset: None,
                sent_ns: None,
                acked_ns,
                error,
            });
        }
        Ok(())
    }

    fn flush(&mut self, until_ns: u64, on: &mut dyn FnMut(Delivered<'_>)) -> Result<(), ClientError> {
        self.stalls = 0;
        self.poll(until_ns, on)
    }

    fn counts(&self) -> ClientCounts {
        ClientCounts {
            requests: self.seen.borrow().len() as u64,
            ..ClientCounts::default()
        }
    }
}

fn spec(arrivals: Arrivals, records_max: Option<u64>) -> LoadSpec {
    LoadSpec {
        spread: Spread::one_topic("t", 4),
        arrivals,
        keys: Keys::None,
        payload: LoadPayload::new(PayloadSpec::Random { record_bytes: 50 }),
        partitioner: Partitioner::RoundRobin,
        producer: ProducerSettings::default(),
        records_max,
        first_sequence: 0,
        patience_ms: None,
        seed: 9,
    }
}

fn player(room: usize, stalls: u32) -> (Seen, Player) {
    let seen = Seen::default();
    let player = Player {
        seen: seen.clone(),
        has: Vec::new(),
        room,
        stalls,
        fails_at: None,
    };
    (seen, player)
}

fn go_on(_: &Tick<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn intended(seen: &Seen) -> Vec<u64> {
    let stamps = seen.borrow();
    let stamps = stamps.iter().map(|(_, _, value)| Stamp::parse(value).unwrap());
    stamps.map(|stamp| stamp.intended_ns).collect()
}

#[test]
fn an_open_load_sends_exactly_what_is_due() {
    let (seen, client) = player(usize::MAX, 0);
    let spec = spec(Arrivals::Constant { rate: 20_000.0 }, None);
    let mut engine = Engine::new(spec, Box::new(client)).unwrap();
    let mut ticks = 0;
    for run in 1..=2 {
        let loaded = engine
            .run(Duration::from_millis(250), &mut |tick| {
                ticks += 1;
                assert!(tick.sent >= tick.acked && tick.interval.len() <= tick.acked);
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(
            (loaded.sent_records, loaded.unsent_records, loaded.failed_records),
            (5_000, 0, 0)
        );
        assert_eq!((loaded.phase.records, loaded.phase.latency_ns.len()), (5_000, 5_000));
        assert_eq!((loaded.phase.delivered_bytes, loaded.counts.requests), (250_000, 5_000));
        assert_eq!((loaded.lateness_ns.len(), loaded.service_ns.len()), (5_000, 0));
        assert!(
            (loaded.intended_rate - 20_000.0).abs() < 1e-6 && !loaded.phase.data_ended,
            "{run}"
        );
    }
    assert!(ticks >= 2);
    let stamps: Vec<Stamp> = seen.borrow().iter().map(|(_, _, v)| Stamp::parse(v).unwrap()).collect();
    assert!(stamps.iter().zip(0..).all(|(stamp, due)| stamp.sequence == due));
    assert!(stamps.iter().all(|stamp| stamp.run == engine.stamp_run()));
    let times = intended(&seen);
    assert!(
        times[..5_000].windows(2).all(|pair| pair[1] - pair[0] == 50_000),
        "absolute and even"
    );
    assert!(seen.borrow().iter().zip(0..).all(|((place, ..), n)| *place == n % 4));
}

#[test]
fn a_full_queue_keeps_the_intended_times() {
    let (seen, client) = player(10, 3);
    let spec = spec(Arrivals::Constant { rate: 1_000_000.0 }, Some(2_000));
    let mut engine = Engine::new(spec, Box::new(client)).unwrap();
    let loaded = engine.run(Duration::from_secs(60), &mut go_on).unwrap();
    assert_eq!((loaded.sent_records, loaded.phase.records), (2_000, 2_000));
    assert!(loaded.blocked_records > 0 && loaded.phase.data_ended);
    let times = intended(&seen);
    assert!(
        times.windows(2).all(|pair| pair[1] - pair[0] == 1_000),
        "no record waits for another one"
    );
    assert_eq!(seen.borrow().len(), 2_000, "none is offered twice once it was taken");
}

#[test]
fn a_closed_load_never_has_more_on_its_way() {
    let (seen, client) = player(3, 0);
    let spec = spec(Arrivals::Closed { outstanding: 3 }, Some(1_000));
    let mut engine = Engine::new(spec, Box::new(client)).unwrap();
    let loaded = engine.run(Duration::from_secs(60), &mut go_on).unwrap();
    // The player has room for three: with a fourth one on its way it would have said that it is full.
    assert_eq!((loaded.blocked_records, loaded.late_share), (0, 0.0));
    assert_eq!((loaded.phase.records, seen.borrow().len()), (1_000, 1_000));
    assert_eq!(loaded.intended_rate, 0.0);
}

#[test]
fn failures_are_counted_by_their_reason() {
    let (_, mut client) = player(1, 0);
    client.fails_at = Some(0);
    let spec = spec(Arrivals::Closed { outstanding: 1 }, Some(10));
    let mut engine = Engine::new(spec, Box::new(client)).unwrap();
    let loaded = engine.run(Duration::from_secs(60), &mut go_on).unwrap();
    assert_eq!((loaded.failed_records, loaded.phase.records), (10, 0));
    assert_eq!(loaded.errors, BTreeMap::from([("as asked for".to_owned(), 10)]));
}

#[test]
fn an_application_goes_on_where_it_was() {
    let (seen, client) = player(usize::MAX, 0);
    let mut spec = spec(Arrivals::Closed { outstanding: 10 }, Some(5));
    spec.first_sequence = 70;
    let mut engine = Engine::new(spec.clone(), Box::new(client)).unwrap();
    engine.run(Duration::from_secs(60), &mut go_on).unwrap();
    let stamps: Vec<Stamp> = seen.borrow().iter().map(|(_, _, v)| Stamp::parse(v).unwrap()).collect();
    let sequences: Vec<u64> = stamps.iter().map(|stamp| stamp.sequence).collect();
    assert_eq!(sequences, [70, 71, 72, 73, 74]);
    // The same seed is the same application to whoever reads the stamps.
    spec.first_sequence = 0;
    let first = Engine::new(spec, Box::new(player(1, 0).1)).unwrap();
    assert!(stamps.iter().all(|stamp| stamp.run == first.stamp_run()));
}

#[test]
fn sending_ends_when_a_tick_says_so() {
    let (_, client) = player(usize::MAX, 0);
    let spec = spec(Arrivals::Poisson { rate: 5_000.0 }, None);
    let mut engine = Engine::new(spec, Box::new(client)).unwrap();
    let loaded = engine
        .run(Duration::from_secs(3_600), &mut |_| ControlFlow::Break(()))
        .unwrap();
    assert!(loaded.sent_records > 0 && loaded.phase.records == loaded.sent_records);
}

#[test]
fn keys_choose_their_partition_and_a_trace_ends_the_window() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "seconds\n0\n0.001\n0.002\n").unwrap();
    let (seen, client) = player(usize::MAX, 0);
    let mut spec = spec(
        Arrivals::Trace {
            path: file.path().to_owned(),
        },
        None,
    );
    spec.keys = Keys::Uniform { count: 1 };
    spec.partitioner = Partitioner::Key;
    let mut engine = Engine::new(spec, Box::new(client)).unwrap();
    let loaded = engine.run(Duration::from_secs(3_600), &mut go_on).unwrap();
    assert_eq!((loaded.sent_records, loaded.phase.data_ended), (3, true));
    assert_eq!(loaded.phase.delivered_bytes, 3 * (50 + 16));
    let seen = seen.borrow();
    assert!(
        seen.iter()
            .all(|(place, key, _)| (place, key) == (&seen[0].0, &seen[0].1))
    );
    assert_eq!(seen[0].1.as_deref(), Some(&b"0000000000000000"[..]));
}
