//! Counting the clients of one sample: one pass, from which everything is made that is told of them.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::app::AppCounts;
use super::client_counts::ClientCounts;
use super::grouping::Lookup;
use super::groups::{Counting, Groups};
use super::kind::{ClientKind, State};
use super::label::label_value;
use super::limits::Limits;
use super::network::Network;
use super::roster::Entry;
use super::{Snapshot, product};
use crate::client_list::{Client, Field};
use crate::sample::{Pages, Place, Sample};

/// What was counted over the clients of a sample.
pub(super) struct Counted {
    pub(super) client_counts: ClientCounts,
    pub(super) apps: Vec<(Arc<str>, AppCounts)>,
    /// The applications that entries refer to.
    pub(super) names: Arc<[Arc<str>]>,
    pub(super) entries: Vec<Entry>,
}

/// A field by which clients are counted, and where its groups are kept.
type CountedField = (Field, fn(&ClientCounts) -> &Option<Groups>);

/// The fields by which clients are counted, in the order in which their groups are taken apart at the end.
const DIMENSIONS: [CountedField; 4] = [
    (Field::User, |client_counts| &client_counts.users),
    (Field::LibName, |client_counts| &client_counts.libraries),
    (Field::Db, |client_counts| &client_counts.databases),
    (Field::Cmd, |client_counts| &client_counts.commands),
];

/// Counting under way.
struct Count<'a> {
    limits: &'a Limits,
    lookup: Lookup<'a>,
    client_counts: ClientCounts,
    apps: Vec<(Arc<str>, AppCounts)>,
    places: HashMap<Arc<str>, u32>,
    entries: Vec<Entry>,
    fields: [(CountedField, Counting<&'a [u8]>); 4],
    networks: Counting<Network>,
}

/// Counts the clients of a sample; `None` where they are not known, or not all of them.
pub(super) fn count(previous: Option<&Snapshot>, sample: &Sample, limits: &Limits) -> Option<Counted> {
    // Of some clients nothing can be counted, and nobody could be missed.
    let pages = sample.clients.as_ref().ok().filter(|_| !sample.is_truncated())?;
    let product = product(sample);
    let mut count = Count::new(limits, pages.len());
    for (place, client) in pages.places() {
        let kind = ClientKind::of(client, product, &sample.own_ids);
        count.client_counts.kinds[kind as usize] += 1;
        let app = if kind == ClientKind::Application { count.add_application(client) } else { 0 };
        count.entries.extend(Entry::new(client, place, kind, app));
    }
    Some(count.finish(previous.and_then(|previous| previous.client_counts.as_ref())))
}

impl<'a> Count<'a> {
    fn new(limits: &'a Limits, clients: usize) -> Self {
        let idle = limits.idle_thresholds.iter().map(|&threshold| (threshold, 0)).collect();
        Self {
            limits,
            lookup: limits.grouping.lookup(),
            client_counts: ClientCounts { idle, ..ClientCounts::default() },
            apps: Vec::new(),
            places: HashMap::new(),
            entries: Vec::with_capacity(clients),
            fields: DIMENSIONS.map(|dimension| (dimension, Counting::default())),
            networks: Counting::default(),
        }
    }

    /// Counts an application client, and gives its application's place.
    fn add_application(&mut self, client: &'a Client<'_>) -> u32 {
        let state = State::of(client, self.limits.idle_after);
        self.client_counts.add_application(client, state);
        for ((field, _), counting) in &mut self.fields {
            match value_to_group_by(client, *field) {
                Some(value) if !value.is_empty() => counting.add(value),
                value => counting.add_unnamed(value.is_some()),
            }
        }
        match Network::of(client, self.limits.network_prefix) {
            Some(network) => self.networks.add(network),
            None => self.networks.add_unnamed(client.text(Field::Addr).is_some()),
        }
        let name = self.lookup.app(client);
        let place = match self.places.get(&name) {
            Some(&place) => place,
            None => {
                let place = self.apps.len() as u32;
                self.places.insert(Arc::clone(&name), place);
                self.apps.push((name, AppCounts::default()));
                place
            }
        };
        self.apps[place as usize].1.add(client, state, &self.limits.idle_thresholds);
        place
    }

    fn finish(self, before: Option<&ClientCounts>) -> Counted {
        let limit = self.limits.groups;
        let [users, libraries, databases, commands] = self.fields.map(|((_, groups), counting)| {
            counting.finish(limit, before.and_then(|before| groups(before).as_ref()), |value| label_value(value))
        });
        let before = before.and_then(|before| before.networks.as_ref());
        let networks = self.networks.finish(limit, before, |network| network.label());
        Counted {
            client_counts: ClientCounts { users, libraries, databases, commands, networks, ..self.client_counts },
            names: self.apps.iter().map(|(name, _)| Arc::clone(name)).collect(),
            apps: self.apps,
            entries: self.entries,
        }
    }
}

impl Counted {
    /// The application clients that have been silent longest, those that wait by design after all others.
    pub(super) fn longest_silent(&self, pages: &Pages, limits: &Limits) -> Vec<(Place, Arc<str>)> {
        if limits.per_client == 0 {
            return Vec::new();
        }
        let applications = self.entries.iter().filter(|entry| entry.kind == ClientKind::Application);
        let mut ranked: Vec<_> = applications
            .filter_map(|entry| {
                let client = pages.client(entry.place)?;
                let waits = State::of(client, limits.idle_after) == State::Waiting;
                Some((waits, Reverse(client.idle_seconds()), entry.id, entry))
            })
            .collect();
        ranked.sort_unstable_by_key(|&(waits, idle, id, _)| (waits, idle, id));
        ranked.truncate(limits.per_client);
        let name = |entry: &Entry| Arc::clone(&self.names[entry.app as usize]);
        ranked.iter().map(|(_, _, _, entry)| (entry.place, name(entry))).collect()
    }
}

/// What a client has in a field; nothing where the server has a word for nothing.
fn value_to_group_by<'a>(client: &'a Client<'_>, field: Field) -> Option<&'a [u8]> {
    match client.text(field) {
        // The server's word for "no command yet".
        Some(b"NULL") if field == Field::Cmd => Some(b""),
        value => value,
    }
}
