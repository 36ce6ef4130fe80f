//! Classifies and counts the clients of one sample in one pass.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::client_counts::ClientCounts;
use super::grouping::Lookup;
use super::groups::{Counting, Groups};
use super::kind::{ClientKind, State};
use super::limits::Limits;
use super::network::Network;
use super::product;
use super::roster::{Entry, NO_APP};
use super::tally::Tally;
use crate::client_list::{Address, Client, Field};
use crate::sample::{Place, Sample, Source};
use crate::server_info::Product;
use crate::text::label_value;

/// The clients of a sample, classified.
pub(super) struct Classified {
    /// One entry per client, in the order of the sample.
    pub(super) entries: Vec<Entry>,
    /// The applications that entries refer to.
    pub(super) apps: Arc<[Arc<str>]>,
    /// The counts; `None` if the sample does not have all clients.
    pub(super) counted: Option<Counted>,
}

/// The counts over the clients of a sample.
pub(super) struct Counted {
    pub(super) client_counts: ClientCounts,
    pub(super) apps: Vec<(Arc<str>, Tally)>,
}

/// A field by which clients are counted, and where its groups are kept.
type CountedField = (Field, fn(&ClientCounts) -> &Option<Groups>);

/// The fields by which clients are counted, in the order in which [`Count::finish`] destructures their groups.
const FIELDS: [CountedField; 4] = [
    (Field::User, |counts| &counts.users),
    (Field::LibName, |counts| &counts.libraries),
    (Field::Db, |counts| &counts.databases),
    (Field::Cmd, |counts| &counts.commands),
];

/// Classifies and counts the clients of a sample; `None` where the server refuses to list them.
pub(super) fn classify(before: Option<&ClientCounts>, sample: &Sample, limits: &Limits) -> Option<Classified> {
    let pages = sample.clients.as_ref().ok()?;
    let mut classifier = Classifier::new(sample, limits);
    // Counts over a part of the clients would be wrong, and a client that is left out would seem closed.
    let mut count = (!sample.is_truncated()).then(|| Count::new(limits));
    let mut entries = Vec::with_capacity(pages.len());
    for (place, client) in pages.places() {
        let read_at = pages.read_at(place).unwrap_or(sample.at);
        let age = client.age_seconds();
        let entry = classifier.entry(client, place, age.and_then(|age| ago(read_at, age)));
        if let Some(count) = &mut count {
            count.add(&entry, client, age);
        }
        entries.push(entry);
    }
    let apps = classifier.apps;
    let counted = count.map(|count| count.finish(before, &apps));
    Some(Classified { entries, apps: apps.into(), counted })
}

/// The Unix second of a time some seconds ago.
fn ago(time: Timestamp, seconds: u64) -> Option<i64> {
    time.as_second().checked_sub(i64::try_from(seconds).ok()?)
}

/// Finds the kind, state and application of each client.
struct Classifier<'a> {
    sample: &'a Sample,
    product: Product,
    limits: &'a Limits,
    lookup: Lookup<'a>,
    apps: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl<'a> Classifier<'a> {
    fn new(sample: &'a Sample, limits: &'a Limits) -> Self {
        let lookup = limits.grouping.lookup();
        Self { sample, product: product(sample), limits, lookup, apps: Vec::new(), numbers: HashMap::new() }
    }

    fn entry(&mut self, client: &Client<'_>, place: Place, connected_at: Option<i64>) -> Entry {
        let kind = match self.is_anonymous_own(client) {
            true => ClientKind::Exporter,
            false => ClientKind::of(client, self.product, &self.sample.own_ids),
        };
        let is_application = kind == ClientKind::Application;
        let state = is_application.then(|| State::of(client, self.limits.idle_after));
        let app = if is_application { self.app(client) } else { NO_APP };
        let is_own = kind == ClientKind::Exporter && (self.is_own(client.id()) || self.is_anonymous_own(client));
        Entry::new(client, place, kind, state, app).connected(connected_at).own(is_own)
    }

    /// True for a connection of ours that was listed before it had a name.
    fn is_anonymous_own(&self, client: &Client<'_>) -> bool {
        let own = &self.sample.own.addresses;
        !own.is_empty()
            && client.text(Field::Name).is_none_or(<[u8]>::is_empty)
            && matches!(client.address(), Some(Address::Inet(address)) if {
                own.contains(&SocketAddr::new(address.ip().to_canonical(), address.port()))
            })
    }

    /// True if one of our connections has this id. Where their ids are unknown, each with our name counts as ours.
    fn is_own(&self, id: Option<u64>) -> bool {
        let own = &self.sample.own.ids;
        // In a received status these are the links of its sender.
        let is_link = |id| self.sample.source == Source::Sampled && self.sample.own_ids.contains(&id);
        own.is_empty() || id.is_some_and(|id| own.contains(&id) || is_link(id))
    }

    /// The number of a client's application.
    fn app(&mut self, client: &Client<'_>) -> u32 {
        let name = self.lookup.app(client);
        if let Some(&number) = self.numbers.get(&name) {
            return number;
        }
        let number = self.apps.len() as u32;
        self.apps.push(Arc::clone(&name));
        self.numbers.insert(name, number);
        number
    }
}

