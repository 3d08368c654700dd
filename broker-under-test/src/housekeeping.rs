//! What a broker does without being asked: flushes in the background, checkpoints of how far they came, and retention.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::broker::Broker;
use crate::log::{FlushPolicy, LogError};

/// A thread that looks after the logs until it is stopped.
#[derive(Debug)]
pub struct Housekeeping {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// A duty and when it is due again.
struct Duty {
    every: Duration,
    due: Instant,
    what: fn(&Broker),
}

impl Housekeeping {
    /// Starts the thread.
    pub fn start(broker: Arc<Broker>) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let mut duties = duties(&broker);
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
        let thread = std::thread::Builder::new().name("housekeeping".into()).spawn(body)?;
        Ok(Housekeeping { stop, thread })
    }

    /// Stops the thread, after what it is doing.
    pub fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

fn duties(broker: &Broker) -> Vec<Duty> {
    let every = |setting: &str| Duration::from_millis(broker.config.int(setting) as u64);
    let duty = |setting: &str, what: fn(&Broker)| Duty {
        every: every(setting),
        due: Instant::now() + every(setting),
        what,
    };
    let mut duties = vec![
        duty("log.flush.offset.checkpoint.interval.ms", checkpoint),
        duty("log.retention.check.interval.ms", retain),
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

fn retain(broker: &Broker) {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX);
    if let Err(error) = broker.topics.retain(now_ms) {
        tracing::error!(%error, "retention failed, tried again later");
    }
}

fn checkpoint(broker: &Broker) {
    if let Err(error) = broker.topics.write_checkpoints() {
        tracing::error!(%error, "checkpoint failed, tried again later");
    }
}
