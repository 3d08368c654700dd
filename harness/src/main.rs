//! `assay`: finds out what is true about message brokers.
//!
//! Each verb has a file of its own. Exit codes everywhere: 0 holds, 1 violated, 2 inconclusive, 3 usage, environment or
//! internal error, 130 interrupted.

#[macro_use]
mod output;

mod broker_verb;
mod card;
mod chaos_verb;
mod compare_verb;
mod conformance_verb;
mod doctor_verb;
mod experiment;
mod fact_check;
mod facts;
mod interrupt;
mod list_verb;
mod load_verb;
mod measure;
mod members;
mod process;
mod progress;
mod report_verb;
mod run_folder;
mod run_verb;
mod scratch;
mod target;
mod target_verb;
mod worker_verb;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit code of usage, environment and internal errors.
const EXIT_ERROR: u8 = 3;
/// Exit code after Ctrl-C.
const EXIT_INTERRUPTED: u8 = 130;

/// Puts message-broker folklore to the test: changes one design decision at a time, measures both sides interleaved,
/// breaks the broker while it works, and answers with a ratio, an interval, a chart and an exit code.
#[derive(Parser)]
#[command(name = "assay", version = env!("ASSAY_VERSION"), max_term_width = 110)]
#[command(after_help = "Start with `assay run zero-copy`, or `assay list`.")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Run(run_verb::Args),
    Load(Box<load_verb::Args>),
    Chaos(chaos_verb::Args),
    /// List experiments and fault scenarios
    List,
    Show(list_verb::ShowArgs),
    Report(report_verb::Args),
    Compare(compare_verb::Args),
    Target(target_verb::Args),
    Conformance(conformance_verb::Args),
    Broker(broker_verb::Args),
    Doctor(doctor_verb::Args),
    /// One client process; the harness starts it
    #[command(hide = true)]
    Worker,
}

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        errln!("internal error: {panic}\nThis is a defect of assay: please report it with the command that led to it.");
    }));
    // A panic is an internal error: 3, as for every other one, and not Rust's 101. Threads are joined by whoever started them.
    let code = std::panic::catch_unwind(assay).unwrap_or(EXIT_ERROR.into());
    match output::finish() {
        Ok(()) => code,
        Err(error) => {
            errln!("error: can't write to standard output: {error}");
            EXIT_ERROR.into()
        }
    }
}

fn assay() -> ExitCode {
    // Places in files are told in one piece, so that they can be copied.
    let handler = || {
        miette::MietteHandlerOpts::new()
            .width(output::text_width())
            .break_words(false)
            .build()
    };
    // It fails when there is a hook already, and there is none.
    let _ = miette::set_hook(Box::new(move |_| Box::new(handler())));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                EXIT_ERROR.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let outcome = match cli.verb {
        Verb::Run(args) => run_verb::run(&args),
        Verb::Load(args) => load_verb::run(&args),
        Verb::Chaos(args) => interrupt::install().and_then(|()| chaos_verb::run(args, interrupt::flag())),
        Verb::List => list_verb::list(),
        Verb::Show(args) => list_verb::show(&args),
        Verb::Report(args) => report_verb::run(&args),
        Verb::Compare(args) => compare_verb::run(&args),
        Verb::Target(args) => target_verb::run(args),
        Verb::Conformance(args) => conformance_verb::run(&args),
        Verb::Broker(args) => broker_verb::run(args),
        Verb::Doctor(args) => doctor_verb::run(&args),
        Verb::Worker => worker_verb::run(),
    };
    match outcome {
        Ok(code) => code,
        Err(error) if error.is::<interrupt::Interrupted>() => EXIT_INTERRUPTED.into(),
        Err(error) => {
            errln!("error: {}", in_words(&error));
            EXIT_ERROR.into()
        }
    }
}

/// An error and its causes in one line; a cause that an error before it already tells is not told twice.
fn in_words(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
