//! The records inside a batch: varints, deltas against the batch's header, and their own headers.

use crate::batch::{BatchError, BatchHeader, HEADER_BYTES};
use crate::cursor::{Cursor, WireError};

/// One record of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Offset in the partition.
    pub offset: i64,
    /// Milliseconds since 1970: the record's own time, or that of the append when the batch says so.
    pub timestamp_ms: i64,
    /// The key, if there is one.
    pub key: Option<&'a [u8]>,
    /// The value; null is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in their order.
    pub headers: Headers<'a>,
}

/// One header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The key, meant to be UTF-8, which nobody checks.
    pub key: &'a [u8],
    /// The value, which may be null.
    pub value: Option<&'a [u8]>,
}

/// The headers of a record, an iterator over [`Header`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    left: i32,
}

impl<'a> Headers<'a> {
    /// Reads the headers where `cursor` stands, so that they are known to be sound.
    fn read(cursor: &mut Cursor<'a>) -> Result<Self, WireError> {
        let at = cursor.position();
        let count = cursor.varint()?;
        if count < 0 {
            let length = i64::from(count);
            return Err(WireError::InvalidLength { at, length });
        }
        let start = cursor.clone();
        for _ in 0..count {
            header(cursor)?;
        }
        let bytes = start.clone().take(cursor.position() - start.position())?;
        Ok(Headers { bytes, left: count })
    }

    /// Headers that have not been handed out.
    pub fn len(&self) -> usize {
        self.left.max(0) as usize
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        let mut cursor = Cursor::new(self.bytes);
        let header = header(&mut cursor).ok()?;
        self.bytes = &self.bytes[cursor.position()..];
        Some(header)
    }
}

fn header<'a>(cursor: &mut Cursor<'a>) -> Result<Header<'a>, WireError> {
    let at = cursor.position();
    let key = bytes(cursor)?.ok_or(WireError::InvalidLength { at, length: -1 })?;
    let value = bytes(cursor)?;
    Ok(Header { key, value })
}

/// Nullable bytes behind a varint length.
fn bytes<'a>(cursor: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, WireError> {
    let at = cursor.position();
    match cursor.varint()? {
        -1 => Ok(None),
        n if n < 0 => Err(WireError::InvalidLength {
            at,
            length: i64::from(n),
        }),
        n => cursor.take(n as usize).map(Some),
    }
}

/// Walks over the records of a batch and ends at the first one that is malformed, or at bytes behind the last one.
///
/// [`crate::codec::Decompressor::records`] gives it for any batch.
#[derive(Debug, Clone)]
pub struct RecordIter<'a> {
    cursor: Cursor<'a>,
    header: BatchHeader,
    index: i32,
    is_over: bool,
}

impl<'a> RecordIter<'a> {
    /// Over the records of `batch`, whose header is `header` and which is not compressed; what is compressed can't be
    /// read as records, and the first item says so.
    pub fn new(header: BatchHeader, batch: &'a [u8]) -> Self {
        Self::of_section(header, batch.get(HEADER_BYTES..).unwrap_or(&[]))
    }

    /// Over `section`, the decompressed records of the batch whose header is `header`.
    pub(crate) fn of_decompressed(header: BatchHeader, section: &'a [u8]) -> Self {
        let attributes = header.attributes & !7;
        Self::of_section(BatchHeader { attributes, ..header }, section)
    }

    fn of_section(header: BatchHeader, section: &'a [u8]) -> Self {
        RecordIter {
            cursor: Cursor::new(section),
            header,
            index: 0,
            is_over: false,
        }
    }

    fn record(&mut self) -> Result<Record<'a>, WireError> {
        let at = self.cursor.position();
        let length = self.cursor.varint()?;
        let body_start = self.cursor.position();
        let wrong_length = WireError::InvalidLength {
            at,
            length: i64::from(length),
        };
        if length < 0 || length as usize > self.cursor.remaining() {
            return Err(wrong_length);
        }
        // No record has attributes yet.
        self.cursor.i8()?;
        let timestamp_delta = self.cursor.varlong()?;
        let offset_delta = self.cursor.varint()?;
        let key = bytes(&mut self.cursor)?;
        let value = bytes(&mut self.cursor)?;
        let headers = Headers::read(&mut self.cursor)?;
        if self.cursor.position() - body_start != length as usize {
            return Err(wrong_length);
        }
        Ok(Record {
            offset: self.header.base_offset.saturating_add(i64::from(offset_delta)),
            timestamp_ms: match self.header.is_log_append_time() {
                true => self.header.max_timestamp,
                false => self.header.base_timestamp.saturating_add(timestamp_delta),
            },
            key,
            value,
            headers,
        })
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let index = self.index;
        let item = if self.header.codec() != 0 {
            Err(BatchError::Compressed(self.header.codec()))
        } else if index < self.header.records_count {
            self.index += 1;
            self.record().map_err(|source| BatchError::Record { index, source })
        } else {
            self.is_over = true;
            let source = self.cursor.finish().err()?;
            Err(BatchError::Record { index, source })
        };
        self.is_over |= item.is_err();
        Some(item)
    }
}
