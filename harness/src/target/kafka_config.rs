//! What one Kafka node is told: `server.properties`, the logging, the arguments of its JVM.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The listener that clients use.
pub const PLAIN: &str = "PLAINTEXT";
/// The listener that clients use over TLS.
pub const TLS: &str = "SSL";
/// The listener of the quorum.
const CONTROLLER: &str = "CONTROLLER";

/// Settings that a caller can't give, as the harness decides them, and why.
const OURS: &[(&str, &str)] = &[
    ("process.roles", "every node is broker and controller"),
    ("node.id", "nodes are numbered from 1"),
    ("broker.id", "nodes are numbered from 1"),
    ("controller.", "the quorum is made by the harness"),
    ("listeners", "free ports on 127.0.0.1 are taken"),
    ("advertised.listeners", "free ports on 127.0.0.1 are taken"),
    (
        "listener.security.protocol.map",
        "there is a plain listener, and one with TLS when it is asked for",
    ),
    ("inter.broker.listener.name", "brokers talk over the plain listener"),
    ("security.inter.broker.protocol", "brokers talk over the plain listener"),
    ("log.dir", "the data is in the target's folder"),
    ("metadata.log.dir", "the data is in the target's folder"),
    ("ssl.keystore", "the certificate is made by the harness"),
    ("ssl.key.", "the certificate is made by the harness"),
];

/// Ports of one node on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// Plain client listener.
    pub plain: u16,
    /// TLS client listener.
    pub tls: Option<u16>,
    /// Quorum.
    pub controller: u16,
}

/// Files of one node under the target's folder.
#[derive(Debug, Clone)]
pub struct NodeFiles {
    /// `node-<id>`.
    pub folder: PathBuf,
}

impl NodeFiles {
    /// Of the node `id` under `dir`.
    pub fn new(dir: &Path, id: u8) -> Self {
        Self {
            folder: dir.join(format!("node-{id}")),
        }
    }

    /// `log.dirs`.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Where it logs.
    pub fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// The log that an error quotes.
    pub fn server_log(&self) -> PathBuf {
        self.logs().join("server.log")
    }

    /// What the JVM itself writes.
    pub fn output(&self) -> PathBuf {
        self.logs().join("output.log")
    }

    /// `java.io.tmpdir`: native libraries are unpacked here.
    pub fn temporary(&self) -> PathBuf {
        self.folder.join("tmp")
    }

    /// Its configuration; with TLS it holds a private key.
    pub fn properties(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    /// How it logs.
    pub fn logging(&self) -> PathBuf {
        self.folder.join("log4j2.properties")
    }
}

/// Why a caller's setting is refused; `None` when it is not.
pub fn refusal(key: &str) -> Option<&'static str> {
    let is_ours = |name: &str| key == name || (name.ends_with('.') || name.ends_with("store")) && key.starts_with(name);
    let is_ours = |name: &str| is_ours(name) || name == "log.dir" && key == "log.dirs";
    OURS.iter().find(|(name, _)| is_ours(name)).map(|(_, why)| *why)
}

/// The settings of node `id` (from 1) of the nodes whose ports are given, without the certificate.
pub fn settings(
    id: u8,
    nodes: &[Ports],
    files: &NodeFiles,
    of_caller: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let own = nodes[usize::from(id) - 1];
    let at = |port: u16| format!("127.0.0.1:{port}");
    let mut clients = format!("{PLAIN}://{}", at(own.plain));
    let mut protocols = format!("{CONTROLLER}:PLAINTEXT,{PLAIN}:PLAINTEXT");
    if let Some(tls) = own.tls {
        clients += &format!(",{TLS}://{}", at(tls));
        protocols += &format!(",{TLS}:SSL");
    }
    let voter = |(index, ports): (usize, &Ports)| format!("{}@{}", index + 1, at(ports.controller));
    let voters: Vec<String> = nodes.iter().enumerate().map(voter).collect();
    let replicas = nodes.len().min(3).to_string();
    let in_sync = if nodes.len() >= 3 { "2" } else { "1" };
    let fixed = [
        ("process.roles", "broker,controller".to_owned()),
        ("node.id", id.to_string()),
        ("controller.quorum.voters", voters.join(",")),
        ("controller.listener.names", CONTROLLER.to_owned()),
        ("listeners", format!("{clients},{CONTROLLER}://{}", at(own.controller))),
        ("advertised.listeners", clients),
        ("listener.security.protocol.map", protocols),
        ("inter.broker.listener.name", PLAIN.to_owned()),
        ("log.dirs", files.data().display().to_string()),
    ];
    let internal = [
        ("offsets.topic.replication.factor", replicas.as_str()),
        ("transaction.state.log.replication.factor", &replicas),
        ("transaction.state.log.min.isr", in_sync),
        ("share.coordinator.state.topic.replication.factor", &replicas),
        ("share.coordinator.state.topic.min.isr", in_sync),
    ];
    let mut settings: BTreeMap<String, String> = internal
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    settings.extend(of_caller.clone());
    settings.extend(fixed.into_iter().map(|(key, value)| (key.to_owned(), value)));
    settings
}

