//! The one error of a definition: it names the file, the line and the remedy, and shows the place.
//!
//! Printed by miette in the binary; `to_string` alone already starts with `file:line:column`.

use miette::{Diagnostic, NamedSource, SourceSpan};
use std::ops::Range;

/// Why a definition cannot be used, where, and what to write instead.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{path}:{line}:{column}: {message}")]
#[diagnostic(code(assay::definition))]
pub struct DefinitionError {
    /// File name as the user gave it, or the name of the embedded file.
    pub path: String,
    /// 1-based line of the place; 1 when the whole file is meant.
    pub line: usize,
    /// 1-based column of the place, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    #[help]
    pub remedy: String,
    #[source_code]
    text: NamedSource<String>,
    #[label("here")]
    span: SourceSpan,
}

impl DefinitionError {
    /// An error at the byte range `span` of `text`.
    pub(crate) fn at(path: &str, text: &str, span: Range<usize>, message: String, remedy: String) -> Box<Self> {
        let inside = span.start.min(text.len());
        let start = (0..=inside).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Box::new(Self {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            message,
            remedy,
            text: NamedSource::new(path, text.to_owned()).with_language("TOML"),
            span: SourceSpan::from(start..span.end.clamp(start, text.len())),
        })
    }
}
