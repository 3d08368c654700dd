//! Topics: which exist, their ids, partitions and settings, and the files that remember them.
//!
//! `topics.json` in the data folder is replaced atomically when a topic comes or goes; the partition folders beside it
//! are Kafka's (`orders-0/`). A folder that no topic claims is left alone.

mod catalog;
mod settings;

pub use catalog::Catalog;
pub use settings::TOPIC_SETTINGS;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use kafka_wire::ErrorCode;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::checkpoint::{self, Offsets};
use crate::config::Config;
use crate::counters::Counters;
use crate::groups;
use crate::log::commit_log::{CommitLog, Known};
use crate::log::state::{self, LogStates};
use crate::log::{FlushPolicy, Limits, Log, LogError, LogState, NullLog, OpenFiles, OpenMode, PartitionLog, io};
use crate::side_by_side::side_by_side;
use crate::storage::Storage;
use settings::POLICY;

const FILE: &str = "topics.json";
/// Kafka's bound for topic names.
const NAME_BYTES_MAX: usize = 249;
const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
const START_OFFSETS: &str = "log-start-offset-checkpoint";
const CLEAN_UNTIL: &str = "cleaner-offset-checkpoint";

/// A topic with its open logs.
#[derive(Debug)]
pub struct Topic {
    /// Name.
    pub name: String,
    /// Stable over restarts; a topic that is created again gets another.
    pub id: Uuid,
    /// Own settings, a subset of [`TOPIC_SETTINGS`].
    pub settings: BTreeMap<String, String>,
    /// By partition number.
    pub partitions: Vec<Arc<dyn Log>>,
    /// The largest batch that is accepted.
    pub batch_bytes_max: usize,
    /// Records need keys.
    pub is_compacted: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: Uuid,
    partitions: usize,
    settings: BTreeMap<String, String>,
}

/// All topics of a broker.
#[derive(Debug)]
pub struct Topics {
    storage: Arc<dyn Storage>,
    files: Arc<OpenFiles>,
    /// With `log.layout=commit-log`.
    commit_log: Option<Arc<CommitLog>>,
    dir: PathBuf,
    config: Arc<Config>,
    topics: RwLock<BTreeMap<String, Arc<Topic>>>,
    /// Changes of names, ids and numbers of partitions so far.
    version: AtomicU64,
    /// As it was when it was asked for last.
    catalog: Mutex<Arc<Catalog>>,
    /// Held while the file and the folders change.
    changing: Mutex<()>,
}

/// A refusal in Kafka's terms.
#[derive(Debug)]
pub struct Refusal {
    /// The code.
    pub error: ErrorCode,
    /// In words.
    pub message: String,
}

fn refuse<T>(error: ErrorCode, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal {
        error,
        message: message.into(),
    })
}

impl From<LogError> for Refusal {
    fn from(error: LogError) -> Self {
        tracing::error!(%error, "storage");
        Refusal {
            error: ErrorCode::KafkaStorageError,
            message: error.to_string(),
        }
    }
}

