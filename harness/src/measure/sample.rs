//! What the kernel says of a process and of the machine.

use std::time::Duration;

use anyhow::Context;
use nix::time::clock_gettime;
use nix::unistd::Pid;

/// Figures of one process at one moment; differences of two are what a window cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessSample {
    /// From the per-process CPU clock, ns resolution; user and system together, as their split is sampled by ticks only.
    pub cpu: Duration,
    /// Minor and major page faults.
    pub page_faults: u64,
    /// Voluntary and forced context switches of all threads that live now.
    pub context_switches: u64,
    /// Resident memory in bytes: anonymous, file-backed and shared.
    pub resident_bytes: u64,
}

impl ProcessSample {
    /// Reads the figures of `pid`.
    ///
    /// # Errors
    /// The process is gone.
    pub fn take(pid: u32) -> anyhow::Result<Self> {
        let clock = nix::time::clock_getcpuclockid(Pid::from_raw(pid as i32))
            .with_context(|| format!("the CPU clock of process {pid}"))?;
        let stat = read(&format!("/proc/{pid}/stat"))?;
        // Fields count from behind the parenthesised name, which may hold anything.
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map_or("", |(_, rest)| rest)
            .split_whitespace()
            .collect();
        let field = |n: usize| fields.get(n).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
        Ok(ProcessSample {
            cpu: clock_gettime(clock)?.into(),
            page_faults: field(7) + field(9),
            context_switches: context_switches(pid)?,
            resident_bytes: field(21) * page_bytes(),
        })
    }

    /// Both together, for a broker of several processes.
    pub fn plus(&self, other: &ProcessSample) -> ProcessSample {
        ProcessSample {
            cpu: self.cpu + other.cpu,
            page_faults: self.page_faults + other.page_faults,
            context_switches: self.context_switches + other.context_switches,
            resident_bytes: self.resident_bytes + other.resident_bytes,
        }
    }

    /// What happened since `earlier`; resident memory is the later one.
    pub fn since(&self, earlier: &ProcessSample) -> ProcessSample {
        ProcessSample {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            page_faults: self.page_faults.saturating_sub(earlier.page_faults),
            context_switches: self.context_switches.saturating_sub(earlier.context_switches),
            resident_bytes: self.resident_bytes,
        }
    }
}

/// Bytes that the processes had the device read, read-ahead and sendfile included; `None` where the kernel does not tell.
pub fn read_bytes(processes: &[u32]) -> Option<u64> {
    let of = |process: &u32| {
        let io = std::fs::read_to_string(format!("/proc/{process}/io")).ok()?;
        let line = io.lines().find_map(|line| line.strip_prefix("read_bytes: "))?;
        line.trim().parse::<u64>().ok()
    };
    processes.iter().map(of).sum()
}

/// Bytes of a page of memory.
pub fn page_bytes() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .unwrap_or(4096) as u64
}

fn read(path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("can't read {path}"))
}

fn context_switches(pid: u32) -> anyhow::Result<u64> {
    let mut total = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the look.
        let Ok(status) = std::fs::read_to_string(task?.path().join("status")) else {
            continue;
        };
        let lines = status.lines().filter(|l| l.contains("voluntary_ctxt_switches"));
        total += lines
            .filter_map(|l| l.split_whitespace().last()?.parse::<u64>().ok())
            .sum::<u64>();
    }
    Ok(total)
}

/// Figures of the machine at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct MachineSample {
    steal_ticks: u64,
    total_ticks: u64,
    pressure_us: Option<u64>,
}

impl MachineSample {
    /// Reads `/proc/stat` and, where the kernel has it, `/proc/pressure/cpu`.
    pub fn take() -> anyhow::Result<Self> {
        let stat = read("/proc/stat")?;
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|t| t.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; guest time is part of user.
        let total_ticks = ticks.iter().take(8).sum();
        let pressure = std::fs::read_to_string("/proc/pressure/cpu").ok();
        let pressure_us = pressure.as_deref().and_then(|text| {
            let some = text.lines().find(|l| l.starts_with("some"))?;
            some.split("total=").nth(1)?.trim().parse().ok()
        });
        Ok(MachineSample {
            steal_ticks: ticks.get(7).copied().unwrap_or(0),
            total_ticks,
            pressure_us,
        })
    }

    /// Share of CPU time that the hypervisor gave to others since `earlier`, 0 to 1.
    pub fn steal_share(&self, earlier: &MachineSample) -> f64 {
        let total = self.total_ticks.saturating_sub(earlier.total_ticks).max(1);
        self.steal_ticks.saturating_sub(earlier.steal_ticks) as f64 / total as f64
    }

    /// Share of `wall` in which some task waited for a CPU, 0 to 1; `None` without pressure information.
    pub fn pressure_share(&self, earlier: &MachineSample, wall: Duration) -> Option<f64> {
        let waited = self.pressure_us?.saturating_sub(earlier.pressure_us?);
        Some(waited as f64 / wall.as_micros().max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_figures_rise() {
        let before = ProcessSample::take(std::process::id()).unwrap();
        let mut memory = vec![0u8; 8 << 20];
        memory.iter_mut().step_by(4096).for_each(|b| *b = 1);
        let after = ProcessSample::take(std::process::id()).unwrap();
        std::hint::black_box(memory);
        let used = after.since(&before);
        assert!(used.cpu > Duration::ZERO);
        assert!(used.page_faults > 0);
        assert!(used.resident_bytes > 1 << 20);
    }
}
