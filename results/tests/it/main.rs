//! The crate from outside: run folders are written with the writer, read back, analysed and rendered.

// Under `cfg(test)`, clippy lets the helpers unwrap as the tests themselves may.
#[cfg(test)]
mod along;
#[cfg(test)]
mod compare_simulation;
#[cfg(test)]
mod compared;
#[cfg(test)]
mod files;
#[cfg(test)]
mod judged;
#[cfg(test)]
mod load;
#[cfg(test)]
mod partitions;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod rendered;
#[cfg(test)]
mod several;
#[cfg(test)]
mod shown;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod synthetic;
#[cfg(test)]
mod targets;
#[cfg(test)]
mod timelines;
