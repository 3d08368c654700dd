//! Requests and answers of the groups' APIs, read as far as the trace tells of them. Layouts are from Kafka's message definitions
//! (clients/src/main/resources/common/message).

use kafka_wire::{ApiKey, Cursor, ErrorCode, WireError};

use super::Step;

type Result<T> = std::result::Result<T, WireError>;

/// APIs with the last version that is read here.
const TRACED: [(ApiKey, i16); 7] = [
    (ApiKey::FindCoordinator, 6),
    (ApiKey::JoinGroup, 9),
    (ApiKey::SyncGroup, 5),
    (ApiKey::Heartbeat, 4),
    (ApiKey::LeaveGroup, 5),
    (ApiKey::ConsumerGroupHeartbeat, 1),
    (ApiKey::OffsetCommit, 10),
];
/// The kind of coordinator that is of groups.
const GROUP: i8 = 0;

/// Whether frames of this API are read at all.
pub(super) fn is_traced(key: i16) -> bool {
    TRACED.iter().any(|(traced, _)| traced.code() == key)
}

/// What a request asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Asked {
    key: ApiKey,
    version: i16,
    client: String,
    group: String,
    member: String,
    epoch: Option<i32>,
    /// In words.
    what: String,
}

impl Asked {
    /// Reads a request, which begins behind its length; `None` for what is not traced.
    ///
    /// # Errors
    /// A request that does not read as its version says.
    pub fn read(frame: &[u8]) -> Result<Option<Self>> {
        let c = &mut Cursor::new(frame);
        let (key, version, _) = (c.i16()?, c.i16()?, c.i32()?);
        let Some((key, _)) = TRACED
            .into_iter()
            .find(|(k, last)| k.code() == key && (0..=*last).contains(&version))
        else {
            return Ok(None);
        };
        let client = c.nullable_string(false)?.unwrap_or_default().to_owned();
        let flexible = key.is_flexible(version);
        if flexible {
            c.skip_tagged_fields()?;
        }
        let mut asked = Asked {
            key,
            version,
            client,
            group: String::new(),
            member: String::new(),
            epoch: None,
            what: String::new(),
        };
        match key {
            ApiKey::FindCoordinator => return asked.find_coordinator(c, flexible),
            ApiKey::JoinGroup => asked.join(c, flexible)?,
            ApiKey::LeaveGroup => asked.leave(c, flexible)?,
            ApiKey::ConsumerGroupHeartbeat => asked.beat(c)?,
            _ => {
                asked.group = c.string(flexible)?.to_owned();
                asked.epoch = Some(c.i32()?);
                asked.member = c.string(flexible)?.to_owned();
                if key == ApiKey::SyncGroup {
                    asked.sync(c, flexible)?;
                }
            }
        }
        Ok(Some(asked))
    }

    fn find_coordinator(mut self, c: &mut Cursor, flexible: bool) -> Result<Option<Self>> {
        if self.version < 4 {
            self.group = c.string(flexible)?.to_owned();
        }
        let kind = if self.version >= 1 { c.i8()? } else { GROUP };
        if self.version >= 4 {
            let mut groups = Vec::new();
            for _ in 0..c.array_len(flexible, 1)?.unwrap_or(0) {
                groups.push(c.string(flexible)?);
            }
            self.group = groups.join(" ");
        }
        self.what = "asks who coordinates".to_owned();
        Ok((kind == GROUP).then_some(self))
    }

    fn join(&mut self, c: &mut Cursor, flexible: bool) -> Result<()> {
        self.group = c.string(flexible)?.to_owned();
        c.i32()?; // session timeout
        if self.version >= 1 {
            c.i32()?; // rebalance timeout
        }
        self.member = c.string(flexible)?.to_owned();
        let instance = if self.version >= 5 {
            c.nullable_string(flexible)?
        } else {
            None
        };
        c.string(flexible)?; // protocol type
        let mut protocols = Vec::new();
        for _ in 0..c.array_len(flexible, 3)?.unwrap_or(0) {
            protocols.push(c.string(flexible)?);
            c.nullable_bytes(flexible)?;
            if flexible {
                c.skip_tagged_fields()?;
            }
        }
        let again = if self.member.is_empty() {
            "asks to join"
        } else {
            "asks to join with its id"
        };
        self.what = format!("{again}{}, knows {}", static_text(instance), protocols.join(", "));
        Ok(())
    }

