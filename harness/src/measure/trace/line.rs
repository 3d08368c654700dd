//! The lines of `strace -f -s 0 -a 1 -yy`: a call with what its descriptors are, also when another thread's call came between its
//! begin and its end.

use std::collections::HashMap;

use super::Descriptor;

/// Threads that are inside of a call at once; more are not followed.
const PENDING_MAX: usize = 100_000;

/// Calls whose result is a number of bytes.
const RETURNS_BYTES: [&str; 23] = [
    "read",
    "readv",
    "pread64",
    "preadv",
    "preadv2",
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "send",
    "sendto",
    "sendmsg",
    "sendfile",
    "sendfile64",
    "recv",
    "recvfrom",
    "recvmsg",
    "splice",
    "tee",
    "vmsplice",
    "copy_file_range",
    "process_vm_readv",
];

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A call that returned.
    Call(Call),
    /// strace holds all threads of this process now.
    Attached(u32),
    /// strace can't do something.
    Complaint(String),
}

/// A call that returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub name: String,
    pub on: Vec<Descriptor>,
    pub bytes: u64,
    pub shown: String,
}

/// Puts the two halves of interrupted calls together.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Thread -> the first half of its call. A process with a single thread has no number in front.
    pending: HashMap<Option<u32>, String>,
}

impl Lines {
    /// What the line says; `None` for a first half, a signal, an end.
    pub fn parse(&mut self, text: &str) -> Option<Line> {
        if let Some(said) = text.strip_prefix("strace: ") {
            return message(said);
        }
        let (thread, rest) = match text.strip_prefix("[pid ") {
            Some(numbered) => {
                let (thread, rest) = numbered.split_once("] ")?;
                (Some(thread.trim().parse().ok()?), rest)
            }
            None => (None, text),
        };
        if let Some(first) = rest.strip_suffix(" <unfinished ...>") {
            if self.pending.len() < PENDING_MAX {
                self.pending.insert(thread, first.to_owned());
            }
            return None;
        }
        let Some(resumed) = rest.strip_prefix("<... ") else {
            return call(rest).map(Line::Call);
        };
        // "<... write resumed>, ""..., 72) = 72": the first half ended where this goes on.
        let (_, second) = resumed.split_once(" resumed>")?;
        let first = self.pending.remove(&thread)?;
        call(&format!("{first}{second}")).map(Line::Call)
    }
}

fn message(said: &str) -> Option<Line> {
    let Some(process) = said.strip_prefix("Process ") else {
        return Some(Line::Complaint(said.trim().to_owned()));
    };
    let (pid, state) = process.split_once(' ')?;
    // A thread that starts later is told in the same words; nobody waits for it.
    (state == "attached" || state.starts_with("attached with "))
        .then(|| Some(Line::Attached(pid.parse().ok()?)))
        .flatten()
}

/// `name(arguments) = result`.
fn call(text: &str) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return None;
    }
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let arguments = arguments.trim_end().strip_suffix(')')?;
    let mut on = Vec::new();
    let mut shown = format!("{name}(");
    let mut left = arguments;
    while let Some((before, inside, after)) = next_descriptor(left) {
        on.push(descriptor(inside));
        shown.push_str(before);
        shown.push_str(&short(inside));
        left = after;
    }
    shown.push_str(left);
    shown.push_str(&format!(") = {result}"));
    let bytes = match RETURNS_BYTES.contains(&name) {
        // Also "-1 EAGAIN (..)", "?" and "0".
        true => result
            .split_whitespace()
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or(0),
        false => 0,
    };
    Some(Call {
        name: name.to_owned(),
        on,
        bytes,
        shown,
    })
}

/// The next `7<what it is>`: the text up to what it is, what it is, and the rest from the closing bracket on.
fn next_descriptor(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let open = from + text[from..].find('<')?;
        // In `[pid]<..` or `->` no digit stands in front; strace writes `<` and `>` in paths as octal numbers.
        if text[..open].ends_with(|c: char| c.is_ascii_digit()) {
            let inside = &text[open + 1..];
            // `TCP:[127.0.0.1:1->127.0.0.1:2]` has the bracket inside.
            let bracketed = inside.find(":[").is_some_and(|at| !inside[..at].contains('>'));
            let close = match bracketed {
                true => inside.find("]>")? + 1,
                false => inside.find('>')?,
            };
            return Some((&text[..=open], &inside[..close], &inside[close..]));
        }
        from = open + 1;
    }
}

fn descriptor(inside: &str) -> Descriptor {
    if inside.starts_with("TCP:[") || inside.starts_with("TCPv6:[") {
        return Descriptor::Tcp;
    }
    if !inside.starts_with('/') {
        return Descriptor::Other;
    }
    // `/path (deleted)` is a file all the same.
    let path = inside.strip_suffix(" (deleted)").unwrap_or(inside);
    let mut parts = path.rsplit('/');
    let name = parts.next().unwrap_or_default();
    let is_segment = name
        .strip_suffix(".log")
        .is_some_and(|offset| !offset.is_empty() && offset.bytes().all(|b| b.is_ascii_digit()));
    match is_segment {
        true if parts.next().is_some_and(|topic| topic.starts_with("__")) => Descriptor::InternalSegment,
        true => Descriptor::Segment,
        false => Descriptor::File,
    }
}

/// The last two parts of a path: where a machine keeps its data is nobody's business.
fn short(inside: &str) -> String {
    if !inside.starts_with('/') {
        return inside.to_owned();
    }
    let parts: Vec<&str> = inside.rsplitn(3, '/').collect();
    match parts.as_slice() {
        [name, folder, above] if !above.is_empty() => format!("{folder}/{name}"),
        _ => inside.to_owned(),
    }
}
