//! Requests and answers of the groups' APIs, read as far as the trace tells of them, and which topics ids stand for. Layouts are from Kafka's message definitions
//! (clients/src/main/resources/common/message).

use kafka_wire::{ApiKey, Cursor, ErrorCode, WireError};

use super::{Act, HOLDS, SHALL_HOLD, Step, WANTS};

type Result<T> = std::result::Result<T, WireError>;

/// APIs with the last version that is read here.
const TRACED: [(ApiKey, i16); 8] = [
    (ApiKey::FindCoordinator, 6),
    (ApiKey::JoinGroup, 9),
    (ApiKey::SyncGroup, 5),
    (ApiKey::Heartbeat, 4),
    (ApiKey::LeaveGroup, 5),
    (ApiKey::ConsumerGroupHeartbeat, 1),
    (ApiKey::OffsetCommit, 10),
    (ApiKey::Metadata, 13),
];
/// The first version whose answers have ids.
const METADATA_WITH_IDS: i16 = 10;
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
    act: Act,
    /// In words.
    what: String,
}

/// What an answer makes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Told {
    /// A step.
    Step(Step),
    /// Topics that there are, each by the start of its id ([`id_start`]).
    Topics(Vec<(String, String)>),
    /// Nothing new.
    Nothing,
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
            act: Act::Other,
            what: String::new(),
        };
        match key {
            ApiKey::Metadata => return Ok((version >= METADATA_WITH_IDS).then_some(asked)),
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
        self.act = Act::Joins;
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
        if given.is_empty() {
            self.what = "asks for its assignment".to_owned();
        } else {
            self.act = Act::Assigns;
            self.what = format!("leads and assigns {}", given.join("; "));
        }
        Ok(())
    }

    fn leave(&mut self, c: &mut Cursor, flexible: bool) -> Result<()> {
        self.group = c.string(flexible)?.to_owned();
        self.act = Act::Leaves;
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
        let (act, word) = match epoch {
            0 => (Act::Joins, "joins"),
            -1 => (Act::Leaves, "leaves"),
            -2 => (Act::Leaves, "leaves for now"),
            _ => (Act::Other, "is there"),
        };
        self.act = act;
        self.what = format!("{word}{}", static_text(instance));
        if !topics.is_empty() {
            self.what.push_str(&format!("{WANTS}{}", topics.join(", ")));
        }
        if let Some(held) = held.filter(|_| epoch > 0) {
            self.what.push_str(&format!("{HOLDS}{held}"));
        }
        Ok(())
    }

    /// What the answer makes of it.
    ///
    /// # Errors
    /// An answer that does not read as its version says.
    pub fn answered(self, frame: &[u8], times: (u64, u64), connection: u32, is_lost: bool) -> Result<Told> {
        let c = &mut Cursor::new(frame);
        c.i32()?; // correlation id
        let flexible = self.key.is_flexible(self.version);
        if flexible {
            c.skip_tagged_fields()?;
        }
        if self.key == ApiKey::Metadata {
            return topics(c).map(Told::Topics);
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
            act: self.act,
            asked: self.what.clone(),
            answered: String::new(),
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
                    step.asked = "is there".to_owned();
                }
                step.error != 0 || self.key == ApiKey::LeaveGroup
            }
        };
        Ok(if is_new { Told::Step(step) } else { Told::Nothing })
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
            step.answered = format!("broker {node}");
            return Ok(true);
        }
        step.error = c.i16()?;
        if self.version >= 1 {
            c.nullable_string(flexible)?; // message
        }
        step.answered = format!("broker {}", c.i32()?);
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
            step.answered = "is given its id first".to_owned();
        }
        if step.error == 0 {
            step.epoch = Some(generation);
            let role = match leader == step.member {
                true => format!("was made leader of {members} members"),
                false => format!("follows {leader}"),
            };
            step.answered = format!("generation {generation} by {protocol}, {role}");
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
            step.answered = format!("was given {}", assignment(given));
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
            step.answered = message.unwrap_or_default().to_owned();
            return Ok(true);
        }
        let is_raised = self.epoch != Some(epoch);
        step.epoch = Some(epoch);
        step.member = member.unwrap_or(&self.member).to_owned();
        let given = match c.i8()? {
            ..0 => None,
            _ => places(c)?,
        };
        let is_told = given.is_some();
        let raised = (is_raised && epoch > 0).then(|| format!("epoch {epoch}"));
        let shall = given.map(|given| format!("{SHALL_HOLD}{given}"));
        step.answered = raised.into_iter().chain(shall).collect::<Vec<_>>().join(", ");
        Ok(is_raised || is_told || epoch <= 0 || self.what.contains(WANTS))
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
        step.asked = "commits".to_owned();
        step.answered = format!("{refused} partitions are refused");
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
        let start = id_start(c)?;
        topics.push(format!("{start} {}", numbers(c, true)?));
        c.skip_tagged_fields()?;
    }
    Ok(Some(match topics.is_empty() {
        true => "nothing".to_owned(),
        false => topics.join(", "),
    }))
}

/// The first four bytes of a topic's id, which stand for it in the words of a step.
fn id_start(c: &mut Cursor) -> Result<String> {
    let id = c.take(16)?;
    Ok(id[..4].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The topics of Metadata, versions 10 to 13, behind the header.
fn topics(c: &mut Cursor) -> Result<Vec<(String, String)>> {
    c.i32()?; // throttle
    for _ in 0..c.array_len(true, 9)?.unwrap_or(0) {
        c.i32()?; // node
        c.string(true)?;
        c.i32()?; // port
        c.nullable_string(true)?; // rack
        c.skip_tagged_fields()?;
    }
    c.nullable_string(true)?; // cluster
    c.i32()?; // controller
    let mut found = Vec::new();
    for _ in 0..c.array_len(true, 26)?.unwrap_or(0) {
        let error = c.i16()?;
        let name = c.nullable_string(true)?.unwrap_or_default().to_owned();
        let id = id_start(c)?;
        c.bool()?; // internal
        for _ in 0..c.array_len(true, 18)?.unwrap_or(0) {
            c.i16()?; // error
            c.i32()?; // partition
            c.i32()?; // leader
            c.i32()?; // its epoch
            for _ in 0..3 {
                numbers(c, true)?; // replicas, in sync, offline
            }
            c.skip_tagged_fields()?;
        }
        c.i32()?; // authorized operations
        c.skip_tagged_fields()?;
        if error == 0 {
            found.push((id, name));
        }
    }
    Ok(found)
}
