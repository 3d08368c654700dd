//! Loads over the native producer, against the bundled broker in this process.

// Under `cfg(test)`, clippy lets the helpers unwrap as the tests themselves may.
#[cfg(test)]
mod native;
