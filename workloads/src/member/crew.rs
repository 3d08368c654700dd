//! Time that a handler takes, and the threads that handle records while their member goes on polling.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::HandlerSpec;
use super::batch::Stretch;

/// Jobs that wait for one thread: a partition in hand is paused, so there are never more than partitions times the runs of a batch.
const JOBS_MAX: usize = 65_536;

/// How long records take, changed while handlers work.
#[derive(Debug, Default)]
pub(super) struct Pace {
    per_record_us: AtomicU64,
    per_batch_us: AtomicU64,
    burns: AtomicBool,
    stick_ms: AtomicU64,
}

impl Pace {
    /// As a spec has it.
    pub fn of(handler: &HandlerSpec) -> Self {
        let pace = Self::default();
        pace.change(handler);
        pace
    }

    /// Takes the times of another spec.
    pub fn change(&self, handler: &HandlerSpec) {
        self.per_record_us.store(handler.per_record_us, Ordering::Relaxed);
        self.per_batch_us.store(handler.per_batch_us, Ordering::Relaxed);
        self.burns.store(handler.burns, Ordering::Relaxed);
    }

    /// Has the next batch be stuck.
    pub fn stick(&self, for_ms: u64) {
        self.stick_ms.store(for_ms, Ordering::Relaxed);
    }

    /// Whether a record takes time by itself.
    pub fn is_per_record(&self) -> bool {
        self.per_record_us.load(Ordering::Relaxed) > 0
    }

    /// Spends what a batch takes; gives how long it was stuck besides, ms, if it was.
    pub fn batch(&self) -> Option<u64> {
        self.spend(self.per_batch_us.load(Ordering::Relaxed));
        let stuck_ms = self.stick_ms.swap(0, Ordering::Relaxed);
        (stuck_ms > 0).then(|| {
            self.spend(stuck_ms.saturating_mul(1_000));
            stuck_ms
        })
    }

    /// Spends what a record takes.
    pub fn record(&self) {
        self.spend(self.per_record_us.load(Ordering::Relaxed));
    }

    fn spend(&self, us: u64) {
        let time = Duration::from_micros(us);
        match self.burns.load(Ordering::Relaxed) {
            _ if time.is_zero() => {}
            false => std::thread::sleep(time),
            true => {
                let end = thread_cpu().saturating_add(time);
                while thread_cpu() < end {
                    std::hint::spin_loop();
                }
            }
        }
    }
}

/// CPU time of this thread.
fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every Linux has CPU clocks of threads");
    Duration::new(
        u64::try_from(now.tv_sec()).unwrap_or(0),
        u32::try_from(now.tv_nsec()).unwrap_or(0),
    )
}

/// Records of one partition for a handler.
struct Job {
    stretch: Stretch,
    /// The partition is to be given back: what was not begun stays unprocessed.
    cancelled: Arc<AtomicBool>,
}

/// What handlers report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// Records are processed.
    Processed(Stretch),
    /// A job is over; another of the same partition may wait.
    Over(u32),
    /// A handler was stuck for so many ms, as it was told to be.
    Stuck(u64),
}

/// A partition in hand.
struct InHand {
    jobs: u32,
    cancelled: Arc<AtomicBool>,
}

/// The threads.
pub(super) struct Crew {
    lanes: Vec<SyncSender<Job>>,
    done: Receiver<Done>,
    in_hand: BTreeMap<u32, InHand>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    /// Starts so many threads.
    pub fn start(threads: u32, pace: &Arc<Pace>) -> Self {
        let (report, done) = channel();
        let mut crew = Self {
            lanes: Vec::new(),
            done,
            in_hand: BTreeMap::new(),
            threads: Vec::new(),
        };
        for _ in 0..threads {
            let (lane, jobs) = sync_channel(JOBS_MAX);
            let (pace, report) = (Arc::clone(pace), report.clone());
            crew.lanes.push(lane);
            crew.threads
                .push(std::thread::spawn(move || handle(&jobs, &pace, &report)));
        }
        crew
    }

    /// Hands records over. Those of one partition are handled in order, by one thread.
    pub fn take(&mut self, stretch: Stretch) {
        let in_hand = self.in_hand.entry(stretch.partition).or_insert_with(|| InHand {
            jobs: 0,
            cancelled: Arc::default(),
        });
        in_hand.jobs += 1;
        let job = Job {
            stretch,
            cancelled: Arc::clone(&in_hand.cancelled),
        };
        let lane = stretch.partition as usize % self.lanes.len();
        self.lanes[lane]
            .send(job)
            .expect("a handler's thread ends only when its lane does");
    }

