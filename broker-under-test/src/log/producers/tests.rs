//! The rules one by one, and all of them against a simple model.

use proptest::prelude::*;

use super::*;

/// The header of a batch of `records` records.
pub(super) fn batch(producer_id: i64, epoch: i16, base_sequence: i32, records: i32) -> BatchHeader {
    BatchHeader {
        base_offset: 0,
        batch_length: 49,
        partition_leader_epoch: 0,
        magic: 2,
        crc: 0,
        attributes: 0,
        last_offset_delta: records - 1,
        base_timestamp: 0,
        max_timestamp: 1_000 + i64::from(base_sequence),
        producer_id,
        producer_epoch: epoch,
        base_sequence,
        records_count: records,
    }
}

/// As a log does it: asks, and remembers what it appends. The offset, or the original's.
fn append(producers: &mut Producers, end: &mut i64, header: &BatchHeader) -> Result<i64, SequenceError> {
    if let Some(original) = producers.check(header)? {
        return Ok(original.base_offset);
    }
    let base_offset = *end;
    producers.record(header, base_offset);
    *end += i64::from(header.records_count);
    Ok(base_offset)
}

#[test]
fn the_last_five_batches_are_known_and_no_more() {
    let (mut producers, mut end) = (Producers::new(10), 100);
    for i in 0..6 {
        assert_eq!(
            append(&mut producers, &mut end, &batch(1, 0, 3 * i, 3)),
            Ok(100 + 3 * i64::from(i))
        );
    }
    for i in 1..6 {
        let original = producers.check(&batch(1, 0, 3 * i, 3)).unwrap().unwrap();
        let base_offset = 100 + 3 * i64::from(i);
        assert_eq!(
            (original.base_offset, original.end_offset),
            (base_offset, base_offset + 3)
        );
        assert_eq!(original.max_timestamp, 1_000 + 3 * i64::from(i));
    }
    let out_of_order = |sequence| {
        Err(SequenceError::OutOfOrder {
            producer_id: 1,
            sequence,
            last: 17,
        })
    };
    assert_eq!(
        producers.check(&batch(1, 0, 0, 3)),
        out_of_order(0),
        "the sixth from the end"
    );
    assert_eq!(
        producers.check(&batch(1, 0, 15, 2)),
        out_of_order(15),
        "a part of the last one"
    );
    assert_eq!(producers.check(&batch(1, 0, 19, 1)), out_of_order(19), "a gap");
    assert_eq!(producers.check(&batch(1, 0, 18, 1)), Ok(None));
}

#[test]
fn epochs_fence_and_begin_at_zero() {
    let (mut producers, mut end) = (Producers::new(10), 0);
    append(&mut producers, &mut end, &batch(1, 3, 8, 2)).unwrap();
    let not_at_zero = SequenceError::NotAtZero {
        producer_id: 1,
        epoch: 4,
        sequence: 10,
    };
    assert_eq!(producers.check(&batch(1, 4, 10, 1)), Err(not_at_zero));
    assert_eq!(append(&mut producers, &mut end, &batch(1, 4, 0, 1)), Ok(2));
    let fenced = SequenceError::Fenced {
        producer_id: 1,
        epoch: 3,
        current: 4,
    };
    assert_eq!(
        producers.check(&batch(1, 3, 8, 2)),
        Err(fenced),
        "what an earlier epoch repeats"
    );
    assert_eq!(producers.check(&batch(1, 3, 10, 1)), Err(fenced));
    assert_eq!(
        producers.check(&batch(2, 0, 77, 1)),
        Ok(None),
        "who is not known begins anywhere"
    );
}

#[test]
fn who_has_no_epoch_is_not_held_to_sequences() {
    let (mut producers, mut end) = (Producers::new(10), 0);
    assert!(matches!(
        producers.check(&batch(1, -2, 0, 1)),
        Err(SequenceError::Fenced { .. })
    ));
    assert_eq!(append(&mut producers, &mut end, &batch(1, -1, 9, 1)), Ok(0));
    assert_eq!(append(&mut producers, &mut end, &batch(1, -1, 30, 1)), Ok(1));
    assert_eq!(
        append(&mut producers, &mut end, &batch(1, -1, 9, 1)),
        Ok(0),
        "a repeat is one all the same"
    );
    assert_eq!(append(&mut producers, &mut end, &batch(1, 0, 5, 1)), Ok(2));
}

#[test]
fn sequences_wrap() {
    let (mut producers, mut end) = (Producers::new(10), 0);
    append(&mut producers, &mut end, &batch(1, 0, i32::MAX - 1, 4)).unwrap();
    assert_eq!(append(&mut producers, &mut end, &batch(1, 0, 2, 1)), Ok(4));
    append(&mut producers, &mut end, &batch(2, 0, i32::MAX - 1, 2)).unwrap();
    assert_eq!(append(&mut producers, &mut end, &batch(2, 0, 0, 1)), Ok(7));
}

#[test]
fn too_many_producers_let_go_of_those_furthest_back() {
    let (mut producers, mut end) = (Producers::new(32), 0);
    for id in 0..32 {
        append(&mut producers, &mut end, &batch(id, 0, 0, 1)).unwrap();
    }
    append(&mut producers, &mut end, &batch(0, 0, 1, 1)).unwrap();
    append(&mut producers, &mut end, &batch(100, 0, 0, 1)).unwrap();
    assert_eq!(producers.len(), 31);
    let is_known = |id| producers.check(&batch(id, 0, 0, 1)).unwrap().is_some();
    assert_eq!((0..33).filter(|id| !is_known(*id)).collect::<Vec<_>>(), [1, 2, 32]);
    for id in 1_000..100_000 {
        append(&mut producers, &mut end, &batch(id, 0, 0, 1)).unwrap();
        assert!(producers.len() <= 32);
    }
}

