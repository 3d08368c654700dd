//! Produce: acks, versions, what is wrong with batches.

use kafka_wire::ApiKey;

use super::super::request::{self, ToProduce};
use super::super::{Bench, Case, CaseError, batches};

const API: &str = "Produce";
const VERSION: i16 = 9;
/// Larger than `max.message.bytes` of a topic that does not set it.
const TOO_LARGE_BYTES: usize = 2_000_000;

fn one<'a>(topic: &'a str, partition: i32, records: &'a [u8]) -> ToProduce<'a> {
    ToProduce {
        topic,
        partition,
        records,
    }
}

/// A good batch.
fn three(ms: i64) -> Vec<u8> {
    batches::plain(ms, &[b"one", b"two", b"three"])
}

/// Answer, and where the log of partition 0 ends behind it.
pub(super) fn with_end(bench: &mut Bench, topic: &str, answer: String) -> Result<String, CaseError> {
    let end = bench.ask(ApiKey::ListOffsets, 1, &request::list_offsets(1, &[(topic, 0, -1)]))?;
    let end = end
        .rsplit_once("offset=")
        .map_or("unknown", |(_, end)| end.trim_end_matches(['}', ']']));
    Ok(format!("{answer}; the log ends at {end}"))
}

/// Sends batches that `make` builds (they get the base time) to one fresh topic, and tells where its log ends.
fn case(
    all: &mut Vec<Case>,
    topic: &'static str,
    name: &str,
    (version, acks, timeout_ms): (i16, i16, i32),
    make: impl Fn(i64) -> Vec<u8> + 'static,
) {
    all.push(Case::new(API, name, move |bench| {
        let topic = bench.topic(topic, 1)?;
        let records = make(bench.base_ms());
        let asked = ToProduce {
            topic: &topic,
            partition: 0,
            records: &records,
        };
        let answer = bench.ask(
            ApiKey::Produce,
            version,
            &request::produce(version, acks, timeout_ms, &[asked]),
        )?;
        with_end(bench, &topic, answer)
    }));
}

