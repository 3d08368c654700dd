//! Stamps version and git revision into the binary, so that a run folder says what measured it. Built from sources that differ
//! from the commit, the revision ends in `-modified`; built outside a repository, there is none.

use std::process::Command;

/// What goes into the binary, from the workspace root.
const SOURCES: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "harness/src",
    "broker-under-test/src",
    "broker-under-test/kafka-wire/src",
    "workloads/src",
    "workloads/definitions",
    "chaos/src",
    "chaos/scenarios",
    "results/src",
    "results/templates",
];

fn main() {
    let watched = [".git/HEAD", ".git/refs/heads", ".git/packed-refs"];
    for path in SOURCES.iter().chain(&watched) {
        // A path that is not there would make every build a new one.
        if std::path::Path::new("..").join(path).exists() {
            println!("cargo::rerun-if-changed=../{path}");
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    let Some(mut revision) = git(&["rev-parse", "--short=12", "HEAD"]).filter(|revision| !revision.is_empty()) else {
        println!("cargo::rustc-env=ASSAY_VERSION={version}");
        return;
    };
    let status = ["status", "--porcelain", "--untracked-files=no", "--"];
    if git(&[&status[..], SOURCES].concat()).is_none_or(|changes| !changes.is_empty()) {
        revision.push_str("-modified");
    }
    println!("cargo::rustc-env=ASSAY_GIT_REVISION={revision}");
    println!("cargo::rustc-env=ASSAY_VERSION={version} ({revision})");
}

/// What git answers in the workspace root, or `None` without git or a repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").current_dir("..").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
