//! One client script for any Kafka-compatible broker: raw requests, error cases and edge cases, each with an answer as text.
//!
//! What no two brokers share (ids, ports, clocks, words of error messages) is left out of the texts or replaced by a mark, so
//! that two brokers that behave alike give equal texts. Requests and answers are written and read here byte by byte and not by
//! the code of the bundled broker's handlers.

mod batches;
mod bench;
mod cases;
mod consumer_request;
mod group_request;
mod request;
mod shape;
mod wire;

pub use bench::Bench;
pub use cases::all;

/// What a case does: an answer as text.
type Run = dyn Fn(&mut Bench) -> Result<String, CaseError>;

/// One case of the script.
pub struct Case {
    /// The API that it is about, as Kafka names it; `Frames` for what is below the APIs.
    pub api: &'static str,
    /// What is asked, in words; unique within the API.
    pub name: String,
    run: Box<Run>,
}

/// Why a case has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// The socket's error; an answer that does not come in time is one too.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// An answer that is not what its API and version promise.
    #[error("the answer can't be read: {0}")]
    Wire(#[from] kafka_wire::WireError),
    /// What the case stands on could not be made.
    #[error("{0}")]
    Setup(String),
}

impl Case {
    fn new(
        api: &'static str,
        name: impl Into<String>,
        run: impl Fn(&mut Bench) -> Result<String, CaseError> + 'static,
    ) -> Self {
        Case {
            api,
            name: name.into(),
            run: Box::new(run),
        }
    }

    /// `Api: name`, by which a list of differences names it.
    pub fn title(&self) -> String {
        format!("{}: {}", self.api, self.name)
    }

    /// Runs it against the bench's broker.
    ///
    /// # Errors
    /// No answer, or one that can't be read: a broker whose answers can be compared gives none of these.
    pub fn run(&self, bench: &mut Bench) -> Result<String, CaseError> {
        (self.run)(bench)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn titles_are_unique() {
        let all = super::all();
        let titles: BTreeSet<String> = all.iter().map(super::Case::title).collect();
        assert_eq!(titles.len(), all.len());
        assert!(all.len() >= 60, "{} cases", all.len());
    }
}
