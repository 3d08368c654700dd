//! A Kafka-compatible cluster that runs already: its address, and the client properties that say how to get in.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail};
use workloads::native::{Bootstrap, Sasl, SaslMechanism, Security, Tls};

/// How the address of a cluster begins.
pub const SCHEME: &str = "kafka://";
/// Properties of these families decide how a connection is secured: one that is not understood must not be passed over.
const SECURITY_FAMILIES: &[&str] = &["ssl.", "sasl.", "security."];
/// The login modules of Kafka's `sasl.jaas.config`.
const MODULES: &str = "org.apache.kafka.common.security.";

/// `kafka://host:port,host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterAddress(pub Bootstrap);

impl FromStr for ClusterAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let brokers = text.strip_prefix(SCHEME).unwrap_or(text);
        brokers
            .parse()
            .map(Self)
            .map_err(|error| format!("'{text}' is no address of a cluster: {error}"))
    }
}

impl fmt::Display for ClusterAddress {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.0)
    }
}

/// What a properties file of Kafka's clients says, as far as it concerns the way in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientProperties {
    /// `bootstrap.servers`.
    pub bootstrap: Option<Bootstrap>,
    /// TLS and SASL.
    pub security: Security,
    /// What was passed over, each with its place; for stderr.
    pub ignored: Vec<String>,
}

impl ClientProperties {
    /// Reads a properties file of Kafka's Java clients or, where their names differ, of librdkafka.
    ///
    /// # Errors
    /// The place in the file and what is wrong there. No secret is ever part of it.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
        Self::parse(&text, &path.display().to_string())
    }

    /// The same from text; `name` is what errors call the file.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(text: &str, name: &str) -> anyhow::Result<Self> {
        let mut properties = Properties {
            name,
            entries: BTreeMap::new(),
        };
        for (line, key, value) in lines(text) {
            if key.is_empty() {
                bail!("{name}:{line}: a line is `key=value`");
            }
            if let Some(before) = properties.entries.insert(key.clone(), Entry { line, value }) {
                bail!(
                    "{name}:{line}: {key} is given a second time, after line {}",
                    before.line
                );
            }
        }
        properties.take_all()
    }
}

struct Entry {
    line: usize,
    value: String,
}

/// What of a file was not yet taken.
struct Properties<'a> {
    name: &'a str,
    entries: BTreeMap<String, Entry>,
}

