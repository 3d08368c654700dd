//! `assay doctor`: what this machine can measure and break, what is missing, and how to get it.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::sys::resource::{Resource, getrlimit};
use results::figures::count;

use crate::measure::{dataset, machine};
use crate::output;
use crate::process::Cpus;
use crate::run_folder;
use crate::target::Unavailable;
use crate::target::jars::{self, Product};
use crate::target::java;

/// Descriptors for as many files as a broker keeps open by itself, twice, and its connections.
const FILES_MIN: u64 = 4096;

/// Say what this machine can measure and break, and what is missing
#[derive(clap::Args)]
pub struct Args {
    /// Folder that runs will go to; its file system is looked at
    #[arg(long, value_name = "DIR", default_value = run_folder::DEFAULT_OUT)]
    out: PathBuf,
}

enum State {
    Ok,
    Missing(Cow<'static, str>),
}

/// Prints a line per finding. Exit code 3 when the main job can't run here.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // A folder that is not there yet lies on the file system of its nearest parent.
    let here = std::env::current_dir()?.join(&args.out);
    let folder = here.ancestors().find(|p| p.is_dir()).unwrap_or(Path::new("."));
    let receipt = machine::receipt(folder);
    outln!(
        "machine: {}, {} CPUs, {} MiB, Linux {}",
        receipt.cpu_model,
        receipt.cores,
        receipt.memory_bytes >> 20,
        receipt.kernel
    );
    outln!("runs go to {} on {}", here.display(), receipt.filesystem);
    for note in &receipt.notes {
        outln!("note: {}", output::wrapped(note, 6, output::text_width()));
    }
    let cold = cold_works(folder);
    let mut required_missing = false;
    let mut line = |what: &str, state: State, required: bool| match state {
        State::Ok => outln!("  ok       {what}"),
        State::Missing(remedy) => {
            required_missing |= required;
            outln!("  {}  {what}: {remedy}", if required { "MISSING" } else { "skipped" });
        }
    };
    let on = |ok: bool, remedy: &'static str| if ok { State::Ok } else { State::Missing(remedy.into()) };
    line(
        "bundled broker over loopback",
        on(
            std::net::TcpListener::bind("127.0.0.1:0").is_ok(),
            "no socket can listen on 127.0.0.1",
        ),
        true,
    );
    line(
        "hot cells",
        on(
            receipt.memory_bytes > 1 << 30,
            "1 GiB of memory is needed to keep the data in the page cache",
        ),
        true,
    );
    line(
        "cold cells (page cache can be dropped)",
        on(
            cold,
            "the file system keeps its pages (tmpfs does): choose a disk with --out",
        ),
        false,
    );
    line(
        "sender and receiver on CPUs of their own",
        on(Cpus::halves().is_some(), "one CPU only: figures will be noisy"),
        false,
    );
    line(
        "CPU pressure per trial",
        on(
            Path::new("/proc/pressure/cpu").exists(),
            "the kernel has no pressure information (CONFIG_PSI, boot with psi=1)",
        ),
        false,
    );
    let files_max = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
    line(
        &format!(
            "{} file descriptors (the hard limit, which brokers use)",
            count(files_max)
        ),
        on(
            files_max >= FILES_MIN,
            "brokers with many partitions will close and open files all the time: raise ulimit -Hn",
        ),
        false,
    );
    line(
        "system calls held against strace (tests)",
        on(on_path("strace"), "install strace"),
        false,
    );
    line("tests with kcat", on(on_path("kcat"), "install kcat"), false);
    line(
        "tests with Python clients",
        on(on_path("python3"), "install python3 with venv"),
        false,
    );
    line(
        "system calls of running brokers traced",
        on(
            on_path("strace") && may_attach(),
            "install strace, and run as root or set sysctl kernel.yama.ptrace_scope=0",
        ),
        false,
    );
    let java = java::find();
    match &java {
        Ok(java) => line(
            &format!("Java {} ({})", java.version, java.program.display()),
            State::Ok,
            false,
        ),
        Err(missing) => line("Java for real brokers", missing_as(missing), false),
    }
    match java::maven() {
        Ok(_) => line("Maven to fetch real brokers", State::Ok, false),
        Err(missing) => line("Maven to fetch real brokers", missing_as(&missing), false),
    }
    for product in [Product::Kafka, Product::RocketMq] {
        let state = match jars::look(product, None) {
            Ok(Some(_)) => State::Ok,
            Ok(None) => State::Missing(format!("fetch it: assay target fetch {}", product.name()).into()),
            Err(missing) => missing_as(&missing),
        };
        line(&format!("{} as a target", product.title()), state, false);
    }
    Ok(if required_missing {
        crate::EXIT_ERROR.into()
    } else {
        ExitCode::SUCCESS
    })
}

/// Whether a process may be traced by another one that is not its parent.
fn may_attach() -> bool {
    // Without this file the kernel has no such limit.
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    match scope.trim() {
        "" | "0" => true,
        "1" | "2" => nix::unistd::geteuid().is_root(),
        _ => false,
    }
}

fn missing_as(missing: &Unavailable) -> State {
    State::Missing(missing.to_string().into())
}

fn on_path(program: &str) -> bool {
    java::on_path(program).is_some()
}

/// Writes a small file, drops it from the page cache and looks.
fn cold_works(folder: &Path) -> bool {
    let path = folder.join(format!(".assay-doctor-{}", std::process::id()));
    let probe = || -> anyhow::Result<f64> {
        std::fs::write(&path, vec![1u8; 1 << 20])?;
        dataset::drop_from_cache(&path)
    };
    let share = probe();
    let _ = std::fs::remove_file(&path);
    share.is_ok_and(|share| share == 0.0)
}
