//! The Java and the Maven of this machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Unavailable, jvm};

/// The oldest Java that Kafka 4 and RocketMQ 5 both run on.
pub const OLDEST: u32 = 17;
/// How to get both on the systems that most people have.
const INSTALL_JAVA: &str =
    "install a JDK of 17 or later (apt-get install openjdk-17-jdk-headless) or set JAVA_HOME to one";
const INSTALL_MAVEN: &str = "install it (apt-get install maven); it is needed once, to fetch the jars";

/// A Java that is new enough.
#[derive(Debug, Clone)]
pub struct Java {
    /// The `java` program.
    pub program: PathBuf,
    /// Its version in full, e.g. `17.0.15`.
    pub version: String,
}

impl Java {
    /// Looks whether it can compile.
    ///
    /// # Errors
    /// It is a JRE, or does not run.
    pub fn require_compiler(&self) -> Result<(), Unavailable> {
        let modules = jvm::plain(&self.program)
            .arg("--list-modules")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| {
                Unavailable::new(
                    format!("{} does not run: {error}", self.program.display()),
                    INSTALL_JAVA,
                )
            })?;
        match has_compiler(&String::from_utf8_lossy(&modules.stdout)) {
            true => Ok(()),
            false => Err(Unavailable::new(
                format!("{} is of a JRE, which can't compile", self.program.display()),
                INSTALL_JAVA,
            )),
        }
    }
}

/// Whether `java --list-modules` shows a JDK.
fn has_compiler(modules: &str) -> bool {
    modules
        .lines()
        .any(|line| line.split('@').next() == Some("jdk.compiler"))
}

/// Looks for Java in `JAVA_HOME`, then on the path.
///
/// # Errors
/// There is none, it does not run, or it is too old.
pub fn find() -> Result<Java, Unavailable> {
    let at_home = std::env::var_os("JAVA_HOME").filter(|home| !home.is_empty());
    let program = match at_home.map(|home| Path::new(&home).join("bin/java")) {
        Some(program) if program.is_file() => program,
        Some(program) => {
            return Err(Unavailable::new(
                format!("JAVA_HOME is set, but there is no {}", program.display()),
                "set JAVA_HOME to a JDK of 17 or later, or unset it",
            ));
        }
        None => on_path("java").ok_or_else(|| Unavailable::new("no Java on the path", INSTALL_JAVA))?,
    };
    let asked = Command::new(&program).arg("-version").stdin(Stdio::null()).output();
    let said = match asked {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stderr).into_owned(),
        _ => {
            return Err(Unavailable::new(
                format!("{} does not run", program.display()),
                INSTALL_JAVA,
            ));
        }
    };
    let Some((version, major)) = version(&said) else {
        return Err(Unavailable::new(
            format!("{} does not tell its version", program.display()),
            INSTALL_JAVA,
        ));
    };
    if major < OLDEST {
        return Err(Unavailable::new(
            format!("{} is Java {version}, too old", program.display()),
            INSTALL_JAVA,
        ));
    }
    Ok(Java { program, version })
}

/// Looks for Maven on the path.
///
/// # Errors
/// There is none.
pub fn maven() -> Result<PathBuf, Unavailable> {
    on_path("mvn").ok_or_else(|| Unavailable::new("no Maven (mvn) on the path", INSTALL_MAVEN))
}

/// The first file of that name in the folders of PATH.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// The version in full and its first number from what `java -version` says; before Java 9 that number came second.
fn version(said: &str) -> Option<(String, u32)> {
    let version = said.split('"').nth(1)?;
    let number = version.strip_prefix("1.").unwrap_or(version);
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    Some((version.to_owned(), digits.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_old_and_new_are_read() {
        let of = |said: &str| version(said).map(|(_, major)| major);
        assert_eq!(of("openjdk version \"17.0.15\" 2025-04-15"), Some(17));
        assert_eq!(of("java version \"1.8.0_401\""), Some(8));
        assert_eq!(of("openjdk version \"25-ea\" 2025-09-16"), Some(25));
        assert_eq!(of("command not found"), None);
    }

    #[test]
    fn a_jdk_is_told_by_its_compiler() {
        assert!(has_compiler("java.base@17.0.15\njdk.compiler@17.0.15\n"));
        assert!(!has_compiler("java.base@17.0.15\njdk.crypto.ec@17.0.15\n"));
    }
}
