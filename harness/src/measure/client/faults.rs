//! Trials whose acknowledgements are lost on the way, and what stands in the log twice for it.
//!
//! The producer talks to its broker through the fault proxy, which tells each batch that was applied and whose answer never reached the client.
//! Either it throws answers away and closes the connection, again and again, and the client sends again by itself; or from one answer on it
//! delivers none, and the application ends, starts again and sends what it never saw acknowledged. The log is read back record by record: the
//! duplicates that are counted there have to be those that the lost answers foretell.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use chaos::proxy::{Api, Proxy, ProxyFault, Then};
use kafka_wire::ApiKey;
use results::schema::PlannedTrial;
use workloads::definition::{AckFault, Client};
use workloads::load::consume::{RunReceipts, Start};
use workloads::load::{ConsumeSpec, Consumer, LoadSpec, Loaded};
use workloads::native::verify::Check;
use workloads::worker::{WorkerEvent, WorkerResult, WorkerSpec};

use crate::interrupt;
use crate::measure::bench::Setup;
use crate::measure::load::host::Host;
use crate::measure::outcome::{Rows, TrialOutcome};
use crate::measure::window::{Used, Window};
use crate::measure::worker::Worker;

/// A session that has not handed over its records by then is given up, ms.
const SESSION_MS_MAX: u32 = 60_000;
/// How long an application that ends waits for acknowledgements that do not come, ms.
const PATIENCE_MS: u32 = 1_000;
/// Between two looks at a session.
const LOOK: Duration = Duration::from_millis(5);
/// How long the last answers for a client that has left are awaited; the proxy gives a broker 10 s.
const DRAIN_WITHIN: Duration = Duration::from_secs(12);
/// How long reading the log back may take.
const READ_WITHIN: Duration = Duration::from_secs(60);

/// What a trial with a fault needs.
pub struct FaultBench<'a> {
    host: &'a Host,
    load: LoadSpec,
    client: Client,
    setup: &'a Setup<'a>,
}

/// What was lost on the way.
struct Lost {
    /// Answers to Produce requests with an applied batch.
    answers: u64,
    /// Records in the log whose acknowledgement never came, each place in the log once.
    records: u64,
    /// Records that reached the broker, as often as they did.
    produced: u64,
}

impl<'a> FaultBench<'a> {
    /// Of a topic that exists and is empty.
    pub fn new(host: &'a Host, load: LoadSpec, client: Client, setup: &'a Setup<'a>) -> Self {
        FaultBench {
            host,
            load,
            client,
            setup,
        }
    }

    /// Runs the sessions of one trial, and reads the log back.
    ///
    /// # Errors
    /// A client or the broker fails, the fault never bit, what was lost could not be followed, or Ctrl-C.
    pub fn run(self, trial: &PlannedTrial, fault: AckFault) -> anyhow::Result<(TrialOutcome, Vec<Check>)> {
        let served = &self.host.served;
        if served.security.tls.is_some() {
            bail!("the fault proxy reads Kafka's frames and can't stand on a TLS connection: give a plain listener");
        }
        let broker = served.brokers.endpoints().first().context("a broker to begin with")?;
        let broker = *broker.resolve()?.first().context("an address of the broker")?;
        let proxy = Proxy::start(broker).context("can't start the fault proxy")?;
        let (loaded, used) = match fault {
            AckFault::Restart => self.restarted(&proxy)?,
            AckFault::LostAnswers | AckFault::None => self.losing_answers(&proxy)?,
        };
        let lost = lost(&proxy)?;
        drop(proxy);
        let log = self.log()?;
        let records = u64::from(self.client.records);
        let checks = vec![Check {
            name: "different records in the log".to_owned(),
            expected: records.to_string(),
            observed: log.distinct.to_string(),
            ok: log.distinct == records && log.untracked == 0,
        }];
        Ok((outcome(trial, loaded, &used, &lost, &log, records), checks))
    }

