//! Connections counted by one thing that clients say of themselves, with a hard limit on the number of groups.

use std::collections::HashMap;

use super::label::{NONE, OTHER, label_value};

/// How many connections each group has. Groups beyond the limit are folded into `(other)`, so the counts always add up to
/// what was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    counts: Vec<(String, u64)>,
    folded: u64,
}

impl Groups {
    /// Each group with its connections: the largest first, equal ones by name, `(other)` last.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts.iter().map(|(group, count)| (group.as_str(), *count))
    }

    /// How many groups were folded into `(other)`.
    pub fn folded(&self) -> u64 {
        self.folded
    }

    /// All connections counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }
}

/// Counts groups while the clients pass by.
#[derive(Default)]
pub(super) struct Counting<'a> {
    counts: HashMap<&'a [u8], u64>,
    /// Clients that have the field, but nothing in it, or lack it where others have it.
    unnamed: u64,
    reported: bool,
}

impl<'a> Counting<'a> {
    /// Counts one client by its field's value; `None` where its row lacks the field.
    pub(super) fn add(&mut self, value: Option<&'a [u8]>) {
        self.reported |= value.is_some();
        match value {
            None | Some(b"") => self.unnamed += 1,
            Some(value) => *self.counts.entry(value).or_default() += 1,
        }
    }

    /// The groups, at most `limit` and `(other)`. `None` if no client has the field: this server does not report it.
    pub(super) fn finish(self, limit: usize) -> Option<Groups> {
        if !self.reported {
            return None;
        }
        // Different bytes may give the same label, and a label must be there once only.
        let mut labels: HashMap<String, u64> = HashMap::with_capacity(self.counts.len());
        for (value, count) in self.counts {
            *labels.entry(label_value(value)).or_default() += count;
        }
        if self.unnamed > 0 {
            labels.insert(NONE.to_owned(), self.unnamed);
        }
        let mut counts: Vec<_> = labels.into_iter().collect();
        counts
            .sort_unstable_by(|(name, count), (other_name, other)| other.cmp(count).then_with(|| name.cmp(other_name)));
        let mut folded = 0;
        if counts.len() > limit {
            let rest = counts.split_off(limit);
            folded = rest.len() as u64;
            counts.push((OTHER.to_owned(), rest.iter().map(|(_, count)| count).sum()));
        }
        Some(Groups { counts, folded })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(values: &[Option<&str>], limit: usize) -> Option<Groups> {
        let mut counting = Counting::default();
        for value in values {
            counting.add(value.map(str::as_bytes));
        }
        counting.finish(limit)
    }

    #[test]
    fn the_largest_stay_and_the_rest_is_folded_with_its_sum() {
        let values = ["a", "a", "a", "b", "b", "c", "c", "d", "(other)", ""].map(Some);
        let groups = groups(&values, 3).expect("the field is there");
        let rows: Vec<_> = groups.iter().collect();
        assert_eq!(rows, [("a", 3), ("b", 2), ("c", 2), (OTHER, 3)]);
        assert_eq!((groups.folded(), groups.total()), (3, 10));
    }

    #[test]
    fn a_field_that_no_client_has_is_no_group() {
        assert_eq!(groups(&[None, None], 3), None);
        assert_eq!(groups(&[None, Some("a")], 3).map(|groups| groups.total()), Some(2));
    }
}
