//! How many partitions have to move.

/// The smallest number of owned partitions that change hands when an assignment becomes balanced over the members that stay or come.
///
/// `kept` holds how many partitions each member of the new group owned before (0 for one that is new); `owned` is how many of the
/// partitions that still are to be assigned had an owner before, whoever it was; `partitions` is how many there are to be assigned.
/// Balanced means that each member gets `partitions / members` rounded down or up. The members that may have the larger share are those
/// that owned most: each keeps as much as its share allows, and everything else that was owned moves. (It is the bound that sticky
/// assignors aim at where all members subscribe to the same topics.)
pub fn moved_least(kept: &[u64], owned: u64, partitions: u64) -> u64 {
    let members = kept.len() as u64;
    if members == 0 {
        return 0;
    }
    let (share, larger) = (partitions / members, partitions % members);
    let mut loads = kept.to_vec();
    loads.sort_unstable_by(|left, right| right.cmp(left));
    let staying: u64 = (0..)
        .zip(&loads)
        .map(|(place, &load)| load.min(share + u64::from(place < larger)))
        .sum();
    owned.saturating_sub(staying)
}

#[cfg(test)]
mod tests {
    use super::moved_least;

    #[test]
    fn a_join_takes_only_what_the_new_member_needs() {
        assert_eq!(moved_least(&[4, 4, 4, 0], 12, 12), 3);
        assert_eq!(moved_least(&[5, 5, 0], 10, 10), 3);
        assert_eq!(moved_least(&[6, 5, 0], 11, 11), 3);
    }

    #[test]
    fn what_a_member_that_left_had_moves_and_nothing_else() {
        assert_eq!(moved_least(&[4, 4], 12, 12), 4);
        assert_eq!(moved_least(&[3, 3, 3], 10, 10), 1);
    }

    #[test]
    fn nothing_has_to_move_when_a_member_comes_back_or_partitions_are_added() {
        assert_eq!(moved_least(&[4, 4, 4], 12, 12), 0);
        assert_eq!(moved_least(&[4, 4, 4], 12, 18), 0);
    }

    #[test]
    fn without_members_nothing_can_move() {
        assert_eq!(moved_least(&[], 12, 12), 0);
    }

    /// Against all assignments of few partitions to few members.
    #[test]
    fn it_is_the_least_of_all_balanced_assignments() {
        for members in 1..=3_u64 {
            for partitions in 0..=5_u32 {
                let codes = (members + 1).pow(partitions);
                for code in 0..codes {
                    // Whom each partition belonged to; `members` stands for somebody who is no longer there.
                    let digits = |code: u64, base: u64| (0..partitions).map(move |place| code / base.pow(place) % base);
                    let before: Vec<u64> = digits(code, members + 1).collect();
                    let least = (0..members.pow(partitions))
                        .map(|after| digits(after, members).collect::<Vec<_>>())
                        .filter(|after| {
                            let loads = (0..members).map(|one| after.iter().filter(|&&owner| owner == one).count());
                            let (min, max) = (loads.clone().min(), loads.max());
                            max.zip(min).is_some_and(|(max, min)| max - min <= 1)
                        })
                        .map(|after| after.iter().zip(&before).filter(|(now, then)| now != then).count() as u64)
                        .min()
                        .unwrap();
                    let kept: Vec<u64> = (0..members)
                        .map(|one| before.iter().filter(|&&owner| owner == one).count() as u64)
                        .collect();
                    let partitions = u64::from(partitions);
                    assert_eq!(moved_least(&kept, partitions, partitions), least, "{before:?}");
                }
            }
        }
    }
}
