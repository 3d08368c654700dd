//! Two clients with their settings, property by property, so that a reader sees what they share and where they differ.

use anyhow::Context;
use workloads::definition::{Definition, ProfileName, Role, Work};
use workloads::load::{ClientKind, Property, librdkafka};

use super::levels::producer;

/// The factor whose levels are clients.
const CLIENT: &str = "client";
/// Factor -> the property that it is.
const VARIED: [(&str, &str); 7] = [
    ("acks", "acks"),
    ("batch_bytes", "batch.size"),
    ("linger_ms", "linger.ms"),
    ("in_flight", "max.in.flight.requests.per.connection"),
    ("idempotence", "enable.idempotence"),
    ("compression", "compression.type"),
    ("buffer_bytes", "buffer.memory"),
];

/// All properties of the clients, in a sentence, where clients are what the definition compares.
///
/// # Errors
/// A client refuses a setting.
pub fn told(definition: &Definition, profile: ProfileName) -> anyhow::Result<Option<String>> {
    if definition.treatment != CLIENT {
        return Ok(None);
    }
    let native = of(definition, profile, ClientKind::Native)?;
    let other = of(definition, profile, ClientKind::Librdkafka)?;
    let is_varied = |name: &str| {
        let factor = VARIED.iter().find(|(_, property)| *property == name);
        factor.is_some_and(|(factor, _)| definition.factor(factor).is_some())
    };
    let pairs = native.iter().zip(&other).map(|(native, other)| match native.name {
        name if is_varied(name) => format!("{name} as the arm says"),
        name if native.value == other.value => format!("{name} {}", native.value),
        name => format!("{name} {} here and {} there", native.value, other.value),
    });
    let pairs: Vec<String> = pairs.collect();
    Ok(Some(format!(
        "the native client (here) and librdkafka {} (there) run with {}",
        librdkafka::version(),
        pairs.join(", ")
    )))
}

/// Of the first arm of that client.
fn of(definition: &Definition, profile: ProfileName, kind: ClientKind) -> anyhow::Result<Vec<Property>> {
    let name = kind.to_string();
    let arms = definition.profile(profile).arms.iter();
    let mut measured = arms.filter(|arm| arm.role == Role::Measured);
    let arm = measured.find(|arm| arm.factors.get(CLIENT) == Some(&name));
    let arm = arm.with_context(|| format!("no arm has the client {name}"))?;
    let Work::Client(client) = definition.work else {
        anyhow::bail!("clients are compared, and there are none")
    };
    let levels = arm.factors.iter().map(|(name, level)| (name.as_str(), level.as_str()));
    let client = client.with(levels).map_err(anyhow::Error::msg)?;
    Ok(producer(&client).effective()?)
}
