//! The flags for sampling: interval, budget, idle time.

use std::time::Duration;

use super::Faults;
use super::values::{elements, frequency, percent, positive, whole_seconds};
use crate::cli::SampleArgs;
use crate::duration::duration;
use crate::sampler::Budget;
use crate::size::bytes;

/// Maximum number of idle thresholds.
const MAX_THRESHOLDS: usize = 20;

/// Minimum memory for replies, in bytes.
const MIN_MEMORY: u64 = 16 * 1024 * 1024;

pub(super) fn budget(args: &SampleArgs, faults: &mut Faults) -> Budget {
    Budget {
        max_stall: faults.take("--sample.max-stall", positive(&args.max_stall), Duration::ZERO),
        max_load: faults.take("--sample.max-load", percent(&args.max_load), 0.0),
        max_age: faults.take("--sample.max-age", positive(&args.max_age), Duration::ZERO),
        interval: faults.take("--client-announce-frequency", frequency(&args.frequency), Duration::ZERO),
        quick_poll: faults.take("--sample.quick-poll", quick_poll(&args.quick_poll), None),
    }
}

/// The memory for the replies of all servers, in bytes.
pub(super) fn max_memory(args: &SampleArgs, faults: &mut Faults) -> u64 {
    let memory = bytes(&args.max_memory).and_then(|bytes| match u64::try_from(bytes) {
        Ok(bytes) if bytes >= MIN_MEMORY => Ok(bytes),
        _ => Err(format!("{} is too little; the minimum is 16MiB", args.max_memory)),
    });
    faults.take("--sample.max-memory", memory, 0)
}

/// The interval of quick polls. It has the same minimum as the interval of samples.
fn quick_poll(text: &str) -> Result<Option<Duration>, String> {
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
        faults.add(format!(
            "--idle.thresholds: {} thresholds are given, at most {MAX_THRESHOLDS} are allowed; remove some",
            thresholds.len()
        ));
    }
    thresholds
}
