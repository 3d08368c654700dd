//! Whole loads through both clients, read by the other one.

use super::bench::{LIMIT, RUN, broker, load, reading};
use std::ops::ControlFlow;
use std::time::Duration;
use workloads::load::{Arrivals, ClientKind, Consumer, Engine, LoadSpec, ProducerSettings, connect};
use workloads::native::Security;

const RECORDS: u64 = 3_000;

#[test]
fn a_load_arrives_whatever_client_carries_it() {
    let broker = broker();
    let closed = Arrivals::Closed { outstanding: 200 };
    let open = Arrivals::Constant { rate: 20_000.0 };
    let plain = ProducerSettings {
        linger_us: 200,
        ..ProducerSettings::default()
    };
    let idempotent = ProducerSettings {
        idempotence: true,
        retries: true,
        ..plain.clone()
    };
    let kinds = [(&closed, &plain), (&open, &plain), (&closed, &idempotent)];
    for (client, other) in [
        (ClientKind::Native, ClientKind::Librdkafka),
        (ClientKind::Librdkafka, ClientKind::Native),
    ] {
        for (number, (arrivals, settings)) in kinds.into_iter().enumerate() {
            let what = format!("{client}-{number}");
            let spread = broker.topic(&what, 3);
            let settings = ProducerSettings {
                client,
                ..settings.clone()
            };
            let spec = LoadSpec {
                arrivals: arrivals.clone(),
                records_max: Some(RECORDS),
                seed: u64::from(RUN),
                ..load(&spread, settings)
            };
            let producer = connect(&broker.brokers, &Security::default(), &spec).unwrap();
            let mut engine = Engine::new(spec, producer).unwrap();
            let loaded = engine.run(LIMIT, &mut |_| ControlFlow::Continue(())).unwrap();
            assert_eq!(
                (loaded.sent_records, loaded.phase.records),
                (RECORDS, RECORDS),
                "{what}"
            );
            assert_eq!(
                (loaded.failed_records, loaded.counts.retries, loaded.counts.errors),
                (0, 0, 0),
                "{what}"
            );
            assert_eq!(loaded.phase.latency_ns.len(), RECORDS, "{what}");
            assert!(loaded.counts.batch_bytes > 0 && loaded.counts.raw_bytes > 0, "{what}");

            // Nothing is waited for: all of it lies there, and is read up to its end.
            let mut consumer =
                Consumer::connect(&broker.brokers, &Security::default(), reading(&spread, other)).unwrap();
            let consumed = consumer
                .run(Duration::ZERO, LIMIT, &mut |_| ControlFlow::Continue(()))
                .unwrap();
            let run = consumed.runs[0];
            assert!(consumed.reached_end && consumed.runs.len() == 1, "{what}");
            assert_eq!(
                (run.run, run.distinct, run.duplicates),
                (engine.stamp_run(), RECORDS, 0),
                "{what}"
            );
            assert_eq!(
                (run.missing(), run.out_of_order, consumed.foreign_records),
                (0, 0, 0),
                "{what}"
            );
            assert_eq!(consumed.phase.delivered_bytes, loaded.phase.delivered_bytes, "{what}");
            assert_eq!(consumed.phase.latency_ns.len(), RECORDS, "{what}");
        }
    }
    broker.server.stop().unwrap();
}
