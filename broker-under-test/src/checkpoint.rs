//! Small files that are replaced atomically, Kafka's offset checkpoints among them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::log::{LogError, io};
use crate::storage::Storage;

/// Offsets by topic and partition.
pub type Offsets = BTreeMap<(String, i32), i64>;

/// Replaces a file atomically and durably.
pub fn replace(storage: &dyn Storage, path: &Path, bytes: &[u8]) -> Result<(), LogError> {
    storage.replace(path, bytes).map_err(io("replace", path))
}

/// Reads a checkpoint in Kafka's format: version 0, the number of rows, then `topic partition offset`. A missing file is
/// empty. A damaged one too, with a warning: recovery then looks at everything.
pub fn read(storage: &dyn Storage, path: &Path) -> Result<Offsets, LogError> {
    let text = match storage.read(path) {
        Ok(raw) => String::from_utf8_lossy(&raw).into_owned(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Offsets::new()),
        Err(e) => return Err(io("read", path)(e)),
    };
    let parsed = parse(&text);
    if parsed.is_none() {
        tracing::warn!(file = %path.display(), "damaged checkpoint, ignored");
    }
    Ok(parsed.unwrap_or_default())
}

fn parse(text: &str) -> Option<Offsets> {
    let mut lines = text.lines();
    if lines.next()? != "0" {
        return None;
    }
    let count: usize = lines.next()?.parse().ok()?;
    let row = |line: &str| {
        let mut parts = line.split(' ');
        let key = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
        let offset: i64 = parts.next()?.parse().ok()?;
        (offset >= 0).then_some((key, offset))
    };
    let rows: Offsets = lines.map(row).collect::<Option<_>>()?;
    (rows.len() == count).then_some(rows)
}

/// Writes a checkpoint in Kafka's format.
pub fn write(storage: &dyn Storage, path: &Path, offsets: &Offsets) -> Result<(), LogError> {
    let mut text = format!("0\n{}\n", offsets.len());
    for ((topic, partition), offset) in offsets {
        let _ = writeln!(text, "{topic} {partition} {offset}");
    }
    replace(storage, path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::RealDisk;

    #[test]
    fn round_trip_and_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        assert_eq!(read(&RealDisk, &path).unwrap(), Offsets::new());
        let offsets = Offsets::from([(("a".into(), 0), 5), (("b-x".into(), 12), i64::MAX)]);
        write(&RealDisk, &path, &offsets).unwrap();
        assert_eq!(read(&RealDisk, &path).unwrap(), offsets);
        std::fs::write(&path, "0\n2\na 0 5\n").unwrap();
        assert_eq!(read(&RealDisk, &path).unwrap(), Offsets::new());
    }
}