    fn sync(&mut self, c: &mut Cursor, flexible: bool) -> Result<()> {
        if self.version >= 3 {
            c.nullable_string(flexible)?; // instance
        }
        if self.version >= 5 {
            c.nullable_string(flexible)?; // protocol type
            c.nullable_string(flexible)?; // protocol
        }
        let mut given = Vec::new();
        for _ in 0..c.array_len(flexible, 2)?.unwrap_or(0) {
            let member = c.string(flexible)?;
            let assignment = assignment(c.nullable_bytes(flexible)?.unwrap_or_default());
            given.push(format!("{member}: {assignment}"));
            if flexible {
                c.skip_tagged_fields()?;
            }
        }
        self.what = match given.is_empty() {
            true => "asks for its assignment".to_owned(),
            false => format!("leads and assigns {}", given.join("; ")),
        };
        Ok(())
    }

    fn leave(&mut self, c: &mut Cursor, flexible: bool) -> Result<()> {
        self.group = c.string(flexible)?.to_owned();
        self.what = "leaves".to_owned();
        if self.version < 3 {
            self.member = c.string(flexible)?.to_owned();
            return Ok(());
        }
        let mut members = Vec::new();
        for _ in 0..c.array_len(flexible, 3)?.unwrap_or(0) {
            let id = c.string(flexible)?;
            let instance = c.nullable_string(flexible)?;
            let reason = if self.version >= 5 {
                c.nullable_string(flexible)?
            } else {
                None
            };
            if let Some(reason) = reason {
                self.what = format!("leaves{}: {reason}", static_text(instance));
            }
            members.push(id);
            if flexible {
                c.skip_tagged_fields()?;
            }
        }
        self.member = members.join(" ");
        Ok(())
    }

    fn beat(&mut self, c: &mut Cursor) -> Result<()> {
        self.group = c.string(true)?.to_owned();
        self.member = c.string(true)?.to_owned();
        let epoch = c.i32()?;
        self.epoch = Some(epoch);
        let instance = c.nullable_string(true)?;
        c.nullable_string(true)?; // rack
        c.i32()?; // rebalance timeout
        let mut topics = Vec::new();
        if let Some(count) = c.array_len(true, 1)? {
            for _ in 0..count {
                topics.push(c.string(true)?);
            }
        }
        let pattern = if self.version >= 1 {
            c.nullable_string(true)?
        } else {
            None
        };
        topics.extend(pattern.filter(|pattern| !pattern.is_empty()));
        c.nullable_string(true)?; // assignor
        let held = places(c)?;
        let act = match epoch {
            0 => "joins",
            -1 => "leaves",
            -2 => "leaves for now",
            _ => "is there",
        };
        self.what = format!("{act}{}", static_text(instance));
        if !topics.is_empty() {
            self.what.push_str(&format!(", wants {}", topics.join(", ")));
        }
        if let Some(held) = held.filter(|_| epoch > 0) {
            self.what.push_str(&format!(", holds {held}"));
        }
        Ok(())
    }

