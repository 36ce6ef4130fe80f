//! Elects the announcer: of several exporters that watch the same node, one announces. Pure. It needs no key on the
//! server: it depends only on the messages received.
//!
//! An exporter that starts listens first. While it receives messages of another announcer it does not announce, until
//! that one has been silent for 2.5 times the frequency it announced. If two announce at the same time, the one with
//! the lower name continues.

use std::time::{Duration, Instant};

use crate::status::PATIENCE;

/// When we announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Unless another exporter does.
    Auto,
    /// Always, even if another exporter does.
    Always,
    /// Never.
    Never,
}

/// The time that an exporter listens after its start, in multiples of its frequency.
const LISTEN_FIRST: f64 = 1.2;

/// The announced frequency of another is capped at this multiple of ours, but not below [`MIN_FREQUENCY_CAP`]: a forged
/// frequency must not prevent us from announcing for long.
const MAX_FREQUENCY_RATIO: u32 = 3;
const MIN_FREQUENCY_CAP: Duration = Duration::from_secs(60);

/// The state of the election, as seen by one exporter.
#[derive(Clone, Debug)]
pub struct Election {
    mode: Mode,
    name: String,
    frequency: Duration,
    /// A random delay of up to half the frequency, so that not all exporters take over at the same time.
    jitter: Duration,
    started: Instant,
    other: Option<OtherAnnouncer>,
    /// True if we announce now.
    announces: bool,
}

/// The last message received from another announcer.
#[derive(Clone, Debug)]
struct OtherAnnouncer {
    at: Instant,
    frequency: Duration,
}

impl Election {
    /// An election that starts to listen now. `chance` is a random number from 0 to 1.
    pub fn new(mode: Mode, name: String, frequency: Duration, chance: f64, now: Instant) -> Self {
        let jitter = frequency.mul_f64(chance.clamp(0.0, 1.0) / 2.0);
        Self { mode, name, frequency, jitter, started: now, other: None, announces: false }
    }

    /// Our name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Notes a message of an announcer with this name and frequency.
    pub fn observe(&mut self, other: &str, frequency: Duration, now: Instant) {
        // If two started at the same time, the lower name continues, and the other one stops.
        if other == self.name || self.announces && self.name.as_str() < other {
            return;
        }
        self.announces = false;
        self.other = Some(OtherAnnouncer {
            at: now,
            frequency: frequency.min((self.frequency * MAX_FREQUENCY_RATIO).max(MIN_FREQUENCY_CAP)),
        });
    }

    /// Returns true if we may announce. We then count as the announcer until a message of another one is received.
    pub fn may_announce(&mut self, now: Instant) -> bool {
        let may = match self.mode {
            Mode::Always => true,
            Mode::Never => false,
            Mode::Auto => self.announces || now >= self.eligible_at(),
        };
        self.announces |= may;
        may
    }

    /// The time from which on we may announce, unless a message of another announcer is received before.
    pub fn eligible_at(&self) -> Instant {
        match &self.other {
            Some(other) => other.at + other.frequency.mul_f64(PATIENCE) + self.jitter,
            None => self.started + self.frequency.mul_f64(LISTEN_FIRST) + self.jitter,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn elections(count: usize, now: Instant) -> Vec<Election> {
        let chance = |place: usize| place as f64 / count as f64;
        (0..count).map(|place| Election::new(Mode::Auto, format!("v{place}"), SECOND, chance(place), now)).collect()
    }

    /// Simulates all exporters for this number of ticks of 0.1 s; each sends one message per second if it may. Returns
    /// the names of those that announced in the last two seconds.
    fn simulate(elections: &mut [Election], now: &mut Instant, ticks: u32, delay: bool) -> Vec<String> {
        let mut announcing = Vec::new();
        let mut waiting: Vec<String> = Vec::new();
        for tick in 0..ticks {
            let late = std::mem::take(&mut waiting);
            for name in late {
                elections.iter_mut().for_each(|election| election.observe(&name, SECOND, *now));
            }
            let sent: Vec<_> = elections
                .iter_mut()
                .filter_map(|election| {
                    (tick % 10 == 0 && election.may_announce(*now)).then(|| election.name().to_owned())
                })
                .collect();
            if ticks - tick <= 20 {
                announcing.extend(sent.iter().cloned());
            }
            if delay {
                waiting = sent;
            } else {
                for name in sent {
                    elections.iter_mut().for_each(|election| election.observe(&name, SECOND, *now));
                }
            }
            *now += SECOND / 10;
        }
        announcing.sort_unstable();
        announcing.dedup();
        announcing
    }

    #[test]
    fn one_of_several_announces_and_another_takes_over() {
        for delay in [false, true] {
            let mut now = Instant::now();
            let mut all = elections(3, now);
            let first = simulate(&mut all, &mut now, 100, delay);
            assert_eq!(first.len(), 1, "{first:?}");
            all.retain(|election| election.name() != first[0]);
            let second = simulate(&mut all, &mut now, 60, delay);
            assert_eq!(second.len(), 1, "{second:?}");
            // An exporter that starts again does not take over, whatever its name is.
            for name in ["a", "z"] {
                all.push(Election::new(Mode::Auto, name.into(), SECOND, 0.0, now));
                assert_eq!(simulate(&mut all, &mut now, 100, delay), second);
            }
        }
    }

    #[test]
    fn another_takes_over_within_three_and_a_half_frequencies() {
        let now = Instant::now();
        for chance in [0.0, 0.5, 1.0] {
            let mut election = Election::new(Mode::Auto, "b".into(), SECOND, chance, now);
            election.observe("a", SECOND, now);
            assert!(!election.may_announce(now + SECOND * 2));
            assert!(election.eligible_at() <= now + SECOND.mul_f64(3.0), "{:?}", election.eligible_at() - now);
            assert!(election.may_announce(election.eligible_at()));
        }
    }

    #[test]
    fn a_forged_frequency_silences_others_for_a_limited_time() {
        let now = Instant::now();
        let mut election = Election::new(Mode::Auto, "b".into(), SECOND, 0.0, now);
        election.observe("a", Duration::from_secs(1_000_000), now);
        assert!(election.eligible_at() <= now + MIN_FREQUENCY_CAP.mul_f64(PATIENCE));
    }

    #[test]
    fn always_and_never_ignore_other_announcers() {
        let now = Instant::now();
        for (mode, may) in [(Mode::Always, true), (Mode::Never, false)] {
            let mut election = Election::new(mode, "b".into(), SECOND, 0.0, now);
            election.observe("a", SECOND, now);
            assert_eq!(election.may_announce(now + SECOND * 100), may);
        }
    }
}
