//! What lies in the topic after a window, held against what was acknowledged.

use std::time::{Duration, Instant};

use anyhow::bail;
use workloads::load::Loaded;
use workloads::native::Admin;
use workloads::native::verify::Check;

use crate::interrupt;
use crate::measure::load::host::{Counters, Host};

/// How long a broker may take to store what nobody waits for (acks 0).
const SETTLE_MAX: Duration = Duration::from_secs(20);
/// Pause between two looks at that.
const SETTLE_PAUSE: Duration = Duration::from_millis(1);

/// Where a topic ended at one moment, and what the broker had counted.
pub struct Mark<'a> {
    admin: Admin,
    topic: &'a str,
    partitions: u32,
    /// Sum over the partitions.
    end: i64,
    counters: Option<Counters>,
}

/// What a window stored.
#[derive(Debug, Default)]
pub struct Stored {
    /// Batches; `None` where nobody counts them.
    pub batches: Option<u64>,
    /// Bytes of the batches as they are stored.
    pub bytes: Option<u64>,
    /// Records that came into the log.
    pub records: u64,
    /// Where the topic ends then, sum over the partitions.
    pub end: i64,
}

impl<'a> Mark<'a> {
    /// Looks when all `records` that a new topic has got are in its log.
    ///
    /// # Errors
    /// The broker does not answer, or they never are.
    pub fn take(host: &mut Host, (topic, partitions): (&'a str, u32), records: u64) -> anyhow::Result<Self> {
        let mut mark = Mark {
            admin: Admin::connect(host.served.brokers.clone(), &host.served.security)?,
            topic,
            partitions,
            end: 0,
            counters: None,
        };
        mark.end = i64::try_from(mark.wait_for(records)?)?;
        mark.counters = host.counters()?;
        Ok(mark)
    }

    /// Waits until the log holds as many more records as were acknowledged; answers how many more it holds.
    ///
    /// # Errors
    /// It never does, or holds more still.
    pub fn wait_for(&mut self, acknowledged: u64) -> anyhow::Result<u64> {
        let deadline = Instant::now() + SETTLE_MAX;
        loop {
            let end: i64 = self.admin.end_offsets(self.topic, self.partitions)?.iter().sum();
            let records = u64::try_from(end - self.end)?;
            if records == acknowledged {
                return Ok(records);
            }
            if records > acknowledged || Instant::now() > deadline {
                bail!("{acknowledged} records were acknowledged, and {records} came into the log");
            }
            interrupt::check()?;
            std::thread::sleep(SETTLE_PAUSE);
        }
    }

    /// What was stored since. Batches and bytes are as a broker of the trial's own counts them, which has to agree with a client that
    /// counts too; otherwise as the client does.
    ///
    /// # Errors
    /// The log does not hold what was acknowledged, or the two disagree.
    pub fn stored(&mut self, host: &mut Host, loaded: &Loaded) -> anyhow::Result<Stored> {
        let records = self.wait_for(loaded.phase.records)?;
        let end = self.end.saturating_add_unsigned(records);
        let counts = &loaded.counts;
        let client = (counts.batches, counts.batch_bytes);
        if let (Some(before), Some(after)) = (&self.counters, host.counters()?) {
            let delta = |name: &str| after.get(name).unwrap_or(&0) - before.get(name).unwrap_or(&0);
            let broker = (delta("append_batches"), delta("append_bytes"));
            if client.1 > 0 && client != broker {
                bail!("the broker counts {broker:?} batches and bytes stored, the client {client:?}");
            }
            return Ok(Stored {
                batches: Some(broker.0),
                bytes: Some(broker.1),
                records,
                end,
            });
        }
        let known = |count: u64| Some(count).filter(|count| *count > 0);
        Ok(Stored {
            batches: known(client.0),
            bytes: known(client.1),
            records,
            end,
        })
    }
}

impl Stored {
    /// Of a target that stores nothing: the batches are the client's own count.
    pub fn nothing(loaded: &Loaded) -> Self {
        Stored {
            batches: Some(loaded.counts.batches).filter(|batches| *batches > 0),
            ..Stored::default()
        }
    }

    /// What came into the log against what was acknowledged.
    pub fn check(&self, acknowledged: u64) -> Check {
        Check {
            name: "records in the log".to_owned(),
            expected: acknowledged.to_string(),
            observed: self.records.to_string(),
            ok: self.records == acknowledged,
        }
    }
}
