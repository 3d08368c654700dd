//! CreateTopics, CreatePartitions, DeleteTopics, DescribeConfigs.

use kafka_wire::ApiKey;

use super::super::request::{self, ToCreate};
use super::super::{Bench, Case, CaseError};

const LATEST: i16 = 7;
/// Kafka's codes for resources.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn create(bench: &mut Bench, version: i16, validate_only: bool, topics: &[ToCreate]) -> Result<String, CaseError> {
    for topic in topics {
        bench.created(topic.name);
    }
    let body = request::create_topics(version, validate_only, topics);
    bench.ask(ApiKey::CreateTopics, version, &body)
}

/// Asks for one topic of which `change` makes something else.
fn case(
    all: &mut Vec<Case>,
    topic: &'static str,
    name: &str,
    validate_only: bool,
    change: impl Fn(&mut ToCreate) + 'static,
) {
    all.push(Case::new("CreateTopics", name, move |bench| {
        let topic = bench.name(topic);
        let mut asked = ToCreate::new(&topic, 1, 1);
        change(&mut asked);
        create(bench, LATEST, validate_only, &[asked])
    }));
}

pub(super) fn add(all: &mut Vec<Case>) {
    for version in 2..=LATEST {
        all.push(Case::new(
            "CreateTopics",
            format!("version {version}, three partitions"),
            move |bench| {
                let topic = bench.name(&format!("create-{version}"));
                create(bench, version, false, &[ToCreate::new(&topic, 3, 1)])
            },
        ));
    }
    case(
        all,
        "create-defaults",
        "partitions and replicas of -1, the broker's defaults",
        false,
        |topic| {
            (topic.partitions, topic.replicas) = (-1, -1);
        },
    );
    all.push(Case::new("CreateTopics", "a topic that exists", |bench| {
        let topic = bench.topic("create-again", 1)?;
        create(bench, LATEST, false, &[ToCreate::new(&topic, 1, 1)])
    }));
    all.push(Case::new(
        "CreateTopics",
        "a topic that exists, validated only",
        |bench| {
            let topic = bench.topic("create-again-validated", 1)?;
            create(bench, LATEST, true, &[ToCreate::new(&topic, 1, 1)])
        },
    ));
    all.push(Case::new(
        "CreateTopics",
        "validated only, and then it is not there",
        |bench| {
            let topic = bench.name("create-validated");
            let answer = create(bench, LATEST, true, &[ToCreate::new(&topic, 2, 1)])?;
            let body = request::metadata(4, Some(&[&topic]), false);
            let after = bench.ask(ApiKey::Metadata, 4, &body)?;
            let after = after.split_once(" topics=").map_or("", |(_, topics)| topics).to_owned();
            Ok(format!("{answer}; {after}"))
        },
    ));
    for (what, name) in [
        ("an empty name", String::new()),
        ("a name with a slash", "a/b".to_owned()),
        ("the name .", ".".to_owned()),
        ("a name of 250 letters", "x".repeat(250)),
    ] {
        all.push(Case::new("CreateTopics", what, move |bench| {
            // Names that no topic can have are not noted for the end.
            let body = request::create_topics(LATEST, false, &[ToCreate::new(&name, 1, 1)]);
            bench.ask(ApiKey::CreateTopics, LATEST, &body)
        }));
    }
    for partitions in [0, -2] {
        case(
            all,
            "create-no-partition",
            &format!("{partitions} partitions"),
            false,
            move |topic| {
                topic.partitions = partitions;
            },
        );
    }
    for replicas in [0i16, -2, 99] {
        case(
            all,
            "create-replicas",
            &format!("{replicas} replicas"),
            false,
            move |topic| topic.replicas = replicas,
        );
    }
    case(all, "create-config", "segment.bytes=10485760", false, |topic| {
        topic.configs = &[("segment.bytes", Some("10485760"))];
    });
    case(all, "create-config-bad", "segment.bytes=many", false, |topic| {
        topic.configs = &[("segment.bytes", Some("many"))];
    });
    case(all, "create-config-null", "segment.bytes of null", false, |topic| {
        topic.configs = &[("segment.bytes", None)];
    });
    case(
        all,
        "create-config-unknown",
        "a setting that does not exist",
        false,
        |topic| {
            topic.configs = &[("no.such.setting", Some("1"))];
        },
    );
    case(all, "create-retention", "retention.ms=60000", false, |topic| {
        topic.configs = &[("retention.ms", Some("60000"))];
    });
    all.push(Case::new(
        "CreateTopics",
        "the same topic twice in a request",
        |bench| {
            let topic = bench.name("create-twice");
            create(
                bench,
                LATEST,
                false,
                &[ToCreate::new(&topic, 1, 1), ToCreate::new(&topic, 2, 1)],
            )
        },
    ));
    all.push(Case::new("CreateTopics", "a good one and a bad one", |bench| {
        let (good, bad) = (bench.name("create-good"), bench.name("create-bad"));
        create(
            bench,
            LATEST,
            false,
            &[ToCreate::new(&good, 1, 1), ToCreate::new(&bad, 0, 1)],
        )
    }));
    case(
        all,
        "create-assigned-both",
        "an assignment and a number of partitions",
        false,
        |topic| {
            topic.assignments = &[(0, &[1])];
        },
    );
    case(
        all,
        "create-assigned-unknown",
        "an assignment to a broker that is not there",
        false,
        |topic| {
            (topic.partitions, topic.replicas) = (-1, -1);
            topic.assignments = &[(0, &[987_654])];
        },
    );
    case(
        all,
        "create-assigned-none",
        "an assignment to no broker",
        false,
        |topic| {
            (topic.partitions, topic.replicas) = (-1, -1);
            topic.assignments = &[(0, &[])];
        },
    );
    all.push(Case::new("CreateTopics", "no topic", |bench| {
        create(bench, LATEST, false, &[])
    }));
    partitions(all);
    delete(all);
    describe(all);
}

