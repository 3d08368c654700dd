//! `--ceiling`: what the producer reaches against a target that answers and stores nothing, before the window. A load that comes near it says
//! more of the client than of the target.

use std::path::Path;

use anyhow::Context;
use results::figures::three_digits;
use workloads::load::{Arrivals, LoadSpec};

use super::host::Host;
use super::live::Live;
use super::plan::Plan;
use super::session::{self, Task};
use super::words::OUTSTANDING;
use crate::interrupt;

/// Load before it that is not counted, s.
const WARM_UP_S: f64 = 0.5;
/// How long it is held, s.
const SECONDS: f64 = 2.0;

/// Records/s of the plan's producer, as fast as they are acknowledged, on as many partitions. The broker that stores nothing is gone afterwards.
///
/// # Errors
/// That broker or the client fails, or Ctrl-C.
pub fn measure(plan: &Plan, partitions: u32, scratch: &Path, live: &Live) -> anyhow::Result<f64> {
    live.doing("looking for the client's ceiling on the target null");
    let host = Host::null(plan, partitions, scratch)?;
    let load = plan.load(partitions).context("a ceiling without a producer")?;
    let arrivals = match load.arrivals {
        Arrivals::Closed { outstanding } => Arrivals::Closed { outstanding },
        _ => Arrivals::Closed {
            outstanding: OUTSTANDING,
        },
    };
    let task = Task {
        load: Some(LoadSpec { arrivals, ..load }),
        consumers: Vec::new(),
        warm_up_s: WARM_UP_S,
        seconds: SECONDS,
        interval_s: SECONDS,
    };
    let held = session::hold(&host, &task, &mut |_| ())?;
    interrupt::check()?;
    host.end()?;
    let (loaded, _) = held.loaded.context("a producer without a result")?;
    let rate = loaded.achieved_rate;
    live.say(&format!(
        "the client's ceiling: {}/s on the target null",
        three_digits(rate)
    ));
    Ok(rate)
}