impl Properties<'_> {
    fn take_all(mut self) -> anyhow::Result<ClientProperties> {
        let bootstrap = match self.take("bootstrap.servers") {
            Some((place, value)) => Some(value.parse().map_err(|error| anyhow::anyhow!("{place}: {error}"))?),
            None => None,
        };
        let (protocol_place, protocol) = self
            .take("security.protocol")
            .unwrap_or_else(|| (self.name.to_owned(), String::new()));
        let (with_tls, with_sasl) = match protocol.to_ascii_uppercase().as_str() {
            "" | "PLAINTEXT" => (false, false),
            "SSL" => (true, false),
            "SASL_PLAINTEXT" => (false, true),
            "SASL_SSL" => (true, true),
            _ => bail!(
                "{protocol_place}: security.protocol is PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL, and not '{protocol}'"
            ),
        };
        // Taken in any case, so that a mistake in them is told; used only where the protocol asks for it, as in Kafka.
        let unused = |family: &str| {
            format!(
                "{}: {family}* is not used, as security.protocol does not ask for it",
                self.name
            )
        };
        let mut ignored = Vec::new();
        if !with_tls && self.entries.keys().any(|key| key.starts_with("ssl.")) {
            ignored.push(unused("ssl."));
        }
        if !with_sasl && self.entries.keys().any(|key| key.starts_with("sasl.")) {
            ignored.push(unused("sasl."));
        }
        let tls = self.take_tls()?;
        let sasl = match with_sasl {
            true => Some(self.take_sasl()?),
            false => {
                self.entries.retain(|key, _| !key.starts_with("sasl."));
                None
            }
        };
        for (key, entry) in &self.entries {
            let place = format!("{}:{}", self.name, entry.line);
            if SECURITY_FAMILIES.iter().any(|family| key.starts_with(family)) {
                bail!(
                    "{place}: {key} is not supported, and passing over it would change how the connection is secured"
                );
            }
            ignored.push(format!("{place}: {key} is not used: it does not concern the way in"));
        }
        Ok(ClientProperties {
            bootstrap,
            security: Security {
                tls: with_tls.then_some(tls),
                sasl,
            },
            ignored,
        })
    }

    fn take_tls(&mut self) -> anyhow::Result<Tls> {
        // Values that say what this client does anyway.
        for key in ["ssl.protocol", "ssl.enabled.protocols"] {
            if let Some((place, value)) = self
                .take(key)
                .filter(|(_, value)| !value.contains("TLSv1.3") && !value.contains("TLSv1.2"))
            {
                bail!("{place}: {key} is '{value}', and only TLSv1.3 and TLSv1.2 are spoken");
            }
        }
        let mut tls = Tls {
            ca_file: self.take_store("ssl.truststore")?,
            ..Tls::default()
        };
        if let Some(file) = self.take_file("ssl.ca.location")? {
            tls.ca_file = Some(file);
        }
        // A PEM keystore of Kafka holds key and chain in one file.
        if let Some(file) = self.take_store("ssl.keystore")? {
            (tls.certificate_file, tls.key_file) = (Some(file.clone()), Some(file));
        }
        if let Some(file) = self.take_file("ssl.certificate.location")? {
            tls.certificate_file = Some(file);
        }
        if let Some(file) = self.take_file("ssl.key.location")? {
            tls.key_file = Some(file);
        }
        if tls.certificate_file.is_some() != tls.key_file.is_some() {
            bail!(
                "{}: a client's certificate needs its key, and a key its certificate",
                self.name
            );
        }
        if let Some((place, _)) = self.take("ssl.key.password") {
            bail!(
                "{place}: an encrypted key is not supported; decrypt it with `openssl pkey -in KEY -out PLAIN` and leave ssl.key.password out"
            );
        }
        if let Some((place, value)) = self.take("ssl.endpoint.identification.algorithm") {
            tls.verify_host = match value.to_ascii_lowercase().as_str() {
                "https" => true,
                "" | "none" => false,
                _ => bail!("{place}: ssl.endpoint.identification.algorithm is https or empty, and not '{value}'"),
            };
        }
        Ok(tls)
    }

    /// The file of a Java key store, which must be of the type PEM.
    fn take_store(&mut self, family: &str) -> anyhow::Result<Option<PathBuf>> {
        let kind = self.take(&format!("{family}.type"));
        if let Some((place, _)) = self.take(&format!("{family}.password")) {
            bail!("{place}: a PEM file has no password; leave {family}.password out");
        }
        let line = self.entries.get(&format!("{family}.location")).map(|entry| entry.line);
        let file = self.take_file(&format!("{family}.location"))?;
        match (kind, line) {
            (Some((place, kind)), _) if kind != "PEM" => bail!(
                "{place}: {family}.type is '{kind}', and only PEM is read; write one with `keytool -exportcert -rfc` or `openssl pkcs12`"
            ),
            (None, Some(line)) => bail!(
                "{}:{line}: {family}.location is a PEM file here; say so with {family}.type=PEM (Kafka's default is JKS, which is not read)",
                self.name
            ),
            _ => Ok(file),
        }
    }

    fn take_sasl(&mut self) -> anyhow::Result<Sasl> {
        let name = self.name.to_owned();
        let (place, mechanism) = match (self.take("sasl.mechanism"), self.take("sasl.mechanisms")) {
            (Some(found), None) | (None, Some(found)) => found,
            (Some(_), Some((place, _))) => bail!("{place}: sasl.mechanism is given under both of its names"),
            (None, None) => bail!("{name}: sasl.mechanism is missing: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"),
        };
        let mechanism: SaslMechanism = mechanism.parse().map_err(|error| anyhow::anyhow!("{place}: {error}"))?;
        let mut username = self.take("sasl.username").map(|(_, value)| value);
        let mut password = self.take("sasl.password").map(|(_, value)| value);
        if let Some((place, text)) = self.take("sasl.jaas.config") {
            // Nothing of its text goes into an error: it holds the password.
            let (user, secret) =
                jaas(&text, mechanism).map_err(|what| anyhow::anyhow!("{place}: sasl.jaas.config: {what}"))?;
            (username, password) = (Some(user), Some(secret));
        }
        match (username, password) {
            (Some(username), Some(password)) if !username.is_empty() => Ok(Sasl {
                mechanism,
                username,
                password,
            }),
            _ => bail!("{name}: SASL needs sasl.username and sasl.password, or both in sasl.jaas.config"),
        }
    }

    /// A value and its place.
    fn take(&mut self, key: &str) -> Option<(String, String)> {
        let entry = self.entries.remove(key)?;
        Some((format!("{}:{}", self.name, entry.line), entry.value))
    }

    fn take_file(&mut self, key: &str) -> anyhow::Result<Option<PathBuf>> {
        let Some((place, value)) = self.take(key) else {
            return Ok(None);
        };
        let path = PathBuf::from(&value);
        std::fs::File::open(&path).with_context(|| format!("{place}: {key}: can't read {value}"))?;
        Ok(Some(path))
    }
}

