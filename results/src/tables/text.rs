//! Pieces of text that all tables share: colours, line breaks, escapes.

use comfy_table::Color;

use crate::schema::FactVerdict;
use crate::verdict::Verdict;

/// Escapes what Markdown or HTML inside it would take for markup.
pub(crate) fn escape_markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            '\n' | '\r' => escaped.push(' '),
            '\\' | '|' | '*' | '_' | '`' | '[' | ']' => escaped.extend(['\\', character]),
            other => escaped.push(other),
        }
    }
    escaped
}

/// The colour of a verdict on a terminal; the word beside it says the same.
pub(super) fn colour_of(verdict: Verdict) -> Color {
    match verdict {
        Verdict::Confirmed => Color::Green,
        Verdict::Refuted | Verdict::Incomparable | Verdict::Invalid => Color::Red,
        Verdict::Conditional | Verdict::Inconclusive => Color::Yellow,
        Verdict::Equivalent => Color::Blue,
    }
}

/// The colour of a looked-up statement on a terminal.
pub(super) fn colour_of_fact(verdict: FactVerdict) -> Color {
    match verdict {
        FactVerdict::True => Color::Green,
        FactVerdict::False => Color::Red,
        FactVerdict::Outdated => Color::Yellow,
        FactVerdict::NotLookedUp => Color::DarkGrey,
    }
}

pub(super) fn ansi(colour: Color, text: &str) -> String {
    let code = match colour {
        Color::Green => 32,
        Color::Red => 31,
        Color::Yellow => 33,
        Color::DarkGrey => 90,
        _ => 34,
    };
    format!("\u{1b}[1;{code}m{text}\u{1b}[0m")
}

/// Breaks a text at spaces; a word longer than the width stands alone.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
