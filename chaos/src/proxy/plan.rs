//! What the proxy can do to a connection, with every value fixed: one entry of a schedule.

use std::fmt;
use std::str::FromStr;

use kafka_wire::ApiKey;
use serde::{Deserialize, Serialize};
use workloads::history::FaultKind;

/// An API by Kafka's name, such as `Produce`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Api(pub ApiKey);

impl Api {
    /// All names, for an error's remedy.
    pub fn names() -> String {
        let names: Vec<String> = ApiKey::ALL.iter().map(|&key| Api(key).to_string()).collect();
        names.join(", ")
    }
}

impl fmt::Display for Api {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.0)
    }
}

impl FromStr for Api {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = ApiKey::ALL.iter().find(|&&key| Api(key).to_string() == name);
        found
            .map(|&key| Api(key))
            .ok_or_else(|| format!("no API is called {name:?}"))
    }
}

impl TryFrom<String> for Api {
    type Error = String;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl From<Api> for String {
    fn from(api: Api) -> Self {
        api.to_string()
    }
}

/// How a connection of a client ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// RST: what the client has not read yet may be gone, too.
    Reset,
    /// FIN: the client reads what came before, and then the end.
    Close,
}

/// What becomes of a connection behind a dropped answer. Kafka's answers come in the order of their requests, so nothing
/// behind the gap can be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// It is closed (FIN).
    Close,
    /// It stays open and silent: requests go on to the broker, no answer comes back, and the client has to time out.
    Withhold,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ProxyFault {
    /// Every connection is cut now.
    Cut {
        /// How.
        ending: Ending,
    },
    /// A connection is cut in the middle of a request.
    CutRequest {
        /// Requests of this API count.
        api: Api,
        /// Which of them, from 1.
        nth: u32,
        /// Where in the frame: millionths of what is not its first and last byte.
        at_millionths: u32,
        /// How.
        ending: Ending,
    },
    /// The broker has answered, and the client never learns it.
    DropResponse {
        /// Answers of this API count.
        api: Api,
        /// Which of them, from 1.
        nth: u32,
        /// What becomes of the connection.
        then: Then,
    },
    /// An answer, and all behind it, comes late.
    DelayResponse {
        /// Answers of this API count.
        api: Api,
        /// Which of them, from 1.
        nth: u32,
        /// By how much.
        by_us: u64,
    },
    /// Every connection is cut (RST), and new ones are refused for a while.
    Refuse {
        /// How long.
        for_us: u64,
    },
}

/// Millionths that [`ProxyFault::CutRequest`] counts in.
pub const MILLION: u32 = 1_000_000;

impl ProxyFault {
    /// What a history calls it.
    pub fn kind(&self) -> FaultKind {
        match self {
            ProxyFault::Cut { .. } => FaultKind::Cut,
            ProxyFault::CutRequest { .. } => FaultKind::CutRequest,
            ProxyFault::DropResponse { .. } => FaultKind::DropResponse,
            ProxyFault::DelayResponse { .. } => FaultKind::DelayResponse,
            ProxyFault::Refuse { .. } => FaultKind::Refuse,
        }
    }

    /// How many bytes of a frame of `frame_bytes` (at least 2) pass before a cut at `at_millionths`: never none, never all.
    pub(super) fn cut_after(frame_bytes: usize, at_millionths: u32) -> usize {
        let between = frame_bytes.saturating_sub(2) as u64;
        1 + (between * u64::from(at_millionths.min(MILLION)) / u64::from(MILLION)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_reads_back_and_a_wrong_api_is_told() {
        let fault = ProxyFault::DropResponse {
            api: Api(ApiKey::Produce),
            nth: 3,
            then: Then::Withhold,
        };
        let json = serde_json::to_string(&fault).unwrap();
        assert_eq!(
            json,
            r#"{"kind":"drop-response","api":"Produce","nth":3,"then":"withhold"}"#
        );
        assert_eq!(serde_json::from_str::<ProxyFault>(&json).unwrap(), fault);
        let error = serde_json::from_str::<ProxyFault>(&json.replace("Produce", "produce")).unwrap_err();
        assert!(error.to_string().contains("no API is called \"produce\""), "{error}");
    }

    #[test]
    fn a_cut_is_always_in_the_middle() {
        for (frame_bytes, at_millionths, expected) in [
            (12, 0, 1),
            (12, MILLION, 11),
            (12, 500_000, 6),
            (2, MILLION, 1),
            (1 << 30, MILLION, (1 << 30) - 1),
        ] {
            assert_eq!(ProxyFault::cut_after(frame_bytes, at_millionths), expected);
        }
    }
}