/// The settings of a TLS listener: a certificate and its key, both PEM, which lie in `server.properties` itself.
#[cfg(feature = "tls")]
pub fn tls_settings(certificate: String, key: String) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("ssl.keystore.type".to_owned(), "PEM".to_owned()),
        ("ssl.keystore.certificate.chain".to_owned(), certificate),
        ("ssl.keystore.key".to_owned(), key),
    ])
}

/// Settings as the text of a properties file of Java.
pub fn properties_text(settings: &BTreeMap<String, String>) -> String {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('\n', "\\n");
    let line = |(key, value): (&String, &String)| format!("{key}={}\n", escaped(value));
    settings.iter().map(line).collect()
}

/// Logging as in Kafka's own file, but bounded: four files of 16 MiB.
pub const LOGGING: &str = "status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = ${sys:kafka.logs.dir}/server.log
appender.file.filePattern = ${sys:kafka.logs.dir}/server.log.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = [%d] %p %m (%c)%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 16MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 3
rootLogger.level = info
rootLogger.appenderRefs = file
rootLogger.appenderRef.file.ref = file
";

/// The flags that Kafka's own start script gives its JVM, and a heap of one size.
pub fn jvm_flags(heap_mb: u32) -> Vec<String> {
    let script = [
        "-server",
        "-XX:+UseG1GC",
        "-XX:MaxGCPauseMillis=20",
        "-XX:InitiatingHeapOccupancyPercent=35",
        "-XX:+ExplicitGCInvokesConcurrent",
        "-Djava.awt.headless=true",
    ];
    let mut flags = vec![format!("-Xms{heap_mb}m"), format!("-Xmx{heap_mb}m")];
    flags.extend(script.map(str::to_owned));
    flags
}

/// What a JVM of Kafka is given beside those: where it logs.
pub fn jvm_places(files: &NodeFiles) -> Vec<OsString> {
    let with = |name: &str, path: &Path| {
        let mut argument = OsString::from(name);
        argument.push(path);
        argument
    };
    vec![
        with("-Dkafka.logs.dir=", &files.logs()),
        with("-Dlog4j2.configurationFile=", &files.logging()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: Ports = Ports {
        plain: 1001,
        tls: None,
        controller: 1002,
    };

    #[test]
    fn everything_listens_on_loopback_and_replicas_follow_the_nodes() {
        let files = NodeFiles::new(Path::new("/x"), 2);
        let tls = Ports {
            plain: 1003,
            tls: Some(1004),
            controller: 1005,
        };
        let one = settings(1, &[PORTS], &files, &BTreeMap::new());
        assert_eq!(
            one["listeners"],
            "PLAINTEXT://127.0.0.1:1001,CONTROLLER://127.0.0.1:1002"
        );
        assert_eq!(one["offsets.topic.replication.factor"], "1");

        let asked = BTreeMap::from([("offsets.topic.replication.factor".to_owned(), "2".to_owned())]);
        let three = settings(2, &[PORTS, tls, PORTS], &files, &asked);
        assert_eq!(
            three["advertised.listeners"],
            "PLAINTEXT://127.0.0.1:1003,SSL://127.0.0.1:1004"
        );
        assert_eq!(
            three["controller.quorum.voters"],
            "1@127.0.0.1:1002,2@127.0.0.1:1005,3@127.0.0.1:1002"
        );
        assert_eq!(three["offsets.topic.replication.factor"], "2", "the caller's");
        assert_eq!(three["transaction.state.log.min.isr"], "2");
    }

    #[test]
    fn settings_of_the_harness_are_refused_and_others_are_not() {
        for key in [
            "listeners",
            "log.dirs",
            "controller.quorum.voters",
            "ssl.keystore.key",
            "node.id",
        ] {
            assert!(refusal(key).is_some(), "{key}");
        }
        for key in [
            "log.segment.bytes",
            "auto.create.topics.enable",
            "log.dirs.x",
            "ssl.client.auth",
        ] {
            assert!(refusal(key).is_none(), "{key}");
        }
    }

    #[test]
    fn several_lines_stay_one_property() {
        let settings = BTreeMap::from([("a".to_owned(), "one\ntwo\\".to_owned())]);
        assert_eq!(properties_text(&settings), "a=one\\ntwo\\\\\n");
    }
}