#[test]
fn who_is_silent_is_forgotten() {
    let (mut producers, mut end) = (Producers::new(10), 0);
    append(&mut producers, &mut end, &batch(1, 0, 0, 1)).unwrap();
    append(&mut producers, &mut end, &batch(2, 0, 0, 1)).unwrap();
    assert_eq!(producers.expire(10_000, 500), 0, "the first look");
    assert_eq!(producers.expire(10_499, 500), 0);
    append(&mut producers, &mut end, &batch(2, 0, 1, 1)).unwrap();
    assert_eq!(producers.expire(10_500, 500), 1);
    assert_eq!(producers.check(&batch(1, 0, 7, 1)), Ok(None), "forgotten");
    assert!(producers.check(&batch(2, 0, 7, 1)).is_err(), "its clock began anew");
    // A clock that was set back forgets nobody.
    assert_eq!(producers.expire(0, 500), 0);
    assert_eq!(producers.expire(10_999, 500), 0);
    assert_eq!(producers.expire(11_000, 500), 1);
}

/// What a producer does next.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// So many records behind the last ones.
    Next(i32),
    /// The batch so far back once more.
    Repeat(usize),
    /// So many records left out.
    Gap(i32),
    /// A later epoch, beginning there.
    Epoch(i32),
    /// An earlier epoch.
    Old,
}

/// A producer that knows what it did, in records and not in sequences.
#[derive(Debug, Default)]
struct Model {
    /// Where its numbers begin.
    origin: i64,
    epoch: i16,
    /// First record, records, offset: of this epoch.
    batches: Vec<(i64, i32, i64)>,
    next: i64,
}

impl Model {
    fn header(&self, id: i64, first: i64, records: i32) -> BatchHeader {
        batch(id, self.epoch, ((self.origin + first) % (1 << 31)) as i32, records)
    }
}

fn acts() -> impl Strategy<Value = Vec<(usize, Act)>> {
    let act = prop_oneof![
        8 => (1..5).prop_map(Act::Next),
        4 => (0..8usize).prop_map(Act::Repeat),
        1 => (1..1000).prop_map(Act::Gap),
        1 => (0..3).prop_map(Act::Epoch),
        1 => Just(Act::Old),
    ];
    prop::collection::vec((0..3usize, act), 1..120)
}

proptest! {
    /// Three producers that begin near the wrap: what is a repeat, a gap or fenced is known by how it was made. In between, everything goes through a
    /// snapshot.
    #[test]
    fn a_simple_model_agrees(acts in acts(), origins in prop::array::uniform3(0..40i64), saves in 1..20usize) {
        let mut producers = Producers::new(10);
        let mut end = 0;
        let mut models = origins.map(|back| Model { origin: (1 << 31) - 1 - back, ..Model::default() });
        for (step, (id, act)) in acts.into_iter().enumerate() {
            if step % saves == 0 {
                let mut raw = Vec::new();
                producers.put(&mut raw);
                producers = Producers::take(&mut kafka_wire::Cursor::new(&raw), 10).unwrap();
            }
            let model = &mut models[id];
            let pid = id as i64;
            match act {
                Act::Next(records) => {
                    let first = model.next;
                    let base_offset = end;
                    prop_assert_eq!(append(&mut producers, &mut end, &model.header(pid, first, records)), Ok(base_offset));
                    model.batches.push((first, records, base_offset));
                    model.next += i64::from(records);
                }
                Act::Repeat(back) => {
                    let Some(at) = model.batches.len().checked_sub(back + 1) else { continue };
                    let (first, records, base_offset) = model.batches[at];
                    let again = append(&mut producers, &mut end, &model.header(pid, first, records));
                    if back < BATCHES_MAX {
                        prop_assert_eq!(again, Ok(base_offset));
                    } else {
                        prop_assert!(matches!(again, Err(SequenceError::OutOfOrder { .. })), "{:?}", again);
                    }
                }
                Act::Gap(records) if !model.batches.is_empty() => {
                    let again = append(&mut producers, &mut end, &model.header(pid, model.next + i64::from(records), 1));
                    prop_assert!(matches!(again, Err(SequenceError::OutOfOrder { .. })), "{:?}", again);
                }
                Act::Epoch(sequence) if !model.batches.is_empty() => {
                    let header = batch(pid, model.epoch + 1, sequence, 1);
                    let begun = append(&mut producers, &mut end, &header);
                    if sequence > 0 {
                        prop_assert!(matches!(begun, Err(SequenceError::NotAtZero { .. })), "{:?}", begun);
                    } else {
                        prop_assert!(begun.is_ok());
                        let base_offset = begun.unwrap();
                        *model = Model { origin: 0, epoch: model.epoch + 1, batches: vec![(0, 1, base_offset)], next: 1 };
                    }
                }
                Act::Old if model.epoch > 0 => {
                    let old = append(&mut producers, &mut end, &batch(pid, model.epoch - 1, 0, 1));
                    prop_assert!(matches!(old, Err(SequenceError::Fenced { .. })), "{:?}", old);
                }
                Act::Gap(_) | Act::Epoch(_) | Act::Old => {}
            }
        }
    }
}