fn partitions(all: &mut Vec<Case>) {
    let grow = |bench: &mut Bench, validate_only: bool, asked: &[(&str, i32)]| {
        let body = request::create_partitions(validate_only, asked);
        bench.ask(ApiKey::CreatePartitions, 3, &body)
    };
    for (name, topic, count) in [
        ("from 2 to 4 partitions", "grow", 4),
        ("from 2 to 2 partitions", "grow-same", 2),
        ("from 2 to 1 partition", "grow-fewer", 1),
        ("to -1 partitions", "grow-negative", -1),
    ] {
        all.push(Case::new("CreatePartitions", name, move |bench| {
            let topic = bench.topic(topic, 2)?;
            grow(bench, false, &[(&topic, count)])
        }));
    }
    all.push(Case::new("CreatePartitions", "an unknown topic", move |bench| {
        let topic = bench.name("grow-unknown");
        grow(bench, false, &[(&topic, 4)])
    }));
    all.push(Case::new("CreatePartitions", "the same topic twice", move |bench| {
        let topic = bench.topic("grow-twice", 2)?;
        grow(bench, false, &[(&topic, 3), (&topic, 4)])
    }));
    all.push(Case::new("CreatePartitions", "validated only", move |bench| {
        let topic = bench.topic("grow-validated", 2)?;
        let answer = grow(bench, true, &[(&topic, 3)])?;
        let after = bench.ask(ApiKey::ListOffsets, 1, &request::list_offsets(1, &[(&topic, 2, -1)]))?;
        Ok(format!("{answer}; {after}"))
    }));
}

fn delete(all: &mut Vec<Case>) {
    for version in 1..=5 {
        all.push(Case::new(
            "DeleteTopics",
            format!("version {version}, a topic that exists and one that does not"),
            move |bench| {
                let (topic, unknown) = (
                    bench.topic(&format!("delete-{version}"), 1)?,
                    bench.name("delete-nothing"),
                );
                let body = request::delete_topics(version, &[&topic, &unknown]);
                bench.ask(ApiKey::DeleteTopics, version, &body)
            },
        ));
    }
    all.push(Case::new("DeleteTopics", "version 6, an unknown id", |bench| {
        bench.ask(ApiKey::DeleteTopics, 6, &request::delete_topic_by_id(0x1234_5678_9abc))
    }));
    all.push(Case::new(
        "DeleteTopics",
        "the same topic twice in a request",
        |bench| {
            let topic = bench.topic("delete-twice", 1)?;
            bench.ask(ApiKey::DeleteTopics, 5, &request::delete_topics(5, &[&topic, &topic]))
        },
    ));
    all.push(Case::new("DeleteTopics", "an empty name", |bench| {
        bench.ask(ApiKey::DeleteTopics, 5, &request::delete_topics(5, &[""]))
    }));
}

fn describe(all: &mut Vec<Case>) {
    const API: &str = "DescribeConfigs";
    let ask = |bench: &mut Bench, kind: i8, name: &str, keys: Option<&[&str]>| {
        bench.ask(ApiKey::DescribeConfigs, 3, &request::describe_configs(kind, name, keys))
    };
    all.push(Case::new(
        API,
        "three settings of a topic, one of them its own",
        move |bench| {
            let topic = bench.name("describe");
            let mut asked = ToCreate::new(&topic, 1, 1);
            asked.configs = &[("max.message.bytes", Some("5000"))];
            create(bench, LATEST, false, &[asked])?;
            bench.ready(&topic, 1)?;
            let keys = ["max.message.bytes", "segment.bytes", "index.interval.bytes"];
            ask(bench, TOPIC, &topic, Some(&keys))
        },
    ));
    all.push(Case::new(API, "no key, and one that does not exist", move |bench| {
        let topic = bench.topic("describe-nothing", 1)?;
        let none = ask(bench, TOPIC, &topic, Some(&[]))?;
        let unknown = ask(bench, TOPIC, &topic, Some(&["no.such.setting"]))?;
        let shown = |answer: &str| {
            if answer.contains("configs=[]") {
                "nothing"
            } else {
                "something"
            }
        };
        Ok(format!("no key: {}, an unknown key: {}", shown(&none), shown(&unknown)))
    }));
    all.push(Case::new(API, "an unknown topic", move |bench| {
        let topic = bench.name("describe-unknown");
        ask(bench, TOPIC, &topic, None)
    }));
    all.push(Case::new(API, "a topic name that no topic has", move |bench| {
        ask(bench, TOPIC, "a/b", None)
    }));
    all.push(Case::new(API, "a broker that is not there", move |bench| {
        ask(bench, BROKER, "987654", None)
    }));
    all.push(Case::new(API, "a broker id that is no number", move |bench| {
        ask(bench, BROKER, "x", None)
    }));
    all.push(Case::new(API, "a kind of resource that does not exist", move |bench| {
        ask(bench, 99, "x", None)
    }));
    all.push(Case::new(API, "three settings of all brokers", move |bench| {
        let keys = ["message.max.bytes", "log.segment.bytes", "auto.create.topics.enable"];
        ask(bench, BROKER, "", Some(&keys))
    }));
}
