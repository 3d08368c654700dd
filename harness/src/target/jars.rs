//! The jars of the real brokers: fetched once by Maven into the user's cache folder, every one of them held against its checksum.
//!
//! A folder of the cache appears under its name only when it is complete and checked. Each use checks it again: it takes a fraction
//! of a second, and a damaged jar fails in ways that nobody would look for there.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use nix::fcntl::{Flock, FlockArg};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Unavailable;
use super::java::{self, Java};
use crate::interrupt;
use crate::process::{self, Process};

/// The checksums that were seen when a version without pinned ones was fetched.
const RECORDED: &str = "SHA256SUMS";
/// Maven says nothing while it loads a jar, the largest of which has 10 MB.
const SILENCE_MAX: Duration = Duration::from_secs(300);
/// How often a wait looks around.
const POLL: Duration = Duration::from_millis(50);

/// A product that Maven Central has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// Apache Kafka.
    Kafka,
    /// Apache RocketMQ.
    RocketMq,
}

impl Product {
    /// What `--target` and the cache call it.
    pub fn name(self) -> &'static str {
        match self {
            Product::Kafka => "kafka",
            Product::RocketMq => "rocketmq",
        }
    }

    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            Product::Kafka => "Apache Kafka",
            Product::RocketMq => "Apache RocketMQ",
        }
    }

    fn pins_text(self) -> &'static str {
        match self {
            Product::Kafka => include_str!("pins/kafka.toml"),
            Product::RocketMq => include_str!("pins/rocketmq.toml"),
        }
    }
}

/// What is fetched when nobody asks for another version.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pins {
    version: String,
    /// Maven's group:artifact:version.
    artifacts: Vec<String>,
    /// SHA-256 in hexadecimal by the name of the jar.
    sha256: BTreeMap<String, String>,
}

fn pins(product: Product) -> Result<Pins, Unavailable> {
    toml::from_str(product.pins_text()).map_err(|error| {
        Unavailable::new(
            format!("the pins of {} can't be read: {error}", product.title()),
            "report this as a defect of assay",
        )
    })
}

/// A product in the cache, complete and checked, and the Java for it.
#[derive(Debug, Clone)]
pub struct Installed {
    /// Its version.
    pub version: String,
    /// The folder of its jars.
    pub folder: PathBuf,
    /// The Java to run it with.
    pub java: Java,
    /// Whether the checksums are those of the project; otherwise those of the day it was fetched.
    pub pinned: bool,
}

impl Installed {
    /// The classpath: every jar of the folder.
    pub fn classpath(&self) -> PathBuf {
        self.folder.join("*")
    }
}

/// What the cache holds of a product, without fetching: `None` when it is not there.
///
/// # Errors
/// Java is missing, or a jar is not what it was.
pub fn look(product: Product, version: Option<&str>) -> Result<Option<Installed>, Unavailable> {
    let wanted = Wanted::new(product, version)?;
    let java = java::find()?;
    Ok(wanted.check()?.then(|| wanted.installed(java)))
}

/// Java, Maven and the jars: there already, or fetched now, which stderr tells.
///
/// # Errors
/// One line that says what is missing and what to do. Nothing half made is left.
pub fn ensure(product: Product, version: Option<&str>) -> Result<Installed, Unavailable> {
    let wanted = Wanted::new(product, version)?;
    let java = java::find()?;
    match wanted.check() {
        Ok(true) => return Ok(wanted.installed(java)),
        Ok(false) => {}
        Err(damage) => errln!("{}; it is fetched again", damage.what),
    }
    let maven = java::maven()?;
    let _lock = wanted.lock()?;
    // Another process may have fetched it while this one waited.
    if !wanted.check().unwrap_or(false) {
        let fetched = wanted.fetch(&maven);
        // Both are removed also after a failure: nothing half made is left.
        let _ = std::fs::remove_dir_all(wanted.part());
        fetched?;
    }
    Ok(wanted.installed(java))
}

/// The cache folder: `$XDG_CACHE_HOME/assay`, or `~/.cache/assay`.
///
/// # Errors
/// Neither variable is set.
pub fn cache() -> Result<PathBuf, Unavailable> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    base.map(|base| base.join("assay")).ok_or_else(|| {
        Unavailable::new(
            "there is no place for the jars",
            "set HOME, or XDG_CACHE_HOME, to an absolute path",
        )
    })
}

/// One version of one product, and where it belongs.
struct Wanted {
    product: Product,
    version: String,
    artifacts: Vec<String>,
    /// `None` for a version that is not pinned.
    sums: Option<BTreeMap<String, String>>,
    cache: PathBuf,
}

