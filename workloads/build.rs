//! Tells cargo that a new file among the definitions changes the crate: the macro that embeds them cannot.

fn main() {
    println!("cargo::rerun-if-changed=definitions");
}
