//! `assay`: finds out what is true about message brokers.
//!
//! Each verb has a file of its own. Exit codes everywhere: 0 holds, 1 violated, 2 inconclusive, 3 usage, environment or
//! internal error, 130 interrupted.

mod broker_verb;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit code of usage, environment and internal errors.
const EXIT_ERROR: u8 = 3;

/// Puts message-broker folklore to the test: changes one design decision at a time, measures both sides interleaved,
/// breaks the broker while it works, and answers with a ratio, an interval, a chart and an exit code.
#[derive(Parser)]
#[command(name = "assay", version, max_term_width = 110, after_help = "Start with `assay run zero-copy`, or `assay list`.")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Broker(broker_verb::Args),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { EXIT_ERROR.into() } else { ExitCode::SUCCESS };
        }
    };
    let outcome = match cli.verb {
        Verb::Broker(args) => broker_verb::run(args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            EXIT_ERROR.into()
        }
    }
}
