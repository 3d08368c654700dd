//! Fetch: offsets at both ends, limits, waiting, sessions, isolation.

use kafka_wire::ApiKey;

use super::super::request::{self, FetchAsked, ToFetch};
use super::super::{Bench, Case, CaseError, batches};

const API: &str = "Fetch";
/// For a fetch that something else ends. Nobody waits as long, unless the broker does not wake its waiters.
const LONG_WAIT_MS: i32 = 25_000;

fn at(topic: &str, offset: i64) -> ToFetch<'_> {
    ToFetch {
        topic,
        partition: 0,
        offset,
        bytes_max: 1 << 20,
        leader_epoch: -1,
    }
}

fn ask(bench: &mut Bench, how: FetchAsked, asked: &[ToFetch]) -> Result<String, CaseError> {
    bench.ask(ApiKey::Fetch, how.version, &request::fetch(how, asked))
}

/// Everything in partition 0.
pub(super) fn whole(bench: &mut Bench, topic: &str) -> Result<String, CaseError> {
    ask(bench, FetchAsked::default(), &[at(topic, 0)])
}

/// A fetch from offset `offset` of a topic with three batches of two records each.
fn case(
    all: &mut Vec<Case>,
    topic: &'static str,
    name: &str,
    offset: i64,
    change: impl Fn(&mut FetchAsked, &mut ToFetch) + 'static,
) {
    all.push(Case::new(API, name, move |bench| {
        let topic = bench.filled(topic)?;
        let (mut how, mut asked) = (FetchAsked::default(), at(&topic, offset));
        change(&mut how, &mut asked);
        ask(bench, how, &[asked])
    }));
}

