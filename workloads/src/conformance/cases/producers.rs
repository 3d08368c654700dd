//! Idempotent producers: InitProducerId, and which sequences Produce takes, refuses, or knows already.

use kafka_wire::ApiKey;

use super::super::request::{self, ToProduce};
use super::super::{Case, batches};
use super::produce::with_end;

const VERSION: i16 = 9;
/// No broker gives out such an id within a run of the script, and none asks whether it did.
const ID: i64 = 900_000_000;

/// One batch: epoch, sequence of the first record, records.
type Batch = (i16, i32, i32);

pub(super) fn add(all: &mut Vec<Case>) {
    repeats(all);
    out_of_order(all);
    epochs(all);
    deleted(all);
    init_producer_id(all);
}

fn init_producer_id(all: &mut Vec<Case>) {
    const API: &str = "InitProducerId";
    // A broker that has just started has no ids yet, and says so.
    let is_final = |answer: &str| !answer.contains("CoordinatorLoadInProgress");
    for version in 0..=4 {
        all.push(Case::new(API, format!("version {version}, idempotent"), move |bench| {
            let body = request::init_producer_id(version, None);
            bench.ask_until(ApiKey::InitProducerId, version, &body, is_final)
        }));
    }
    all.push(Case::new(API, "version 4, an empty transactional id", |bench| {
        bench.ask(ApiKey::InitProducerId, 4, &request::init_producer_id(4, Some("")))
    }));
    for (name, id, epoch) in [
        ("an id and an epoch that nobody has", ID, 3),
        ("an id and the last epoch", ID, i16::MAX),
        ("an id without an epoch", ID, -1),
        ("an epoch without an id", -1, 3),
    ] {
        for version in [3, 4] {
            all.push(Case::new(API, format!("version {version}, {name}"), move |bench| {
                let body = request::init_producer_id_again(version, None, id, epoch);
                bench.ask_until(ApiKey::InitProducerId, version, &body, is_final)
            }));
        }
    }
}

/// Sends batches one after the other to one fresh topic, and tells where its log ends.
fn case(all: &mut Vec<Case>, topic: &'static str, name: &str, sent: &'static [Batch]) {
    all.push(Case::new("Produce", format!("idempotent: {name}"), move |bench| {
        let topic = bench.topic(topic, 1)?;
        let mut wire = bench.connect()?;
        let mut answers = Vec::new();
        for (epoch, sequence, records) in sent {
            let batch = batches::of_producer(bench.base_ms(), (ID, *epoch, *sequence), *records);
            let asked = ToProduce {
                topic: &topic,
                partition: 0,
                records: &batch,
            };
            let body = request::produce(VERSION, -1, 30_000, &[asked]);
            answers.push(bench.ask_on(&mut wire, ApiKey::Produce, VERSION, &body)?);
        }
        with_end(bench, &topic, answers.join("; "))
    }));
}

fn repeats(all: &mut Vec<Case>) {
    case(all, "repeat", "the same batch twice", &[(0, 0, 3), (0, 0, 3)]);
    const SIX: [Batch; 6] = [(0, 0, 2), (0, 2, 2), (0, 4, 2), (0, 6, 2), (0, 8, 2), (0, 10, 2)];
    const FIFTH: [Batch; 7] = [SIX[0], SIX[1], SIX[2], SIX[3], SIX[4], SIX[5], SIX[1]];
    const SIXTH: [Batch; 7] = [SIX[0], SIX[1], SIX[2], SIX[3], SIX[4], SIX[5], SIX[0]];
    case(all, "repeat-fifth", "the fifth batch from the end once more", &FIFTH);
    case(all, "repeat-sixth", "the sixth batch from the end once more", &SIXTH);
    case(
        all,
        "repeat-part",
        "fewer records of a sequence that is there",
        &[(0, 0, 3), (0, 0, 2)],
    );
    case(
        all,
        "repeat-more",
        "more records of a sequence that is there",
        &[(0, 0, 3), (0, 0, 4)],
    );
    case(
        all,
        "repeat-behind",
        "a repeat, and then what follows",
        &[(0, 0, 3), (0, 0, 3), (0, 3, 1)],
    );
}

fn out_of_order(all: &mut Vec<Case>) {
    case(
        all,
        "gap",
        "a gap, and then what is missing",
        &[(0, 0, 1), (0, 2, 1), (0, 1, 1)],
    );
    case(
        all,
        "first-not-0",
        "the first sequence is not 0",
        &[(0, 17, 1), (0, 18, 1)],
    );
    case(
        all,
        "wrap",
        "a batch across the wrap, what follows, and a repeat",
        &[(0, i32::MAX - 1, 3), (0, 1, 1), (0, i32::MAX - 1, 3)],
    );
    case(
        all,
        "wrap-exact",
        "0 behind the greatest sequence",
        &[(0, i32::MAX, 1), (0, 0, 1)],
    );
    case(all, "no-sequence", "a producer id without a sequence", &[(0, -1, 1)]);
    case(all, "negative-sequence", "a negative sequence", &[(0, i32::MIN, 1)]);
}

fn epochs(all: &mut Vec<Case>) {
    case(
        all,
        "new-epoch",
        "a new epoch from sequence 0 on",
        &[(0, 0, 2), (1, 0, 1), (1, 1, 1)],
    );
    case(
        all,
        "new-epoch-not-0",
        "a new epoch goes on with the sequence",
        &[(0, 0, 2), (1, 2, 1)],
    );
    case(all, "old-epoch", "an earlier epoch goes on", &[(5, 0, 2), (4, 2, 1)]);
    case(
        all,
        "old-epoch-repeats",
        "an earlier epoch repeats",
        &[(4, 0, 2), (5, 0, 1), (4, 0, 2)],
    );
    case(
        all,
        "no-epoch",
        "without an epoch: gaps and repeats",
        &[(-1, 5, 1), (-1, 9, 1), (-1, 5, 1)],
    );
    case(all, "negative-epoch", "a negative epoch", &[(-2, 0, 1)]);
    case(
        all,
        "epoch-behind-none",
        "a first epoch behind none",
        &[(-1, 5, 1), (0, 9, 1), (-1, 10, 1)],
    );
}

fn deleted(all: &mut Vec<Case>) {
    let name = "idempotent: a repeat of what was deleted, and what follows";
    all.push(Case::new("Produce", name, |bench| {
        let topic = bench.topic("repeat-deleted", 1)?;
        let batch = |ms, sequence| batches::of_producer(ms, (ID, 0, sequence), 2);
        let mut answers = Vec::new();
        for (step, sequence) in [0, 0, 2, 5].into_iter().enumerate() {
            if step == 1 {
                let body = request::delete_records(&topic, &[(0, 2)]);
                answers.push(bench.ask(ApiKey::DeleteRecords, 2, &body)?);
            }
            let records = batch(bench.base_ms(), sequence);
            let asked = ToProduce {
                topic: &topic,
                partition: 0,
                records: &records,
            };
            let body = request::produce(VERSION, -1, 30_000, &[asked]);
            answers.push(bench.ask(ApiKey::Produce, VERSION, &body)?);
        }
        with_end(bench, &topic, answers.join("; "))
    }));
}
