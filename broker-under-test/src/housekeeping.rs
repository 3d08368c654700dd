//! What a broker does without being asked: flushes in the background, checkpoints of how far they came, retention and compaction.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::groups::now_ms;
use crate::log::{FlushPolicy, LogError};

/// Threads that look after the logs until they are stopped.
#[derive(Debug)]
pub struct Housekeeping {
    threads: Vec<(Sender<()>, JoinHandle<()>)>,
}

/// A duty and when it is due again.
struct Duty {
    every: Duration,
    due: Instant,
    what: fn(&Broker),
}

impl Housekeeping {
    /// Starts the threads; compaction has its own, as it takes long.
    pub fn start(broker: Arc<Broker>) -> std::io::Result<Self> {
        let cleaning = vec![Duty::new(&broker, "log.cleaner.backoff.ms", compact)];
        let threads = vec![
            run("housekeeping", broker.clone(), duties(&broker))?,
            run("log-cleaner", broker, cleaning)?,
        ];
        Ok(Housekeeping { threads })
    }

    /// Stops the threads, after what they are doing.
    pub fn stop(self) {
        for (stop, thread) in self.threads {
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}

impl Duty {
    fn new(broker: &Broker, setting: &str, what: fn(&Broker)) -> Self {
        let every = Duration::from_millis(broker.config.int(setting) as u64);
        Duty {
            every,
            due: Instant::now() + every,
            what,
        }
    }
}

fn run(name: &str, broker: Arc<Broker>, mut duties: Vec<Duty>) -> std::io::Result<(Sender<()>, JoinHandle<()>)> {
    let (stop, stopped) = mpsc::channel();
    let body = move || {
        loop {
            let next = duties.iter().map(|duty| duty.due).min();
            let next = next.unwrap_or_else(|| Instant::now() + Duration::from_secs(60));
            match stopped.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
            for duty in duties.iter_mut().filter(|duty| duty.due <= Instant::now()) {
                (duty.what)(&broker);
                // A duty that took longer than its interval starts anew from now.
                duty.due = Instant::now() + duty.every;
            }
        }
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body)?;
    Ok((stop, thread))
}

fn duties(broker: &Broker) -> Vec<Duty> {
    let duty = |setting: &str, what: fn(&Broker)| Duty::new(broker, setting, what);
    let mut duties = vec![
        duty("log.flush.offset.checkpoint.interval.ms", checkpoint),
        duty("log.retention.check.interval.ms", retain),
        duty("producer.id.expiration.check.interval.ms", expire_producers),
        duty("offsets.retention.check.interval.ms", retain_offsets),
    ];
    if broker.config.flush_policy() == FlushPolicy::Interval {
        duties.push(duty("log.flush.interval.ms", flush));
    }
    duties
}

fn flush(broker: &Broker) {
    for topic in broker.topics.all() {
        for log in &topic.partitions {
            match log.flush() {
                // It was told when it failed.
                Ok(()) | Err(LogError::Offline(_)) => {}
                Err(error) => tracing::error!(topic = topic.name, %error, "background flush failed"),
            }
        }
    }
}

fn compact(broker: &Broker) {
    if let Err(error) = broker.topics.compact(now_ms(), || broker.is_stopping()) {
        tracing::error!(%error, "compaction failed, tried again later");
    }
}

fn retain(broker: &Broker) {
    if let Err(error) = broker.topics.retain(now_ms()) {
        tracing::error!(%error, "retention failed, tried again later");
    }
}

fn retain_offsets(broker: &Broker) {
    broker.groups.retain(&broker.topics, now_ms());
}

fn expire_producers(broker: &Broker) {
    let expired = broker.topics.expire_producers(now_ms());
    if expired > 0 {
        tracing::info!(expired, "silent producers were forgotten");
    }
}

fn checkpoint(broker: &Broker) {
    if let Err(error) = broker.topics.checkpoint() {
        tracing::error!(%error, "checkpoint failed, tried again later");
    }
}
