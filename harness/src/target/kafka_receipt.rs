//! What a Kafka ran with, for a manifest: the same on every machine that ran it the same way.

use kafka_wire::admin::ConfigEntry;
use results::schema::TargetReceipt;

use super::kafka::NAME;

/// Settings that say where it runs and not how.
const PLACES: &[&str] = &[
    "advertised.listeners",
    "broker.id",
    "controller.quorum.bootstrap.servers",
    "controller.quorum.voters",
    "listeners",
    "log.dir",
    "log.dirs",
    "metadata.log.dir",
    "node.id",
];
/// The flush interval of a Kafka that leaves flushing to the system.
const NEVER: &str = "9223372036854775807";

/// The settings in force, and the durability class that follows from them.
pub fn of_settings(version: &str, settings: &[ConfigEntry]) -> TargetReceipt {
    let mut receipt = TargetReceipt {
        name: NAME.to_owned(),
        version: version.to_owned(),
        durability_class: durability_class(settings),
        ..TargetReceipt::default()
    };
    for setting in settings
        .iter()
        .filter(|setting| !PLACES.contains(&setting.name.as_str()))
    {
        let value = match (&setting.value, setting.is_sensitive) {
            (_, true) => "(hidden)",
            (Some(value), false) => value,
            (None, false) => "",
        };
        receipt.effective_config.insert(setting.name.clone(), value.to_owned());
        if !setting.is_default {
            receipt
                .differs_from_default
                .insert(setting.name.clone(), value.to_owned());
        }
    }
    receipt
}

/// Adds what the JVM was told.
pub fn add_jvm(receipt: &mut TargetReceipt, java: &str, flags: &[String], heap_mb: u32) {
    let mut add = |key: &str, value: String| receipt.effective_config.insert(key.to_owned(), value);
    add("jvm.version", java.to_owned());
    add("jvm.flags", flags.join(" "));
    let heap = format!("-Xms{heap_mb}m -Xmx{heap_mb}m (Kafka's start script: -Xms1G -Xmx1G)");
    receipt.differs_from_default.insert("jvm.flags".to_owned(), heap);
    receipt
        .terms
        .insert("heap".to_owned(), format!("{heap_mb} MiB, garbage collected"));
}

/// Adds what is held against other targets, and what this one does that others need not.
pub fn add_terms(receipt: &mut TargetReceipt, nodes: usize, congestion_control: Option<Result<&str, &str>>) {
    let mut add = |key: &str, value: String| receipt.terms.insert(key.to_owned(), value);
    add("nodes", nodes.to_string());
    match congestion_control {
        Some(Ok(name)) => {
            add("socket.congestion.control", name.to_owned());
        }
        Some(Err(why)) => {
            add("socket.congestion.control", "the kernel's default".to_owned());
            let sentence =
                format!("Its TCP congestion control is the kernel's default, as it could not be set: {why}.");
            receipt.differences.push(sentence);
        }
        None => {
            add("socket.congestion.control", "the kernel's default".to_owned());
        }
    }
    let sentences = [
        "It validates every record of a produce request, not only the batch.",
        "It is broker and controller in one process, which also keeps the log of the metadata.",
        "Compilation and garbage collection of its JVM are part of its CPU time.",
    ];
    receipt.differences.extend(sentences.map(str::to_owned));
}

/// Flush policy, acks and replicas in one phrase, in the words of every other target.
fn durability_class(settings: &[ConfigEntry]) -> String {
    let value = |name: &str| settings.iter().find(|setting| setting.name == name)?.value.as_deref();
    let flush = match (value("log.flush.interval.messages"), value("log.flush.interval.ms")) {
        (Some("1"), _) => "flushed before the acknowledgement".to_owned(),
        (Some(messages), _) if messages != NEVER => format!("flushed every {messages} records"),
        (_, Some(ms)) if ms != NEVER => format!("flushed every {ms} ms"),
        _ => "page cache (no flush before the acknowledgement)".to_owned(),
    };
    let replicas = value("default.replication.factor").unwrap_or("1");
    match replicas {
        "1" => format!("{flush}, acks=all, 1 replica"),
        _ => {
            let in_sync = value("min.insync.replicas").unwrap_or("1");
            format!("{flush}, acks=all, {replicas} replicas of which {in_sync} must be in sync")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(name: &str, value: &str, is_default: bool) -> ConfigEntry {
        ConfigEntry {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            source: kafka_wire::admin::ConfigSource::from_code(if is_default { 5 } else { 4 }),
            is_default,
            is_sensitive: false,
        }
    }

    #[test]
    fn places_and_secrets_are_left_out() {
        let secret = ConfigEntry {
            is_sensitive: true,
            ..setting("ssl.keystore.key", "key", false)
        };
        let settings = [
            setting("listeners", "PLAINTEXT://127.0.0.1:4242", false),
            setting("num.partitions", "1", true),
            setting("log.segment.bytes", "4096", false),
            secret,
        ];
        let receipt = of_settings("4.3.1", &settings);
        let text = serde_json::to_string(&receipt).unwrap();
        assert!(!text.contains("4242") && !text.contains("\"key\""), "{text}");
        assert_eq!(receipt.effective_config["num.partitions"], "1");
        let differs: Vec<&str> = receipt.differs_from_default.keys().map(String::as_str).collect();
        assert_eq!(differs, ["log.segment.bytes", "ssl.keystore.key"]);
    }

    #[test]
    fn the_durability_class_follows_from_the_settings() {
        let class = |settings: &[(&str, &str)]| {
            let settings: Vec<ConfigEntry> = settings
                .iter()
                .map(|(name, value)| setting(name, value, true))
                .collect();
            durability_class(&settings)
        };
        assert_eq!(
            class(&[
                ("log.flush.interval.messages", NEVER),
                ("default.replication.factor", "1")
            ]),
            "page cache (no flush before the acknowledgement), acks=all, 1 replica"
        );
        assert_eq!(
            class(&[
                ("log.flush.interval.messages", "1"),
                ("default.replication.factor", "3")
            ]),
            "flushed before the acknowledgement, acks=all, 3 replicas of which 1 must be in sync"
        );
        assert_eq!(
            class(&[("log.flush.interval.messages", NEVER), ("log.flush.interval.ms", "500")]),
            "flushed every 500 ms, acks=all, 1 replica"
        );
    }
}
