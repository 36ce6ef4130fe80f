//! Connections counted by the value of one field, with a hard limit on the number of groups.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use crate::text::{NONE, OTHER};

/// The number of connections of each group. Groups beyond the limit are folded into `(other)`, so the sum is always the
/// number of all connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    counts: Vec<(String, u64)>,
    folded: u64,
}

impl Groups {
    /// The groups with their connections: the largest first, equal ones by name, `(other)` last.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts.iter().map(|(group, count)| (group.as_str(), *count))
    }

    /// The number of groups that are folded into `(other)`.
    pub fn folded(&self) -> u64 {
        self.folded
    }

    /// The number of all connections.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }
}

/// Counts in progress, by a key that distinguishes the groups.
pub(super) struct Counting<K> {
    counts: HashMap<K, u64>,
    /// Clients whose field is empty or missing.
    unnamed: u64,
    /// True if any client has the field.
    reported: bool,
}

impl<K> Default for Counting<K> {
    fn default() -> Self {
        Self { counts: HashMap::new(), unnamed: 0, reported: false }
    }
}

impl<K: Eq + Hash> Counting<K> {
    /// Counts one client.
    pub(super) fn add(&mut self, group: K) {
        self.reported = true;
        *self.counts.entry(group).or_default() += 1;
    }

    /// Counts one client without a value; `reported` is true if it has the field, but empty.
    pub(super) fn add_unnamed(&mut self, reported: bool) {
        self.reported |= reported;
        self.unnamed += 1;
    }

    /// The groups: at most `limit`, and `(other)`. `None` if no client has the field, so the server does not report it.
    ///
    /// A group of the previous sample stays unless another is larger by a quarter, so that series do not flap.
    pub(super) fn finish(self, limit: usize, before: Option<&Groups>, label: impl Fn(&K) -> String) -> Option<Groups> {
        if !self.reported {
            return None;
        }
        // Different keys may have the same label, and each label must be unique.
        let mut labels: HashMap<String, u64> = HashMap::with_capacity(self.counts.len());
        for (key, count) in self.counts {
            *labels.entry(label(&key)).or_default() += count;
        }
        if self.unnamed > 0 {
            labels.insert(NONE.to_owned(), self.unnamed);
        }
        let mut counts: Vec<_> = labels.into_iter().collect();
        let mut folded = 0;
        if counts.len() > limit {
            let shown: HashSet<&str> = before.into_iter().flat_map(Groups::iter).map(|(group, _)| group).collect();
            counts.sort_by_cached_key(|(group, count)| {
                (Reverse(weight(*count, shown.contains(&**group))), group.clone())
            });
            let rest = counts.split_off(limit);
            folded = rest.len() as u64;
            sort(&mut counts);
            counts.push((OTHER.to_owned(), rest.iter().map(|(_, count)| count).sum()));
        } else {
            sort(&mut counts);
        }
        Some(Groups { counts, folded })
    }
}

/// The weight of a group when not all fit. A group that was shown stays unless another is larger by a quarter, so that
/// series do not flap.
pub(super) fn weight(connections: u64, was_shown: bool) -> u64 {
    let weight = connections.saturating_mul(4);
    if was_shown { weight.saturating_add(connections + 1) } else { weight }
}

/// Sorts the largest first, equal ones by name.
fn sort(counts: &mut [(String, u64)]) {
    counts.sort_unstable_by(|(name, count), (other_name, other)| other.cmp(count).then_with(|| name.cmp(other_name)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::label_value;

    fn groups(values: &[Option<&str>], limit: usize) -> Option<Groups> {
        groups_after(None, values, limit)
    }

    fn groups_after(before: Option<&Groups>, values: &[Option<&str>], limit: usize) -> Option<Groups> {
        let mut counting = Counting::default();
        for value in values {
            match value {
                Some("") | None => counting.add_unnamed(value.is_some()),
                Some(value) => counting.add(*value),
            }
        }
        counting.finish(limit, before, |value| label_value(value.as_bytes()))
    }

    #[test]
    fn a_group_that_is_shown_stays_until_another_is_clearly_larger() {
        let values = |a: usize, b: usize| [vec![Some("a"); a], vec![Some("b"); b]].concat();
        let first = groups(&values(9, 8), 1).expect("groups");
        let shown = |groups: &Groups| groups.iter().next().map(|(group, _)| group.to_owned());
        assert_eq!(shown(&first).as_deref(), Some("a"));
        let second = groups_after(Some(&first), &values(8, 9), 1).expect("groups");
        assert_eq!(shown(&second).as_deref(), Some("a"));
        let third = groups_after(Some(&second), &values(8, 11), 1).expect("groups");
        assert_eq!(shown(&third).as_deref(), Some("b"));
    }

    #[test]
    fn the_largest_stay_and_the_rest_is_folded_with_its_sum() {
        let values = ["a", "a", "a", "b", "b", "c", "c", "d", "(other)", ""].map(Some);
        let groups = groups(&values, 3).expect("the field is reported");
        let rows: Vec<_> = groups.iter().collect();
        assert_eq!(rows, [("a", 3), ("b", 2), ("c", 2), (OTHER, 3)]);
        assert_eq!((groups.folded(), groups.total()), (3, 10));
    }

    #[test]
    fn a_field_that_no_client_has_makes_no_groups() {
        assert_eq!(groups(&[None, None], 3), None);
        assert_eq!(groups(&[None, Some("a")], 3).map(|groups| groups.total()), Some(2));
    }
}
