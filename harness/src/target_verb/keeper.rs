//! The `assay` that stays a broker's parent, and the ones that start and stop it.
//!
//! In the background it is this very command in a session of its own. Everything that a broker consists of is its child and dies
//! with it, so there is one process to be stopped, and a SIGKILL of it leaves nothing but the folder.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::interrupt;
use crate::process;
use crate::target::jars::{self, Product};
use crate::target::place::{Found, Phase, Place, State, start_time};
use crate::target::running::{Running, Spec};

/// How often a wait looks around.
const POLL: Duration = Duration::from_millis(50);
/// Longer than the broker's own time limits, which come first.
const STOP_TIMEOUT: Duration = Duration::from_secs(120);

/// Starts the broker and stays until SIGTERM, Ctrl-C or its end.
///
/// # Errors
/// It can't be started, or has ended by itself. The folder is left then, for its logs.
pub fn keep(place: &Place, spec: &Spec) -> anyhow::Result<ExitCode> {
    make_room(place, product(spec))?;
    let kept = place.take()?;
    let own = std::process::id();
    let mut state = State {
        name: product(spec).name().to_owned(),
        keeper: (own, start_time(own).context("/proc is not mounted")?),
        phase: Phase::Starting,
        addresses: Vec::new(),
        processes: Vec::new(),
        about: Vec::new(),
    };
    kept.tell(&state)?;
    let outcome = Running::start(spec).and_then(|mut running| {
        state.phase = Phase::Running;
        state.addresses = running.addresses();
        state.processes = running.processes();
        state.about = running.about()?;
        kept.tell(&state)?;
        state.about.iter().for_each(|line| outln!("{line}"));
        while !interrupt::is_set() {
            running.check()?;
            std::thread::sleep(POLL);
        }
        running.stop()
    });
    match outcome {
        Ok(()) if kept.is_to_be_kept() => {
            state.phase = Phase::Stopped;
            kept.tell(&state)?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(()) => kept.clean().map(|()| ExitCode::SUCCESS),
        // Ctrl-C while it started: nothing is wrong with it.
        Err(error) if error.is::<interrupt::Interrupted>() => {
            kept.clean()?;
            Err(error)
        }
        Err(error) => {
            state.phase = Phase::Failed(format!("{error:#}"));
            kept.tell(&state)?;
            Err(error.context(format!(
                "{} failed; its logs stay in {}",
                state.name,
                place.dir().display()
            )))
        }
    }
}

/// Starts a keeper in a session of its own and waits until its broker is ready.
///
/// # Errors
/// Something is missing, a broker runs there already, or it can't be started; Ctrl-C stops it again.
pub fn start_in_background(place: &Place, spec: &Spec) -> anyhow::Result<ExitCode> {
    make_room(place, product(spec))?;
    // Here and not by the keeper, so that a person sees what is fetched.
    let version = match spec {
        Spec::Kafka(spec) => &spec.version,
        Spec::RocketMq(spec) => &spec.version,
    };
    let installed = jars::ensure(product(spec), version.as_deref());
    interrupt::check()?;
    installed?;
    if let Spec::Kafka(spec) = spec {
        spec.check()?;
    }
    let mut keeper = spawn_keeper(place)?;
    loop {
        if let Ok(Found::Kept(Some(state))) = place.look()
            && state.phase == Phase::Running
        {
            state.about.iter().for_each(|line| outln!("{line}"));
            outln!(
                "stop it with: assay target stop {} --dir {}",
                state.name,
                place.dir().display()
            );
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(status) = keeper.try_wait()? {
            return Err(ended(place, &process::describe(status)));
        }
        if interrupt::is_set() {
            kill(Pid::from_raw(keeper.id() as i32), Signal::SIGTERM)?;
            keeper.wait()?;
            // It had not come far enough to clean up itself, or was ready just then.
            if matches!(place.look(), Ok(Found::Left(_))) {
                place.clean()?;
            }
            return Err(interrupt::Interrupted.into());
        }
        std::thread::sleep(POLL);
    }
}

/// Stops what runs in the folder, and removes what is left there otherwise.
///
/// # Errors
/// It is not stopped in time, or can't be.
pub fn stop(place: &Place, product: Product, keep: bool) -> anyhow::Result<ExitCode> {
    let (name, dir) = (product.name(), place.dir().display());
    match place.look()? {
        Found::Nothing => outln!("{name} does not run in {dir}: nothing to stop"),
        Found::Left(state) => {
            let what = left(state.as_ref());
            if keep {
                outln!("{name} does not run in {dir}: {what}; its files are kept");
            } else {
                place.clean()?;
                outln!("{name} did not run in {dir}: {what}; its files are removed now");
            }
        }
        Found::Kept(None) => bail!("{name} is just being started in {dir}: try again in a moment"),
        Found::Kept(Some(state)) => {
            if state.name != name {
                bail!("{} runs in {dir}, and not {name}", state.name);
            }
            place.ask_to_stop(&state, keep)?;
            let deadline = Instant::now() + STOP_TIMEOUT;
            while matches!(place.look()?, Found::Kept(_)) {
                if Instant::now() > deadline {
                    let seconds = STOP_TIMEOUT.as_secs();
                    bail!(
                        "{name} has not stopped within {seconds} s; `kill -KILL {}` ends all of it",
                        state.keeper.0
                    );
                }
                interrupt::check()?;
                std::thread::sleep(POLL);
            }
            match place.look()? {
                Found::Left(Some(State {
                    phase: Phase::Failed(why),
                    ..
                })) => bail!("{name} was stopped, but: {why}"),
                Found::Left(_) if keep => outln!("{name} is stopped; its files are kept in {dir}"),
                _ => outln!("{name} is stopped, and its files are removed"),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What became of a broker whose keeper has ended.
pub fn left(state: Option<&State>) -> String {
    match state.map(|state| &state.phase) {
        // The rest is the end of a log.
        Some(Phase::Failed(why)) => format!("it failed: {}", why.lines().next().unwrap_or_default()),
        Some(Phase::Stopped) => "it was stopped".to_owned(),
        Some(Phase::Starting | Phase::Running) | None => {
            "it was killed together with the assay that had started it".to_owned()
        }
    }
}

/// Removes what an ended broker left, and says so; fails where one runs.
fn make_room(place: &Place, product: Product) -> anyhow::Result<()> {
    match place.look()? {
        Found::Nothing => {}
        Found::Left(state) => {
            place.clean()?;
            errln!(
                "{}: {}; its files were removed",
                place.dir().display(),
                left(state.as_ref())
            );
        }
        Found::Kept(_) => bail!(
            "a broker runs in {} already: stop it (assay target stop {}), or give another --dir",
            place.dir().display(),
            product.name()
        ),
    }
    Ok(())
}

/// This command once more, in the foreground of a session of its own.
fn spawn_keeper(place: &Place) -> anyhow::Result<Child> {
    let failed = || format!("can't write {}", place.keeper_log().display());
    std::fs::create_dir_all(place.dir()).with_context(failed)?;
    let log = File::create(place.keeper_log()).with_context(failed)?;
    let mut command = Command::new("/proc/self/exe");
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    command.arg0("assay").args(arguments).arg("--foreground");
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().with_context(failed)?)
        .stderr(log);
    // SAFETY: between fork and exec only setsid is called.
    unsafe {
        command.pre_exec(|| Ok(nix::unistd::setsid().map(drop)?));
    }
    command.spawn().context("can't start assay in the background")
}

/// Why a keeper ended before its broker was ready.
fn ended(place: &Place, how: &str) -> anyhow::Error {
    match place.look() {
        Ok(Found::Left(Some(State {
            phase: Phase::Failed(why),
            ..
        }))) => {
            anyhow::anyhow!("{why}\nall of its logs are in {}", place.dir().display())
        }
        _ => {
            let tail = process::tail(&place.keeper_log(), 10);
            anyhow::anyhow!("the assay in the background ended with {how}; it said:\n{tail}")
        }
    }
}

fn product(spec: &Spec) -> Product {
    match spec {
        Spec::Kafka(_) => Product::Kafka,
        Spec::RocketMq(_) => Product::RocketMq,
    }
}
