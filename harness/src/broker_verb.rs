//! `assay broker`: the bundled broker alone, for any Kafka client.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use broker_under_test::{Config, PlantedBug, planted};

use crate::target;

/// Run the bundled broker until SIGTERM or Ctrl-C
#[derive(clap::Args)]
#[command(after_long_help = after_help())]
pub struct Args {
    /// Port on 127.0.0.1; 0 takes a free one and logs it
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Folder of the log, made when it is not there
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Settings in Kafka's properties format, one key=value a line
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting; repeatable, stronger than the file
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Answer everything and store nothing, for the ceiling of a client: log.layout=null, in a temporary folder unless one is given
    #[arg(long)]
    null: bool,
    /// A defect for testing checkers; works only when ASSAY_PLANTED_BUG names the same
    #[arg(long, value_name = "BUG")]
    planted: Option<String>,
}

fn after_help() -> String {
    format!(
        "Settings for --config and --set, with their defaults:\n{}",
        broker_under_test::config::help()
    )
}

/// Runs until a signal.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    init_log();
    let mut config = Config::default();
    if let Some(path) = &args.config {
        config.read_file(path)?;
    }
    for pair in &args.set {
        config.set_pair(pair, "--set")?;
    }
    if let Some(dir) = &args.data_dir {
        config.set(
            "log.dirs",
            dir.to_str().context("--data-dir is not UTF-8")?,
            "--data-dir",
        )?;
    }
    if let Some(port) = args.port {
        config.set("listeners", &format!("PLAINTEXT://127.0.0.1:{port}"), "--port")?;
    }
    let mut temporary = None;
    if args.null {
        config.set("log.layout", target::null::LAYOUT, "--null")?;
        if config.text("log.dirs").is_empty() {
            let folder = std::env::temp_dir().join(format!("assay-null-{}", std::process::id()));
            config.set(
                "log.dirs",
                folder.to_str().context("the temporary folder is not UTF-8")?,
                "--null",
            )?;
            temporary = Some(Temporary(folder));
        }
    }
    let planted = planted_bug(args.planted.as_deref())?;
    broker_under_test::run(config.complete()?, planted)?;
    drop(temporary);
    Ok(ExitCode::SUCCESS)
}

/// A folder of the broker's own, which goes with it.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // What resists is a file or two, and none of anybody's data.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn planted_bug(flag: Option<&str>) -> anyhow::Result<Option<PlantedBug>> {
    let Some(flag) = flag else { return Ok(None) };
    let bug = flag.parse().map_err(anyhow::Error::msg)?;
    if std::env::var(planted::ENVIRONMENT).as_deref() != Ok(flag) {
        bail!(
            "--planted {flag} needs {}={flag} in the environment too",
            planted::ENVIRONMENT
        );
    }
    Ok(Some(bug))
}

/// Structured log lines on stderr; `RUST_LOG` chooses the level.
fn init_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Telling stderr that stderr is closed would be a panic.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
