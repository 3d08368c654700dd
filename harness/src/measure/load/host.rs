//! Where a trial's clients connect: a target that runs the whole time, or a broker of the trial's own in a fresh folder.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::bail;
use results::schema::TargetReceipt;
use workloads::native::security::Security;

use crate::measure::bench::Setup;
use crate::measure::stage::{Served, Stage};
use crate::scratch::RemoveOnDrop;
use crate::target::bundled::{BrokerSpec, BundledBroker};

/// The broker of a trial.
pub struct Host {
    /// Where its clients connect.
    pub served: Served,
    own: Option<Own>,
}

/// The broker ends before its folder goes.
struct Own {
    broker: BundledBroker,
    spec: BrokerSpec,
    _folder: RemoveOnDrop,
}

/// The counters of a broker that tells them.
pub type Counters = BTreeMap<String, u64>;

impl Host {
    /// A target that runs already.
    ///
    /// # Errors
    /// It does not run.
    pub fn of_stage(stage: &Stage, target: &str) -> anyhow::Result<Self> {
        let served = stage.served(target, false)?;
        Ok(Host { served, own: None })
    }

    /// Starts the bundled broker with `settings` in a folder of the name, which goes with it.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(setup: &Setup, settings: BTreeMap<String, String>, name: &str) -> anyhow::Result<Self> {
        let data_dir = setup.scratch.join(name);
        let folder = RemoveOnDrop(data_dir.clone());
        let spec = BrokerSpec {
            data_dir,
            port: 0,
            settings,
            cpus: setup.cpus.as_ref().map(|(broker, _)| broker.clone()),
            log: setup.scratch.join(format!("{name}.log")),
            planted: None,
        };
        Self::launch(spec, folder)
    }

    fn launch(spec: BrokerSpec, folder: RemoveOnDrop) -> anyhow::Result<Self> {
        let broker = BundledBroker::start(&spec)?;
        Ok(Host {
            served: Served {
                brokers: broker.address().into(),
                security: Security::default(),
                processes: vec![broker.process.id()],
                data_dirs: vec![spec.data_dir.clone()],
                replicas: 1,
            },
            own: Some(Own {
                broker,
                spec,
                _folder: folder,
            }),
        })
    }

    /// Stops a broker of the trial's own and starts it on the same folder, so that it remembers nothing.
    ///
    /// # Errors
    /// It does not end well, or does not start.
    pub fn restart(self) -> anyhow::Result<Self> {
        match self.own {
            Some(Own {
                broker,
                spec,
                _folder: folder,
            }) => {
                broker.stop()?;
                Self::launch(spec, folder)
            }
            None => Ok(self),
        }
    }

    /// Whether it was started for the trial.
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// What a broker of the trial's own counts.
    ///
    /// # Errors
    /// Its control socket does not answer.
    pub fn counters(&mut self) -> anyhow::Result<Option<Counters>> {
        let own = self.own.as_mut();
        Ok(own.map(|own| own.broker.control.counters()).transpose()?)
    }

    /// What runs; `varied` are settings that say nothing about the target, as they differ from trial to trial.
    pub fn receipt(&self, varied: &[&str]) -> Option<TargetReceipt> {
        self.own.as_ref().map(|own| own.broker.receipt(varied))
    }

    /// Open files in the data folders; `None` where they can't be seen.
    pub fn open_files(&self) -> Option<u64> {
        let folders: Vec<PathBuf> = self
            .served
            .data_dirs
            .iter()
            .filter_map(|dir| dir.canonicalize().ok())
            .collect();
        let mut open = None;
        for process in &self.served.processes {
            let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).ok()?;
            let files = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
            let ours = files.filter(|file| folders.iter().any(|folder| file.starts_with(folder)));
            open = Some(open.unwrap_or(0) + ours.count() as u64);
        }
        open.filter(|_| !folders.is_empty())
    }

    /// Ends a broker of the trial's own.
    ///
    /// # Errors
    /// It has ended before, by itself.
    pub fn end(mut self) -> anyhow::Result<()> {
        // A graceful stop would flush thousands of files that are thrown away next.
        match self
            .own
            .as_mut()
            .map(|own| own.broker.process.ended())
            .transpose()?
            .flatten()
        {
            None => Ok(()),
            Some(status) => bail!(
                "the broker ended with {} in its trial",
                crate::process::describe(status)
            ),
        }
    }
}
