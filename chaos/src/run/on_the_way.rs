//! The faults of a run that the proxy carries out, and what was lost by them.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use workloads::history::{Event, Healing};

use super::{FaultEvidence, PROGRESS_WITHIN, Progress, RunError, Timeline};
use crate::proxy::{Lost, Proxy, ProxyFault};
use crate::scenario::Scenario;

/// How long the last answers for clients that have left are awaited; the proxy gives a broker as long.
const DRAIN_WITHIN: Duration = Duration::from_secs(12);

/// The proxy that a scenario needs, in front of the broker.
pub(super) fn proxy_for(scenario: &Scenario, broker: SocketAddr) -> Result<Option<Proxy>, RunError> {
    let proxy = scenario.needs_proxy().then(|| Proxy::start(broker));
    proxy.transpose().map_err(RunError::Proxy)
}

impl Timeline<'_> {
    /// Strikes, and waits until it is over and records are acknowledged again.
    pub(super) fn strike(
        &mut self,
        fault: u32,
        injected: ProxyFault,
        within: Duration,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), RunError> {
        // A scenario that was read from a file needs a proxy exactly when its schedule has such a fault.
        let Some(proxy) = self.proxy else { return Ok(()) };
        let begun = Instant::now();
        self.history.append(Event::FaultBegin {
            fault,
            kind: injected.kind(),
        })?;
        proxy.inject(fault, injected);
        let shared = self.shared;
        let evidence = proxy.wait_over(within, &|| shared.is_over());
        shared.control.burst.store(false, Ordering::Relaxed);
        let (of, acknowledged) = (self.schedule.faults(), shared.acknowledged());
        progress(Progress::FaultInjected {
            fault,
            of,
            acknowledged,
        });
        self.tell_lost(proxy.take_lost())?;
        self.history.append(Event::FaultBit {
            fault,
            evidence: evidence.count,
        })?;
        self.evidence.push(FaultEvidence {
            fault,
            evidence,
            ready_after_ms: None,
        });
        self.history.append(Event::FaultEnd {
            fault,
            healing: Healing::Recovered,
        })?;
        shared.wait_for_progress(shared.acknowledged(), PROGRESS_WITHIN);
        let took = begun.elapsed();
        progress(Progress::Healed { fault, took });
        Ok(())
    }

    /// Waits until nothing is under way any more, so that the log stays as it is, and tells what was lost at the end.
    pub(super) fn close_the_way(&mut self) -> Result<(), RunError> {
        let Some(proxy) = self.proxy else { return Ok(()) };
        proxy.drain(DRAIN_WITHIN);
        self.tell_lost(proxy.take_lost())?;
        self.troubles.extend(proxy.notes());
        Ok(())
    }

    fn tell_lost(&mut self, lost: Lost) -> Result<(), RunError> {
        let told = lost.answers.into_iter().map(|answer| Event::AnswerLost {
            fault: answer.fault,
            run: answer.run,
        });
        self.history.append_all(told)?;
        if lost.unknown > 0 {
            self.history.append(Event::AnswersUnknown { answers: lost.unknown })?;
        }
        Ok(())
    }
}
