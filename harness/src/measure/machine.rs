//! What machine this is, as far as a figure depends on it.

use std::path::Path;

use nix::time::{ClockId, clock_getres};
use results::schema::MachineReceipt;

/// Reads the receipt; what can't be read stays empty. `data_dir` tells the file system.
pub fn receipt(data_dir: &Path) -> MachineReceipt {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = |key: &str| {
        let found = cpuinfo.lines().find(|l| l.starts_with(key));
        found
            .and_then(|l| l.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
    };
    let hypervisor = line("flags").map(|flags| flags.split(' ').any(|f| f == "hypervisor"));
    let mut notes = Vec::new();
    if hypervisor == Some(true) {
        notes.push("a virtual machine: \"cold\" means cold in the guest, the host may still hold the pages".to_owned());
    }
    if has_journal(data_dir) == Some(false) {
        let note = "the file system has no journal: a flush costs less than with one, and creating files more for minutes after many were deleted";
        notes.push(note.to_owned());
    }
    MachineReceipt {
        cpu_model: line("model name").unwrap_or_default(),
        cores: std::thread::available_parallelism().map_or(0, |n| n.get() as u32),
        memory_bytes: memory_bytes(),
        kernel: sysinfo::System::kernel_version().unwrap_or_default(),
        filesystem: filesystem(data_dir),
        l3_cache_bytes: cache_bytes(3),
        read_ahead_kib: read_ahead_kib(data_dir),
        clock_resolution_ns: clock_getres(ClockId::CLOCK_MONOTONIC)
            .map_or(0, |t| t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64),
        transport: "loopback".to_owned(),
        virtualised: hypervisor,
        notes,
    }
}

/// Physical memory.
pub fn memory_bytes() -> u64 {
    sysinfo::System::new().map_or(0, |mut system| {
        system.refresh_memory();
        system.total_memory()
    })
}

/// The type of the file system that holds `path`.
pub fn filesystem(path: &Path) -> String {
    mount(path).map(|(_, kind)| kind).unwrap_or_default()
}

/// Whether an ext4 under `path` has a journal, which its options name then; `None` for other file systems.
fn has_journal(path: &Path) -> Option<bool> {
    let (device, kind) = mount(path)?;
    let device = Path::new(&device).file_name()?.to_owned();
    let options = std::fs::read_to_string(Path::new("/proc/fs").join(kind).join(device).join("options")).ok()?;
    Some(options.lines().any(|option| option.starts_with("data=")))
}

/// The mount that holds `path`: its device and type, from the longest matching line of `/proc/self/mounts`.
fn mount(path: &Path) -> Option<(String, String)> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let rows = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        Some((fields.next()?, fields.next()?, fields.next()?))
    });
    let best = rows
        .filter(|(_, mount, _)| path.starts_with(mount))
        .max_by_key(|(_, mount, _)| mount.len());
    best.map(|(device, _, kind)| (device.to_owned(), kind.to_owned()))
}

fn cache_bytes(level: u32) -> Option<u64> {
    let dir = std::fs::read_dir("/sys/devices/system/cpu/cpu0/cache").ok()?;
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).ok();
    let index = dir
        .filter_map(Result::ok)
        .map(|e| e.path())
        .find(|p| read(p.join("level")).is_some_and(|text| text.trim() == level.to_string()))?;
    let size = read(index.join("size"))?;
    size.trim().strip_suffix('K')?.parse::<u64>().ok().map(|kib| kib * 1024)
}

fn read_ahead_kib(path: &Path) -> Option<u64> {
    let device = nix::sys::stat::stat(path).ok()?.st_dev;
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let text = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/queue/read_ahead_kb"))
        .or_else(|_| std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/../queue/read_ahead_kb")));
    text.ok()?.trim().parse().ok()
}
