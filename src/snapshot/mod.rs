//! What a sample means: [`derive()`] makes a [`Snapshot`] of a sample and the snapshot before it.
//!
//! Pure: no clock, no I/O, no await. Every output (metrics, table, page, status) is a view of one snapshot, so outputs
//! cannot disagree.

mod ages;
mod app;
mod churn;
mod closed;
mod counters;
mod grouping;
mod groups;
mod kind;
mod label;
mod limits;
mod network;
mod people;
mod presence;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::client_list::{Client, Field};
use crate::sample::{Failure, Pages, Place, Sample};
use crate::server_info::{Product, ServerInfo};

pub use ages::Ages;
pub use app::{App, output_buffer_bytes};
pub use churn::{Changes, Churn};
pub use closed::{CloseReason, Closed, ClosedRing, MOST_CLOSED};
pub use counters::{Counter, Counters};
pub use grouping::{By, Grouping, RULES, Rule};
pub use groups::Groups;
pub use kind::{Kind, State};
pub(crate) use label::app_label;
pub use label::{NONE, label_value, spelled_out};
pub use limits::{Limits, NetworkPrefix};
pub use network::network_label;
pub use presence::{Presence, Seen, Totals};

use churn::Step;
use counters::Life;
use grouping::Lookup;
use groups::Counting;
use network::Network;
use people::{People, Person};
use presence::News;

/// What is known of one node at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The sample it was made of.
    pub sample: Arc<Sample>,
    /// What was counted over its clients; `None` where the server refuses to list them, or not all were heard of.
    pub crowd: Option<Crowd>,
    /// The counters up to now.
    pub counters: Counters,
    /// The applications: which are there, which were, what they did.
    pub presence: Presence,
    /// How many came and went up to now, and the last that went.
    pub churn: Churn,
    /// Who came and went since the snapshot before.
    pub changes: Changes,
    /// The clients that are told one by one, the longest silent first, each with its application.
    pub told: Vec<(Place, Arc<str>)>,
    /// The people of the last sample in which clients were listed.
    people: Option<Arc<People>>,
}

/// The clients of a node, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crowd {
    /// Connections by kind, in the order of [`Kind::ALL`].
    kinds: [u64; Kind::ALL.len()],
    /// Application clients by state, in the order of [`State::ALL`].
    states: [u64; State::ALL.len()],
    /// Application clients that have never sent a command.
    pub silent: u64,
    /// The longest time since the last interaction, in seconds, of the application clients that have spoken and do not wait.
    pub oldest_interaction_seconds: Option<u64>,
    /// The shortest one of the same clients, in seconds.
    pub newest_interaction_seconds: Option<u64>,
    /// Time since the last interaction of the application clients that have spoken.
    pub last_interaction: Ages,
    /// Time since application clients connected.
    pub connection_age: Ages,
    /// Each threshold with the application clients that do not wait and were silent at least that long.
    pub idle: Vec<(Duration, u64)>,
    /// Application clients by ACL user (6.0+).
    pub users: Option<Groups>,
    /// Application clients by client library (7.2+).
    pub libraries: Option<Groups>,
    /// Application clients by selected database.
    pub databases: Option<Groups>,
    /// Application clients by last command.
    pub commands: Option<Groups>,
    /// Application clients by the network they come from.
    pub networks: Option<Groups>,
}

impl Crowd {
    /// All connections of the node.
    pub fn connections(&self) -> u64 {
        self.kinds.iter().sum()
    }

    /// Connections of one kind.
    pub fn of_kind(&self, kind: Kind) -> u64 {
        self.kinds[kind as usize]
    }

    /// Application clients.
    pub fn online(&self) -> u64 {
        self.of_kind(Kind::Application)
    }

    /// Application clients in one state.
    pub fn in_state(&self, state: State) -> u64 {
        self.states[state as usize]
    }
}

impl Snapshot {
    /// What `INFO` told, where it was allowed.
    pub fn info(&self) -> Option<&ServerInfo> {
        self.sample.info.as_ref().ok()
    }

    /// The clients, where listing them was allowed.
    pub fn pages(&self) -> Option<&Pages> {
        self.sample.clients.as_ref().ok()
    }

