//! A codec with its level, as settings name them: `zstd`, `zstd:19`. Ranges and defaults are Kafka's
//! (`compression.gzip.level`, `compression.lz4.level`, `compression.zstd.level`; `CompressionType` of Kafka 4.3).

use std::fmt;
use std::str::FromStr;

use super::Codec;

/// The levels of a codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Levels {
    /// The lowest.
    pub min: i32,
    /// The highest.
    pub max: i32,
    /// What Kafka's clients use; allowed also where it is out of the range (gzip: -1, zlib's own choice).
    pub default: i32,
}

impl Codec {
    /// The levels, of a codec that has some.
    pub fn levels(self) -> Option<Levels> {
        let levels = |min, max, default| Some(Levels { min, max, default });
        match self {
            Codec::None | Codec::Snappy => None,
            Codec::Gzip => levels(1, 9, -1),
            // 9 is the fast compressor, every other one a level of the one that compresses better.
            Codec::Lz4 => levels(1, 17, 9),
            Codec::Zstd => levels(-131_072, 22, 3),
        }
    }
}

/// A codec and its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Compression {
    codec: Codec,
    level: i32,
}

/// Why there is no such compression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    /// Not a name of `compression.type`.
    #[error(
        "`{0}` is no compression: choose none, gzip, snappy, lz4 or zstd, with `:LEVEL` behind one that has levels"
    )]
    UnknownName(String),
    /// The codec has no levels.
    #[error("{0} has no levels: leave `:LEVEL` out")]
    NoLevels(Codec),
    /// The codec does not have this level.
    #[error("{codec} has no level {level}: choose {} to {}, or {}, the default", levels.min, levels.max, levels.default)]
    Level {
        /// The codec.
        codec: Codec,
        /// The level that was asked for.
        level: i32,
        /// Those that there are.
        levels: Levels,
    },
}

impl Compression {
    /// The codec with its default level.
    pub fn new(codec: Codec) -> Self {
        let level = codec.levels().map_or(0, |levels| levels.default);
        Compression { codec, level }
    }

    /// The codec with that level.
    ///
    /// # Errors
    /// The codec does not have it.
    pub fn with_level(codec: Codec, level: i32) -> Result<Self, CompressionError> {
        let levels = codec.levels().ok_or(CompressionError::NoLevels(codec))?;
        match level == levels.default || (levels.min..=levels.max).contains(&level) {
            true => Ok(Compression { codec, level }),
            false => Err(CompressionError::Level { codec, level, levels }),
        }
    }

    /// The codec.
    pub fn codec(self) -> Codec {
        self.codec
    }

    /// The level; 0 for a codec without levels.
    pub fn level(self) -> i32 {
        self.level
    }
}

impl Default for Compression {
    fn default() -> Self {
        Self::new(Codec::None)
    }
}

impl FromStr for Compression {
    type Err = CompressionError;

    fn from_str(text: &str) -> Result<Self, CompressionError> {
        let unknown = || CompressionError::UnknownName(text.to_owned());
        let (name, level) = match text.split_once(':') {
            None => (text, None),
            Some((name, level)) => (name, Some(level.parse().map_err(|_| unknown())?)),
        };
        let codec = Codec::ALL
            .into_iter()
            .find(|codec| codec.name() == name)
            .ok_or_else(unknown)?;
        match level {
            None => Ok(Self::new(codec)),
            Some(level) => Self::with_level(codec, level),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self == Self::new(self.codec) {
            true => self.codec.fmt(f),
            false => write!(f, "{}:{}", self.codec, self.level),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_levels() {
        for text in [
            "none",
            "gzip",
            "gzip:9",
            "snappy",
            "lz4",
            "lz4:1",
            "lz4:17",
            "zstd",
            "zstd:-131072",
            "zstd:22",
        ] {
            assert_eq!(text.parse::<Compression>().unwrap().to_string(), text);
        }
        for (text, same) in [("gzip:-1", "gzip"), ("lz4:9", "lz4"), ("zstd:3", "zstd")] {
            assert_eq!(text.parse::<Compression>().unwrap().to_string(), same);
        }
        for text in [
            "", "brotli", "zstd:", "zstd:x", "ZSTD", "zstd:3:3", "none:1", "snappy:1",
        ] {
            assert!(text.parse::<Compression>().is_err(), "{text}");
        }
        for text in [
            "gzip:0",
            "gzip:10",
            "gzip:-2",
            "lz4:0",
            "lz4:18",
            "zstd:23",
            "zstd:-131073",
        ] {
            assert!(
                matches!(text.parse::<Compression>(), Err(CompressionError::Level { .. })),
                "{text}"
            );
        }
        let error = "lz4:18".parse::<Compression>().unwrap_err().to_string();
        assert_eq!(error, "lz4 has no level 18: choose 1 to 17, or 9, the default");
    }
}