impl Wanted {
    fn new(product: Product, version: Option<&str>) -> Result<Self, Unavailable> {
        let pins = pins(product)?;
        let version = version.unwrap_or(&pins.version);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if version.is_empty() || version.starts_with('.') || !version.chars().all(is_plain) {
            return Err(Unavailable::new(
                format!("'{version}' is no version of {}", product.title()),
                format!("give one like {}", pins.version),
            ));
        }
        let suffix = format!(":{}", pins.version);
        let artifact = |pinned: &String| match pinned.strip_suffix(&suffix) {
            Some(rest) => format!("{rest}:{version}"),
            None => pinned.clone(),
        };
        Ok(Self {
            product,
            artifacts: pins.artifacts.iter().map(artifact).collect(),
            sums: (version == pins.version).then_some(pins.sha256),
            version: version.to_owned(),
            cache: cache()?,
        })
    }

    fn name(&self) -> String {
        format!("{}-{}", self.product.name(), self.version)
    }

    fn title(&self) -> String {
        format!("{} {}", self.product.title(), self.version)
    }

    fn folder(&self) -> PathBuf {
        self.cache.join(self.name())
    }

    fn part(&self) -> PathBuf {
        self.cache.join(format!(".{}.part", self.name()))
    }

    fn installed(&self, java: Java) -> Installed {
        Installed {
            version: self.version.clone(),
            folder: self.folder(),
            java,
            pinned: self.sums.is_some(),
        }
    }

    /// Whether the folder is there with every jar as it must be.
    fn check(&self) -> Result<bool, Unavailable> {
        let folder = self.folder();
        if !folder.is_dir() {
            return Ok(false);
        }
        let damaged = |what: String| {
            Unavailable::new(
                format!("{} in the cache is damaged: {what}", self.title()),
                format!("fetch it again: assay target fetch {}", self.product.name()),
            )
        };
        let recorded = || -> Result<BTreeMap<String, String>, Unavailable> {
            let file = folder.join(RECORDED);
            let text =
                std::fs::read_to_string(&file).map_err(|error| damaged(format!("{}: {error}", file.display())))?;
            let pairs = text.lines().filter_map(|line| line.split_once("  "));
            Ok(pairs.map(|(sum, jar)| (jar.to_owned(), sum.to_owned())).collect())
        };
        let expected = match &self.sums {
            Some(sums) => sums.clone(),
            None => recorded()?,
        };
        let found = sums_of(&folder).map_err(|error| damaged(format!("{}: {error}", folder.display())))?;
        match difference(&expected, &found) {
            None => Ok(true),
            Some(difference) => Err(damaged(difference)),
        }
    }

