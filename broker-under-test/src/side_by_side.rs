//! A list of jobs on a few threads: for the start and the stop, which mostly wait for the device.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Does every job, up to `threads` of them at once, and answers in the order of the jobs. With one thread the jobs are done here, one after the other.
pub fn side_by_side<J: Sync, T: Send>(threads: usize, jobs: &[J], work: impl Fn(&J) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let some = || {
        let take = || {
            let place = next.fetch_add(1, Ordering::Relaxed);
            jobs.get(place).map(|job| (place, work(job)))
        };
        std::iter::from_fn(take).collect::<Vec<_>>()
    };
    let mut done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(jobs.len())).map(|_| scope.spawn(some)).collect();
        let mut done = some();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use super::side_by_side;

    #[test]
    fn answers_are_in_the_order_of_the_jobs() {
        let jobs: Vec<u32> = (0..1000).collect();
        for threads in [0, 1, 2, 8, 2000] {
            assert_eq!(side_by_side(threads, &jobs, |job| *job), jobs);
        }
        assert!(side_by_side(4, &[], |job: &u32| *job).is_empty());
    }
}