impl Topics {
    /// Opens every topic in the data folder; after a crash the logs are repaired.
    pub fn open(
        storage: Arc<dyn Storage>,
        dir: &Path,
        config: Arc<Config>,
        counters: Arc<Counters>,
        clean: bool,
    ) -> Result<Self, LogError> {
        let path = dir.join(FILE);
        let entries: BTreeMap<String, Entry> = match storage.read(&path) {
            Ok(raw) => serde_json::from_slice(&raw).map_err(|e| io("read", &path)(std::io::Error::other(e)))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(e) => return Err(io("read", &path)(e)),
        };
        let recovery = checkpoint::read(storage.as_ref(), &dir.join(RECOVERY_POINTS))?;
        let starts = checkpoint::read(storage.as_ref(), &dir.join(START_OFFSETS))?;
        let states = state::read(storage.as_ref(), dir)?;
        let files_max = config.size("open.files.max").min(file_limit() / 2);
        let files = OpenFiles::new(storage.clone(), files_max, counters.clone());
        let commit_log = match config.commit_log() {
            Some(options) => Some(CommitLog::open(&files, dir, options, &known(&entries, &starts))?),
            None => None,
        };
        let mut topics = Topics {
            files,
            commit_log,
            storage,
            dir: dir.to_owned(),
            config,
            topics: RwLock::default(),
            version: AtomicU64::new(1),
            catalog: Mutex::default(),
            changing: Mutex::default(),
        };
        let places: Vec<(&String, &Entry, usize)> = entries
            .iter()
            .flat_map(|(name, entry)| (0..entry.partitions).map(move |partition| (name, entry, partition)))
            .collect();
        let opened = side_by_side(topics.threads(), &places, |&(name, entry, partition)| {
            let at = |offsets: &Offsets| offsets.get(&(name.clone(), partition as i32)).copied().unwrap_or(0);
            let mode = OpenMode {
                clean,
                recovery_point: at(&recovery),
                start_offset: at(&starts),
            };
            topics.open_partition(name, entry, partition, mode, &states)
        });
        let mut opened = opened.into_iter();
        let mut known = BTreeMap::new();
        for (name, entry) in &entries {
            let partitions = opened.by_ref().take(entry.partitions).collect::<Result<_, _>>()?;
            known.insert(name.clone(), Arc::new(topics.topic_of(name, entry, partitions)));
        }
        topics.topics = RwLock::new(known);
        Ok(topics)
    }

    fn open_partition(
        &self,
        topic: &str,
        entry: &Entry,
        partition: usize,
        mode: OpenMode,
        states: &LogStates,
    ) -> Result<Arc<dyn Log>, LogError> {
        if self.is_null(topic) {
            return Ok(Arc::new(NullLog::new()));
        }
        let shared = self.shared(topic);
        if let Some(log) = shared.and_then(|shared| shared.partition(entry.id, partition as i32)) {
            return Ok(log);
        }
        let folder = format!("{topic}-{partition}");
        let limits = self.limits(&entry.settings);
        self.open_log(&self.dir.join(&folder), limits, mode, states.get(&folder))
    }

    /// How many logs are opened or flushed at once.
    fn threads(&self) -> usize {
        self.config.size("num.recovery.threads.per.data.dir")
    }

    fn topic_of(&self, name: &str, entry: &Entry, partitions: Vec<Arc<dyn Log>>) -> Topic {
        Topic {
            name: name.to_owned(),
            id: entry.id,
            settings: entry.settings.clone(),
            partitions,
            batch_bytes_max: self.effective_int(&entry.settings, "max.message.bytes") as usize,
            is_compacted: self.has_policy(&entry.settings, "compact"),
        }
    }

