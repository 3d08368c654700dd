//! Where brokers are: `host:port`, as a user writes it or a broker advertises it.

use super::ClientError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// One `host:port`. The host stays as it was given, because a certificate is held against it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint {
    /// A name or an address; an IPv6 address without its brackets.
    pub host: String,
    /// The port, never 0.
    pub port: u16,
}

/// Brokers of one cluster to begin with; which of them leads a partition is asked there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bootstrap(Vec<Endpoint>);

impl Endpoint {
    /// The addresses of the host, as the system resolves it; at least one.
    ///
    /// # Errors
    /// The name is not known.
    pub fn resolve(&self) -> Result<Vec<SocketAddr>, ClientError> {
        let failed = |source| ClientError::Resolve {
            endpoint: self.clone(),
            source,
        };
        let found: Vec<SocketAddr> = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(failed)?
            .collect();
        match found.is_empty() {
            true => Err(failed(std::io::Error::other("the name has no address"))),
            false => Ok(found),
        }
    }
}

impl Bootstrap {
    /// The endpoints, at least one.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.0
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        let (host, port) = (address.ip().to_string(), address.port());
        Self { host, port }
    }
}

impl From<SocketAddr> for Bootstrap {
    fn from(address: SocketAddr) -> Self {
        Self(vec![address.into()])
    }
}

impl From<Endpoint> for Bootstrap {
    fn from(endpoint: Endpoint) -> Self {
        Self(vec![endpoint])
    }
}

impl TryFrom<Vec<Endpoint>> for Bootstrap {
    type Error = String;

    fn try_from(endpoints: Vec<Endpoint>) -> Result<Self, String> {
        match endpoints.is_empty() {
            true => Err("no broker is given; write host:port".to_owned()),
            false => Ok(Self(endpoints)),
        }
    }
}

impl From<&Bootstrap> for Bootstrap {
    fn from(brokers: &Bootstrap) -> Self {
        brokers.clone()
    }
}

impl TryFrom<&Vec<SocketAddr>> for Bootstrap {
    type Error = String;

    fn try_from(addresses: &Vec<SocketAddr>) -> Result<Self, String> {
        addresses.as_slice().try_into()
    }
}

impl TryFrom<&[SocketAddr]> for Bootstrap {
    type Error = String;

    fn try_from(addresses: &[SocketAddr]) -> Result<Self, String> {
        let endpoints: Vec<Endpoint> = addresses.iter().map(|address| Endpoint::from(*address)).collect();
        endpoints.try_into()
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not host:port, for example 127.0.0.1:9092 or [::1]:9092");
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(wrong)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        let host = match bare {
            Some(address) if address.contains(':') => address,
            None if !host.contains([':', '[', ']']) => host,
            _ => return Err(wrong()),
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | ',' | '@')) {
            return Err(wrong());
        }
        let host = host.to_owned();
        Ok(Self { host, port })
    }
}

impl FromStr for Bootstrap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let endpoints: Result<Vec<Endpoint>, String> = text.split(',').map(str::parse).collect();
        endpoints?.try_into()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Bootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(Endpoint::to_string).collect();
        f.write_str(&texts.join(","))
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }
    };
}
as_text!(Endpoint);
as_text!(Bootstrap);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in ["127.0.0.1:9092", "[::1]:9092", "broker-1.example:1,[fe80::1]:2,h:65535"] {
            assert_eq!(text.parse::<Bootstrap>().unwrap().to_string(), text);
        }
        let address: SocketAddr = "[::1]:7".parse().unwrap();
        assert_eq!(Bootstrap::from(address), "[::1]:7".parse().unwrap());
        let json = serde_json::to_string(&Bootstrap::from(address)).unwrap();
        assert_eq!(json, "\"[::1]:7\"");
        assert_eq!(serde_json::from_str::<Bootstrap>(&json).unwrap().to_string(), "[::1]:7");
    }

    #[test]
    fn what_is_no_endpoint_is_told() {
        for text in [
            "",
            "h",
            "h:",
            ":1",
            "h:0",
            "h:65536",
            "::1:9092",
            "[h]:1",
            "h:1,",
            "kafka://h:1",
            "a b:1",
        ] {
            let error = text.parse::<Bootstrap>().unwrap_err();
            assert!(error.contains("is not host:port"), "{text}: {error}");
        }
        assert!(Bootstrap::try_from(Vec::new()).unwrap_err().contains("no broker"));
    }
}
