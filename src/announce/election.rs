//! Who talks: of several exporters that watch one node, one. Pure; no key is ever written, all that is known was heard.
//!
//! Whoever begins listens first. Whoever hears another keeps quiet until that one has been silent for two and a half times the
//! frequency it announced. Should two talk at once, the one with the lower name goes on.

use std::time::{Duration, Instant};

/// When we talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// If nobody else does.
    Auto,
    /// Whoever else does.
    Always,
    /// Never.
    Never,
}

/// How long one who talks may be silent before another takes over, in multiples of the frequency it announced.
const PATIENCE: f64 = 2.5;

/// How long one who begins listens first, in multiples of the frequency.
const LISTEN_FIRST: f64 = 1.2;

/// How much rarer than us another may announce and still be waited for, and at least how long: a forged frequency must not silence
/// us for long.
const RARER: u32 = 3;
const AT_LEAST: Duration = Duration::from_secs(60);

/// What we know of who talks.
#[derive(Clone, Debug)]
pub struct Election {
    mode: Mode,
    name: String,
    frequency: Duration,
    /// A share of the frequency that is ours alone, so that not all take over at once.
    jitter: Duration,
    began: Instant,
    heard: Option<Other>,
    /// Whether we talk now.
    talks: bool,
}

/// The other whom we heard last.
#[derive(Clone, Debug)]
struct Other {
    at: Instant,
    frequency: Duration,
}

impl Election {
    /// A voice that begins to listen now. `chance` is any number from 0 to 1, another for each exporter.
    pub fn new(mode: Mode, name: String, frequency: Duration, chance: f64, now: Instant) -> Self {
        let jitter = frequency.mul_f64(chance.clamp(0.0, 1.0) / 2.0);
        Self { mode, name, frequency, jitter, began: now, heard: None, talks: false }
    }

    /// Our name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Another was heard, who announces that often.
    pub fn hears(&mut self, other: &str, frequency: Duration, now: Instant) {
        // Should two have begun at once, the lower name goes on, and the other has to fall silent of itself.
        if other == self.name || self.talks && self.name.as_str() < other {
            return;
        }
        self.talks = false;
        self.heard = Some(Other { at: now, frequency: frequency.min((self.frequency * RARER).max(AT_LEAST)) });
    }

    /// Whether we may talk; from then on we do, until another is heard.
    pub fn may_announce(&mut self, now: Instant) -> bool {
        let may = match self.mode {
            Mode::Always => true,
            Mode::Never => false,
            Mode::Auto => self.talks || now >= self.turn(),
        };
        self.talks |= may;
        may
    }

    /// When it is our turn, unless somebody is heard before.
    pub fn turn(&self) -> Instant {
        match &self.heard {
            Some(other) => other.at + other.frequency.mul_f64(PATIENCE) + self.jitter,
            None => self.began + self.frequency.mul_f64(LISTEN_FIRST) + self.jitter,
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

    /// Lets all of them live for so many ticks of a tenth of a second; each says something a second if it may. Gives who talked
    /// in the last two seconds.
    fn live(elections: &mut [Election], now: &mut Instant, ticks: u32, delay: bool) -> Vec<String> {
        let mut talked = Vec::new();
        let mut waiting: Vec<String> = Vec::new();
        for tick in 0..ticks {
            let late = std::mem::take(&mut waiting);
            for name in late {
                elections.iter_mut().for_each(|voice| voice.hears(&name, SECOND, *now));
            }
            let said: Vec<_> = elections
                .iter_mut()
                .filter_map(|voice| (tick % 10 == 0 && voice.may_announce(*now)).then(|| voice.name().to_owned()))
                .collect();
            if ticks - tick <= 20 {
                talked.extend(said.iter().cloned());
            }
            if delay {
                waiting = said;
            } else {
                for name in said {
                    elections.iter_mut().for_each(|voice| voice.hears(&name, SECOND, *now));
                }
            }
            *now += SECOND / 10;
        }
        talked.sort_unstable();
        talked.dedup();
        talked
    }

    #[test]
    fn of_several_one_talks_and_another_takes_over() {
        for delay in [false, true] {
            let mut now = Instant::now();
            let mut all = elections(3, now);
            let first = live(&mut all, &mut now, 100, delay);
            assert_eq!(first.len(), 1, "{first:?}");
            all.retain(|voice| voice.name() != first[0]);
            let second = live(&mut all, &mut now, 60, delay);
            assert_eq!(second.len(), 1, "{second:?}");
            // One that comes back, with whatever name, begins no fight.
            for name in ["a", "z"] {
                all.push(Election::new(Mode::Auto, name.into(), SECOND, 0.0, now));
                assert_eq!(live(&mut all, &mut now, 100, delay), second);
            }
        }
    }

    #[test]
    fn another_takes_over_within_three_and_a_half_frequencies() {
        let now = Instant::now();
        for chance in [0.0, 0.5, 1.0] {
            let mut voice = Election::new(Mode::Auto, "b".into(), SECOND, chance, now);
            voice.hears("a", SECOND, now);
            assert!(!voice.may_announce(now + SECOND * 2));
            assert!(voice.turn() <= now + SECOND.mul_f64(3.0), "{:?}", voice.turn() - now);
            assert!(voice.may_announce(voice.turn()));
        }
    }

    #[test]
    fn a_frequency_without_end_silences_nobody_for_ever() {
        let now = Instant::now();
        let mut voice = Election::new(Mode::Auto, "b".into(), SECOND, 0.0, now);
        voice.hears("a", Duration::from_secs(1_000_000), now);
        assert!(voice.turn() <= now + AT_LEAST.mul_f64(PATIENCE));
    }

    #[test]
    fn always_and_never_are_meant() {
        let now = Instant::now();
        for (mode, may) in [(Mode::Always, true), (Mode::Never, false)] {
            let mut voice = Election::new(mode, "b".into(), SECOND, 0.0, now);
            voice.hears("a", SECOND, now);
            assert_eq!(voice.may_announce(now + SECOND * 100), may);
        }
    }
}
