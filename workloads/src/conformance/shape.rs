//! The answers, field by field, and how they become text; which fields there are is the [`table`]'s.

mod table;

use std::fmt::Write as _;

use kafka_wire::{ApiKey, BatchHeader, BatchIter, Cursor, ErrorCode, WireError};

use table::{Field, Show, Type, shape};

use Show::{Error, Hidden, Present, Time, Value};
use Type::{Array, Bool, Bytes, I8, I16, I32, I64, Mine, Nullable, Numbers, Records, Set, Str, Structs, Tags, Uuid};

/// The name of an error, or its number when it is none of those that the bundled broker knows.
pub(super) fn error_name(code: i16) -> String {
    ErrorCode::from_code(code).map_or_else(|| format!("error {code}"), |error| format!("{error:?}"))
}

/// A whole answer as text; the correlation id must be the one that was sent.
///
/// `base_ms` is what times are relative to, `prefix` what is left out of topic names.
///
/// # Errors
/// Whatever does not read as the API's answer of that version, to its last byte.
pub(super) fn text(
    frame: &[u8],
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    base_ms: i64,
    prefix: &str,
) -> Result<String, WireError> {
    let mut cursor = Cursor::new(frame);
    let found = cursor.i32()?;
    if found != correlation_id {
        return Ok(format!(
            "an answer with correlation id {found} to request {correlation_id}"
        ));
    }
    if key.response_header_is_flexible(version) {
        cursor.skip_tagged_fields()?;
    }
    let walk = Walk {
        version,
        flexible: key.is_flexible(version),
        base_ms,
        prefix,
    };
    let text = walk.fields(&mut cursor, shape(key))?;
    cursor.finish()?;
    Ok(text)
}

struct Walk<'a> {
    version: i16,
    flexible: bool,
    base_ms: i64,
    prefix: &'a str,
}