    /// The topic of that name.
    pub fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    /// The topic of that id.
    pub fn by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        self.topics
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .find(|t| t.id == id)
            .cloned()
    }

    /// All topics by name.
    pub fn all(&self) -> Vec<Arc<Topic>> {
        self.topics
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// Makes a change of the topics visible.
    fn publish(&self, change: impl FnOnce(&mut BTreeMap<String, Arc<Topic>>) -> Option<Arc<Topic>>) {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut topics);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Names, ids and numbers of partitions, at once of all topics. Made when it is asked for after a change.
    pub fn catalog(&self) -> Arc<Catalog> {
        let mut catalog = self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
        if catalog.version() != self.version.load(Ordering::Acquire) {
            let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
            let row = |t: &Arc<Topic>| {
                (
                    t.name.clone(),
                    t.id,
                    i32::try_from(t.partitions.len()).unwrap_or(i32::MAX),
                )
            };
            // The lock keeps the version as it is.
            let version = self.version.load(Ordering::Acquire);
            *catalog = Arc::new(Catalog::of(version, topics.values().map(row)));
        }
        catalog.clone()
    }

    /// The log of a partition.
    pub fn log(&self, topic: &str, partition: i32) -> Option<Arc<dyn Log>> {
        let topic = self.get(topic)?;
        topic.partitions.get(usize::try_from(partition).ok()?).cloned()
    }

    /// Checks what CreateTopics asks for; answers the number of partitions.
    pub fn check_new(
        &self,
        name: &str,
        partitions: i32,
        replication_factor: i16,
        settings: &BTreeMap<String, String>,
    ) -> Result<usize, Refusal> {
        check_name(name)?;
        refuse_own(name)?;
        if self.get(name).is_some() {
            return refuse(ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists."));
        }
        let count = if partitions == -1 {
            self.config.int("num.partitions")
        } else {
            i64::from(partitions)
        };
        if count < 1 {
            return refuse(
                ErrorCode::InvalidPartitions,
                "Number of partitions must be larger than 0.",
            );
        }
        self.check_room(count)?;
        if !matches!(replication_factor, -1 | 1) {
            let message = format!("Replication factor: {replication_factor} larger than available brokers: 1.");
            return refuse(ErrorCode::InvalidReplicationFactor, message);
        }
        self.check_settings(name, settings)?;
        Ok(count as usize)
    }

    /// Whether `count` more partitions may be opened.
    fn check_room(&self, count: i64) -> Result<(), Refusal> {
        let open: usize = self.all().iter().map(|t| t.partitions.len()).sum();
        let limit = self.config.size("max.partitions");
        if count > limit.saturating_sub(open) as i64 {
            let message = format!("{open} partitions exist and max.partitions is {limit}.");
            return refuse(ErrorCode::PolicyViolation, message);
        }
        Ok(())
    }

    /// Checks what CreatePartitions asks for; answers the number of new partitions.
    pub fn check_growth(&self, name: &str, count: i32) -> Result<usize, Refusal> {
        refuse_own(name)?;
        let Some(topic) = self.get(name) else {
            return refuse(
                ErrorCode::UnknownTopicOrPartition,
                "This server does not host this topic.",
            );
        };
        let now = topic.partitions.len();
        let added = i64::from(count) - now as i64;
        if added < 1 {
            let message = format!("Topic '{name}' has {now} partitions; {count} is not an increase.");
            return refuse(ErrorCode::InvalidPartitions, message);
        }
        self.check_room(added)?;
        Ok(added as usize)
    }

    /// Adds partitions to a topic until it has `count`: folders first, then the file that makes them count.
    pub fn grow(&self, name: &str, count: i32) -> Result<(), Refusal> {
        let _changing = self.lock();
        let added = self.check_growth(name, count)?;
        let Some(topic) = self.get(name) else {
            return refuse(
                ErrorCode::UnknownTopicOrPartition,
                "This server does not host this topic.",
            );
        };
        let first = topic.partitions.len();
        let mut partitions = topic.partitions.clone();
        let limits = self.limits(&topic.settings);
        for partition in first..first + added {
            partitions.push(self.fresh_log(name, topic.id, partition, limits)?);
        }
        let grown = Arc::new(Topic {
            name: topic.name.clone(),
            id: topic.id,
            settings: topic.settings.clone(),
            partitions,
            batch_bytes_max: topic.batch_bytes_max,
            is_compacted: topic.is_compacted,
        });
        self.write_checkpoints_locked(false)?;
        let mut entries = self.entries();
        if let Some(entry) = entries.get_mut(name) {
            entry.partitions = first + added;
        }
        self.save(&entries)?;
        self.publish(|topics| topics.insert(name.to_owned(), grown));
        tracing::info!(topic = name, partitions = first + added, "partitions added");
        Ok(())
    }

    /// An empty log in the folder of a partition. What an interrupted creation left there is not the new one's.
    fn fresh_log(&self, name: &str, id: Uuid, partition: usize, limits: Limits) -> Result<Arc<dyn Log>, LogError> {
        if self.is_null(name) {
            return Ok(Arc::new(NullLog::new()));
        }
        if let Some(shared) = self.shared(name) {
            return shared.create(id, name, partition as i32);
        }
        let dir = self.dir.join(format!("{name}-{partition}"));
        PartitionLog::remove_in(self.storage.as_ref(), &dir)?;
        let mode = OpenMode {
            clean: true,
            recovery_point: 0,
            start_offset: 0,
        };
        self.open_log(&dir, limits, mode, None)
    }

    fn open_log(
        &self,
        dir: &Path,
        limits: Limits,
        mode: OpenMode,
        state: Option<&LogState>,
    ) -> Result<Arc<dyn Log>, LogError> {
        let log = PartitionLog::open(&self.files, dir, limits, mode, state)?;
        Ok(Arc::new(log))
    }

    /// Whether what is produced to the topic is stored nowhere.
    fn is_null(&self, topic: &str) -> bool {
        self.config.text("log.layout") == "null" && !is_internal(topic)
    }

    /// The shared log, for topics that are in it.
    fn shared(&self, topic: &str) -> Option<&Arc<CommitLog>> {
        self.commit_log.as_ref().filter(|_| !is_internal(topic))
    }

    /// Creates a topic: folders first, then the file that makes them count.
    pub fn create(
        &self,
        name: &str,
        partitions: i32,
        replication_factor: i16,
        settings: BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, Refusal> {
        let _changing = self.lock();
        let count = self.check_new(name, partitions, replication_factor, &settings)?;
        self.make(name, count, settings)
    }

    /// The topic of the group coordinator, created if it is not there.
    pub(crate) fn create_offsets_topic(&self, partitions: i32) -> Result<Arc<Topic>, Refusal> {
        let _changing = self.lock();
        if let Some(topic) = self.get(groups::TOPIC) {
            return Ok(topic);
        }
        self.check_room(i64::from(partitions))?;
        let segment_bytes = self.config.text("offsets.topic.segment.bytes");
        let settings = [(POLICY, "compact"), ("segment.bytes", segment_bytes)];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.make(groups::TOPIC, partitions as usize, settings.into())
    }

    /// Creates a topic that was checked, while `changing` is held.
    fn make(&self, name: &str, count: usize, settings: BTreeMap<String, String>) -> Result<Arc<Topic>, Refusal> {
        let mut entry = Entry {
            id: Uuid::new_v4(),
            partitions: count,
            settings,
        };
        if self.has_policy(&entry.settings, "compact") {
            // It stays so when the broker's default changes, as offsets may be missing from then on.
            let policy = self.effective(&entry.settings, POLICY);
            entry.settings.insert(POLICY.to_owned(), policy);
            self.change_clean_until(|clean| clean.retain(|(topic, _), _| topic != name))?;
        }
        let limits = self.limits(&entry.settings);
        let logs = (0..count)
            .map(|p| self.fresh_log(name, entry.id, p, limits))
            .collect::<Result<_, _>>()?;
        let topic = Arc::new(self.topic_of(name, &entry, logs));
        // What the checkpoints say of an earlier topic of the same name must not be taken for the new one's.
        self.write_checkpoints_locked(false)?;
        let mut entries = self.entries();
        entries.insert(name.to_owned(), entry);
        self.save(&entries)?;
        self.publish(|topics| topics.insert(name.to_owned(), topic.clone()));
        tracing::info!(topic = name, partitions = count, id = %topic.id, "created");
        Ok(topic)
    }

    /// Deletes a topic: the file first, then the folders.
    pub fn delete(&self, name: &str) -> Result<Arc<Topic>, Refusal> {
        refuse_own(name)?;
        let _changing = self.lock();
        let Some(topic) = self.get(name) else {
            return refuse(
                ErrorCode::UnknownTopicOrPartition,
                "This server does not host this topic.",
            );
        };
        let mut entries = self.entries();
        entries.remove(name);
        self.save(&entries)?;
        self.publish(|topics| topics.remove(name));
        for log in &topic.partitions {
            log.remove()?;
        }
        tracing::info!(topic = name, "deleted");
        Ok(topic)
    }

    fn entries(&self) -> BTreeMap<String, Entry> {
        let entry = |t: &Arc<Topic>| {
            let entry = Entry {
                id: t.id,
                partitions: t.partitions.len(),
                settings: t.settings.clone(),
            };
            (t.name.clone(), entry)
        };
        self.all().iter().map(entry).collect()
    }

    fn save(&self, entries: &BTreeMap<String, Entry>) -> Result<(), LogError> {
        let raw = serde_json::to_vec_pretty(entries).map_err(|e| io("write", self.dir.join(FILE))(e.into()))?;
        checkpoint::replace(self.storage.as_ref(), &self.dir.join(FILE), &raw)
    }

    /// Lets go of what retention does not keep at that time, in milliseconds since 1970, and removes it once it is written down where logs begin now.
    ///
    /// # Errors
    /// The first one; the other logs had their turn all the same.
    pub fn retain(&self, now_ms: i64) -> Result<(), LogError> {
        let (mut moved, mut retained) = (Vec::new(), Ok(()));
        for log in self.all().iter().flat_map(|topic| &topic.partitions) {
            match log.retain(now_ms) {
                Ok(true) => moved.push(log.clone()),
                Ok(false) => {}
                Err(error) => retained = retained.and(Err(error)),
            }
        }
        let mut shared_moved = false;
        if let Some(shared) = &self.commit_log {
            let _changing = self.lock();
            let limit = |name| self.config.int(name);
            match shared.retain(now_ms, limit("log.retention.ms"), limit("log.retention.bytes")) {
                Ok(segments) => shared_moved = segments > 0,
                Err(error) => retained = retained.and(Err(error)),
            }
        }
        if shared_moved || !moved.is_empty() {
            self.settle_starts(&moved)?;
        }
        retained
    }

    /// Compacts what is due at that time, in milliseconds since 1970, until `is_stopping`, and writes down how far it came.
    pub fn compact(&self, now_ms: i64, is_stopping: impl Fn() -> bool) -> Result<(), LogError> {
        let clean = checkpoint::read(self.storage.as_ref(), &self.dir.join(CLEAN_UNTIL))?;
        for topic in self.all().into_iter().filter(|topic| topic.is_compacted) {
            for (partition, log) in topic.partitions.iter().enumerate() {
                if is_stopping() {
                    return Ok(());
                }
                let key = (topic.name.clone(), partition as i32);
                match log.compact(clean.get(&key).copied().unwrap_or(0), now_ms) {
                    Ok(None) => {}
                    Ok(Some(until)) => {
                        let _changing = self.lock();
                        self.change_clean_until(|clean| {
                            clean.insert(key, until);
                        })?;
                    }
                    Err(error) => {
                        tracing::error!(topic = topic.name, partition, %error, "compaction failed, tried again later");
                    }
                }
            }
        }
        Ok(())
    }

    /// Rewrites up to where logs are compacted, while `changing` is held.
    fn change_clean_until(&self, change: impl FnOnce(&mut Offsets)) -> Result<(), LogError> {
        let path = self.dir.join(CLEAN_UNTIL);
        let mut clean = checkpoint::read(self.storage.as_ref(), &path)?;
        change(&mut clean);
        checkpoint::write(self.storage.as_ref(), &path, &clean)
    }

    /// Writes down what is known of idempotent producers where a recovery would have to read it from the log, then the checkpoints.
    ///
    /// # Errors
    /// The first one; what could not be written down is read by a recovery.
    pub fn checkpoint(&self) -> Result<(), LogError> {
        let mut saved = Ok(());
        // Without flushes, the recovery point moves when a segment is rolled, which writes them down too.
        if self.config.flush_policy() != FlushPolicy::Never {
            for log in self.all().iter().flat_map(|topic| &topic.partitions) {
                match log.save_producers() {
                    // It was told when it failed.
                    Ok(()) | Err(LogError::Offline(_)) => {}
                    Err(error) => saved = saved.and(Err(error)),
                }
            }
        }
        self.write_checkpoints().and(saved)
    }

    /// Forgets idempotent producers that were silent for too long at that time, in milliseconds since 1970; answers how many.
    pub fn expire_producers(&self, now_ms: i64) -> usize {
        let expiration_ms = self.config.int("producer.id.expiration.ms");
        let topics = self.all();
        let logs = topics.iter().flat_map(|topic| &topic.partitions);
        logs.map(|log| log.expire_producers(now_ms, expiration_ms)).sum()
    }

    /// Writes where each log begins and from where a recovery must look.
    pub fn write_checkpoints(&self) -> Result<(), LogError> {
        let _changing = self.lock();
        self.write_checkpoints_locked(false)
    }

    /// Remembers where logs begin whose start was moved, then removes what is below.
    ///
    /// # Errors
    /// The start could not be written: nothing is removed, and after a crash the records may be back. Or a file could not be removed.
    pub fn settle_starts(&self, moved: &[Arc<dyn Log>]) -> Result<(), LogError> {
        self.write_checkpoints()?;
        moved.iter().try_for_each(|log| log.remove_deleted())
    }

    /// As [`Self::write_checkpoints`], while `changing` is held: two writers would use the same temporary file.
    fn write_checkpoints_locked(&self, flushed_all: bool) -> Result<(), LogError> {
        let mut recovery = Offsets::new();
        let mut starts = Offsets::new();
        for topic in self.all() {
            for (partition, log) in topic.partitions.iter().enumerate() {
                let key = (topic.name.clone(), partition as i32);
                recovery.insert(key.clone(), log.recovery_point());
                starts.insert(key, log.bounds().start());
            }
        }
        checkpoint::write(self.storage.as_ref(), &self.dir.join(RECOVERY_POINTS), &recovery)?;
        checkpoint::write(self.storage.as_ref(), &self.dir.join(START_OFFSETS), &starts)?;
        match &self.commit_log {
            Some(shared) if flushed_all => shared.checkpoint(),
            Some(shared) => shared.checkpoint_if_due(),
            None => Ok(()),
        }
    }

    /// Flushes every log and writes the checkpoints; for a clean shutdown.
    ///
    /// # Errors
    /// The first log's that could not be flushed; the others are, and the checkpoints tell which.
    pub fn flush(&self) -> Result<(), LogError> {
        let _changing = self.lock();
        let topics = self.all();
        let logs: Vec<(&str, &Arc<dyn Log>)> = topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|log| (topic.name.as_str(), log)))
            .collect();
        let flushed = side_by_side(self.threads(), &logs, |(topic, log)| {
            let flushed = log.flush().and_then(|()| log.save_producers());
            flushed.inspect_err(|error| tracing::error!(topic, %error, "not flushed"))
        });
        let flushed = flushed.into_iter().fold(Ok(()), Result::and);
        self.write_checkpoints_locked(flushed.is_ok())?;
        flushed?;
        self.write_states()
    }

    /// Writes down what is there, for a start that need not look.
    fn write_states(&self) -> Result<(), LogError> {
        let mut states = LogStates::new();
        for topic in self.all() {
            for (partition, log) in topic.partitions.iter().enumerate() {
                if let Some(state) = log.state()? {
                    states.insert(format!("{}-{partition}", topic.name), state);
                }
            }
        }
        state::write(self.storage.as_ref(), &self.dir, &states)
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a topic is the broker's own. Those never share a log, whose retention would delete what must be kept.
fn is_internal(topic: &str) -> bool {
    topic.starts_with("__")
}

/// What belongs to the group coordinator is not for clients to create, grow or delete: groups would be forgotten.
fn refuse_own(topic: &str) -> Result<(), Refusal> {
    match topic == groups::TOPIC {
        true => refuse(ErrorCode::InvalidRequest, format!("{topic} is the broker's own topic.")),
        false => Ok(()),
    }
}

/// What the shared log has to serve.
fn known(entries: &BTreeMap<String, Entry>, starts: &Offsets) -> Vec<Known> {
    let shared = entries.iter().filter(|(name, _)| !is_internal(name));
    let partitions = shared.flat_map(|(name, entry)| (0..entry.partitions as i32).map(move |p| (name, entry.id, p)));
    let known = |(name, topic, partition): (&String, Uuid, i32)| Known {
        topic,
        name: name.clone(),
        partition,
        start_offset: starts.get(&(name.clone(), partition)).copied().unwrap_or(0),
    };
    partitions.map(known).collect()
}

/// How many files this process may have open; connections need some of them.
fn file_limit() -> usize {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX))
}

/// Kafka's rule for topic names: 1 to 249 of `[a-zA-Z0-9._-]`, neither `.` nor `..`.
pub fn check_name(name: &str) -> Result<(), Refusal> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name == "." || name == ".." || !name.bytes().all(legal) {
        // A name on the wire may be longer than a message.
        let start: String = name.chars().take(NAME_BYTES_MAX).collect();
        let message = format!("Topic name '{start}' is invalid: 1 to 249 ASCII letters, digits, '.', '_' and '-'.");
        return refuse(ErrorCode::InvalidTopicException, message);
    }
    Ok(())
}
