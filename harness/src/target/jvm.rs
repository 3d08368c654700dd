//! What every JVM of a target has in common: where its files go, how it is stopped, how its logs are quoted.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::jars::Installed;
use crate::process::{self, Process};

/// Lines of a log that an error quotes.
const QUOTED_LINES: usize = 15;
/// The exit code of a JVM that was asked to end by SIGTERM and did what it does then.
const ENDED_BY_SIGTERM: i32 = 128 + 15;

/// `java` without what the environment would add: options there would run it otherwise than a receipt says.
pub fn plain(program: &Path) -> Command {
    let mut command = Command::new(program);
    for variable in ["JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH"] {
        command.env_remove(variable);
    }
    command
}

/// `java` with the classpath, whose output, crash files and temporary files go where they are told to.
///
/// # Errors
/// The output can't be written.
pub fn command(installed: &Installed, output: &Path, logs: &Path, temporary: &Path) -> anyhow::Result<Command> {
    let open = || {
        let file = File::options().create(true).append(true).open(output);
        file.with_context(|| format!("can't write {}", output.display()))
    };
    let mut command = plain(&installed.java.program);
    command.arg("-cp").arg(installed.classpath());
    // Counters in memory of its own and not in /tmp/hsperfdata_<user>, where a killed JVM leaves them.
    command.arg("-XX:+PerfDisableSharedMem");
    command.arg(with_path("-XX:ErrorFile=", &logs.join("hs_err_%p.log")));
    command.arg(with_path("-Djava.io.tmpdir=", temporary));
    command.stdin(Stdio::null()).stdout(open()?).stderr(open()?);
    Ok(command)
}

/// `name` and a path in one argument.
pub fn with_path(name: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(name);
    argument.push(path);
    argument
}

/// The ends of logs, for an error. Those that are empty or missing are left out.
pub fn quote(files: &[PathBuf]) -> String {
    let mut text = String::from("its log ends with:");
    for file in files {
        let tail = process::tail(file, QUOTED_LINES);
        if !tail.is_empty() {
            text += &format!("\n{}:\n{tail}", file.display());
        }
    }
    text
}

/// Asks all processes to end, at the same time, and waits; kills what takes longer than `timeout`, which stderr tells.
///
/// # Errors
/// One ended in another way than it was asked to; its log is quoted.
pub fn stop<'a>(
    name: &str,
    processes: impl Iterator<Item = (&'a mut Process, PathBuf)>,
    timeout: Duration,
) -> anyhow::Result<()> {
    let processes: Vec<_> = processes.collect();
    let mut asked = Vec::new();
    for (process, log) in processes {
        process.terminate()?;
        asked.push((process, log));
    }
    let deadline = Instant::now() + timeout;
    for (process, log) in asked {
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(status) = process.wait(left)? else {
            process.kill()?;
            let seconds = timeout.as_secs();
            errln!(
                "{name} (process {}) did not end within {seconds} s of SIGTERM and was killed",
                process.id()
            );
            continue;
        };
        if !status.success() && status.code() != Some(ENDED_BY_SIGTERM) {
            let end = process::describe(status);
            bail!("{name} ended with {end} when it was stopped; {}", quote(&[log]));
        }
    }
    Ok(())
}

/// Writes a file that nobody else may read.
///
/// # Errors
/// What the file system says, with the path.
pub fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("can't write {}", path.display()))
}
