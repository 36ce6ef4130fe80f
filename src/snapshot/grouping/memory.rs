//! The memory of names that were grouped before: it only saves time. Bounded, in two generations.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};

use super::Grouping;
use crate::client_list::{Client, Field};

/// The maximum sizes of the memory, in bytes.
#[derive(Clone, Copy)]
struct MemoryBounds {
    /// From this size on, the next lookup starts another generation, and names that are not seen again are forgotten.
    generation: usize,
    /// Beyond this size, nothing more is remembered in a generation.
    total: usize,
}

impl Default for MemoryBounds {
    fn default() -> Self {
        Self { generation: 8 << 20, total: 32 << 20 }
    }
}

/// The cost of a remembered name beside its bytes, and of each file rule that matches it.
const OVERHEAD: usize = 100;
const OVERHEAD_OF_A_RULE: usize = 50;

/// Names, users and libraries seen before, in two generations.
#[derive(Default)]
pub(super) struct Known {
    bounds: MemoryBounds,
    lately: Generation,
    before: Generation,
}

#[derive(Default)]
struct Generation {
    names: HashMap<Box<[u8]>, Named>,
    /// Labels of users, libraries and hosts.
    labels: HashMap<Box<[u8]>, Arc<str>>,
    bytes: usize,
}

/// A name's application.
#[derive(Clone, Default)]
pub(super) struct Named {
    /// By the name alone.
    pub(super) app: Option<Arc<str>>,
    /// The rules of the operator's file whose `name` matches, with the application that each gives.
    pub(super) rules: Box<[(usize, Arc<str>)]>,
}

/// A lookup of many clients, which holds the memory of names.
pub(in crate::snapshot) struct Lookup<'a> {
    pub(super) grouping: &'a Grouping,
    pub(super) known: MutexGuard<'a, Known>,
}

impl Lookup<'_> {
    /// The application of a client, as a label's value.
    pub(in crate::snapshot) fn app(&mut self, client: &Client<'_>) -> Arc<str> {
        let name = client.text(Field::Name).unwrap_or_default();
        let (grouping, known) = (self.grouping, &mut *self.known);
        if !known.remembers(name) {
            let named = grouping.named(name);
            if known.lately.bytes > known.bounds.total {
                return grouping.app_by(&named, client, known);
            }
            known.lately.bytes += name.len() + OVERHEAD + named.rules.len() * OVERHEAD_OF_A_RULE;
            known.lately.names.insert(name.into(), named);
        }
        // Taken out for a moment, since users and libraries may have to be remembered at the same time.
        let named = known.lately.names.get_mut(name).map(std::mem::take).unwrap_or_default();
        let app = grouping.app_by(&named, client, known);
        if let Some(place) = known.lately.names.get_mut(name) {
            *place = named;
        }
        app
    }
}

impl Known {
    /// Starts another generation once this one is large. Names that are not seen again are forgotten with the one
    /// after it.
    pub(super) fn begin_lookup(&mut self) {
        if self.lately.bytes > self.bounds.generation {
            self.before = std::mem::take(&mut self.lately);
        }
    }

    /// True if a name is known. Moves it to the newer generation.
    fn remembers(&mut self, name: &[u8]) -> bool {
        if self.lately.names.contains_key(name) {
            return true;
        }
        let Some((name, named)) = self.before.names.remove_entry(name) else { return false };
        self.lately.bytes += name.len() + OVERHEAD + named.rules.len() * OVERHEAD_OF_A_RULE;
        self.lately.names.insert(name, named);
        true
    }

    /// The label of a user, library or host, made if it is not known.
    pub(super) fn label(&mut self, value: &[u8], make: impl FnOnce() -> Arc<str>) -> Arc<str> {
        if let Some(label) = self.lately.labels.get(value) {
            return Arc::clone(label);
        }
        let label = make();
        if self.lately.bytes <= self.bounds.total {
            self.lately.bytes += value.len() + OVERHEAD;
            self.lately.labels.insert(value.into(), Arc::clone(&label));
        }
        label
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::client_list::parse;

    fn app(grouping: &Grouping, row: &str) -> String {
        grouping.app(&parse(row.as_bytes()).clients[0]).to_string()
    }

    /// Default rules with a small memory of names.
    fn forgetful() -> (Grouping, MemoryBounds) {
        let bounds = MemoryBounds { generation: 80_000, total: 320_000 };
        let known = Mutex::new(Known { bounds, ..Known::default() });
        (Grouping { known, ..Grouping::default() }, bounds)
    }

    #[test]
    fn a_name_that_is_seen_again_is_not_forgotten_with_the_others() {
        let (grouping, _) = forgetful();
        for number in 0..1000 {
            app(&grouping, "id=1 name=always-1");
            app(&grouping, &format!("id=1 name={}{number}", "x".repeat(600)));
        }
        let known = grouping.lookup().known;
        assert!([&known.lately, &known.before].iter().any(|seen| seen.names.contains_key(&b"always-1"[..])));
        assert!(!known.lately.names.keys().chain(known.before.names.keys()).any(|name| name.ends_with(b"x0")));
    }

    /// The sizes of both generations, as counted and as they are.
    fn remembered(known: &Known) -> [(usize, usize); 2] {
        [&known.lately, &known.before].map(|seen| {
            let names = seen.names.keys().chain(seen.labels.keys());
            (seen.bytes, names.map(|name| name.len() + OVERHEAD).sum())
        })
    }

    #[test]
    fn names_without_end_are_not_all_remembered() {
        let (grouping, bounds) = forgetful();
        for number in 0..2000 {
            // Every other one is the name of a user.
            let key = if number % 2 == 0 { "name" } else { "user" };
            app(&grouping, &format!("id=1 {key}={}{number}", "x".repeat(600)));
            for (counted, real) in remembered(&grouping.lookup().known) {
                assert!(counted <= bounds.generation + 1000 && real <= counted, "{counted} {real}");
            }
        }
    }

    /// One sample has all its names in one lookup.
    #[test]
    fn names_without_end_in_one_sample_are_not_all_remembered() {
        let (grouping, bounds) = forgetful();
        let mut lookup = grouping.lookup();
        for number in 0..2000 {
            let key = if number % 2 == 0 { "name" } else { "user" };
            let row = format!("id=1 {key}={}{number}", "x".repeat(600));
            let letters = lookup.app(&parse(row.as_bytes()).clients[0]);
            assert!(letters.starts_with("xxx"), "{letters}");
        }
        let [(counted, real), _] = remembered(&lookup.known);
        assert!((bounds.total..bounds.total + 2000).contains(&counted) && real <= counted, "{counted} {real}");
    }
}