pub(super) fn add(all: &mut Vec<Case>) {
    for version in 3..=12 {
        all.push(Case::new(
            API,
            format!("version {version}, three records"),
            move |bench| {
                let topic = bench.topic(&format!("produce-{version}"), 1)?;
                let records = three(bench.base_ms());
                let body = request::produce(version, -1, 30_000, &[one(&topic, 0, &records)]);
                let answer = bench.ask(ApiKey::Produce, version, &body)?;
                with_end(bench, &topic, answer)
            },
        ));
    }
    case(all, "acks-1", "acks=1", (VERSION, 1, 30_000), three);
    for acks in [5, 2, -2] {
        all.push(Case::new(
            API,
            format!("acks={acks}, which does not exist"),
            move |bench| {
                let topic = bench.topic(&format!("acks-{}", acks + 10), 1)?;
                let records = three(bench.base_ms());
                let body = request::produce(VERSION, acks, 30_000, &[one(&topic, 0, &records)]);
                let answer = bench.ask(ApiKey::Produce, VERSION, &body)?;
                with_end(bench, &topic, answer)
            },
        ));
    }
    case(all, "timeout-0", "a timeout of 0 ms", (VERSION, -1, 0), move |ms| {
        three(ms)
    });
    case(all, "timeout-negative", "a timeout of -1 ms", (VERSION, -1, -1), three);
    acks_0(all);
    for version in [0i16, 1, 2, 13 + 1, -1] {
        all.push(Case::new(
            API,
            format!("version {version}, which is not served"),
            move |bench| {
                let mut body = vec![0, 1, 0, 0, 0, 100, 0, 0, 0, 0];
                body.resize(32, 0);
                let id = bench.next_id();
                bench.throw(&request::frame(0, version, false, id, &body), false)
            },
        ));
    }
    wrong_batches(all);
    for (codec, name) in [(1, "gzip"), (2, "snappy"), (3, "lz4"), (4, "zstd")] {
        all.push(Case::new(
            API,
            format!("a batch of two records compressed by {name}, and fetched"),
            move |bench| {
                let topic = bench.topic(&format!("codec-{name}"), 1)?;
                let records = batches::compressed(codec, bench.base_ms());
                bench.append(&topic, 0, &records)?;
                super::fetch::whole(bench, &topic)
            },
        ));
    }
    case(
        all,
        "zstd-old",
        "zstd in version 6, which is too old for it",
        (6, -1, 30_000),
        |ms| batches::compressed(4, ms),
    );
    all.push(Case::new(API, "an unknown topic", move |bench| {
        let (topic, records) = (bench.name("produce-unknown"), three(bench.base_ms()));
        bench.ask(
            ApiKey::Produce,
            VERSION,
            &request::produce(VERSION, -1, 30_000, &[one(&topic, 0, &records)]),
        )
    }));
    for partition in [1, -1, i32::MAX] {
        all.push(Case::new(
            API,
            format!("partition {partition} of a topic with one"),
            move |bench| {
                let topic = bench.topic(&format!("no-partition-{}", i64::from(partition) + 1), 1)?;
                let records = three(bench.base_ms());
                let body = request::produce(VERSION, -1, 30_000, &[one(&topic, partition, &records)]);
                bench.ask(ApiKey::Produce, VERSION, &body)
            },
        ));
    }
    all.push(Case::new(
        API,
        "two partitions, one of which does not exist",
        move |bench| {
            let (topic, records) = (bench.topic("one-of-two", 1)?, three(bench.base_ms()));
            let asked = [one(&topic, 0, &records), one(&topic, 7, &records)];
            let answer = bench.ask(ApiKey::Produce, VERSION, &request::produce(VERSION, -1, 30_000, &asked))?;
            with_end(bench, &topic, answer)
        },
    ));
    all.push(Case::new(API, "no topic at all", |bench| {
        bench.ask(ApiKey::Produce, VERSION, &request::produce(VERSION, -1, 30_000, &[]))
    }));
    all.push(Case::new(
        API,
        "five requests sent at once on a connection are answered in order",
        move |bench| {
            let (topic, records) = (bench.topic("pipelined", 1)?, three(bench.base_ms()));
            let body = request::produce(VERSION, -1, 30_000, &[one(&topic, 0, &records)]);
            let ids: Vec<i32> = (0..5).map(|_| bench.next_id()).collect();
            let frame = |id: &i32| request::frame(ApiKey::Produce.code(), VERSION, true, *id, &body);
            let mut wire = bench.connect()?;
            wire.send(&ids.iter().flat_map(frame).collect::<Vec<u8>>())?;
            let mut answers = Vec::new();
            for id in ids {
                answers.push(bench.read(&mut wire, ApiKey::Produce, VERSION, id)?);
            }
            Ok(answers.join("; "))
        },
    ));
}

fn acks_0(all: &mut Vec<Case>) {
    // The first bytes that come back belong to the request behind it.
    all.push(Case::new(API, "acks=0: no answer, the record is there", |bench| {
        let topic = bench.topic("acks-0", 1)?;
        let records = batches::plain(bench.base_ms(), &[b"one"]);
        let body = request::produce(VERSION, 0, 30_000, &[one(&topic, 0, &records)]);
        let mut wire = bench.connect()?;
        let id = bench.next_id();
        wire.send(&request::frame(ApiKey::Produce.code(), VERSION, true, id, &body))?;
        let behind = request::list_offsets(1, &[(&topic, 0, -1)]);
        bench.ask_on(&mut wire, ApiKey::ListOffsets, 1, &behind)
    }));
    all.push(Case::new(
        API,
        "acks=0 for an unknown topic, with a request behind it",
        |bench| {
            let topic = bench.name("acks-0-unknown");
            let records = batches::plain(bench.base_ms(), &[b"one"]);
            let body = request::produce(VERSION, 0, 30_000, &[one(&topic, 0, &records)]);
            let mut wire = bench.connect()?;
            let id = bench.next_id();
            wire.send(&request::frame(ApiKey::Produce.code(), VERSION, true, id, &body))?;
            bench.ask_on(&mut wire, ApiKey::Metadata, 1, &request::metadata(1, Some(&[]), false))
        },
    ));
}

