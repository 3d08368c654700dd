//! Where a run leaves its files: `<out>/<utc>-<name>/`.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;

/// The folder that runs go to when `--out` does not say otherwise.
pub const DEFAULT_OUT: &str = "assay-runs";

/// Creates a folder for a run that starts now; a second one in the same second gets a number behind it.
pub fn create(out: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let stamp = now_utc().replace(':', "-");
    std::fs::create_dir_all(out)
        .with_context(|| format!("can't create the folder {}; choose another with --out", out.display()))?;
    for attempt in 1..1000 {
        let suffix = if attempt == 1 {
            String::new()
        } else {
            format!("-{attempt}")
        };
        let dir = out.join(format!("{stamp}-{name}{suffix}"));
        match std::fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("can't create {}", dir.display())),
        }
    }
    anyhow::bail!("{} holds a thousand runs of this second", out.display())
}

/// The time now, RFC 3339 in UTC, whole seconds.
pub fn now_utc() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