    /// Waits for the right to fetch; the kernel takes it back from a process that dies.
    fn lock(&self) -> Result<Flock<File>, Unavailable> {
        let path = self.cache.join(format!(".{}.lock", self.name()));
        let failed = |error: io::Error| {
            Unavailable::new(
                format!("{} can't be locked: {error}", path.display()),
                "make the cache folder writable, or set XDG_CACHE_HOME to one that is",
            )
        };
        std::fs::create_dir_all(&self.cache).map_err(failed)?;
        let mut file = File::create(&path).map_err(failed)?;
        let mut told = false;
        loop {
            file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((file, nix::errno::Errno::EWOULDBLOCK)) => file,
                Err((_, errno)) => return Err(failed(errno.into())),
            };
            if !std::mem::replace(&mut told, true) {
                errln!("waiting for another assay that fetches {}", self.title());
            }
            pause(POLL, &self.title())?;
        }
    }

    /// Fetches, checks and puts the folder in its place.
    fn fetch(&self, maven: &Path) -> Result<(), Unavailable> {
        let part = self.part();
        let failed = |error: io::Error| {
            Unavailable::new(
                format!("{} can't be written: {error}", part.display()),
                "make room, or set XDG_CACHE_HOME to a folder that has some",
            )
        };
        // What a fetch left that was killed; nobody else works there, as the lock is ours.
        if part.exists() {
            std::fs::remove_dir_all(&part).map_err(failed)?;
        }
        let jars = part.join("jars");
        std::fs::create_dir_all(&jars).map_err(failed)?;
        std::fs::write(part.join("pom.xml"), self.pom()).map_err(failed)?;
        let pinned = if self.sums.is_some() {
            ""
        } else {
            ", whose checksums are not pinned,"
        };
        errln!(
            "fetching {}{pinned} with Maven into {}",
            self.title(),
            self.folder().display()
        );
        self.run_maven(maven, &part)?;

        let found = sums_of(&jars).map_err(failed)?;
        if let Some(difference) = self.sums.as_ref().and_then(|sums| difference(sums, &found)) {
            return Err(Unavailable::new(
                format!(
                    "what Maven fetched is not {} as it is pinned: {difference}",
                    self.title()
                ),
                "nothing was kept; remove the jar from Maven's own repository (~/.m2/repository) and try again, and if it comes back, \
                 distrust the mirror",
            ));
        }
        if found.is_empty() {
            return Err(Unavailable::new(
                format!("Maven fetched no jar of {}", self.title()),
                "try `mvn -version`, and report this as a defect of assay if it works",
            ));
        }
        let recorded = found.iter().fold(String::new(), |mut text, (jar, sum)| {
            let _ = writeln!(text, "{sum}  {jar}");
            text
        });
        std::fs::write(jars.join(RECORDED), recorded).map_err(failed)?;
        let folder = self.folder();
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(failed)?;
        }
        std::fs::rename(&jars, &folder).map_err(failed)?;
        errln!(
            "{}: {} jars, checksums {}",
            self.title(),
            found.len(),
            match self.sums {
                Some(_) => "as pinned",
                None => "recorded",
            }
        );
        Ok(())
    }

    fn pom(&self) -> String {
        let mut dependencies = String::new();
        for artifact in &self.artifacts {
            let mut parts = artifact.split(':');
            let mut part = || parts.next().unwrap_or_default();
            let _ = write!(
                dependencies,
                "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>",
                part(),
                part(),
                part()
            );
        }
        format!(
            "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
             <groupId>assay</groupId><artifactId>target</artifactId><version>1</version><packaging>pom</packaging>\
             <dependencies>{dependencies}</dependencies></project>\n"
        )
    }

    fn run_maven(&self, maven: &Path, part: &Path) -> Result<(), Unavailable> {
        let log = part.join("maven.log");
        let remedy = "check the network and Maven's settings (~/.m2/settings.xml), then try again";
        let failed = |what: String| Unavailable::new(format!("Maven could not fetch {}: {what}", self.title()), remedy);
        let output = File::create(&log).map_err(|error| failed(error.to_string()))?;
        let output_too = output.try_clone().map_err(|error| failed(error.to_string()))?;
        let mut command = Command::new(maven);
        command.args([
            "-B",
            "--strict-checksums",
            "-f",
            "pom.xml",
            "dependency:copy-dependencies",
        ]);
        command.args(["-DoutputDirectory=jars", "-DincludeScope=runtime"]);
        command
            .current_dir(part)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(output_too);
        // No file of the JVM's counters in /tmp, which a kill would leave there.
        let options = std::env::var("MAVEN_OPTS").unwrap_or_default();
        command.env("MAVEN_OPTS", format!("{options} -XX:+PerfDisableSharedMem"));
        let mut process = Process::start(command, None).map_err(|error| failed(error.to_string()))?;
        let spinner = ProgressBar::new_spinner();
        let (mut seen, mut spoke) = (0, Instant::now());
        loop {
            match process.wait(POLL).map_err(|error| failed(error.to_string()))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    let said = first_error(&log).unwrap_or_else(|| process::describe(status));
                    return Err(failed(said));
                }
                None => {}
            }
            let length = std::fs::metadata(&log).map_or(0, |file| file.len());
            if length != seen {
                (seen, spoke) = (length, Instant::now());
                let text = std::fs::read_to_string(&log).unwrap_or_default();
                let loaded = text
                    .lines()
                    .filter(|line| line.contains("Downloaded from") && line.contains(".jar"))
                    .count();
                spinner.set_message(format!("{loaded} jars loaded"));
            }
            spinner.tick();
            if spoke.elapsed() > SILENCE_MAX {
                return Err(failed(format!("it said nothing for {} s", SILENCE_MAX.as_secs())));
            }
            interrupted(&self.title())?;
        }
    }
}

/// Maven's first error, without its mark, bounded.
fn first_error(log: &Path) -> Option<String> {
    let text = String::from_utf8_lossy(&std::fs::read(log).ok()?).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("[ERROR] "))?;
    let line = line.split(" -> [Help").next().unwrap_or(line);
    Some(line.chars().take(400).collect())
}

fn interrupted(title: &str) -> Result<(), Unavailable> {
    interrupt::check().map_err(|_| Unavailable::new(format!("the fetch of {title} was interrupted"), "start it again"))
}

fn pause(time: Duration, title: &str) -> Result<(), Unavailable> {
    std::thread::sleep(time);
    interrupted(title)
}

/// SHA-256 of every jar in a folder, in hexadecimal.
fn sums_of(folder: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut sums = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "jar") {
            continue;
        }
        let mut hash = Sha256::new();
        io::copy(&mut File::open(&path)?, &mut hash)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let hexadecimal = hash.finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        sums.insert(name, hexadecimal);
    }
    Ok(sums)
}

/// The first thing that is not as expected, in words.
fn difference(expected: &BTreeMap<String, String>, found: &BTreeMap<String, String>) -> Option<String> {
    let wrong = expected.iter().find_map(|(jar, sum)| match found.get(jar) {
        None => Some(format!("{jar} is missing")),
        Some(other) if other != sum => Some(format!("{jar} has SHA-256 {other} where {sum} is due")),
        Some(_) => None,
    });
    wrong.or_else(|| {
        let more = found.keys().find(|jar| !expected.contains_key(*jar))?;
        Some(format!("{more} does not belong there"))
    })
}
