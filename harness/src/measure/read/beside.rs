//! A reader's window, with a producer beside it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use workloads::definition::Read;
use workloads::native::follow::Followed;
use workloads::worker::WorkerResult;

use crate::measure::worker::Worker;

/// How a producer writes beside a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// All that it is told to, as fast as the broker takes it: the reader ends with the last of it.
    Once,
    /// Its share of each tick, for as long as the reader reads.
    Ticks,
}

/// What both did.
#[derive(Debug)]
pub struct Both {
    pub followed: Followed,
    /// Bytes that the producer stored.
    pub written_bytes: u64,
    /// Until the last of them was acknowledged.
    pub written_in: Duration,
}

/// Lets the reader read, and the producer write beside it.
///
/// # Errors
/// One of the clients fails, or Ctrl-C.
pub fn run(reader: &mut Worker, writer: Option<(&mut Worker, Pace)>) -> anyhow::Result<Both> {
    let Some((writer, pace)) = writer else {
        reader.go()?;
        return Ok(Both {
            followed: followed(reader)?,
            written_bytes: 0,
            written_in: Duration::ZERO,
        });
    };
    if pace == Pace::Once {
        reader.go()?;
        writer.go()?;
        let written = writer.phase(|| ())?;
        return Ok(Both {
            followed: followed(reader)?,
            written_bytes: written.moved_bytes,
            written_in: Duration::from_nanos(written.wall_ns),
        });
    }
    let is_read = AtomicBool::new(false);
    thread::scope(|scope| {
        let writing = scope.spawn(|| ticks(writer, &is_read));
        let followed = reader.go().and_then(|()| followed(reader));
        is_read.store(true, Ordering::Relaxed);
        let written = writing
            .join()
            .map_err(|_| anyhow::anyhow!("the thread of the producer panicked"))?;
        // A reader that fails because the producer did tells less.
        let (written_bytes, written_in) = written?;
        Ok(Both {
            followed: followed?,
            written_bytes,
            written_in,
        })
    })
}

fn followed(reader: &mut Worker) -> anyhow::Result<Followed> {
    match reader.result(|| ())? {
        WorkerResult::Followed(followed) => Ok(followed),
        other => bail!("the client answered {other:?} where what it followed was due"),
    }
}

/// A window of the producer each tick, at least one; one that took longer than its tick is followed at once. Answers the bytes and the time.
fn ticks(writer: &mut Worker, is_read: &AtomicBool) -> anyhow::Result<(u64, Duration)> {
    let tick = Duration::from_millis(Read::BESIDE_TICK_MS);
    let began = Instant::now();
    let mut due = began;
    let mut bytes = 0;
    loop {
        writer.go()?;
        bytes += writer.phase(|| ()).context("beside a reader")?.moved_bytes;
        due = (due + tick).max(Instant::now());
        if is_read.load(Ordering::Relaxed) {
            return Ok((bytes, began.elapsed()));
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}
