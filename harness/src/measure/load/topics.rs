//! The topics of a load: made and touched for each trial that produces, filled for those that fetch, and checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use results::schema::{self, PhaseSummary};
use workloads::native::Admin;
use workloads::native::preload::PreloadSpec;
use workloads::native::produce::{ProduceClient, ProduceSpec};
use workloads::native::verify::Check;

use super::LoadBench;
use super::host::Host;
use super::levels::Levels;
use crate::interrupt;
use crate::measure::drain;
use crate::measure::stage::{Served, Stage};

/// Different batches of a first touch.
const TOUCH_POOL_BATCHES: usize = 64;
/// How long a pass over all partitions may take, ms.
const TOUCH_MS_MAX: u32 = 120_000;
/// The passes over all partitions before a window, by what each of them puts into a partition.
///
/// Kafka's index gets its first entry with the *second* batch, and the page fault of that entry reads ahead in a file of 10 MiB that is
/// one hole: with a read-ahead of 8 MiB a partition costs milliseconds of zeroing pages, once. The third pass shows that it is over.
pub const PASSES: [&str; 3] = ["first", "second", "third"];

/// A topic, or several, that were made for a trial, and what making them took.
pub struct Fresh {
    /// The topic, or what the names of several begin with.
    pub name: String,
    /// Until all of it could be written.
    pub created_in: Duration,
    /// A batch into each partition, pass by pass.
    pub touched_in: [Duration; PASSES.len()],
}

impl LoadBench<'_> {
    /// Makes a topic and stores some batches in each partition, so that no window pays for a partition's first touch.
    pub(super) fn fresh(&self, stage: &Stage, host: &Host, levels: &Levels, name: String) -> anyhow::Result<Fresh> {
        let served = &host.served;
        let spread = levels.spread(&name);
        if !host.is_own() {
            stage.made_topics(&levels.target, &spread.topics());
        }
        let began = Instant::now();
        let topics = spread.new_topics(served.replicas, &levels.topic_settings);
        Admin::connect(served.brokers.clone(), &served.security)?.create_topics(&topics)?;
        let created_in = began.elapsed();
        let batches = u64::from(levels.partitions.max(self.load.connections));
        let spec = self.produce_spec(levels, &name, self.setup.seed);
        let spec = ProduceSpec {
            pool_batches: spec.pool_batches.min(TOUCH_POOL_BATCHES),
            // Several leaders take a share each.
            bytes_max: Some((1 + PASSES.len() as u64) * batches * u64::from(levels.batch_bytes)),
            ..spec
        };
        let mut client = ProduceClient::connect(&served.brokers, &served.security, spec)?;
        let mut touched_in = [Duration::ZERO; PASSES.len()];
        for pass in &mut touched_in {
            interrupt::check()?;
            let began = Instant::now();
            client.touch(TOUCH_MS_MAX)?;
            *pass = began.elapsed();
        }
        Ok(Fresh {
            name,
            created_in,
            touched_in,
        })
    }

    /// Fills a topic on a target that runs the whole time; answers the index of it.
    pub(super) fn fill_kept(&self, stage: &Stage, levels: &Levels) -> anyhow::Result<PathBuf> {
        let served = stage.served(&levels.target, false)?;
        let topic = format!("{}-filled-{}", self.setup.prefix, self.filled.len());
        stage.made_topics(&levels.target, std::slice::from_ref(&topic));
        self.fill(&served, levels, topic)
    }

    /// Fills a topic; answers the index of it.
    pub(super) fn fill(&self, served: &Served, levels: &Levels, topic: String) -> anyhow::Result<PathBuf> {
        interrupt::check()?;
        let index = self.setup.scratch.join(format!("{topic}.index.json"));
        let share = u64::from(levels.batch_bytes) * u64::from(levels.partitions);
        let preload = PreloadSpec {
            topic,
            partitions: levels.partitions,
            replicas: served.replicas,
            configs: levels.topic_settings.clone(),
            stored_batch_bytes: levels.batch_bytes as usize,
            // At least one batch for each partition.
            file_bytes: self.load.fetch_bytes.max(share) / share * share,
            payload: self.payload(levels),
            seed: self.setup.seed,
            base_timestamp_ms: now_ms(),
        };
        drain::fill(served.brokers.clone(), served.security.clone(), preload, &index).context("pre-loading failed")?;
        Ok(index)
    }

    /// Reads what was produced, or what is drained, and holds it against its ledger or index.
    pub(super) fn verify(&self, served: &Served, index: &Path) -> anyhow::Result<Vec<Check>> {
        let (brokers, security) = (served.brokers.clone(), served.security.clone());
        drain::verify(brokers, security, index, self.load.response_bytes)
    }
}

/// What making topics and each pass over their partitions took, seconds, by target and number.
#[derive(Debug, Default)]
pub struct FirstTouch(BTreeMap<(String, String), Vec<Steps>>);

/// Seconds for making a topic, and for each pass.
type Steps = [f64; 1 + PASSES.len()];

impl FirstTouch {
    /// One more.
    pub fn add(&mut self, levels: &Levels, fresh: &Fresh) {
        let mut steps = [fresh.created_in.as_secs_f64(); 1 + PASSES.len()];
        for (step, pass) in steps[1..].iter_mut().zip(&fresh.touched_in) {
            *step = pass.as_secs_f64();
        }
        let key = (levels.target.clone(), levels.places());
        self.0.entry(key).or_default().push(steps);
    }

    /// A line for each target and number.
    pub fn summaries(&self) -> impl Iterator<Item = PhaseSummary> {
        self.0.iter().map(|((target, places), times)| {
            let median = |of: &dyn Fn(&Steps) -> f64| {
                let mut values: Vec<f64> = times.iter().map(of).collect();
                values.sort_by(f64::total_cmp);
                values[values.len() / 2]
            };
            let [created, passes @ ..]: Steps = std::array::from_fn(|step| median(&|times| times[step] * 1e3));
            let passes = passes.map(|pass| format!("{pass:.1}")).join(", ");
            PhaseSummary {
                target: target.clone(),
                arm: places.clone(),
                phase: schema::Phase::FirstTouch,
                seconds: median(&|times| times.iter().sum()),
                windows: times.len() as u32,
                steady: None,
                rule: String::new(),
                note: format!(
                    "median of {} trials; {created:.1} ms until a new topic is writable; a batch into each partition takes {passes} ms \
                     in the first, second and third pass",
                    times.len(),
                ),
            }
        })
    }
}

/// Milliseconds since 1970: brokers refuse what lies far in the future, and retention by time deletes what lies far in the past.
pub fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