fn wrong_batches(all: &mut Vec<Case>) {
    let how = (VERSION, -1, 30_000);
    case(all, "bad-crc", "a CRC that does not fit", how, move |ms| {
        let batch = three(ms);
        let byte = batch[batches::CRC_AT] ^ 1;
        batches::broken(&batch, batches::CRC_AT, &[byte])
    });
    case(all, "bad-record", "a flipped bit in the last record", how, move |ms| {
        let batch = three(ms);
        let at = batch.len() - 2;
        batches::broken(&batch, at, &[batch[at] ^ 1])
    });
    for magic in [0u8, 1] {
        let topic = if magic == 0 { "format-0" } else { "format-1" };
        case(all, topic, &format!("a message of format {magic}"), how, move |ms| {
            batches::old_format(magic, ms)
        });
    }
    case(all, "format-3", "a batch that says format 3", how, move |ms| {
        batches::broken(&three(ms), batches::MAGIC_AT, &[3])
    });
    case(
        all,
        "count-more",
        "4 records are announced with 3 offsets",
        how,
        move |ms| batches::counted(&three(ms), 4, 2),
    );
    case(
        all,
        "count-offsets",
        "3 records are announced with 4 offsets",
        how,
        move |ms| batches::counted(&three(ms), 3, 3),
    );
    case(
        all,
        "count-both",
        "5 records and 5 offsets are announced, 3 records are there",
        how,
        move |ms| batches::counted(&three(ms), 5, 4),
    );
    case(
        all,
        "count-few",
        "2 records and 2 offsets are announced, 3 records are there",
        how,
        move |ms| batches::counted(&three(ms), 2, 1),
    );
    case(
        all,
        "count-zero",
        "no record is announced, 3 are there",
        how,
        move |ms| batches::counted(&three(ms), 0, -1),
    );
    case(all, "count-negative", "-3 records are announced", how, move |ms| {
        batches::counted(&three(ms), -3, -4)
    });
    case(all, "empty-batch", "a batch of no record", how, batches::empty);
    case(all, "no-bytes", "no bytes", how, |_| Vec::new());
    case(all, "two-batches", "two batches in one partition", how, move |ms| {
        [three(ms), three(ms)].concat()
    });
    case(all, "byte-behind", "a byte behind the batch", how, move |ms| {
        [&three(ms)[..], &[0]].concat()
    });
    case(all, "cut-off", "a batch without its last byte", how, move |ms| {
        let batch = three(ms);
        batch[..batch.len() - 1].to_vec()
    });
    case(all, "half-header", "half a batch header", how, move |ms| {
        three(ms)[..30].to_vec()
    });
    for (topic, length) in [("length-max", i32::MAX), ("length-negative", -1), ("length-0", 0)] {
        case(all, topic, &format!("a batch length of {length}"), how, move |ms| {
            batches::broken(&three(ms), 8, &length.to_be_bytes())
        });
    }
    for (topic, name, bits) in [
        ("codec-5", "a codec that does not exist", 5u16),
        ("control", "a control batch", 0x20),
        ("transactional", "a transactional batch without a transaction", 0x10),
        ("unused-bits", "an attribute bit without a meaning", 0x400),
        ("append-time", "the timestamp type of the broker", 0x08),
        ("not-gzip", "gzip is announced, plain records are there", 1),
    ] {
        case(all, topic, name, how, move |ms| {
            batches::patched(&three(ms), batches::ATTRIBUTES_AT, &bits.to_be_bytes())
        });
    }
    case(
        all,
        "unknown-producer",
        "a producer id that was never given out, sequence 0",
        how,
        move |ms| {
            // Producer id, epoch 0, sequence 0.
            let identity = [&777_777i64.to_be_bytes()[..], &[0, 0], &[0, 0, 0, 0]].concat();
            batches::patched(&three(ms), batches::PRODUCER_ID_AT, &identity)
        },
    );
    case(all, "too-large", "a batch larger than max.message.bytes", how, |ms| {
        batches::plain(ms, &[&vec![b'x'; TOO_LARGE_BYTES]])
    });
    case(all, "far-future", "a record of the year 2100", how, |_| {
        batches::plain(4_102_444_800_000, &[b"later"])
    });
    case(all, "no-time", "a record without a time", how, |_| {
        batches::plain(-1, &[b"when"])
    });
}
