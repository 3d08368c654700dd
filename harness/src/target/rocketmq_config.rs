//! What RocketMQ's name server and broker are told.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Name of the one broker.
pub const BROKER: &str = "broker-1";
/// Bytes of a commit log file: mapped one by one, 1 GiB when nobody says otherwise.
const COMMIT_LOG_FILE_BYTES: u32 = 64 << 20;

/// One of the two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Knows where topics are.
    NameServer,
    /// Stores them.
    Broker,
}

impl Role {
    /// Its name in folders and messages.
    pub fn name(self) -> &'static str {
        match self {
            Role::NameServer => "name-server",
            Role::Broker => "broker",
        }
    }

    /// The class that is started.
    pub fn class(self) -> &'static str {
        match self {
            Role::NameServer => "org.apache.rocketmq.namesrv.NamesrvStartup",
            Role::Broker => "org.apache.rocketmq.broker.BrokerStartup",
        }
    }
}

/// Files of one process under the target's folder.
#[derive(Debug, Clone)]
pub struct RoleFiles {
    folder: PathBuf,
}

impl RoleFiles {
    /// Of the process `role` under `dir`.
    pub fn new(dir: &Path, role: Role) -> Self {
        Self {
            folder: dir.join(role.name()),
        }
    }

    /// `ROCKETMQ_HOME` and `user.home`.
    pub fn home(&self) -> &Path {
        &self.folder
    }

    /// What it stores.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Where it logs.
    pub fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.logs().join("rocketmq.log")
    }

    /// What the JVM itself writes.
    pub fn output(&self) -> PathBuf {
        self.logs().join("output.log")
    }

    /// `java.io.tmpdir`.
    pub fn temporary(&self) -> PathBuf {
        self.folder.join("tmp")
    }

    /// Its configuration.
    pub fn properties(&self) -> PathBuf {
        self.folder.join("rocketmq.properties")
    }

    /// How it logs.
    pub fn logging(&self) -> PathBuf {
        self.folder.join("logback.xml")
    }
}

/// Ports on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// Of the name server.
    pub name_server: u16,
    /// Of the broker; it takes the one that is 2 smaller as well.
    pub broker: u16,
    /// Of the broker, for replicas.
    pub replication: u16,
}

/// The configuration of one process.
pub fn properties(role: Role, ports: Ports, files: &RoleFiles) -> String {
    let path = |path: PathBuf| path.display().to_string();
    let common = [
        ("rocketmqHome", path(files.home().to_owned())),
        ("bindAddress", "127.0.0.1".to_owned()),
    ];
    let own = match role {
        Role::NameServer => vec![
            ("listenPort", ports.name_server.to_string()),
            ("kvConfigPath", path(files.data().join("kvConfig.json"))),
            ("configStorePath", path(files.data().join("namesrv.properties"))),
        ],
        Role::Broker => vec![
            ("listenPort", ports.broker.to_string()),
            ("haListenPort", ports.replication.to_string()),
            ("brokerClusterName", "assay".to_owned()),
            ("brokerName", BROKER.to_owned()),
            ("brokerId", "0".to_owned()),
            ("brokerIP1", "127.0.0.1".to_owned()),
            ("brokerIP2", "127.0.0.1".to_owned()),
            ("namesrvAddr", format!("127.0.0.1:{}", ports.name_server)),
            ("storePathRootDir", path(files.data())),
            ("storePathCommitLog", path(files.data().join("commitlog"))),
            ("mappedFileSizeCommitLog", COMMIT_LOG_FILE_BYTES.to_string()),
        ],
    };
    common
        .into_iter()
        .chain(own)
        .fold(String::new(), |mut text, (key, value)| {
            let _ = writeln!(text, "{key}={}", value.replace('\\', "\\\\"));
            text
        })
}

/// Logging into one bounded set of files: four of 16 MiB. `assay.log` is their path.
pub const LOGGING: &str = r#"<configuration>
  <appender name="file" class="ch.qos.logback.core.rolling.RollingFileAppender">
    <file>${assay.log}</file>
    <rollingPolicy class="ch.qos.logback.core.rolling.FixedWindowRollingPolicy">
      <fileNamePattern>${assay.log}.%i</fileNamePattern>
      <minIndex>1</minIndex>
      <maxIndex>3</maxIndex>
    </rollingPolicy>
    <triggeringPolicy class="ch.qos.logback.core.rolling.SizeBasedTriggeringPolicy">
      <maxFileSize>16MB</maxFileSize>
    </triggeringPolicy>
    <encoder>
      <pattern>%d %p %m \(%c\)%n</pattern>
      <charset>UTF-8</charset>
    </encoder>
  </appender>
  <root level="INFO">
    <appender-ref ref="file"/>
  </root>
</configuration>
"#;

/// The flags of RocketMQ's own start scripts, with a heap and direct memory of one size.
pub fn jvm_flags(role: Role, heap_mb: u32) -> Vec<String> {
    // The name server holds a table only.
    let heap_mb = match role {
        Role::NameServer => heap_mb.min(256),
        Role::Broker => heap_mb,
    };
    let mut flags = vec![
        "-server".to_owned(),
        format!("-Xms{heap_mb}m"),
        format!("-Xmx{heap_mb}m"),
        format!("-XX:MaxDirectMemorySize={heap_mb}m"),
        "-XX:+UseG1GC".to_owned(),
    ];
    let script = [
        "-XX:InitiatingHeapOccupancyPercent=30",
        "-XX:SoftRefLRUPolicyMSPerMB=0",
        "-XX:-OmitStackTraceInFastThrow",
        "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
        "--add-opens=java.base/java.nio=ALL-UNNAMED",
        "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
        "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
    ];
    flags.extend(script.map(str::to_owned));
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_on_loopback_and_in_the_folder() {
        let ports = Ports {
            name_server: 1001,
            broker: 1005,
            replication: 1006,
        };
        let files = RoleFiles::new(Path::new("/x"), Role::Broker);
        let text = properties(Role::Broker, ports, &files);
        for line in [
            "bindAddress=127.0.0.1",
            "brokerIP2=127.0.0.1",
            "haListenPort=1006",
            "storePathRootDir=/x/broker/data",
        ] {
            assert!(text.lines().any(|other| other == line), "no {line} in\n{text}");
        }
    }
}