    /// One session that ends when all its records are acknowledged, while every nth answer is thrown away.
    fn losing_answers(&self, proxy: &Proxy) -> anyhow::Result<(Loaded, Used)> {
        let is_over = AtomicBool::new(false);
        let fault = self.fault(Then::Close);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1.. {
                    proxy.inject(number, fault);
                    let is_given_up = || is_over.load(Ordering::Relaxed);
                    proxy.wait_over(Duration::from_millis(u64::from(SESSION_MS_MAX)), &is_given_up);
                    if is_given_up() {
                        return;
                    }
                }
            });
            let session = self.session(proxy, self.load.clone(), |_| Ok(()));
            is_over.store(true, Ordering::Relaxed);
            let (loaded, used) = session?;
            self.is_whole(&loaded, u64::from(self.client.records))?;
            Ok((loaded, used))
        })
    }

    /// A session that ends when acknowledgements stay away, and one that goes on with the first record that was not acknowledged. The figures
    /// are those of the first one.
    fn restarted(&self, proxy: &Proxy) -> anyhow::Result<(Loaded, Used)> {
        proxy.inject(1, self.fault(Then::Withhold));
        let first = LoadSpec {
            patience_ms: Some(PATIENCE_MS),
            ..self.load.clone()
        };
        let mut is_told = false;
        let end_when_silent = |worker: &mut Worker| {
            // Told once: who is told twice might not say any more what it knows.
            if !is_told && proxy.counts().answers_dropped > 0 {
                is_told = true;
                worker.process.terminate()?;
            }
            anyhow::Ok(())
        };
        let (loaded, used) = self.session(proxy, first, end_when_silent)?;
        let acknowledged = loaded.phase.records;
        let left = u64::from(self.client.records).saturating_sub(acknowledged);
        if left == 0 {
            bail!(
                "every record was acknowledged before answer {}: raise `records`, or lower `fault_every`",
                self.client.fault_every
            );
        }
        let second = LoadSpec {
            first_sequence: acknowledged,
            records_max: Some(left),
            ..self.load.clone()
        };
        let (again, _) = self.session(proxy, second, |_| Ok(()))?;
        self.is_whole(&again, left)?;
        Ok((loaded, used))
    }

    fn fault(&self, then: Then) -> ProxyFault {
        ProxyFault::DropResponse {
            api: Api(ApiKey::Produce),
            nth: self.client.fault_every,
            then,
        }
    }

    /// One process that produces through the proxy; `each` is asked again and again while it does.
    fn session(
        &self,
        proxy: &Proxy,
        load: LoadSpec,
        mut each: impl FnMut(&mut Worker) -> anyhow::Result<()>,
    ) -> anyhow::Result<(Loaded, Used)> {
        let load = LoadSpec {
            records_max: load.records_max.or(Some(u64::from(self.client.records))),
            ..load
        };
        let spec = WorkerSpec::Load {
            address: proxy.address().into(),
            security: self.host.served.security.clone(),
            load: Box::new(load),
            warmup_ms: 0,
            window: super::timed(SESSION_MS_MAX),
            ledger: None,
            ticks_ms: 0,
        };
        let mut worker = Worker::start(&spec, self.setup.cpus.as_ref().map(|(_, client)| client))?;
        worker.ready()?;
        let window = Window::open(&self.host.served.processes, worker.process.id())?;
        worker.go()?;
        let patience =
            Duration::from_millis(u64::from(SESSION_MS_MAX) + u64::from(self.load.producer.delivery_timeout_ms));
        let deadline = Instant::now() + 2 * patience;
        let loaded = loop {
            interrupt::check()?;
            match worker.try_hear(LOOK)? {
                Some(WorkerEvent::Done {
                    result: WorkerResult::Loaded(loaded),
                }) => break *loaded,
                Some(other) => bail!("the client said {other:?} where the end of its load was due"),
                None if Instant::now() > deadline => bail!("the client did not end its load within {:?}", 2 * patience),
                None => each(&mut worker)?,
            }
        };
        let used = window.close()?;
        worker.quit()?;
        Ok((loaded, used))
    }

    /// Fails unless all of so many records were sent and acknowledged.
    fn is_whole(&self, loaded: &Loaded, records: u64) -> anyhow::Result<()> {
        if loaded.phase.records == records {
            return Ok(());
        }
        let why = loaded.errors.keys().next().map_or("nobody says why", String::as_str);
        bail!("{} of {records} records were acknowledged: {why}", loaded.phase.records)
    }

    /// What the log holds of the trial's records.
    fn log(&self) -> anyhow::Result<RunReceipts> {
        let served = &self.host.served;
        let spec = ConsumeSpec {
            from: Start::Earliest,
            ..ConsumeSpec::new(self.load.spread.clone())
        };
        let mut consumer = Consumer::connect(&served.brokers, &served.security, spec)?;
        let mut go_on = |_: &_| std::ops::ControlFlow::Continue(());
        let consumed = consumer.run(Duration::ZERO, READ_WITHIN, &mut go_on)?;
        match (consumed.runs.as_slice(), consumed.foreign_records) {
            ([run], 0) if consumed.reached_end => Ok(*run),
            (_, 0) if !consumed.reached_end => bail!("the log could not be read to its end within {READ_WITHIN:?}"),
            (runs, foreign) => bail!(
                "the log holds records of {} producers and {foreign} of nobody",
                runs.len()
            ),
        }
    }
}

/// What was lost by the end; the clients have left.
fn lost(proxy: &Proxy) -> anyhow::Result<Lost> {
    proxy.drain(DRAIN_WITHIN);
    let taken = proxy.take_lost();
    if taken.unknown > 0 {
        let notes = proxy.notes().join("; ");
        bail!(
            "what became of {} Produce requests could not be followed: {notes}",
            taken.unknown
        );
    }
    if taken.answers.is_empty() {
        bail!("no acknowledgement was lost: raise `records`, or lower `fault_every`");
    }
    // The answer to a repeat names the place of what it repeats.
    let places = taken.answers.iter().map(|answer| answer.run);
    let places: BTreeSet<(u32, i64, u32)> = places.map(|run| (run.partition, run.base_offset, run.count)).collect();
    Ok(Lost {
        answers: taken.answers.len() as u64,
        records: places.iter().map(|(.., count)| u64::from(*count)).sum(),
        produced: proxy.counts().produced_records,
    })
}

fn outcome(
    trial: &PlannedTrial,
    loaded: Loaded,
    used: &Used,
    lost: &Lost,
    log: &RunReceipts,
    records: u64,
) -> TrialOutcome {
    let mut rows = Rows::new(trial, &trial.target, &loaded.phase, used);
    for (metric, count) in [
        ("records", records),
        ("answers_lost", lost.answers),
        ("acknowledgements_lost", lost.records),
        ("records_sent_again", lost.produced.saturating_sub(records)),
        ("log_records", log.records),
        ("log_duplicates", log.duplicates),
        ("log_missing", records.saturating_sub(log.distinct)),
        ("log_out_of_order", log.out_of_order),
    ] {
        rows.push(metric, "1", count as f64);
    }
    rows.push("duplicates_per_lost", "1", log.duplicates as f64 / lost.records as f64);
    TrialOutcome::new(rows.done(), loaded.phase)
}