    /// What handlers have reported by now.
    pub fn reports(&mut self) -> Vec<Done> {
        let reports: Vec<Done> = self.done.try_iter().collect();
        self.account(&reports);
        reports
    }

    /// Whether records of a partition are in hand.
    pub fn has(&self, partition: u32) -> bool {
        self.in_hand.contains_key(&partition)
    }

    /// Waits until nothing of these partitions is in hand: the record under way is finished, the others are left. Gives what was reported
    /// meanwhile, of other partitions too.
    pub fn release(&mut self, partitions: &[u32]) -> Vec<Done> {
        for partition in partitions {
            if let Some(in_hand) = self.in_hand.get(partition) {
                in_hand.cancelled.store(true, Ordering::Relaxed);
            }
        }
        let mut all = self.reports();
        while partitions.iter().any(|partition| self.has(*partition)) {
            let Ok(report) = self.done.recv() else { break };
            self.account(&[report]);
            all.push(report);
        }
        all
    }

    fn account(&mut self, reports: &[Done]) {
        for report in reports {
            let Done::Over(partition) = report else { continue };
            if let Some(in_hand) = self.in_hand.get_mut(partition) {
                in_hand.jobs -= 1;
                if in_hand.jobs == 0 {
                    self.in_hand.remove(partition);
                }
            }
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for in_hand in self.in_hand.values() {
            in_hand.cancelled.store(true, Ordering::Relaxed);
        }
        self.lanes.clear();
        for thread in self.threads.drain(..) {
            // A handler that panicked has said so on stderr.
            let _ = thread.join();
        }
    }
}

/// The body of a handler's thread. Nobody listens any more when a report can't be sent: then it drains its lane and ends.
fn handle(jobs: &Receiver<Job>, pace: &Pace, report: &Sender<Done>) {
    for Job { stretch, cancelled } in jobs.iter() {
        let is_cancelled = || cancelled.load(Ordering::Relaxed);
        if !is_cancelled()
            && let Some(stuck_ms) = pace.batch()
        {
            let _ = report.send(Done::Stuck(stuck_ms));
        }
        for step in 0..stretch.count {
            if is_cancelled() {
                break;
            }
            pace.record();
            let _ = report.send(Done::Processed(Stretch {
                base_offset: stretch.base_offset + i64::from(step),
                count: 1,
                ..stretch
            }));
        }
        let _ = report.send(Done::Over(stretch.partition));
    }
}

/// An instant some time from now, which is never reached when it lies beyond the clock's end.
pub(super) fn in_time(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(partition: u32, base_offset: i64, count: u32) -> Stretch {
        Stretch {
            partition,
            base_offset,
            count,
        }
    }

    #[test]
    fn records_of_a_partition_are_handled_in_order_and_a_release_leaves_the_rest() {
        let pace = Arc::new(Pace::of(&HandlerSpec {
            per_record_us: 2_000,
            ..HandlerSpec::default()
        }));
        let mut crew = Crew::start(2, &pace);
        crew.take(stretch(0, 10, 3));
        crew.take(stretch(0, 13, 2));
        crew.take(stretch(1, 50, 1_000_000));
        let mut reports = Vec::new();
        while crew.has(0) {
            reports.extend(crew.reports());
        }
        let offsets = |reports: &[Done], of: u32| -> Vec<i64> {
            let processed = reports.iter().filter_map(|report| match report {
                Done::Processed(stretch) if stretch.partition == of => Some(stretch.base_offset),
                _ => None,
            });
            processed.collect()
        };
        assert_eq!(offsets(&reports, 0), [10, 11, 12, 13, 14]);
        assert!(crew.has(1));
        reports.extend(crew.release(&[1]));
        assert!(!crew.has(1));
        let processed = offsets(&reports, 1);
        assert!(processed.len() < 1_000_000);
        assert!(processed.iter().zip(50..).all(|(found, expected)| *found == expected));
    }

    #[test]
    fn a_handler_is_stuck_once() {
        let pace = Pace::of(&HandlerSpec::default());
        pace.stick(3);
        let began = Instant::now();
        assert_eq!(pace.batch(), Some(3));
        assert!(began.elapsed() >= Duration::from_millis(3));
        assert_eq!(pace.batch(), None);
    }
}
