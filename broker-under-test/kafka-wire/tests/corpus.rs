//! The corpus of the fuzz target, replayed: nothing panics, and nothing allocates more than the bytes that came can
//! explain.

#[cfg(test)]
#[path = "../fuzz/src/entry.rs"]
mod entry;

#[cfg(test)]
mod replay {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;
    use std::collections::BTreeSet;
    use std::path::Path;

    use kafka_wire::encode::{BufMut, Encode};
    use kafka_wire::{ApiKey, Cursor, RequestHeader, WireError, api, frame, schema};

    use super::entry;

    /// Bytes in memory for a byte on the wire: an element of one byte becomes a structure with a tree of tags in it.
    const GROWTH: usize = 256;
    /// What small requests may take in any case, and what may come out of a compressed batch.
    const SLACK_BYTES: usize = 16 * 1024 + entry::DECOMPRESSED_BYTES_MAX;

    struct Counting;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    thread_local! {
        static LIVE_BYTES: Cell<usize> = const { Cell::new(0) };
        static PEAK_BYTES: Cell<usize> = const { Cell::new(0) };
    }

    fn grow(bytes: usize) {
        let live = LIVE_BYTES.get() + bytes;
        LIVE_BYTES.set(live);
        PEAK_BYTES.set(PEAK_BYTES.get().max(live));
    }

    // SAFETY: every call goes to the system's allocator with the arguments that came; counting allocates nothing.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            grow(layout.size());
            // SAFETY: the caller's promise is passed on.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            // What another thread allocated may be freed here.
            LIVE_BYTES.set(LIVE_BYTES.get().saturating_sub(layout.size()));
            // SAFETY: the caller's promise is passed on.
            unsafe { System.dealloc(pointer, layout) }
        }
    }

    /// Reads the request and answers the most bytes that this took at a time.
    fn allocated_by(frame: &[u8]) -> usize {
        let before = LIVE_BYTES.get();
        PEAK_BYTES.set(before);
        entry::request(frame);
        PEAK_BYTES.get() - before
    }

    fn check(frame: &[u8], what: &str) {
        let allocated = allocated_by(frame);
        let limit = SLACK_BYTES + GROWTH * frame.len();
        assert!(
            allocated <= limit,
            "{what}: {allocated} bytes for {} on the wire",
            frame.len()
        );
    }

    fn corpus() -> Vec<(String, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/request");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (
                    entry.file_name().into_string().unwrap(),
                    std::fs::read(entry.path()).unwrap(),
                )
            })
            .collect();
        files.sort_unstable();
        assert!(files.len() >= 30, "only {} files", files.len());
        files
    }

    #[test]
    fn every_file_of_the_corpus() {
        for (name, frame) in corpus() {
            check(&frame, &name);
        }
    }

    #[test]
    fn every_file_with_every_length_that_lies() {
        for (name, frame) in corpus() {
            for cut in 0..frame.len() {
                check(&frame[..cut], &name);
            }
            for value in [i32::MAX, i32::MIN, -1, -2, 0x7fff_fff0, 100_000, 0x00ff_ffff] {
                for at in 0..frame.len().saturating_sub(3) {
                    let mut lying = frame.clone();
                    lying[at..at + 4].copy_from_slice(&value.to_be_bytes());
                    check(&lying, &name);
                }
            }
            for at in 0..frame.len() {
                for varint in [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0xff, 0xff, 0x7f], &[0x80; 12]] {
                    let lying = [&frame[..at], varint, &frame[at + 1..]].concat();
                    check(&lying, &name);
                }
            }
        }
    }

    /// A body with an array of `count` elements behind `lead` zero bytes, all of zeros, when there is such a body.
    fn crowd(key: ApiKey, version: i16, lead: usize, count: usize) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        frame::start_request(&mut out, key, version, 1, "c");
        out.put_bytes(0, lead);
        out.put_array_len(count, key.is_flexible(version));
        out.put_bytes(0, 64 * count);
        let mut cursor = Cursor::new(&out[4..]);
        RequestHeader::parse(&mut cursor).unwrap();
        match schema::check_request(&mut cursor, key, version) {
            // Everything was there, and zeros behind it.
            Err(WireError::TrailingBytes { extra, .. }) => {
                out.truncate(out.len() - extra);
                Some(out.split_off(4)).filter(|frame| frame.len() > count)
            }
            _ => None,
        }
    }

    /// Requests that truly carry the elements that they announce, as many as pass.
    #[test]
    fn the_most_elements_that_pass() {
        // The first two are not decoded by the crate, the arrays of the last three can't be made of zeros, the others have none.
        let others = [
            ApiKey::Produce,
            ApiKey::Fetch,
            ApiKey::ApiVersions,
            ApiKey::InitProducerId,
            ApiKey::DescribeCluster,
            ApiKey::Heartbeat,
            ApiKey::ListGroups,
            ApiKey::ConsumerGroupHeartbeat,
            ApiKey::ConsumerGroupDescribe,
        ];
        let mut crowded = BTreeSet::new();
        for row in api::VERSIONS {
            for version in [row.served_min, row.max, row.flexible_from] {
                if !row.key.serves(version) || others.contains(&row.key) {
                    continue;
                }
                // Where the array stands depends on the API.
                for lead in 0..=16 {
                    let Some(frame) = crowd(row.key, version, lead, schema::ELEMENTS_MAX) else {
                        continue;
                    };
                    crowded.insert(row.key);
                    let allocated = allocated_by(&frame);
                    assert!(allocated > schema::ELEMENTS_MAX, "{:?} v{version} was decoded", row.key);
                    assert!(allocated < 32 << 20, "{:?} v{version}: {allocated} bytes", row.key);
                    break;
                }
            }
        }
        assert!(
            crowd(ApiKey::Metadata, 1, 0, schema::ELEMENTS_MAX + 1).is_none(),
            "one more"
        );
        assert_eq!(crowded.len() + others.len(), ApiKey::ALL.len(), "{crowded:?}");
    }

    #[test]
    fn a_million_tags_are_refused_before_they_are_kept() {
        let mut out = Vec::new();
        frame::start_request(&mut out, ApiKey::Metadata, 12, 1, "c");
        out.put_slice(&[1, 0, 0]);
        out.put_uvarint(1_000_000);
        for tag in 0..1_000_000 {
            out.put_uvarint(tag);
            out.put_u8(0);
        }
        let allocated = allocated_by(&out[4..]);
        assert!(allocated < 2 * out.len(), "{allocated} bytes for {}", out.len());
    }
}
