//! Definitions with `[blocks]` and `[look_up]` that make no sense.

use super::{Broken, assert_refused};
use crate::definition::{BUNDLED, Definition, MACHINE, Role, Work};

const SEQUENTIAL_WRITE: &str = include_str!("../../../definitions/sequential-write.toml");
const ASSIGNORS: &str = include_str!("../../../definitions/assignors.toml");
const SEGMENT_INDEX: &str = include_str!("../../../definitions/segment-index.toml");
const REPLAY: &str = include_str!("../../../definitions/replay.toml");

#[test]
fn blocks_need_no_broker_and_look_ups_ours() {
    let blocks = Definition::parse("sequential-write.toml", SEQUENTIAL_WRITE).unwrap();
    assert!(matches!(blocks.work, Work::Blocks(_)) && blocks.target == MACHINE);
    let limits = blocks.quick.arms.iter().filter(|arm| arm.role == Role::Limit);
    assert!(limits.into_iter().all(|arm| arm.id.starts_with("bare-sequential/")));
    let look_ups = Definition::parse("segment-index.toml", SEGMENT_INDEX).unwrap();
    assert_eq!(look_ups.target, BUNDLED);
    let look_up = look_ups.look_up().unwrap();
    assert_eq!(look_up.log_bytes_of(16 << 20), 256 << 20);
    assert_eq!(look_up.log_bytes_of(1 << 30), 1 << 30, "a log has a whole segment");
}

const BROKEN_BLOCKS: &[Broken] = &[
    (
        "target = \"machine\"\n",
        "",
        "\"sequential-write\"",
        "written without a broker",
        "target = \"machine\"",
    ),
    (
        "target = \"machine\"",
        "target = \"kafka\"",
        "\"kafka\"",
        "written without a broker",
        "target = \"machine\"",
    ),
    (
        "[payload]",
        "[settings]\n\"fetch.path\" = \"mmap\"\n\n[payload]",
        "",
        "no broker takes the setting `fetch.path`",
        "remove",
    ),
    (
        "levels = [\"random\", \"sequential\"]",
        "levels = [\"random\", \"sequential\", \"zigzag\"]",
        "\"zigzag\"",
        "`placement` can't do `zigzag`",
        "sequential, random",
    ),
    (
        "levels = [\"never\", \"every-batch\"]",
        "levels = [\"never\", \"always\"]",
        "\"always\"",
        "`flush` can't do `always`",
        "never, every-batch",
    ),
    (
        "levels = [\"growing\", \"preallocated\", \"rewritten\"]",
        "levels = [\"sparse\"]",
        "\"sparse\"",
        "`file` can't do `sparse`",
        "growing",
    ),
    (
        "name = \"file\"",
        "name = \"files\"",
        "[blocks]",
        "there is no factor `file`",
        "placement, block_bytes",
    ),
    (
        "[payload]",
        "[[factors]]\nname = \"cache\"\nlabel = \"Page cache\"\nlevels = [\"hot\"]\n\n[payload]",
        "\"cache\"",
        "`[blocks]` knows no factor `cache`",
        "one of: placement",
    ),
    (
        "levels = [4096, 65536",
        "levels = [4000, 65536",
        "4000",
        "`block_bytes` can't be 4000",
        "a multiple of 4096",
    ),
    (
        "levels = [67108864, 536870912]",
        "levels = [33554432]",
        "33554432",
        "`file_bytes` can't be 33554432",
        "at least window_bytes_max",
    ),
    (
        "window_bytes_max = 67108864",
        "window_bytes_max = 67108865",
        "67108865",
        "no whole number of blocks",
        "for example 68157440",
    ),
    (
        "limit_block_bytes = 1048576",
        "limit_block_bytes = 5000",
        "5000",
        "around the page cache",
        "a multiple of 4096",
    ),
    (
        "\"bare-sequential\" = [\"random\", \"sequential\"]",
        "\"bare-random\" = \"random\"",
        "\"bare-random\"",
        "no bare loop `bare-random`",
        "bare-sequential",
    ),
    ("[blocks]", "[block]", "block", "unknown field `block`", "assay show"),
];