    /// What the server refused; a snapshot without any is whole.
    pub fn refused(&self) -> impl Iterator<Item = &Failure> {
        [self.sample.info.as_ref().err(), self.sample.clients.as_ref().err()].into_iter().flatten()
    }

    /// Whether every client is in it.
    pub fn is_complete(&self) -> bool {
        self.pages().is_some_and(|pages| pages.unreadable().total() == 0) && !self.sample.is_truncated()
    }

    /// What a connection of this node is.
    pub fn kind(&self, client: &Client<'_>) -> Kind {
        Kind::of(client, self.product(), &self.sample.own_ids)
    }

    /// The application of the client at a place; `None` for an internal one, and for one without an id.
    pub fn app(&self, place: Place) -> Option<&str> {
        let people = self.people.as_deref()?;
        let id = self.pages()?.client(place)?.id()?;
        people.app(id)
    }

    fn product(&self) -> Product {
        product(&self.sample)
    }
}

/// Makes a snapshot of a sample. Counters, presence and churn go on from the snapshot before; everything else is of this
/// sample alone.
pub fn derive(previous: Option<&Snapshot>, sample: Arc<Sample>, limits: &Limits) -> Snapshot {
    let counters = Counters::next(previous.map(|previous| &previous.counters), &sample);
    let mut snapshot = Snapshot {
        crowd: None,
        counters,
        presence: previous.map(|previous| previous.presence.clone()).unwrap_or_default(),
        churn: previous.map(|previous| previous.churn.clone()).unwrap_or_default(),
        changes: Changes::default(),
        told: Vec::new(),
        people: None,
        sample,
    };
    match count(previous, &snapshot.sample, limits) {
        Some(counted) => snapshot.take(previous, counted, limits),
        // Whoever it leaves out is compared with when clients are listed again.
        None => snapshot.people = previous.and_then(|previous| previous.people.clone()),
    }
    snapshot
}

impl Snapshot {
    /// Takes what was counted, and finds out what has happened since the snapshot before.
    fn take(&mut self, previous: Option<&Snapshot>, counted: Counted, limits: &Limits) {
        self.told = self.pages().map(|pages| counted.longest_silent(pages, limits)).unwrap_or_default();
        let people = People::new(Arc::clone(&self.sample), self.counters.clone(), counted.people, counted.names);
        let before = previous.and_then(|previous| previous.people.as_deref());
        let life = before.map_or(Life::Same, |before| before.counters.life(&self.sample));
        let turnover = before.map(|before| people.since(before, life)).unwrap_or_default();
        let news = News { people: &people, before, turnover: &turnover };
        self.presence = self.presence.next(counted.apps, &news, limits);
        let step = Step { turnover: &turnover, people: &people, before, life };
        (self.churn, self.changes) = self.churn.next(&step);
        self.crowd = Some(counted.crowd);
        self.people = Some(Arc::new(people));
    }
}

fn product(sample: &Sample) -> Product {
    sample.info.as_ref().map(|info| info.product).unwrap_or_default()
}

/// When a client last spoke or was spoken to, by what was read of it at that time; `None` if it has never sent a command.
pub fn last_interaction(client: &Client<'_>, at: Timestamp) -> Option<Timestamp> {
    if client.is_silent() { None } else { ago(at, client.idle_seconds()?) }
}

/// When a client connected, by what was read of it at that time.
pub fn connected_at(client: &Client<'_>, at: Timestamp) -> Option<Timestamp> {
    ago(at, client.age_seconds()?)
}

fn ago(at: Timestamp, seconds: u64) -> Option<Timestamp> {
    at.checked_sub(Duration::from_secs(seconds)).ok()
}

/// What was counted over the clients of a sample.
struct Counted {
    crowd: Crowd,
    apps: Vec<(Arc<str>, App)>,
    /// The applications that people refer to.
    names: Arc<[Arc<str>]>,
    people: Vec<Person>,
}