/// Counts in progress.
struct Count<'a> {
    limits: &'a Limits,
    client_counts: ClientCounts,
    apps: Vec<Tally>,
    fields: [(CountedField, Counting<&'a [u8]>); FIELDS.len()],
    networks: Counting<Network>,
}

impl<'a> Count<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            client_counts: ClientCounts { idle_thresholds: limits.idle_thresholds.clone(), ..ClientCounts::default() },
            apps: Vec::new(),
            fields: FIELDS.map(|field| (field, Counting::default())),
            networks: Counting::default(),
        }
    }

    fn add(&mut self, entry: &Entry, client: &'a Client<'_>, age_seconds: Option<u64>) {
        self.client_counts.kinds[entry.kind as usize] += 1;
        if entry.kind != ClientKind::Application {
            return;
        }
        self.client_counts.add_ages(entry, age_seconds);
        for ((field, _), counting) in &mut self.fields {
            match group_value(client, *field) {
                Some(value) if !value.is_empty() => counting.add(value),
                value => counting.add_unnamed(value.is_some()),
            }
        }
        match Network::of(client, self.limits.network_prefix) {
            Some(network) => self.networks.add(network),
            None => self.networks.add_unnamed(client.text(Field::Addr).is_some()),
        }
        let number = entry.app as usize;
        if number >= self.apps.len() {
            self.apps.resize_with(number + 1, Tally::default);
        }
        self.apps[number].add(entry, client, &self.limits.idle_thresholds);
    }

    fn finish(self, before: Option<&ClientCounts>, names: &[Arc<str>]) -> Counted {
        let limit = self.limits.groups;
        let [users, libraries, databases, commands] = self.fields.map(|((_, groups), counting)| {
            counting.finish(limit, before.and_then(|before| groups(before).as_ref()), |value| label_value(value))
        });
        let before = before.and_then(|before| before.networks.as_ref());
        let networks = self.networks.finish(limit, before, |network| network.label());
        // Every application client is in exactly one application.
        let mut applications = Tally::default();
        self.apps.iter().for_each(|app| applications.merge(app));
        let counts = self.client_counts;
        Counted {
            client_counts: ClientCounts { applications, users, libraries, databases, commands, networks, ..counts },
            apps: names.iter().cloned().zip(self.apps).collect(),
        }
    }
}

/// The indexes of the entries of the application clients with the largest idle times; waiting clients are last. An id
/// that several pages list has one: its series would be there twice, and a scrape with such series fails as a whole.
pub(super) fn longest_idle(entries: &[Entry], count: usize) -> Vec<usize> {
    if count == 0 {
        return Vec::new();
    }
    let rank = |&(index, entry): &(usize, &Entry)| {
        Some((entry.state?.is_waiting(), Reverse(entry.idle_seconds()), entry.id?, index))
    };
    let mut ranked: Vec<_> = entries.iter().enumerate().filter_map(|entry| rank(&entry)).collect();
    ranked.sort_unstable();
    let mut ids = HashSet::new();
    ranked.into_iter().filter(|(.., id, _)| ids.insert(*id)).take(count).map(|(.., index)| index).collect()
}

/// The value of a field to group by; empty if the server prints a placeholder for no value.
fn group_value<'a>(client: &'a Client<'_>, field: Field) -> Option<&'a [u8]> {
    match client.text(field) {
        // The server prints `NULL` for "no command yet".
        Some(b"NULL") if field == Field::Cmd => Some(b""),
        value => value,
    }
}
