//! ListOffsets, OffsetForLeaderEpoch, DeleteRecords.

use kafka_wire::ApiKey;

use super::super::request;
use super::super::{Bench, Case, CaseError, batches};

const API: &str = "ListOffsets";
const LATEST_VERSION: i16 = 10;

fn ask(bench: &mut Bench, version: i16, asked: &[(&str, i32, i64)]) -> Result<String, CaseError> {
    bench.ask(ApiKey::ListOffsets, version, &request::list_offsets(version, asked))
}

pub(super) fn add(all: &mut Vec<Case>) {
    for version in 1..=LATEST_VERSION {
        all.push(Case::new(
            API,
            format!("version {version}, latest and earliest"),
            move |bench| {
                let topic = bench.filled(&format!("offsets-{version}"))?;
                let latest = ask(bench, version, &[(&topic, 0, -1)])?;
                let earliest = ask(bench, version, &[(&topic, 0, -2)])?;
                Ok(format!("{latest}; {earliest}"))
            },
        ));
    }
    for (mark, what) in [
        (-3, "the greatest timestamp"),
        (-4, "earliest local"),
        (-5, "latest tiered"),
        (-6, "a mark of a later version"),
        (-99, "a mark that does not exist"),
        (i64::MIN, "the least number"),
    ] {
        let topic = format!("mark-{}", mark.unsigned_abs());
        all.push(Case::new(API, format!("{mark}, {what}"), move |bench| {
            let topic = bench.filled(&topic)?;
            ask(bench, LATEST_VERSION, &[(&topic, 0, mark)])
        }));
    }
    for (mark, version) in [(-3i64, 6i16), (-4, 7), (-5, 8)] {
        all.push(Case::new(
            API,
            format!("{mark} in version {version}, which does not know it"),
            move |bench| {
                let topic = bench.filled(&format!("early-mark-{}", mark.unsigned_abs()))?;
                ask(bench, version, &[(&topic, 0, mark)])
            },
        ));
    }
    for mark in [-1i64, -2, -3, -4] {
        all.push(Case::new(API, format!("{mark} of an empty log"), move |bench| {
            let topic = bench.topic(&format!("empty-mark-{}", mark.unsigned_abs()), 1)?;
            ask(bench, LATEST_VERSION, &[(&topic, 0, mark)])
        }));
    }
    // Records are of T+0 to T+5, two in a batch.
    for (name, after_ms) in [
        ("a time in front of the first record", -1000i64),
        ("the time of a first record of a batch", 2),
        ("the time of a second record of a batch", 3),
        ("a time behind the last record", 6),
    ] {
        all.push(Case::new(API, name, move |bench| {
            let topic = bench.filled(&format!("time-{}", after_ms + 1000))?;
            let time = bench.base_ms() + after_ms;
            ask(bench, LATEST_VERSION, &[(&topic, 0, time)])
        }));
    }
    all.push(Case::new(API, "time 0", |bench| {
        let topic = bench.filled("time-zero")?;
        ask(bench, LATEST_VERSION, &[(&topic, 0, 0)])
    }));
    all.push(Case::new(API, "a time between two batches", |bench| {
        let topic = bench.topic("time-gap", 1)?;
        for after_ms in [0, 100] {
            let batch = batches::plain(bench.base_ms() + after_ms, &[b"one", b"two"]);
            bench.append(&topic, 0, &batch)?;
        }
        let time = bench.base_ms() + 50;
        ask(bench, LATEST_VERSION, &[(&topic, 0, time)])
    }));
    for codec in 1..=4 {
        all.push(Case::new(
            API,
            format!("the time of the second record of a batch compressed with codec {codec}"),
            move |bench| {
                let topic = bench.topic(&format!("time-codec-{codec}"), 1)?;
                let time = bench.base_ms();
                bench.append(&topic, 0, &batches::compressed(codec, time))?;
                ask(bench, LATEST_VERSION, &[(&topic, 0, time + 1)])
            },
        ));
    }
    all.push(Case::new(
        API,
        "the greatest timestamp of a compressed batch",
        |bench| {
            let topic = bench.topic("greatest-compressed", 1)?;
            let records = batches::compressed(1, bench.base_ms());
            bench.append(&topic, 0, &records)?;
            ask(bench, LATEST_VERSION, &[(&topic, 0, -3)])
        },
    ));
    all.push(Case::new(API, "an unknown topic", |bench| {
        let topic = bench.name("offsets-unknown");
        ask(bench, LATEST_VERSION, &[(&topic, 0, -1)])
    }));
    for partition in [1, -1] {
        all.push(Case::new(
            API,
            format!("partition {partition} of a topic with one"),
            move |bench| {
                let topic = bench.topic(&format!("offsets-partition-{}", partition + 1), 1)?;
                ask(bench, LATEST_VERSION, &[(&topic, partition, -1)])
            },
        ));
    }
    all.push(Case::new(API, "the same partition twice", |bench| {
        let topic = bench.filled("offsets-twice")?;
        ask(bench, LATEST_VERSION, &[(&topic, 0, -1), (&topic, 0, -2)])
    }));
    epochs(all);
    delete_records(all);
}

fn epochs(all: &mut Vec<Case>) {
    for (name, current, asked) in [
        ("the epoch that is", -1, 0),
        ("an epoch of the future", -1, 5),
        ("epoch -1", -1, -1),
        ("a current epoch of the future", 9, 0),
    ] {
        all.push(Case::new("OffsetForLeaderEpoch", name, move |bench| {
            let topic = bench.filled(&format!("epoch-{}-{}", current + 1, asked + 1))?;
            let body = request::offset_for_leader_epoch(&topic, &[(0, current, asked)]);
            bench.ask(ApiKey::OffsetForLeaderEpoch, 3, &body)
        }));
    }
    all.push(Case::new("OffsetForLeaderEpoch", "an unknown topic", |bench| {
        let topic = bench.name("epoch-unknown");
        let body = request::offset_for_leader_epoch(&topic, &[(0, -1, 0)]);
        bench.ask(ApiKey::OffsetForLeaderEpoch, 3, &body)
    }));
}

fn delete_records(all: &mut Vec<Case>) {
    for (name, topic, offset) in [
        ("in the middle of a batch", "delete-middle", 3i64),
        ("-1, everything", "delete-all", -1),
        ("behind the end", "delete-behind", 7),
        ("-2", "delete-negative", -2),
    ] {
        all.push(Case::new("DeleteRecords", name, move |bench| {
            let topic = bench.filled(topic)?;
            let answer = bench.ask(
                ApiKey::DeleteRecords,
                2,
                &request::delete_records(&topic, &[(0, offset)]),
            )?;
            let earliest = ask(bench, LATEST_VERSION, &[(&topic, 0, -2)])?;
            Ok(format!("{answer}; {earliest}"))
        }));
    }
    all.push(Case::new("DeleteRecords", "an unknown topic", |bench| {
        let topic = bench.name("delete-unknown");
        bench.ask(ApiKey::DeleteRecords, 2, &request::delete_records(&topic, &[(0, 1)]))
    }));
}
