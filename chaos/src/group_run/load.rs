//! The producers of a run with a group: some to each topic, each on a thread of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use workloads::history::{HistoryError, PARTITIONS_PER_TOPIC};
use workloads::sequenced::{Control, Producer, ProducerSpec};

use crate::run::{RunError, producer_history, producer_spec};
use crate::scenario::Scenario;
use crate::scenario::group::TopicSpec;

/// The producers, before and while they run; stopped when dropped.
pub(super) struct Load {
    waiting: Vec<(usize, Producer)>,
    /// What those of a topic look at.
    controls: Vec<Arc<Control>>,
    running: Vec<JoinHandle<Result<(), HistoryError>>>,
}

impl Load {
    /// Makes the producers and their histories; nothing is sent yet. They are dealt out over the topics in turn, and share the rate.
    ///
    /// # Errors
    /// A history can't be created.
    pub fn create(
        scenario: &Scenario,
        seed: u64,
        address: SocketAddr,
        topics: &[TopicSpec],
        histories: &Path,
    ) -> Result<Self, RunError> {
        let mut waiting = Vec::new();
        for producer in 0..u64::from(scenario.workload.producers) {
            let index = producer as usize % topics.len();
            let topic = &topics[index];
            let spec = ProducerSpec {
                topic: topic.name.clone(),
                partitions: topic.partitions,
                first_partition: index as u32 * PARTITIONS_PER_TOPIC,
                ..producer_spec(scenario, seed, address, producer)
            };
            let history = histories.join(producer_history(producer));
            waiting.push((index, Producer::create(spec, &history)?));
        }
        Ok(Self {
            waiting,
            controls: topics.iter().map(|_| Arc::default()).collect(),
            running: Vec::new(),
        })
    }

    /// Starts them.
    pub fn start(&mut self) {
        for (topic, producer) in self.waiting.drain(..) {
            let control = Arc::clone(&self.controls[topic]);
            self.running.push(std::thread::spawn(move || producer.run(&control)));
        }
    }

    /// Has the producers of a topic fill new partitions, too.
    pub fn grow(&self, topic: usize, partitions: u32) {
        self.controls[topic].grown_to.store(partitions, Ordering::Relaxed);
    }

    /// Records acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        let of = |control: &Arc<Control>| control.acknowledged.load(Ordering::Relaxed);
        self.controls.iter().map(of).sum()
    }

    /// Has all of them finish their turns, and waits for it.
    ///
    /// # Errors
    /// A history could not be written.
    pub fn stop(&mut self) -> Result<(), RunError> {
        self.tell_to_stop();
        for handle in self.running.drain(..) {
            handle.join().map_err(|_| RunError::Panic("producer"))??;
        }
        Ok(())
    }

    fn tell_to_stop(&self) {
        for control in &self.controls {
            control.stop.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.tell_to_stop();
        for handle in self.running.drain(..) {
            // Whoever drops it has an error to tell already.
            let _ = handle.join();
        }
    }
}
