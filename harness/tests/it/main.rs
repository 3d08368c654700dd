//! What needs the binary: every command as a person starts it.

// Under `cfg(test)`, clippy lets the helpers unwrap as the tests themselves may.
#[cfg(test)]
mod assignors;
#[cfg(test)]
mod blocks;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod client;
#[cfg(test)]
mod client_cost;
#[cfg(test)]
mod compare;
#[cfg(test)]
mod consumers;
#[cfg(test)]
mod duplicates;
#[cfg(test)]
mod groups;
#[cfg(test)]
mod load;
#[cfg(test)]
mod look_ups;
#[cfg(test)]
mod read;
#[cfg(test)]
mod run;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod strace;
#[cfg(test)]
mod support;
#[cfg(test)]
mod target;
#[cfg(test)]
mod targets;
#[cfg(test)]
mod trace;
