//! The crate from outside: run folders are written with the writer, read back, analysed and rendered.

mod files;
mod synthetic;