pub(super) fn add(all: &mut Vec<Case>) {
    for version in 4..=12 {
        all.push(Case::new(
            API,
            format!("version {version}, three batches"),
            move |bench| {
                let topic = bench.filled(&format!("fetch-{version}"))?;
                let how = FetchAsked {
                    version,
                    ..FetchAsked::default()
                };
                ask(bench, how, &[at(&topic, 0)])
            },
        ));
    }
    case(all, "fetch-middle", "from the middle of a batch", 3, |_, _| {});
    case(all, "fetch-end", "at the end of the log", 6, |_, _| {});
    case(all, "fetch-behind", "behind the end of the log", 7, |_, _| {});
    case(all, "fetch-far", "far behind the end of the log", i64::MAX, |_, _| {});
    case(all, "fetch-negative", "from offset -1", -1, |_, _| {});
    all.push(Case::new(
        API,
        "in front of a log whose first records were deleted",
        |bench| {
            let topic = bench.filled("fetch-deleted")?;
            bench.ask(ApiKey::DeleteRecords, 2, &request::delete_records(&topic, &[(0, 3)]))?;
            let before = ask(bench, FetchAsked::default(), &[at(&topic, 2)])?;
            let first = ask(bench, FetchAsked::default(), &[at(&topic, 3)])?;
            Ok(format!("{before}; from the first that is left: {first}"))
        },
    ));
    case(
        all,
        "fetch-max-0",
        "max_bytes 0: one whole batch comes all the same",
        0,
        |how, _| how.bytes_max = 0,
    );
    case(all, "fetch-max-1", "max_bytes 1", 0, |how, _| how.bytes_max = 1);
    case(all, "fetch-max-negative", "max_bytes -1", 0, |how, _| {
        how.bytes_max = -1
    });
    case(all, "fetch-partition-max-0", "partition_max_bytes 0", 0, |_, p| {
        p.bytes_max = 0
    });
    case(all, "fetch-partition-max-1", "partition_max_bytes 1", 0, |_, p| {
        p.bytes_max = 1
    });
    case(
        all,
        "fetch-partition-max-100",
        "partition_max_bytes that end in the second batch",
        0,
        |_, p| {
            p.bytes_max = 100;
        },
    );
    case(
        all,
        "fetch-min-wait",
        "min_bytes that are not there, for 50 ms",
        0,
        |how, _| {
            (how.bytes_min, how.wait_ms_max) = (1 << 20, 50);
        },
    );
    case(
        all,
        "fetch-end-wait",
        "at the end of the log, for 50 ms",
        6,
        |how, _| {
            (how.bytes_min, how.wait_ms_max) = (1, 50);
        },
    );
    case(all, "fetch-wait-negative", "a wait of -1 ms", 6, |how, _| {
        (how.bytes_min, how.wait_ms_max) = (1, -1)
    });
    case(
        all,
        "fetch-behind-wait",
        "behind the end of the log, with a long wait: the error comes at once",
        9,
        |how, _| {
            (how.bytes_min, how.wait_ms_max) = (1, LONG_WAIT_MS);
        },
    );
    all.push(Case::new(
        API,
        "at the end of the log, until another connection appends",
        |bench| {
            let topic = bench.filled("fetch-woken")?;
            let how = FetchAsked {
                bytes_min: 1,
                wait_ms_max: LONG_WAIT_MS,
                ..FetchAsked::default()
            };
            let mut wire = bench.connect()?;
            let id = bench.next_id();
            let body = request::fetch(how, &[at(&topic, 6)]);
            wire.send(&request::frame(ApiKey::Fetch.code(), how.version, false, id, &body))?;
            let batch = batches::plain(bench.base_ms(), &[b"news"]);
            bench.append(&topic, 0, &batch)?;
            bench.read(&mut wire, ApiKey::Fetch, how.version, id)
        },
    ));
    for (name, isolation) in [("read_committed", 1), ("an isolation level that does not exist", 7)] {
        let topic = if isolation == 1 {
            "fetch-committed"
        } else {
            "fetch-isolation-7"
        };
        case(all, topic, name, 0, move |how, _| how.isolation = isolation);
    }
    case(all, "fetch-epoch-0", "the leader epoch that is", 0, |_, p| {
        p.leader_epoch = 0
    });
    case(all, "fetch-epoch-9", "a leader epoch of the future", 0, |_, p| {
        p.leader_epoch = 9
    });
    case(all, "fetch-epoch-negative", "leader epoch -2", 0, |_, p| {
        p.leader_epoch = -2
    });
    sessions(all);
    all.push(Case::new(API, "an unknown topic", |bench| {
        let topic = bench.name("fetch-unknown");
        ask(bench, FetchAsked::default(), &[at(&topic, 0)])
    }));
    for partition in [1, -1] {
        let topic = if partition == 1 {
            "fetch-partition-1"
        } else {
            "fetch-partition-negative"
        };
        case(
            all,
            topic,
            &format!("partition {partition} of a topic with one"),
            0,
            move |_, p| p.partition = partition,
        );
    }
    all.push(Case::new(API, "two partitions", |bench| {
        let topic = two_partitions(bench, "fetch-two")?;
        let second = ToFetch {
            partition: 1,
            ..at(&topic, 0)
        };
        ask(bench, FetchAsked::default(), &[at(&topic, 0), second])
    }));
    all.push(Case::new(
        API,
        "two partitions and max_bytes 1: a batch of the first, nothing of the second",
        |bench| {
            let topic = two_partitions(bench, "fetch-two-limited")?;
            let second = ToFetch {
                partition: 1,
                ..at(&topic, 0)
            };
            let how = FetchAsked {
                bytes_max: 1,
                ..FetchAsked::default()
            };
            ask(bench, how, &[at(&topic, 0), second])
        },
    ));
    all.push(Case::new(API, "the same partition twice", |bench| {
        let topic = bench.filled("fetch-twice")?;
        ask(bench, FetchAsked::default(), &[at(&topic, 0), at(&topic, 4)])
    }));
    all.push(Case::new(API, "a topic that exists and one that does not", |bench| {
        let (topic, unknown) = (bench.filled("fetch-known")?, bench.name("fetch-not-known"));
        ask(bench, FetchAsked::default(), &[at(&topic, 0), at(&unknown, 0)])
    }));
    all.push(Case::new(API, "no partition", |bench| {
        ask(bench, FetchAsked::default(), &[])
    }));
}

fn two_partitions(bench: &mut Bench, topic: &str) -> Result<String, CaseError> {
    let name = bench.topic(topic, 2)?;
    for partition in 0..2 {
        let batch = batches::plain(bench.base_ms(), &[b"first", b"second"]);
        bench.append(&name, partition, &batch)?;
    }
    Ok(name)
}

fn sessions(all: &mut Vec<Case>) {
    case(all, "session-new", "a new session: id 0, epoch 0", 0, |how, _| {
        how.session_epoch = 0
    });
    case(
        all,
        "session-final",
        "an end of a session that is not there: id 12345, epoch -1",
        0,
        |how, _| {
            (how.session_id, how.session_epoch) = (12_345, -1);
        },
    );
    case(
        all,
        "session-unknown",
        "a session that is not there: id 12345, epoch 1",
        0,
        |how, _| {
            (how.session_id, how.session_epoch) = (12_345, 1);
        },
    );
    case(all, "session-0-1", "id 0, epoch 1", 0, |how, _| how.session_epoch = 1);
    case(all, "session-epoch-negative", "id 0, epoch -2", 0, |how, _| {
        how.session_epoch = -2
    });
    case(
        all,
        "session-again",
        "a new session in the place of one that is not there: id 12345, epoch 0",
        0,
        |how, _| {
            (how.session_id, how.session_epoch) = (12_345, 0);
        },
    );
}