const BROKEN_ASSIGNORS: &[Broken] = &[
    (
        "target = \"machine\"\n",
        "",
        "\"assignors\"",
        "worked out without a broker",
        "target = \"machine\"",
    ),
    (
        "[assign]",
        "[payload]\nkind = \"json\"\nrecord_bytes = 100\nentropy = 0.5\n\n[assign]",
        "",
        "no record is made",
        "remove `[payload]`",
    ),
    (
        "[assign]",
        "[settings]\n\"group.max.size\" = 8\n\n[assign]",
        "",
        "no broker takes the setting `group.max.size`",
        "remove",
    ),
    (
        "levels = [\"range\", \"roundrobin\"",
        "levels = [\"range\", \"roundrobin\", \"uniform\"",
        "\"uniform\"",
        "`assignor` can't do `uniform`",
        "range, roundrobin",
    ),
    ("members = 8", "members = 1", "1", "members is 1", "between 2"),
];

const BROKEN_LOOK_UPS: &[Broken] = &[
    (
        "transport = \"loopback\"",
        "transport = \"loopback\"\ntarget = \"kafka\"",
        "\"kafka\"",
        "a setting of the bundled broker",
        "remove `target`",
    ),
    (
        "transport = \"loopback\"",
        "transport = \"loopback\"\ntarget = \"machine\"",
        "\"machine\"",
        "has no broker",
        "`[blocks]`",
    ),
    (
        "[settings]",
        "[settings]\n\"log.index.interval.bytes\" = 1",
        "",
        "the arms set `log.index.interval.bytes` themselves",
        "remove it",
    ),
    (
        "levels = [\"scan\", \"sparse\", \"dense\"]",
        "levels = [\"scan\", \"sparse\", \"dense\", \"hash\"]",
        "\"hash\"",
        "`index` can't do `hash`",
        "sparse, dense, scan",
    ),
    (
        "levels = [\"offset\", \"record\", \"time\"]",
        "levels = [\"offset\", \"record\", \"time\", \"key\"]",
        "\"key\"",
        "`look_up` can't do `key`",
        "offset, record, time",
    ),
    (
        "levels = [16777216, 268435456, 1073741824]",
        "levels = [16777216, 268435456, 1000]",
        "1000]",
        "`segment_bytes` can't be 1000",
        "a multiple of 1024",
    ),
    (
        "log_bytes = 268435456",
        "log_bytes = 268435457",
        "268435457",
        "whole number of batches of 1024 bytes",
        "for example 268436480",
    ),
    (
        "response_bytes = 1048576",
        "response_bytes = 1000",
        "1000",
        "response_bytes is 1000",
        "between 1024",
    ),
    (
        "read_bytes = 0",
        "read_bytes = 4096",
        "4096",
        "can't be read from every place",
        "`distance`",
    ),
    (
        "[payload]",
        "[limit]\n\"bare-scan\" = \"scan\"\n\n[payload]",
        "\"bare-scan\"",
        "a look-up has no bare loop",
        "remove",
    ),
];

const BROKEN_REPLAYS: &[Broken] = &[
    (
        "levels = [1, 50, 99]",
        "levels = [0, 50]",
        "0",
        "`distance` can't be 0",
        "1 to 99",
    ),
    (
        "levels = [1, 50, 99]",
        "levels = [\"far\"]",
        "\"far\"",
        "`distance` can't be far",
        "whole number",
    ),
    (
        "read_bytes = 2097152",
        "read_bytes = 2684355",
        "2684355",
        "behind the last one lie 2415919",
        "make it smaller",
    ),
];

#[test]
fn nonsense_is_refused_with_its_place() {
    let of = |definition, rows: &[Broken]| rows.iter().for_each(|row| assert_refused(definition, row));
    of(SEQUENTIAL_WRITE, BROKEN_BLOCKS);
    of(ASSIGNORS, BROKEN_ASSIGNORS);
    of(SEGMENT_INDEX, BROKEN_LOOK_UPS);
    of(REPLAY, BROKEN_REPLAYS);
}
