//! How a connection is secured: TLS, SASL, both or neither.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// What a connection does before its first request. The default is a plain connection, Kafka's `PLAINTEXT`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Security {
    /// TLS (`SSL` and `SASL_SSL`).
    pub tls: Option<Tls>,
    /// A name and a password (`SASL_PLAINTEXT` and `SASL_SSL`).
    pub sasl: Option<Sasl>,
}

/// How the broker proves who it is, and the client too where the broker asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the authorities that may have signed the broker's certificate; `None` takes the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether the certificate must name the host that was connected to.
    pub verify_host: bool,
    /// PEM file with the client's own certificate chain, leaf first.
    pub certificate_file: Option<PathBuf>,
    /// PEM file with the key of it, not encrypted.
    pub key_file: Option<PathBuf>,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            ca_file: None,
            verify_host: true,
            certificate_file: None,
            key_file: None,
        }
    }
}

/// A name, a password, and how they are shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    /// How the password is shown.
    pub mechanism: SaslMechanism,
    /// User.
    pub username: String,
    /// Password; never printed.
    pub password: String,
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sasl")
            .field("mechanism", &self.mechanism)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Mechanisms, by Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaslMechanism {
    /// The password itself (RFC 4616): for TLS only, unless nobody else can listen.
    #[serde(rename = "PLAIN")]
    Plain,
    /// RFC 7677.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// RFC 5802 with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// The name on the wire and in `sasl.mechanism`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl fmt::Display for SaslMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for SaslMechanism {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Plain, Self::ScramSha256, Self::ScramSha512]
            .into_iter()
            .find(|mechanism| mechanism.name() == text)
            .ok_or_else(|| {
                format!("SASL mechanism `{text}` is not known; choose PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
            })
    }
}

impl Security {
    /// Kafka's name: `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`.
    pub fn protocol(&self) -> &'static str {
        match (&self.tls, &self.sasl) {
            (None, None) => "PLAINTEXT",
            (Some(_), None) => "SSL",
            (None, Some(_)) => "SASL_PLAINTEXT",
            (Some(_), Some(_)) => "SASL_SSL",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed_and_goes_through_json() {
        let sasl = Sasl {
            mechanism: SaslMechanism::ScramSha256,
            username: "u".to_owned(),
            password: "secret".to_owned(),
        };
        let security = Security {
            tls: None,
            sasl: Some(sasl),
        };
        assert!(!format!("{security:?}").contains("secret"));
        let json = serde_json::to_string(&security).unwrap();
        assert!(json.contains("\"SCRAM-SHA-256\""));
        assert_eq!(serde_json::from_str::<Security>(&json).unwrap(), security);
        assert_eq!(security.protocol(), "SASL_PLAINTEXT");
        assert_eq!(Security::default().protocol(), "PLAINTEXT");
        assert!("MD5".parse::<SaslMechanism>().unwrap_err().contains("choose PLAIN"));
    }
}