/// User and password of a login module's line: `Module required username="u" password="p";`.
fn jaas(text: &str, mechanism: SaslMechanism) -> Result<(String, String), String> {
    let expected = match mechanism {
        SaslMechanism::Plain => "plain.PlainLoginModule",
        SaslMechanism::ScramSha256 | SaslMechanism::ScramSha512 => "scram.ScramLoginModule",
    };
    let module = text.split_whitespace().next().unwrap_or_default();
    if module.strip_prefix(MODULES) != Some(expected) {
        return Err(format!("it begins with {MODULES}{expected} for {mechanism}"));
    }
    if !text.trim_end().ends_with(';') {
        return Err("it ends with a semicolon".to_owned());
    }
    let option = |name: &str| -> Result<String, String> {
        let missing = || format!("{name}=\"..\" is missing");
        let start = text.find(&format!(" {name}=")).ok_or_else(missing)? + name.len() + 2;
        let quote = text[start..]
            .chars()
            .next()
            .filter(|c| matches!(c, '"' | '\''))
            .ok_or_else(missing)?;
        let (mut value, mut escaped) = (String::new(), false);
        for c in text[start + 1..].chars() {
            match c {
                _ if std::mem::take(&mut escaped) => value.push(c),
                '\\' => escaped = true,
                _ if c == quote => return Ok(value),
                _ => value.push(c),
            }
        }
        Err(format!("the value of {name} does not end with {quote}"))
    };
    Ok((option("username")?, option("password")?))
}

/// The entries of a Java properties file, each with the number of its first line.
fn lines(text: &str) -> Vec<(usize, String, String)> {
    let mut entries = Vec::new();
    let mut rest = text.lines().enumerate();
    while let Some((index, line)) = rest.next() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = line.to_owned();
        // An odd number of backslashes at the end: the next line goes on with it.
        while logical.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1 {
            logical.pop();
            match rest.next() {
                Some((_, more)) => logical += more.trim_start(),
                None => break,
            }
        }
        let (key, value) = split(&logical);
        entries.push((index + 1, key, value));
    }
    entries
}

/// Key and value of a logical line; the first separator that is not escaped parts them.
fn split(line: &str) -> (String, String) {
    let mut escaped = false;
    let end = line.char_indices().find(|(_, c)| {
        let ends = !escaped && (matches!(c, '=' | ':') || c.is_whitespace());
        escaped = !escaped && *c == '\\';
        ends
    });
    let end = end.map_or(line.len(), |(index, _)| index);
    let value = line[end..].trim_start();
    let value = value.strip_prefix(['=', ':']).unwrap_or(value).trim_start();
    // Trailing blanks are part of a value in Java, but nobody means them.
    (unescaped(&line[..end]), unescaped(value.trim_end()))
}