    /// The step that the answer makes of it, or `None` when that says nothing new.
    ///
    /// # Errors
    /// An answer that does not read as its version says.
    pub fn answered(self, frame: &[u8], times: (u64, u64), connection: u32, is_lost: bool) -> Result<Option<Step>> {
        let c = &mut Cursor::new(frame);
        c.i32()?; // correlation id
        let flexible = self.key.is_flexible(self.version);
        if flexible {
            c.skip_tagged_fields()?;
        }
        let mut step = Step {
            asked_ns: times.0,
            answered_ns: times.1,
            connection,
            client: self.client.clone(),
            api: name(self.key),
            group: self.group.clone(),
            member: self.member.clone(),
            epoch: self.epoch,
            error: 0,
            what: self.what.clone(),
            is_lost,
        };
        let is_new = match self.key {
            ApiKey::FindCoordinator => self.coordinator(c, flexible, &mut step)?,
            ApiKey::JoinGroup => self.joined(c, flexible, &mut step)?,
            ApiKey::SyncGroup => self.synced(c, flexible, &mut step)?,
            ApiKey::ConsumerGroupHeartbeat => self.beaten(c, &mut step)?,
            ApiKey::OffsetCommit => self.committed(c, flexible, &mut step)?,
            _ => {
                if self.version >= 1 {
                    c.i32()?; // throttle
                }
                step.error = c.i16()?;
                if self.key == ApiKey::Heartbeat {
                    step.what = "is there".to_owned();
                }
                step.error != 0 || self.key == ApiKey::LeaveGroup
            }
        };
        Ok(is_new.then_some(step))
    }

    fn coordinator(&self, c: &mut Cursor, flexible: bool, step: &mut Step) -> Result<bool> {
        if self.version >= 1 {
            c.i32()?; // throttle
        }
        if self.version >= 4 {
            if c.array_len(flexible, 1)?.unwrap_or(0) == 0 {
                return Ok(false);
            }
            c.string(flexible)?; // key
            let node = c.i32()?;
            c.string(flexible)?;
            c.i32()?;
            step.error = c.i16()?;
            step.what = format!("asks who coordinates: broker {node}");
            return Ok(true);
        }
        step.error = c.i16()?;
        if self.version >= 1 {
            c.nullable_string(flexible)?; // message
        }
        step.what = format!("asks who coordinates: broker {}", c.i32()?);
        Ok(true)
    }

    fn joined(&self, c: &mut Cursor, flexible: bool, step: &mut Step) -> Result<bool> {
        if self.version >= 2 {
            c.i32()?; // throttle
        }
        step.error = c.i16()?;
        let generation = c.i32()?;
        if self.version >= 7 {
            c.nullable_string(flexible)?; // protocol type
        }
        let protocol = c.nullable_string(flexible)?.unwrap_or_default().to_owned();
        let leader = c.string(flexible)?.to_owned();
        if self.version >= 9 {
            c.bool()?; // assignment is skipped
        }
        step.member = c.string(flexible)?.to_owned();
        let members = c.array_len(flexible, 2)?.unwrap_or(0);
        if step.error == ErrorCode::MemberIdRequired.code() {
            step.what.push_str(", and is given its id first");
        }
        if step.error == 0 {
            step.epoch = Some(generation);
            let role = match leader == step.member {
                true => format!("was made leader of {members} members"),
                false => format!("follows {leader}"),
            };
            step.what
                .push_str(&format!(": generation {generation} by {protocol}, {role}"));
        }
        Ok(true)
    }

    fn synced(&self, c: &mut Cursor, flexible: bool, step: &mut Step) -> Result<bool> {
        if self.version >= 1 {
            c.i32()?; // throttle
        }
        step.error = c.i16()?;
        if self.version >= 5 {
            c.nullable_string(flexible)?; // protocol type
            c.nullable_string(flexible)?; // protocol
        }
        let given = c.nullable_bytes(flexible)?.unwrap_or_default();
        if step.error == 0 {
            step.what.push_str(&format!("; was given {}", assignment(given)));
        }
        Ok(true)
    }

