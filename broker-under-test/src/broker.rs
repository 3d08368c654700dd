//! What the handlers share: settings, topics, counters, identity.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::fcntl::{Flock, FlockArg};
use uuid::Uuid;

use crate::checkpoint;
use crate::config::{Config, FetchPath};
use crate::counters::Counters;
use crate::fetch_path::{self, HeapCache};
use crate::groups::Groups;
use crate::log::{LogError, io};
use crate::planted::PlantedBug;
use crate::storage::Storage;
use crate::topics::Topics;

const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
const META: &str = "meta.properties";
const PRODUCER_IDS: &str = "producer-ids";
/// Producer ids that one write of the file reserves; those of a block that a crash cut short are never used.
const PRODUCER_ID_BLOCK: i64 = 1000;

/// The state of a broker while it runs.
#[derive(Debug)]
pub struct Broker {
    /// Effective settings.
    pub config: Arc<Config>,
    /// Topics and their logs.
    pub topics: Topics,
    /// Consumer groups and what they committed.
    pub(crate) groups: Groups,
    /// What the broker counts of itself.
    pub counters: Arc<Counters>,
    /// Blocks of log files, for `fetch.path=heap-cache`; empty otherwise.
    pub cache: Arc<HeapCache>,
    /// Stays with the data folder.
    pub cluster_id: String,
    /// Where clients reach this broker; the port is the real one, also when 0 was asked for.
    pub port: u16,
    /// A defect that was asked for, to test whoever tests the broker.
    pub planted: Option<PlantedBug>,
    stopping: AtomicBool,
    producer_ids: Mutex<ProducerIds>,
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    _lock: Flock<File>,
}

#[derive(Debug)]
struct ProducerIds {
    next: i64,
    reserved_below: i64,
}

impl Broker {
    /// Locks the data folder, opens every log and repairs what a crash left. Everything that must survive goes through `storage`.
    ///
    /// # Errors
    /// The file system's; a folder that another broker uses.
    pub fn open(
        storage: Arc<dyn Storage>,
        config: Config,
        port: u16,
        planted: Option<PlantedBug>,
    ) -> Result<Self, LogError> {
        let config = Arc::new(config);
        let dir = config.data_dir();
        create_dir(storage.as_ref(), &dir).map_err(io("create", &dir))?;
        // Not through the storage: the lock is of this process and says nothing after a crash.
        let lock_path = dir.join(".lock");
        let lock = File::create(&lock_path).map_err(io("create", &lock_path))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
            let source = match errno {
                nix::Error::EWOULDBLOCK => std::io::Error::other("another broker uses this data folder"),
                other => other.into(),
            };
            io("lock", &lock_path)(source)
        })?;
        // In front of the marker, which a start that is refused must leave where it is.
        let cluster_id = cluster_id(storage.as_ref(), &dir, &config)?;
        let marker = dir.join(CLEAN_SHUTDOWN);
        let clean = match storage.remove_file(&marker) {
            // Durably: a mark that comes back after a power cut would keep the next start from looking at what it left.
            Ok(()) => storage.sync_dir(&dir).map(|()| true).map_err(io("flush", &dir))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => false,
            Err(e) => return Err(io("remove", marker)(e)),
        };
        let counters = Arc::new(Counters::default());
        let topics = Topics::open(storage.clone(), &dir, config.clone(), counters.clone(), clean)?;
        let partitions: usize = topics.all().iter().map(|t| t.partitions.len()).sum();
        tracing::info!(folder = %dir.display(), clean, partitions, "opened");
        if config.fetch_path() == FetchPath::Direct {
            fetch_path::probe_direct(&dir).map_err(io("probe", &dir))?;
        }
        let cache = Arc::new(HeapCache::new(config.size("fetch.cache.bytes")));
        let groups = Groups::open(config.clone(), &topics)?;
        let next = read_producer_ids(storage.as_ref(), &dir)?;
        Ok(Broker {
            config,
            topics,
            groups,
            counters,
            cache,
            cluster_id,
            port,
            planted,
            stopping: AtomicBool::new(false),
            producer_ids: Mutex::new(ProducerIds {
                next,
                reserved_below: next,
            }),
            storage,
            dir,
            _lock: lock,
        })
    }

    /// A producer id that was never given out by this data folder.
    pub fn next_producer_id(&self) -> Result<i64, LogError> {
        let mut ids = self.producer_ids.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.next == ids.reserved_below {
            let reserved_below = ids.next + PRODUCER_ID_BLOCK;
            checkpoint::replace(
                self.storage.as_ref(),
                &self.dir.join(PRODUCER_IDS),
                format!("{reserved_below}\n").as_bytes(),
            )?;
            ids.reserved_below = reserved_below;
        }
        ids.next += 1;
        Ok(ids.next - 1)
    }

    /// Whether the broker is going down; long polls end then.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Asks long polls to end.
    pub fn begin_stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Flushes everything and leaves the marker that lets the next start skip recovery.
    pub fn close_cleanly(&self) -> Result<(), LogError> {
        self.topics.flush()?;
        checkpoint::replace(
            self.storage.as_ref(),
            &self.dir.join(CLEAN_SHUTDOWN),
            b"{\"version\":0}\n",
        )
    }
}

