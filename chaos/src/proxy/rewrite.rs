//! Answers that name brokers, with the proxy's addresses in their place, so that clients come back through it.
//!
//! Metadata, FindCoordinator and DescribeCluster name brokers near their front, Produce from version 10 on at its end (KIP-951). Only the
//! addresses are written anew, every other byte stays as it came. Fetch names brokers behind its records from version 16 on, which
//! no bounded proxy can hold, so [`cap_versions`] lets clients know version 15 at most.

use kafka_wire::encode::{BufMut, Encode};
use kafka_wire::{Cursor, WireError};

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const METADATA: i16 = 3;
const FIND_COORDINATOR: i16 = 10;
const API_VERSIONS: i16 = 18;
const DESCRIBE_CLUSTER: i16 = 60;

/// The last version of Fetch whose answers name no broker.
const FETCH_VERSION_MAX: i16 = 15;
/// The error of an ApiVersions answer whose body is that of version 0.
const UNSUPPORTED_VERSION: i16 = 35;

/// Gives the address that clients get for a broker's: host and port.
pub(super) trait Addresses {
    /// # Errors
    /// In words, when there is none.
    fn of(&mut self, host: &str, port: i32) -> std::result::Result<(String, u16), String>;
}

/// Why an answer could not be rewritten.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum RewriteError {
    #[error("an answer that names brokers can't be read: {0}")]
    Wire(#[from] WireError),
    #[error("{0}")]
    NoAddress(String),
}

type Result<T> = std::result::Result<T, RewriteError>;

/// Whether answers of this API may have to be rewritten.
pub(super) fn concerns(key: i16, version: i16) -> bool {
    match key {
        PRODUCE => version >= 10,
        METADATA | FIND_COORDINATOR | API_VERSIONS | DESCRIBE_CLUSTER => true,
        _ => false,
    }
}

/// The answer as the client gets it; `frame` stands behind its length.
///
/// # Errors
/// An answer that does not read as `version` of its API, or a broker that no address can be given to.
pub(super) fn rewrite(frame: &[u8], key: i16, version: i16, addresses: &mut dyn Addresses) -> Result<Vec<u8>> {
    let mut copy = Copy {
        frame,
        cursor: Cursor::new(frame),
        copied: 0,
        out: Vec::with_capacity(frame.len() + 64),
    };
    copy.cursor.i32()?; // correlation id
    match key {
        PRODUCE => copy.produce(version, addresses)?,
        METADATA => copy.metadata(version, addresses)?,
        FIND_COORDINATOR => copy.find_coordinator(version, addresses)?,
        API_VERSIONS => return cap_versions(frame, version),
        DESCRIBE_CLUSTER => copy.describe_cluster(version, addresses)?,
        _ => {}
    }
    Ok(copy.finish())
}

/// An ApiVersions answer that offers Fetch up to version 15.
fn cap_versions(frame: &[u8], version: i16) -> Result<Vec<u8>> {
    let mut out = frame.to_vec();
    let mut cursor = Cursor::new(frame);
    cursor.i32()?;
    let error = cursor.i16()?;
    let flexible = version >= 3 && error != UNSUPPORTED_VERSION;
    for _ in 0..cursor.array_len(flexible, 6)?.unwrap_or(0) {
        let key = cursor.i16()?;
        cursor.i16()?;
        let at = cursor.position();
        let max = cursor.i16()?;
        if flexible {
            cursor.skip_tagged_fields()?;
        }
        if key == FETCH && max > FETCH_VERSION_MAX {
            out[at..at + 2].copy_from_slice(&FETCH_VERSION_MAX.to_be_bytes());
        }
    }
    Ok(out)
}

/// An answer that is copied but for its addresses.
struct Copy<'a> {
    frame: &'a [u8],
    cursor: Cursor<'a>,
    /// Bytes of the frame that are in `out`, or replaced there.
    copied: usize,
    out: Vec<u8>,
}

