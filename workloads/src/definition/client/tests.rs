use super::super::tests::{Broken, assert_refused};
use super::super::{Definition, PayloadKind, ProfileName, Role};
use super::*;

const CLIENT_COST: &str = include_str!("../../../definitions/client-cost.toml");
const DUPLICATES: &str = include_str!("../../../definitions/duplicates.toml");
const BATCHING: &str = include_str!("../../../definitions/batching.toml");
const ASYNC_PIPELINING: &str = include_str!("../../../definitions/async-pipelining.toml");
const COMPRESSION: &str = include_str!("../../../definitions/compression.toml");

fn parse(name: &str, text: &str) -> (Definition, Client) {
    let definition = Definition::parse(name, text).unwrap();
    let super::super::Work::Client(client) = definition.work else {
        panic!("{name} has clients")
    };
    (definition, client)
}

/// The client of each measured arm of the quick profile, by the arm's id.
pub fn clients(name: &str, text: &str) -> BTreeMap<String, Client> {
    let (definition, client) = parse(name, text);
    let arms = definition.arms(ProfileName::Quick).iter();
    arms.filter(|arm| arm.role == Role::Measured)
        .map(|arm| {
            let levels = arm.factors.iter().map(|(name, level)| (name.as_str(), level.as_str()));
            (arm.id.clone(), client.with(levels).unwrap())
        })
        .collect()
}

#[test]
fn levels_come_over_what_is_held_still() {
    let batching = clients("batching.toml", BATCHING);
    let lingering = batching["5ms/constant/64KiB"];
    assert_eq!(
        (lingering.linger_us, lingering.batch_bytes, lingering.arrivals),
        (5_000, 65_536, ArrivalKind::Constant)
    );
    assert_eq!((lingering.rate, lingering.in_flight, lingering.acks), (20_000, 5, -1));
    let costs = clients("client-cost.toml", CLIENT_COST);
    let paced = costs["native/constant-1000000/100/64KiB"];
    assert_eq!((paced.arrivals, paced.rate), (ArrivalKind::Constant, 1_000_000));
    let pipelining = clients("async-pipelining.toml", ASYNC_PIPELINING);
    let sync = pipelining["sync/1/0/never"];
    assert_eq!((sync.is_sync, sync.in_flight, sync.acks), (true, 1, 0));
    let (definition, _) = parse("async-pipelining.toml", ASYNC_PIPELINING);
    let varied: Vec<&str> = definition.settings_varied().map(|f| f.name.as_str()).collect();
    assert_eq!(varied, ["flush.policy"]);
}

#[test]
fn payloads_are_levels_too() {
    let (definition, _) = parse("compression.toml", COMPRESSION);
    let arms = definition.arms(ProfileName::Quick).iter();
    let of = |id: &str| {
        let arm = arms.clone().find(|arm| arm.id == id).unwrap();
        definition.payload.with(&arm.factors).unwrap()
    };
    let json = of("zstd/json/50/16KiB");
    assert_eq!(
        (json.kind, json.entropy, json.record_bytes),
        (PayloadKind::Json, 0.5, 1_024)
    );
    assert_eq!(of("zstd/random/100/16KiB").kind, PayloadKind::Random);
}

const BROKEN: &[Broken] = &[
    (
        "in_flight = 5",
        "in_fligth = 5",
        "in_fligth",
        "no property `in_fligth`",
        "in_flight, acks",
    ),
    ("in_flight = 5\n", "", "", "nothing says `in_flight`", "hold it still"),
    (
        "in_flight = 5",
        "in_flight = 65",
        "65",
        "`in_flight` can't be `65`",
        "between 1 and 64",
    ),
    (
        "acks = \"all\"",
        "acks = \"some\"",
        "\"some\"",
        "`acks` can't be `some`",
        "0, 1, all",
    ),
    (
        "client = \"native\"",
        "client = \"java\"",
        "\"java\"",
        "`client` can't be `java`",
        "native, librdkafka",
    ),
    (
        "partitions = 1",
        "partitions = 1\nbatch_bytes = 1",
        "batch_bytes",
        "a factor already",
        "remove it here",
    ),
    (
        "partitions = 1",
        "partitions = 1\ncompression = \"zstd-99\"",
        "\"zstd-99\"",
        "`compression` can't be `zstd-99`",
        "no level 99",
    ),
    (
        "outstanding = 100000\n",
        "",
        "",
        "how many records are outstanding",
        "outstanding = 10000",
    ),
    ("rate = 20000\n", "", "", "at which rate", "rate = 10000"),
    (
        "partitions = 1",
        "partitions = 1\nsend = \"sync\"",
        "",
        "both come at a rate and wait",
        "closed arrivals only",
    ),
    (
        "in_flight = 5",
        "in_flight = 6\nidempotence = true",
        "",
        "6 requests in flight",
        "at most 5",
    ),
    (
        "[\"0ms\", \"5ms\", \"20ms\"]",
        "[\"0ms\", \"5ms\", \"20m\"]",
        "\"20m\"",
        "`linger_ms` can't be `20m`",
        "between 0",
    ),
    (
        "null = [\"0ms\"]",
        "bare-loop = [\"0ms\"]",
        "bare-loop",
        "no bare loop `bare-loop`",
        "null",
    ),
    (
        "[[factors]]\nname = \"arrivals\"",
        "[[factors]]\nname = \"cache\"\nlabel = \"Cache\"\nlevels = [\"hot\"]\n\n[[factors]]\nname = \"arrivals\"",
        "\"cache\"",
        "a client knows no factor `cache`",
        "a setting of a broker",
    ),
    (
        "entropy = 0.25",
        "entropy = 1.25",
        "1.25",
        "the entropy share is 1.25",
        "between 0 and 1",
    ),
    ("kind = \"json\"\n", "", "", "the payload has no kind", "kind = .."),
    (
        "levels = [\"closed\", \"constant\"]",
        "levels = [\"closed\", \"constant\", \"closed-5\"]",
        "\"closed-5\"",
        "`arrivals` can't be `closed-5`",
        "no rate",
    ),
];

const BROKEN_FAULTS: &[Broken] = &[
    (
        "fault_every = 25",
        "fault_every = 1",
        "1",
        "`fault_every` can't be `1`",
        "between 2",
    ),
    (
        "records = 10000\n",
        "",
        "",
        "how many records meet the fault",
        "records = 10000",
    ),
    (
        "arrivals = \"closed\"",
        "arrivals = \"constant-500\"",
        "",
        "counted in answers",
        "closed arrivals",
    ),
    (
        "acks = \"all\"",
        "acks = 0",
        "",
        "no answer can be lost",
        "acks is 1 or all",
    ),
    (
        "partitions = 1",
        "partitions = 2",
        "",
        "has one partition",
        "partitions = 1",
    ),
    (
        "title =",
        "target = \"null\"\ntitle =",
        "\"null\"",
        "what is stored twice",
        "target = \"bundled\"",
    ),
];

#[test]
fn what_no_client_can_do_is_refused() {
    for row in BROKEN {
        assert_refused(BATCHING, row);
    }
    for row in BROKEN_FAULTS {
        assert_refused(DUPLICATES, row);
    }
    let kind = (
        "record_bytes = 1024",
        "record_bytes = 1024\nkind = \"json\"",
        "\"json\"",
        "a factor already",
        "remove it",
    );
    assert_refused(COMPRESSION, &kind);
    let level = (
        "[\"json\", \"text\", \"random\"]",
        "[\"json\", \"text\", \"xml\"]",
        "\"xml\"",
        "can't be `xml`",
        "json, text, random",
    );
    assert_refused(COMPRESSION, &level);
}