fn unescaped(text: &str) -> String {
    let mut chars = text.chars();
    let mut plain = String::new();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => plain.push('\n'),
            ('\\', Some('t')) => plain.push('\t'),
            ('\\', Some('r')) => plain.push('\r'),
            ('\\', Some('u')) => {
                let digits: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                plain.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            ('\\', Some(other)) => plain.push(other),
            ('\\', None) => {}
            (other, _) => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<ClientProperties> {
        ClientProperties::parse(text, "client.properties")
    }

    fn error(text: &str) -> String {
        format!("{:#}", parse(text).unwrap_err())
    }

    #[test]
    fn lines_are_read_as_java_reads_them() {
        let text = "# one\n a = 1\nb:2\nc 3\nd=x\\\n   y\n\ne\\=f=g\\u0041\\n\nempty=\n! two";
        let read = lines(text);
        let read: Vec<(usize, &str, &str)> = read
            .iter()
            .map(|(line, key, value)| (*line, key.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            read,
            [
                (2, "a", "1"),
                (3, "b", "2"),
                (4, "c", "3"),
                (5, "d", "xy"),
                (8, "e=f", "gA\n"),
                (9, "empty", "")
            ]
        );
    }

    #[test]
    fn tls_and_sasl_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, "x").unwrap();
        let text = format!(
            "bootstrap.servers=h:1,[::1]:2\nsecurity.protocol=SASL_SSL\nssl.truststore.type=PEM\nssl.truststore.location={}\n\
             ssl.endpoint.identification.algorithm=\nsasl.mechanism=SCRAM-SHA-256\n\
             sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n  username=\"u\" password=\"p\\\\\"q=\";\n\
             acks=all\n",
            ca.display()
        );
        let read = parse(&text).unwrap();
        assert_eq!(read.bootstrap.unwrap().to_string(), "h:1,[::1]:2");
        let tls = read.security.tls.unwrap();
        assert_eq!((tls.ca_file.as_deref(), tls.verify_host), (Some(ca.as_path()), false));
        let sasl = read.security.sasl.unwrap();
        assert_eq!(
            (sasl.mechanism, sasl.username.as_str(), sasl.password.as_str()),
            (SaslMechanism::ScramSha256, "u", "p\"q=")
        );
        assert_eq!(
            read.ignored,
            ["client.properties:9: acks is not used: it does not concern the way in"]
        );
        assert_eq!(parse("").unwrap(), ClientProperties::default());
    }

    #[test]
    fn mistakes_name_the_place_and_no_secret() {
        for (text, part) in [
            (
                "\nsecurity.protocol=TLS",
                "client.properties:2: security.protocol is PLAINTEXT, SSL",
            ),
            (
                "a=1\na=2",
                "client.properties:2: a is given a second time, after line 1",
            ),
            ("=1", "client.properties:1: a line is `key=value`"),
            ("bootstrap.servers=h", "client.properties:1: `h` is not host:port"),
            (
                "security.protocol=SSL\nssl.truststore.location=/nowhere/ca",
                "client.properties:2: ssl.truststore.location: can't read /nowhere/ca",
            ),
            (
                "security.protocol=SSL\nssl.truststore.type=JKS",
                "client.properties:2: ssl.truststore.type is 'JKS', and only PEM",
            ),
            (
                "security.protocol=SSL\nssl.key.password=hush",
                "client.properties:2: an encrypted key",
            ),
            (
                "security.protocol=SSL\nssl.cipher.suites=X",
                "client.properties:2: ssl.cipher.suites is not supported",
            ),
            ("security.protocol=SASL_SSL\nsasl.mechanism=GSSAPI", "choose PLAIN"),
            (
                "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.password=hush",
                "needs sasl.username and sasl.password",
            ),
            (
                "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"hush;",
                "client.properties:3: sasl.jaas.config: the value of password does not end",
            ),
        ] {
            let error = error(text);
            assert!(error.contains(part), "{text:?}: {error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
