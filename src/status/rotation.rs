//! Which clients a status lists where it has no room for all of them, so that each one is listed in turn.

/// The progress of the rounds in which clients are listed. Ids are listed in ascending order.
///
/// A round ends at the highest id of the time when it began. Clients that connect later wait for the next round, so a
/// client is listed after at most one more round, however many connect meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// The id that was listed last in this round; `None` if none was.
    after: Option<u64>,
    /// The last id of this round.
    until: u64,
}

impl Rotation {
    /// Offers clients in turn, each at most once, until one is refused: it is the first one of the next call. `ids` are
    /// those of all clients, ascending; what is offered is an index.
    pub(super) fn offer(&mut self, ids: &[u64], mut accepts: impl FnMut(usize) -> bool) {
        let (before, mut is_next_round) = (*self, false);
        loop {
            let Some(index) = self.next(ids) else {
                let Some(&last) = ids.last().filter(|_| !is_next_round) else { return };
                (*self, is_next_round) = (Self { after: None, until: last }, true);
                continue;
            };
            let was_offered = is_next_round && before.has_next(ids[index]);
            if !was_offered && !accepts(index) {
                return;
            }
            self.after = Some(ids[index]);
        }
    }

    /// Returns true if this id is still to be listed in this round.
    fn has_next(&self, id: u64) -> bool {
        id <= self.until && self.after.is_none_or(|after| id > after)
    }

    /// The index of the next id of this round.
    fn next(&self, ids: &[u64]) -> Option<usize> {
        let index = self.after.map_or(0, |after| ids.partition_point(|&id| id <= after));
        ids.get(index).is_some_and(|&id| self.has_next(id)).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet, VecDeque};
    use std::ops::Range;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Lists up to `room` clients, and returns their ids.
    fn listed(rotation: &mut Rotation, ids: &BTreeSet<u64>, room: usize) -> Vec<u64> {
        let ids: Vec<u64> = ids.iter().copied().collect();
        let mut listed = Vec::new();
        rotation.offer(&ids, |index| {
            let fits = listed.len() < room;
            if fits {
                listed.push(ids[index]);
            }
            fits
        });
        listed
    }

    #[test]
    fn each_client_is_listed_in_turn_and_then_again() {
        let (ids, mut rotation) = (BTreeSet::from([3, 5, 8, 9, 11]), Rotation::default());
        let rounds: Vec<Vec<u64>> = (0..4).map(|_| listed(&mut rotation, &ids, 2)).collect();
        assert_eq!(rounds, [vec![3, 5], vec![8, 9], vec![11, 3], vec![5, 8]]);
        assert_eq!(listed(&mut rotation, &ids, 99).len(), ids.len(), "each one once");
        assert!(listed(&mut rotation, &BTreeSet::new(), 2).is_empty());
        // The round ends at 9, and the next one begins.
        let mut rotation = Rotation { after: Some(8), until: 9 };
        assert_eq!(listed(&mut rotation, &ids, 99), [9, 3, 5, 8, 11]);
        // A server that restarted counts its ids from 1 again.
        assert_eq!(listed(&mut rotation, &BTreeSet::from([1, 2]), 1), [1]);
    }

    #[test]
    fn clients_that_connect_faster_than_they_are_listed_hide_no_other() {
        let (mut rotation, mut last_seen) = (Rotation::default(), [0; 10]);
        for step in 0..200 {
            // Ten stay, and thirty others each time.
            let ids = (1..=10).chain(100 + 30 * step..130 + 30 * step).collect();
            for id in listed(&mut rotation, &ids, 2).into_iter().filter(|id| *id <= 10) {
                last_seen[id as usize - 1] = step;
            }
            assert!(last_seen.iter().all(|seen| step - seen <= 2 * 40 / 2), "{last_seen:?} after {step} statuses");
        }
    }

    proptest! {
        /// While a client is connected, it is listed at least once in any period in which the clients of two rounds
        /// could be listed. Some clients stay, others are connected for a few statuses.
        #[test]
        fn no_client_waits_longer_than_two_rounds(
            room in 2_usize..7,
            stays in 1_u64..10,
            lasts in 1_usize..4,
            steps in vec(0_u64..20, 200..300),
        ) {
            let (mut next_id, mut rotation) = (1 + stays, Rotation::default());
            let mut others: VecDeque<Range<u64>> = VecDeque::new();
            let mut waiting: BTreeMap<u64, usize> = BTreeMap::new();
            let mut most = 0;
            for opened in steps {
                others.push_back(next_id..next_id + opened);
                next_id += opened;
                if others.len() > lasts {
                    others.pop_front();
                }
                let ids: BTreeSet<u64> = (1..=stays).chain(others.iter().cloned().flatten()).collect();
                most = most.max(ids.len());
                let listed = listed(&mut rotation, &ids, room);
                prop_assert_eq!(listed.len(), room.min(ids.len()));
                prop_assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), listed.len(), "none twice: {:?}", listed);
                let waited = |id: &u64| waiting.get(id).map_or(1, |waited| waited + 1);
                waiting = ids.iter().filter(|id| !listed.contains(id)).map(|id| (*id, waited(id))).collect();
                let longest = waiting.values().max().copied().unwrap_or(0);
                prop_assert!(longest <= 2 * most.div_ceil(room), "{longest} statuses with {most} clients");
            }
        }
    }
}
