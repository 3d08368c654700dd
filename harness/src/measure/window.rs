//! The window of a trial: what its processes and the machine used between two moments without traffic.

use std::time::Instant;

use crate::measure::sample::{MachineSample, ProcessSample};

/// A trial with more stolen CPU time than this is flagged.
const STEAL_SHARE_MAX: f64 = 0.01;
/// A trial in which tasks waited for a CPU for more than this share is flagged.
const PRESSURE_SHARE_MAX: f64 = 0.10;

/// The processes and the machine at the start of a window.
pub struct Window {
    brokers: Vec<(u32, ProcessSample)>,
    client: (u32, ProcessSample),
    machine: MachineSample,
    began: Instant,
}

/// What a window used.
#[derive(Debug)]
pub struct Used {
    /// The broker's processes together; `None` where it runs elsewhere, and nothing can be read.
    pub broker: Option<ProcessSample>,
    /// The client.
    pub client: ProcessSample,
    /// Share of CPU time that the hypervisor gave to others, 0 to 1.
    pub steal_share: f64,
    /// Share of the window in which some task waited for a CPU, 0 to 1.
    pub pressure_share: Option<f64>,
}

impl Window {
    /// Reads all clocks. `brokers` is empty where the broker's processes are not on this machine.
    pub fn open(brokers: &[u32], client: u32) -> anyhow::Result<Self> {
        let take = |pid: u32| Ok((pid, ProcessSample::take(pid)?));
        Ok(Window {
            machine: MachineSample::take()?,
            brokers: brokers.iter().map(|pid| take(*pid)).collect::<anyhow::Result<_>>()?,
            client: take(client)?,
            began: Instant::now(),
        })
    }

    /// Reads them again.
    ///
    /// # Errors
    /// One of the processes is gone.
    pub fn close(&self) -> anyhow::Result<Used> {
        let wall = self.began.elapsed();
        let since = |(pid, before): &(u32, ProcessSample)| anyhow::Ok(ProcessSample::take(*pid)?.since(before));
        let mut broker: Option<ProcessSample> = None;
        for process in &self.brokers {
            let used = since(process)?;
            broker = Some(broker.map_or(used, |sum| sum.plus(&used)));
        }
        let client = since(&self.client)?;
        let machine = MachineSample::take()?;
        Ok(Used {
            broker,
            client,
            steal_share: machine.steal_share(&self.machine),
            pressure_share: machine.pressure_share(&self.machine, wall),
        })
    }
}

impl Used {
    /// What a reader of the trial's figures must know.
    pub fn flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        if self.steal_share > STEAL_SHARE_MAX {
            flags.push("steal".to_owned());
        }
        if self.pressure_share.is_some_and(|share| share > PRESSURE_SHARE_MAX) {
            flags.push("pressure".to_owned());
        }
        flags
    }
}
