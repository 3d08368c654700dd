//! The worker that consumes, as the harness drives it: lines in, lines out, and a flag that ends its window.

use super::bench::{Fates, LIMIT, RUN, broker, producer, reading, send};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use workloads::load::consume::Start;
use workloads::load::{ClientKind, ConsumeSpec, ProducerSettings};
use workloads::native::{Phase, Security};
use workloads::worker::{self, EXIT_DONE, WorkerEvent, WorkerResult, WorkerSpec};

fn hear(pipe: &mut BufReader<UnixStream>) -> WorkerEvent {
    let mut line = String::new();
    pipe.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn a_consuming_worker_ends_when_told_and_has_everything() {
    let broker = broker();
    for (client, _) in ClientKind::ALL {
        let spread = broker.topic(&format!("worker-{client}"), 2);
        let spec = WorkerSpec::Consume {
            address: broker.brokers.clone(),
            security: Security::default(),
            consume: ConsumeSpec {
                from: Start::Latest,
                ..reading(&spread, client)
            },
            window: Phase {
                duration_ms: LIMIT.as_millis() as u32,
                single_pass: false,
            },
            drain_ms: LIMIT.as_millis() as u32,
            ticks_ms: 1,
        };
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        writeln!(ours, "{}", serde_json::to_string(&spec).unwrap()).unwrap();
        let mut pipe = BufReader::new(ours);
        let stop = Arc::new(AtomicBool::new(false));
        let worker = std::thread::spawn({
            let stop = stop.clone();
            move || worker::run(BufReader::new(theirs.try_clone().unwrap()), theirs, &stop)
        });
        assert_eq!(hear(&mut pipe), WorkerEvent::Ready { warmup: None }, "{client}");
        pipe.get_mut().write_all(b"go\n").unwrap();
        let mut producer = producer(&broker, &spread, ProducerSettings::default());
        send(&mut *producer, 2, 0..300, &mut Fates::default()).unwrap();
        let WorkerEvent::Received(first) = hear(&mut pipe) else {
            panic!("a tick comes first")
        };
        stop.store(true, Ordering::Relaxed);
        let mut last = first;
        let consumed = loop {
            match hear(&mut pipe) {
                WorkerEvent::Received(tick) => last = tick,
                WorkerEvent::Done {
                    result: WorkerResult::Consumed(consumed),
                } => break consumed,
                other => panic!("{other:?}"),
            }
        };
        assert!(last.elapsed_ns > 0 && last.records <= 300 && last.end_to_end_ns.len() <= 300);
        let run = consumed.runs[0];
        assert_eq!(
            (run.run, run.distinct, run.duplicates, run.missing()),
            (RUN, 300, 0, 0),
            "{client}"
        );
        assert!(
            consumed.reached_end && consumed.phase.latency_ns.len() == 300,
            "{client}"
        );
        pipe.get_mut().write_all(b"quit\n").unwrap();
        assert_eq!(worker.join().unwrap(), EXIT_DONE);
    }
    broker.server.stop().unwrap();
}
