//! Counting the clients of one sample: one pass, from which everything is made that is told of them.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::app::App;
use super::crowd::Crowd;
use super::grouping::Lookup;
use super::groups::{Counting, Groups};
use super::kind::{Kind, State};
use super::label::label_value;
use super::limits::Limits;
use super::network::Network;
use super::roster::Entry;
use super::{Snapshot, product};
use crate::client_list::{Client, Field};
use crate::sample::{Pages, Place, Sample};

/// What was counted over the clients of a sample.
pub(super) struct Counted {
    pub(super) crowd: Crowd,
    pub(super) apps: Vec<(Arc<str>, App)>,
    /// The applications that entries refer to.
    pub(super) names: Arc<[Arc<str>]>,
    pub(super) entries: Vec<Entry>,
}

/// A field by which clients are counted, and where its groups are kept.
type Dimension = (Field, fn(&Crowd) -> &Option<Groups>);

/// The fields by which clients are counted, in the order in which their groups are taken apart at the end.
const DIMENSIONS: [Dimension; 4] = [
    (Field::User, |crowd| &crowd.users),
    (Field::LibName, |crowd| &crowd.libraries),
    (Field::Db, |crowd| &crowd.databases),
    (Field::Cmd, |crowd| &crowd.commands),
];

/// Counting under way.
struct Count<'a> {
    limits: &'a Limits,
    lookup: Lookup<'a>,
    crowd: Crowd,
    apps: Vec<(Arc<str>, App)>,
    places: HashMap<Arc<str>, u32>,
    entries: Vec<Entry>,
    fields: [(Dimension, Counting<&'a [u8]>); 4],
    networks: Counting<Network>,
}

/// Counts the clients of a sample; `None` where they are not known, or not all of them.
pub(super) fn count(previous: Option<&Snapshot>, sample: &Sample, limits: &Limits) -> Option<Counted> {
    // Of some clients nothing can be counted, and nobody could be missed.
    let pages = sample.clients.as_ref().ok().filter(|_| !sample.is_truncated())?;
    let product = product(sample);
    let mut count = Count::new(limits, pages.len());
    for (place, client) in pages.places() {
        let kind = Kind::of(client, product, &sample.own_ids);
        count.crowd.kinds[kind as usize] += 1;
        let app = if kind == Kind::Application { count.add_application(client) } else { 0 };
        count.entries.extend(Entry::new(client, place, kind, app));
    }
    Some(count.finish(previous.and_then(|previous| previous.crowd.as_ref())))
}

impl<'a> Count<'a> {
    fn new(limits: &'a Limits, clients: usize) -> Self {
        let idle = limits.idle_thresholds.iter().map(|&threshold| (threshold, 0)).collect();
        Self {
            limits,
            lookup: limits.grouping.lookup(),
            crowd: Crowd { idle, ..Crowd::default() },
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
        self.crowd.add_application(client, state);
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
                self.apps.push((name, App::default()));
                place
            }
        };
        self.apps[place as usize].1.add(client, state, &self.limits.idle_thresholds);
        place
    }

    fn finish(self, before: Option<&Crowd>) -> Counted {
        let limit = self.limits.groups;
        let [users, libraries, databases, commands] = self.fields.map(|((_, groups), counting)| {
            counting.finish(limit, before.and_then(|before| groups(before).as_ref()), |value| label_value(value))
        });
        let before = before.and_then(|before| before.networks.as_ref());
        let networks = self.networks.finish(limit, before, |network| network.label());
        Counted {
            crowd: Crowd { users, libraries, databases, commands, networks, ..self.crowd },
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
        let applications = self.entries.iter().filter(|entry| entry.kind == Kind::Application);
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
