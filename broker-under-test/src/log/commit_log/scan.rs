//! Walking over the frames of a segment, for recovery.

use kafka_wire::BatchHeader;
use kafka_wire::batch::HEADER_BYTES;

use super::super::LogError;
use super::frame::{FRAME_BYTES, Frame, MAGIC, STAMPED_BYTES};
use super::segments::Segment;
use crate::counters::{Counter, Counters};

/// Bytes that are read at a time; more for a frame that is larger.
const WINDOW_BYTES: usize = 4 << 20;

/// A frame that a walk came by.
#[derive(Debug)]
pub(super) struct Seen {
    pub frame: Frame,
    /// Of the batch, behind the frame's header.
    pub position: u64,
    pub header: BatchHeader,
}

/// Where a walk ended.
#[derive(Debug)]
pub(super) struct Stop {
    /// Behind the last good frame.
    pub position: u64,
    /// Why there; `None` at the end.
    pub problem: Option<String>,
}

/// A part of a segment in memory.
struct Window<'a> {
    segment: &'a Segment,
    counters: &'a Counters,
    end: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// `count` bytes at `position`, which the segment must have.
    fn get(&mut self, position: u64, count: usize) -> Result<&[u8], LogError> {
        let have = position >= self.start && position + count as u64 <= self.start + self.bytes.len() as u64;
        if !have {
            let want = (self.end - position).min(count.max(WINDOW_BYTES) as u64);
            self.bytes.resize(want as usize, 0);
            self.counters.add(Counter::RecoveryBytes, want);
            self.segment.read_at(&mut self.bytes, position)?;
            self.start = position;
        }
        let at = (position - self.start) as usize;
        Ok(&self.bytes[at..at + count])
    }
}

fn window<'a>(segment: &'a Segment, counters: &'a Counters) -> Window<'a> {
    Window {
        segment,
        counters,
        end: segment.end(),
        start: segment.base,
        bytes: Vec::new(),
    }
}

/// Visits the frames of `segment` from `from` on, up to the first that is damaged; with `checksums` the batches are looked at too, otherwise their
/// headers only.
pub(super) fn walk(
    segment: &Segment,
    counters: &Counters,
    from: u64,
    checksums: bool,
    mut visit: impl FnMut(&Seen) -> Result<(), LogError>,
) -> Result<Stop, LogError> {
    let mut window = window(segment, counters);
    let end = window.end;
    let mut position = from;
    while position < end {
        let stop = |problem: String| {
            Ok(Stop {
                position,
                problem: Some(problem),
            })
        };
        let rest = end - position;
        if rest < (FRAME_BYTES + HEADER_BYTES) as u64 {
            return stop(format!("{rest} bytes are no frame"));
        }
        let head = window.get(position, FRAME_BYTES + HEADER_BYTES)?;
        let Some(frame) = Frame::parse(head, position) else {
            return stop("no frame header".to_owned());
        };
        let total = FRAME_BYTES as u64 + u64::from(frame.batch_bytes);
        if total > rest {
            return stop(format!("a frame of {total} bytes where {rest} are left"));
        }
        let header = if checksums {
            BatchHeader::checked(&window.get(position, total as usize)?[FRAME_BYTES..])
        } else {
            BatchHeader::parse(&head[FRAME_BYTES..])
        };
        match header {
            Ok(header) if fits(&header, total) => visit(&Seen {
                frame,
                position: position + FRAME_BYTES as u64,
                header,
            })?,
            Ok(_) => return stop(format!("a batch header that does not fit its frame of {total} bytes")),
            Err(error) => return stop(error.to_string()),
        }
        position += total;
    }
    Ok(Stop {
        position,
        problem: None,
    })
}

/// What no frame header vouches for, and a look at the header alone can tell.
fn fits(header: &BatchHeader, total: u64) -> bool {
    (header.total_bytes() + FRAME_BYTES) as u64 == total
        && header.records_count >= 1
        && header.last_offset_delta == header.records_count - 1
}

/// The next frame header at or behind `from`; the segment's end when there is none.
pub(super) fn next_frame(segment: &Segment, counters: &Counters, from: u64) -> Result<u64, LogError> {
    let mut window = window(segment, counters);
    let least = FRAME_BYTES + STAMPED_BYTES;
    let mut position = from;
    while position + least as u64 <= window.end {
        let count = (window.end - position).min(WINDOW_BYTES as u64) as usize;
        let bytes = window.get(position, count)?;
        for at in 0..=count - least {
            if bytes[at..].starts_with(&MAGIC) && Frame::parse(&bytes[at..], position + at as u64).is_some() {
                return Ok(position + at as u64);
            }
        }
        position += (count - least + 1) as u64;
    }
    Ok(window.end)
}