/// Makes the data folder and those above it, durably: after a power cut an empty one would pass for a new broker.
fn create_dir(storage: &dyn Storage, dir: &Path) -> std::io::Result<()> {
    let missing = |folder: &&Path| !folder.as_os_str().is_empty() && storage.info(folder).is_err();
    let made: Vec<&Path> = dir.ancestors().take_while(missing).collect();
    storage.create_dir(dir)?;
    for folder in made {
        let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
        storage.sync_dir(above.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

/// The text of a small file; `None` when it is not there.
fn read_text(storage: &dyn Storage, path: &Path) -> Result<Option<String>, LogError> {
    match storage.read(path) {
        Ok(raw) => Ok(Some(String::from_utf8_lossy(&raw).into_owned())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io("read", path)(e)),
    }
}

fn read_producer_ids(storage: &dyn Storage, dir: &Path) -> Result<i64, LogError> {
    let path = dir.join(PRODUCER_IDS);
    let Some(text) = read_text(storage, &path)? else {
        return Ok(0);
    };
    let next = text.trim().parse().ok().filter(|n| (0..i64::MAX / 2).contains(n));
    next.ok_or_else(|| {
        io("read", path)(std::io::Error::other(
            "expected one integer; ids must never repeat, so it is not guessed",
        ))
    })
}

/// The cluster id in `meta.properties`, made on the first start. The layout of the logs stands there too, as one can't read what the other wrote.
fn cluster_id(storage: &dyn Storage, dir: &Path, config: &Config) -> Result<String, LogError> {
    let path = dir.join(META);
    let (node_id, layout) = (config.text("node.id"), config.text("log.layout"));
    let text = match read_text(storage, &path)? {
        Some(text) => text,
        None => {
            let id = Uuid::new_v4().simple().to_string();
            let text = format!(
                "version=1\nnode.id={node_id}\ncluster.id={}\nlog.layout={layout}\n",
                &id[..22]
            );
            checkpoint::replace(storage, &path, text.as_bytes())?;
            text
        }
    };
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    let made_with = value("log.layout=").unwrap_or("partition-log");
    if made_with != layout {
        let problem = format!(
            "this data folder was made with log.layout={made_with}: start with --set log.layout={made_with}, or give another --data-dir"
        );
        return Err(io("read", path)(std::io::Error::other(problem)));
    }
    let id = value("cluster.id=");
    id.map(str::to_owned)
        .ok_or_else(|| io("read", path)(std::io::Error::other("there is no line cluster.id=…")))
}
