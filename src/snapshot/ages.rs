//! The distribution of ages in one sample.

/// Upper bounds of the buckets in seconds, inclusive. Ages are whole seconds.
const AGE_BOUNDS_SECONDS: [u64; 16] =
    [1, 2, 5, 10, 30, 60, 120, 300, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400, 604_800];

/// A histogram of ages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    /// One count per bound: the ages above the previous bound, up to this one.
    buckets: [u64; AGE_BOUNDS_SECONDS.len()],
    count: u64,
    sum_seconds: u64,
}

impl Ages {
    /// The number of bounds.
    pub const BOUNDS: usize = AGE_BOUNDS_SECONDS.len();

    /// Counts one age.
    pub(super) fn add(&mut self, seconds: u64) {
        let bucket = AGE_BOUNDS_SECONDS.partition_point(|&bound| bound < seconds);
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
        }
        self.count += 1;
        self.sum_seconds = self.sum_seconds.saturating_add(seconds);
    }

    /// Each bound with the number of ages that do not exceed it.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut sum = 0;
        AGE_BOUNDS_SECONDS.into_iter().zip(self.buckets).map(move |(bound, count)| {
            sum += count;
            (bound, sum)
        })
    }

    /// The number of ages.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum of the ages in seconds.
    pub fn sum_seconds(&self) -> u64 {
        self.sum_seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_larger_ages_are_only_in_count_and_sum() {
        let mut ages = Ages::default();
        for seconds in [0, 1, 2, 60, 61, 604_800, 604_801, u64::MAX] {
            ages.add(seconds);
        }
        let up_to = |bound| ages.cumulative().find(|&(b, _)| b == bound).map(|(_, count)| count);
        assert_eq!(up_to(1), Some(2));
        assert_eq!(up_to(2), Some(3));
        assert_eq!(up_to(60), Some(4));
        assert_eq!(up_to(604_800), Some(6));
        assert_eq!((ages.count(), ages.sum_seconds()), (8, u64::MAX));
    }
}