impl Copy<'_> {
    fn finish(mut self) -> Vec<u8> {
        self.out.extend_from_slice(&self.frame[self.copied..]);
        self.out
    }

    /// Host and port. A coordinator that there is none of has no host and port -1.
    fn address(&mut self, flexible: bool, addresses: &mut dyn Addresses) -> Result<()> {
        let start = self.cursor.position();
        let (host, port) = (self.cursor.string(flexible)?, self.cursor.i32()?);
        if host.is_empty() || port < 0 {
            return Ok(());
        }
        let (host, port) = addresses.of(host, port).map_err(RewriteError::NoAddress)?;
        self.out.extend_from_slice(&self.frame[self.copied..start]);
        self.out.put_string(&host, flexible);
        self.out.put_i32(i32::from(port));
        self.copied = self.cursor.position();
        Ok(())
    }

    fn tags(&mut self, flexible: bool) -> Result<()> {
        if flexible {
            self.cursor.skip_tagged_fields()?;
        }
        Ok(())
    }

    /// Metadata, versions 0 to 13: brokers come first, and what follows is copied as it is.
    fn metadata(&mut self, version: i16, addresses: &mut dyn Addresses) -> Result<()> {
        let flexible = version >= 9;
        self.tags(flexible)?;
        if version >= 3 {
            self.cursor.i32()?; // throttle time
        }
        for _ in 0..self.cursor.array_len(flexible, 10)?.unwrap_or(0) {
            self.cursor.i32()?; // node id
            self.address(flexible, addresses)?;
            if version >= 1 {
                self.cursor.nullable_string(flexible)?; // rack
            }
            self.tags(flexible)?;
        }
        Ok(())
    }

    /// FindCoordinator, versions 0 to 6.
    fn find_coordinator(&mut self, version: i16, addresses: &mut dyn Addresses) -> Result<()> {
        let flexible = version >= 3;
        self.tags(flexible)?;
        if version >= 1 {
            self.cursor.i32()?; // throttle time
        }
        if version < 4 {
            self.cursor.i16()?; // error
            if version >= 1 {
                self.cursor.nullable_string(flexible)?;
            }
            self.cursor.i32()?; // node id
            return self.address(flexible, addresses);
        }
        for _ in 0..self.cursor.array_len(flexible, 13)?.unwrap_or(0) {
            self.cursor.string(flexible)?; // group or transaction
            self.cursor.i32()?; // node id
            self.address(flexible, addresses)?;
            self.cursor.i16()?; // error
            self.cursor.nullable_string(flexible)?;
            self.tags(flexible)?;
        }
        Ok(())
    }

    /// DescribeCluster, versions 0 to 2.
    fn describe_cluster(&mut self, version: i16, addresses: &mut dyn Addresses) -> Result<()> {
        self.tags(true)?;
        self.cursor.i32()?; // throttle time
        self.cursor.i16()?; // error
        self.cursor.nullable_string(true)?;
        if version >= 1 {
            self.cursor.i8()?; // brokers or controllers
        }
        self.cursor.string(true)?; // cluster id
        self.cursor.i32()?; // controller
        for _ in 0..self.cursor.array_len(true, 11)?.unwrap_or(0) {
            self.cursor.i32()?; // broker id
            self.address(true, addresses)?;
            self.cursor.nullable_string(true)?; // rack
            if version >= 2 {
                self.cursor.bool()?; // fenced
            }
            self.tags(true)?;
        }
        Ok(())
    }

    /// Produce from version 10 on: brokers stand in tag 0 of the answer, behind all partitions.
    fn produce(&mut self, version: i16, addresses: &mut dyn Addresses) -> Result<()> {
        super::produce::walk_answer(&mut self.cursor, version, &mut |_| {})?;
        let count = self.cursor.uvarint()?;
        for _ in 0..count {
            let (tag, size) = (self.cursor.uvarint()?, self.cursor.uvarint()? as usize);
            if tag != 0 {
                self.cursor.take(size)?;
                continue;
            }
            // The new size has to stand in front of the new addresses.
            let size_at = self.cursor.position() - kafka_wire::encode::uvarint_len(size as u32);
            let endpoints = self.cursor.take(size)?;
            let mut inner = Copy {
                frame: endpoints,
                cursor: Cursor::new(endpoints),
                copied: 0,
                out: Vec::new(),
            };
            for _ in 0..inner.cursor.array_len(true, 11)?.unwrap_or(0) {
                inner.cursor.i32()?; // node id
                inner.address(true, addresses)?;
                inner.cursor.nullable_string(true)?; // rack
                inner.tags(true)?;
            }
            let endpoints = inner.finish();
            self.out.extend_from_slice(&self.frame[self.copied..size_at]);
            self.out.put_uvarint(endpoints.len() as u32);
            self.out.extend_from_slice(&endpoints);
            self.copied = self.cursor.position();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