    fn beaten(&self, c: &mut Cursor, step: &mut Step) -> Result<bool> {
        c.i32()?; // throttle
        step.error = c.i16()?;
        let message = c.nullable_string(true)?;
        let member = c.nullable_string(true)?;
        let epoch = c.i32()?;
        c.i32()?; // interval
        if step.error != 0 {
            if let Some(message) = message {
                step.what.push_str(&format!(" ({message})"));
            }
            return Ok(true);
        }
        let is_raised = self.epoch != Some(epoch);
        step.epoch = Some(epoch);
        step.member = member.unwrap_or(&self.member).to_owned();
        if is_raised && epoch > 0 {
            step.what.push_str(&format!(": epoch {epoch}"));
        }
        let given = match c.i8()? {
            ..0 => None,
            _ => places(c)?,
        };
        let is_told = given.is_some();
        if let Some(given) = given {
            step.what.push_str(&format!("; shall hold {given}"));
        }
        Ok(is_raised || is_told || epoch <= 0)
    }

    fn committed(&self, c: &mut Cursor, flexible: bool, step: &mut Step) -> Result<bool> {
        if self.version >= 3 {
            c.i32()?; // throttle
        }
        let mut refused = 0;
        for _ in 0..c.array_len(flexible, 2)?.unwrap_or(0) {
            // Named by their ids from version 10 on.
            match self.version {
                ..10 => c.string(flexible).map(drop)?,
                _ => c.take(16).map(drop)?,
            }
            for _ in 0..c.array_len(flexible, 6)?.unwrap_or(0) {
                c.i32()?; // partition
                let error = c.i16()?;
                if error != 0 {
                    step.error = error;
                    refused += 1;
                }
                if flexible {
                    c.skip_tagged_fields()?;
                }
            }
            if flexible {
                c.skip_tagged_fields()?;
            }
        }
        step.what = format!("commits, and {refused} partitions are refused");
        Ok(refused > 0)
    }
}

fn name(key: ApiKey) -> &'static str {
    match key {
        ApiKey::FindCoordinator => "FindCoordinator",
        ApiKey::JoinGroup => "JoinGroup",
        ApiKey::SyncGroup => "SyncGroup",
        ApiKey::Heartbeat => "Heartbeat",
        ApiKey::LeaveGroup => "LeaveGroup",
        ApiKey::ConsumerGroupHeartbeat => "ConsumerGroupHeartbeat",
        _ => "OffsetCommit",
    }
}

fn static_text(instance: Option<&str>) -> String {
    instance.map_or(String::new(), |name| format!(" as {name}"))
}

fn numbers(c: &mut Cursor, flexible: bool) -> Result<String> {
    let mut all = Vec::new();
    for _ in 0..c.array_len(flexible, 4)?.unwrap_or(0) {
        all.push(c.i32()?);
    }
    all.sort_unstable();
    let texts: Vec<String> = all.iter().map(i32::to_string).collect();
    Ok(texts.join(" "))
}

/// What consumers write into an assignment: version, topics with partitions. Of other kinds of members only the size can be told.
fn assignment(bytes: &[u8]) -> String {
    let read = || -> Result<String> {
        let c = &mut Cursor::new(bytes);
        c.i16()?;
        let mut topics = Vec::new();
        for _ in 0..c.array_len(false, 6)?.unwrap_or(0) {
            let topic = c.string(false)?;
            topics.push(format!("{topic} {}", numbers(c, false)?));
        }
        Ok(topics.join(", "))
    };
    match (bytes, read()) {
        ([], _) => "nothing".to_owned(),
        (_, Ok(text)) if text.is_empty() => "nothing".to_owned(),
        (_, Ok(text)) => text,
        (bytes, Err(_)) => format!("{} bytes", bytes.len()),
    }
}

/// Partitions by topic id, of which the first four bytes are told; `None` when nothing is said.
fn places(c: &mut Cursor) -> Result<Option<String>> {
    let Some(count) = c.array_len(true, 18)? else {
        return Ok(None);
    };
    let mut topics = Vec::new();
    for _ in 0..count {
        let id = c.take(16)?;
        let start: String = id[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        topics.push(format!("{start} {}", numbers(c, true)?));
        c.skip_tagged_fields()?;
    }
    Ok(Some(match topics.is_empty() {
        true => "nothing".to_owned(),
        false => topics.join(", "),
    }))
}
