//! What people read: text on stdout and stderr that survives a reader who leaves, wrapped to the terminal.
//!
//! `println!` panics when stdout is closed, so `assay list | head -1` would end as an internal error. Here the rest of the
//! text is dropped, and only a stdout that fails otherwise (a full disk) is an error, told once, at the end.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::Mutex;

/// Text is wrapped here when the terminal is wider, or when there is none.
const TEXT_WIDTH_MAX: usize = 110;

/// The first failure of stdout that is not a reader who left.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// Like `print!`, for a stdout that may be closed.
macro_rules! out {
    ($($arguments:tt)*) => { $crate::output::write_out(format_args!($($arguments)*)) };
}

/// Like `println!`, for a stdout that may be closed.
macro_rules! outln {
    () => { $crate::output::write_out(format_args!("\n")) };
    ($($arguments:tt)*) => { $crate::output::write_out(format_args!("{}\n", format_args!($($arguments)*))) };
}

/// Like `eprintln!`, for a stderr that may be closed.
macro_rules! errln {
    ($($arguments:tt)*) => { $crate::output::write_error(format_args!($($arguments)*)) };
}

/// What `out!` and `outln!` expand to.
pub fn write_out(text: Arguments) {
    if let Err(error) = io::stdout().lock().write_fmt(text) {
        remember(error);
    }
}

/// What `errln!` expands to.
pub fn write_error(text: Arguments) {
    // Nobody is left to be told.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Flushes stdout and says whether all that was written has arrived, or nobody was there to read it.
///
/// # Errors
/// The first failure since the start that is not a closed pipe.
pub fn finish() -> io::Result<()> {
    if let Err(error) = io::stdout().lock().flush() {
        remember(error);
    }
    match FAILED.lock().ok().and_then(|mut failed| failed.take()) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn remember(error: io::Error) {
    if error.kind() == ErrorKind::BrokenPipe {
        return;
    }
    if let Ok(mut failed) = FAILED.lock() {
        failed.get_or_insert(error);
    }
}

/// Columns of the terminal that stdout is; `None` when it is none.
pub fn terminal_columns() -> Option<u16> {
    nix::ioctl_read_bad!(window_size, nix::libc::TIOCGWINSZ, nix::libc::winsize);
    if !io::stdout().is_terminal() {
        return None;
    }
    let mut size = nix::libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one winsize to the place it is given.
    let answer = unsafe { window_size(1, &mut size) };
    answer.ok().map(|_| size.ws_col).filter(|columns| *columns > 0)
}

/// Whether stdout is a terminal whose user did not ask for plain text (`NO_COLOR`).
pub fn wants_colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Columns that running text may take.
pub fn text_width() -> usize {
    terminal_columns().map_or(TEXT_WIDTH_MAX, |columns| usize::from(columns).clamp(40, TEXT_WIDTH_MAX))
}

/// `text` broken at spaces so that no line is longer than `width` columns with the indent of `indent` columns that each
/// line but the first gets. Line breaks in the text stay; a longer word stands alone.
pub fn wrapped(text: &str, indent: usize, width: usize) -> String {
    let room = width.saturating_sub(indent).max(1);
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.trim().lines() {
        lines.push(String::new());
        for word in paragraph.split_whitespace() {
            match lines.last_mut() {
                Some(line) if line.is_empty() => line.push_str(word),
                Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
        }
    }
    lines.join(&format!("\n{:indent$}", ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_spaces_and_indented() {
        assert_eq!(wrapped("one two three", 2, 9), "one two\n  three");
        assert_eq!(wrapped("a\nb c", 1, 80), "a\n b c");
        assert_eq!(wrapped("unbreakable word", 0, 4), "unbreakable\nword");
        assert_eq!(wrapped("", 4, 80), "");
    }
}
