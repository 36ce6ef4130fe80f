//! How samples are taken, and what they may cost.

use std::time::Duration;

use super::Faults;
use super::values::{elements, frequency, percent, positive, whole_seconds};
use crate::cli::SampleArgs;
use crate::duration::duration;
use crate::sampler::Budget;

/// The most idle thresholds.
const MAX_THRESHOLDS: usize = 20;

pub(super) fn budget(words: &SampleArgs, faults: &mut Faults) -> Budget {
    Budget {
        max_stall: faults.take("--sample.max-stall", positive(&words.max_stall), Duration::ZERO),
        max_load: faults.take("--sample.max-load", percent(&words.max_load), 0.0),
        max_age: faults.take("--sample.max-age", positive(&words.max_age), Duration::ZERO),
        every: faults.take("--client-announce-frequency", frequency(&words.frequency), Duration::ZERO),
        look: faults.take("--sample.look", look(&words.look), None),
    }
}

/// A look costs little, but ten a second tell no more than an eye can see.
fn look(text: &str) -> Result<Option<Duration>, String> {
    match duration(text)? {
        Duration::ZERO => Ok(None),
        _ => frequency(text).map(Some),
    }
}

pub(super) fn idle_after(text: &str, faults: &mut Faults) -> Duration {
    faults.take("--idle-after", positive(text).and_then(whole_seconds), Duration::ZERO)
}

pub(super) fn idle_thresholds(texts: &[String], faults: &mut Faults) -> Vec<Duration> {
    let threshold = |text| faults.take("--idle.thresholds", duration(text).and_then(whole_seconds), Duration::ZERO);
    let mut thresholds: Vec<_> = elements(texts).map(threshold).collect();
    thresholds.sort_unstable();
    thresholds.dedup();
    if thresholds.len() > MAX_THRESHOLDS {
        faults.add(format!("--idle.thresholds: at most {MAX_THRESHOLDS} are counted; leave some out"));
    }
    thresholds
}