/// Counting under way.
struct Count<'a> {
    limits: &'a Limits,
    lookup: Lookup<'a>,
    crowd: Crowd,
    apps: Vec<(Arc<str>, App)>,
    places: HashMap<Arc<str>, u32>,
    people: Vec<Person>,
    fields: [(Field, Counting<&'a [u8]>); 4],
    networks: Counting<Network>,
}

fn count(previous: Option<&Snapshot>, sample: &Sample, limits: &Limits) -> Option<Counted> {
    // Of some clients nothing can be counted, and nobody could be missed.
    let pages = sample.clients.as_ref().ok().filter(|_| !sample.is_truncated())?;
    let product = product(sample);
    let mut count = Count::new(limits, pages.len());
    for (place, client) in pages.places() {
        let kind = Kind::of(client, product, &sample.own_ids);
        count.crowd.kinds[kind as usize] += 1;
        let app = if kind == Kind::Application { count.add_application(client) } else { 0 };
        count.people.extend(Person::new(client, place, kind, app));
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
            people: Vec::with_capacity(clients),
            fields: [Field::User, Field::LibName, Field::Db, Field::Cmd].map(|field| (field, Counting::default())),
            networks: Counting::default(),
        }
    }

    /// Counts an application client, and gives its application's place.
    fn add_application(&mut self, client: &'a Client<'_>) -> u32 {
        let state = State::of(client, self.limits.idle_after);
        self.crowd.add_application(client, state);
        for (field, counting) in &mut self.fields {
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
        let groups_before: [fn(&Crowd) -> &Option<Groups>; 4] =
            [|crowd| &crowd.users, |crowd| &crowd.libraries, |crowd| &crowd.databases, |crowd| &crowd.commands];
        let mut groups_before = groups_before.into_iter();
        let [users, libraries, databases, commands] = self.fields.map(|(_, counting)| {
            let before = groups_before.next().and_then(|groups| groups(before?).as_ref());
            counting.finish(limit, before, |value| label_value(value))
        });
        let before = before.and_then(|before| before.networks.as_ref());
        let networks = self.networks.finish(limit, before, |network| network.label());
        Counted {
            crowd: Crowd { users, libraries, databases, commands, networks, ..self.crowd },
            names: self.apps.iter().map(|(name, _)| Arc::clone(name)).collect(),
            apps: self.apps,
            people: self.people,
        }
    }
}

impl Counted {
    /// The application clients that have been silent longest, those that wait by design after all others.
    fn longest_silent(&self, pages: &Pages, limits: &Limits) -> Vec<(Place, Arc<str>)> {
        if limits.per_client == 0 {
            return Vec::new();
        }
        let applications = self.people.iter().filter(|person| person.kind == Kind::Application);
        let mut ranked: Vec<_> = applications
            .filter_map(|person| {
                let client = pages.client(person.place)?;
                let waits = State::of(client, limits.idle_after) == State::Waiting;
                Some((waits, Reverse(client.idle_seconds()), person.id, person))
            })
            .collect();
        ranked.sort_unstable_by_key(|&(waits, idle, id, _)| (waits, idle, id));
        ranked.truncate(limits.per_client);
        let name = |person: &Person| Arc::clone(&self.names[person.app as usize]);
        ranked.iter().map(|(_, _, _, person)| (person.place, name(person))).collect()
    }
}
fn value_to_group_by<'a>(client: &'a Client<'_>, field: Field) -> Option<&'a [u8]> {
    match client.text(field) {
        // The server's word for "no command yet".
        Some(b"NULL") if field == Field::Cmd => Some(b""),
        value => value,
    }
}

impl Crowd {
    fn add_application(&mut self, client: &Client<'_>, state: State) {
        self.states[state as usize] += 1;
        if let Some(age) = client.age_seconds() {
            self.connection_age.add(age);
        }
        let idle = client.idle_seconds();
        if client.is_silent() {
            self.silent += 1;
        } else if let Some(idle) = idle {
            self.last_interaction.add(idle);
            if state != State::Waiting {
                self.oldest_interaction_seconds = self.oldest_interaction_seconds.max(Some(idle));
                self.newest_interaction_seconds =
                    Some(self.newest_interaction_seconds.map_or(idle, |newest| newest.min(idle)));
            }
        }
        if let Some(idle) = idle.filter(|_| state != State::Waiting) {
            for (threshold, count) in &mut self.idle {
                *count += u64::from(idle >= threshold.as_secs());
            }
        }
    }
}

#[cfg(test)]
mod tests;