impl Walk<'_> {
    fn fields(&self, c: &mut Cursor, fields: &[Field]) -> Result<String, WireError> {
        let mut out = String::new();
        for Field(name, ty, show, from, to) in fields {
            if !(*from..=*to).contains(&self.version) {
                continue;
            }
            if let Some(value) = self.value(c, ty, *show)? {
                let separator = if out.is_empty() { "" } else { " " };
                let _ = write!(out, "{separator}{name}={value}");
            }
        }
        if self.flexible {
            c.skip_tagged_fields()?;
        }
        Ok(out)
    }

    /// What is shown of a value, if it is shown at all.
    fn value(&self, c: &mut Cursor, ty: &Type, show: Show) -> Result<Option<String>, WireError> {
        let (text, is_there) = match ty {
            Bool => shown(c.bool()?, true),
            I8 => shown(c.i8()?, true),
            I16 => {
                let n = c.i16()?;
                if matches!(show, Error) {
                    return Ok((n != 0).then(|| error_name(n)));
                }
                shown(n, n > 0)
            }
            I32 => {
                let n = c.i32()?;
                shown(n, n > 0)
            }
            I64 => {
                let n = c.i64()?;
                if matches!(show, Time) {
                    return Ok(Some(self.time(n)));
                }
                shown(n, n >= 0)
            }
            Uuid => {
                let is_there = c.take(16)?.iter().any(|byte| *byte != 0);
                shown("id", is_there)
            }
            Str => match c.nullable_string(self.flexible)? {
                None => ("null".to_owned(), false),
                Some(s) => (s.strip_prefix(self.prefix).unwrap_or(s).to_owned(), !s.is_empty()),
            },
            Bytes => match c.nullable_bytes(self.flexible)? {
                None => ("null".to_owned(), false),
                Some(bytes) => (format!("'{}'", bytes.escape_ascii()), !bytes.is_empty()),
            },
            Records => (self.records(c)?, true),
            Array(element) => match c.array_len(self.flexible, 1)? {
                None => ("null".to_owned(), false),
                Some(count) => {
                    for _ in 0..count {
                        self.value(c, element, Hidden)?;
                    }
                    shown(count, true)
                }
            },
            Numbers => self.numbers(c)?,
            Tags => shown(c.skip_tagged_fields()?, false),
            Nullable(fields) => match c.i8()? {
                ..0 => ("null".to_owned(), false),
                _ => (format!("{{{}}}", self.fields(c, fields)?), true),
            },
            Structs(fields) => self.structs(c, fields, false, false)?,
            Set(fields) => self.structs(c, fields, true, false)?,
            Mine(fields) => self.structs(c, fields, true, true)?,
        };
        Ok(match show {
            Hidden => None,
            Present if is_there => Some("some".to_owned()),
            Present => Some("none".to_owned()),
            Value | Error | Time => Some(text),
        })
    }

    fn numbers(&self, c: &mut Cursor) -> Result<(String, bool), WireError> {
        let Some(count) = c.array_len(self.flexible, 4)? else {
            return Ok(("null".to_owned(), false));
        };
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(c.i32()?);
        }
        all.sort_unstable();
        let texts: Vec<String> = all.iter().map(i32::to_string).collect();
        Ok((format!("[{}]", texts.join(" ")), count > 0))
    }

    fn structs(
        &self,
        c: &mut Cursor,
        fields: &[Field],
        sort: bool,
        only_mine: bool,
    ) -> Result<(String, bool), WireError> {
        let Some(count) = c.array_len(self.flexible, 1)? else {
            return Ok(("null".to_owned(), false));
        };
        let mut all = Vec::new();
        for _ in 0..count {
            // Their first field is a name.
            let is_mine =
                |c: &Cursor| matches!(c.clone().string(self.flexible), Ok(name) if name.starts_with(self.prefix));
            let is_shown = !only_mine || is_mine(c);
            let text = self.fields(c, fields)?;
            all.extend(is_shown.then(|| format!("{{{text}}}")));
        }
        if sort {
            all.sort_unstable();
        }
        Ok((format!("[{}]", all.join(" ")), count > 0))
    }

    fn time(&self, ms: i64) -> String {
        /// A day: times of the script are near its base.
        const NEAR_MS: i64 = 86_400_000;
        match ms.checked_sub(self.base_ms) {
            Some(n) if n.abs() < NEAR_MS => format!("T{n:+}"),
            _ => ms.to_string(),
        }
    }

    /// Batches by base offset, record count, codec and bytes; what is left of one that was cut off.
    fn records(&self, c: &mut Cursor) -> Result<String, WireError> {
        let Some(bytes) = c.nullable_bytes(self.flexible)? else {
            return Ok("null".to_owned());
        };
        let mut parts = Vec::new();
        let mut batches = BatchIter::new(bytes);
        for batch in batches.by_ref() {
            parts.push(match batch {
                Ok((header, raw)) => batch_text(&header, raw),
                Err(error) => format!("({error})"),
            });
        }
        if !batches.rest().is_empty() {
            parts.push(format!("{} bytes of a batch", batches.rest().len()));
        }
        Ok(format!("[{}]", parts.join(", ")))
    }
}

fn batch_text(header: &BatchHeader, raw: &[u8]) -> String {
    let crc = match BatchHeader::checked(raw) {
        Ok(_) => "",
        Err(_) => " BROKEN",
    };
    format!(
        "offset {} +{} codec {} {} bytes{crc}",
        header.base_offset,
        header.records_count,
        header.codec(),
        raw.len()
    )
}

fn shown(value: impl ToString, is_there: bool) -> (String, bool) {
    (value.to_string(), is_there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_to_its_last_byte() {
        // ListOffsets version 1: one topic "t", partition 0, no error, timestamp 1005, offset 7.
        let mut frame = vec![0, 0, 0, 9, 0, 0, 0, 1, 0, 3, b'p', b'-', b't', 0, 0, 0, 1];
        frame.extend([0, 0, 0, 0, 0, 0]);
        frame.extend(1005i64.to_be_bytes());
        frame.extend(7i64.to_be_bytes());
        let read = |frame: &[u8], id| text(frame, ApiKey::ListOffsets, 1, id, 1000, "p-");
        let expected = "topics=[{name=t partitions=[{index=0 timestamp=T+5 offset=7}]}]";
        assert_eq!(read(&frame, 9).unwrap(), expected);
        assert!(read(&frame, 8).unwrap().contains("correlation id 9"));
        assert!(read(&frame[..frame.len() - 1], 9).is_err());
        frame.push(0);
        assert!(read(&frame, 9).is_err());
    }
}
