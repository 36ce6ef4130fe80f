//! Which clients of a server are connected to the server that answers in its place.
//!
//! After a failover the clients connect again, from other ports; behind a balancer their connections may even belong to
//! other processes. So as many connections of an application are still there as both servers have. Which of them, is
//! decided by name, user and host, and for the rest the youngest count as those that connected again.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::kind::ClientKind;
use super::roster::{Entry, Roster};
use crate::client_list::{Address, Field};

/// The connections of two servers that are only at one of them, ascending by id.
#[derive(Debug, Default)]
pub(super) struct Unmatched {
    /// Those of the first server.
    pub(super) gone: Vec<Entry>,
    /// Those of the second server.
    pub(super) added: Vec<Entry>,
}

/// The members of a connection that stay when it is opened again.
type Identity<'a> = (&'a [u8], &'a [u8], Option<std::net::IpAddr>);

/// The connections of one application, or of one internal kind, at both servers.
#[derive(Default)]
struct Both<'a> {
    before: Vec<&'a Entry>,
    now: Vec<&'a Entry>,
}

/// Compares the clients of two servers. Our own connections, and links to a primary, are not among them.
pub(super) fn unmatched(before: &Roster, now: &Roster) -> Unmatched {
    let mut groups: HashMap<(ClientKind, &str), Both<'_>> = HashMap::new();
    for entry in before.by_id().filter(|entry| entry.is_counted()) {
        groups.entry(group(before, entry)).or_default().before.push(entry);
    }
    for entry in now.by_id().filter(|entry| entry.is_counted()) {
        groups.entry(group(now, entry)).or_default().now.push(entry);
    }
    let mut unmatched = Unmatched::default();
    for both in groups.into_values() {
        both.compare(before, now, &mut unmatched);
    }
    unmatched.gone.sort_unstable_by_key(|entry| entry.id);
    unmatched.added.sort_unstable_by_key(|entry| entry.id);
    unmatched
}

fn group<'a>(roster: &'a Roster, entry: &Entry) -> (ClientKind, &'a str) {
    (entry.kind, roster.app(entry).map_or("", |app| app))
}

fn identity<'a>(roster: &'a Roster, entry: &Entry) -> Identity<'a> {
    let Some(client) = roster.client(entry) else { return Identity::default() };
    let host = match client.address() {
        Some(Address::Inet(address)) => Some(address.ip().to_canonical()),
        Some(Address::Unix(_) | Address::Unknown(_)) | None => None,
    };
    let text = |field| client.text(field).unwrap_or_default();
    (text(Field::Name), text(Field::User), host)
}

impl Both<'_> {
    fn compare(self, before: &Roster, now: &Roster, unmatched: &mut Unmatched) {
        let mut again: HashMap<Identity<'_>, Vec<&Entry>> = HashMap::new();
        let mut oldest_first = self.now;
        oldest_first.sort_by_key(|entry| (entry.connected_at(), entry.id));
        for entry in oldest_first {
            again.entry(identity(now, entry)).or_default().push(entry);
        }
        let mut gone: Vec<&Entry> = Vec::new();
        for entry in self.before {
            if again.get_mut(&identity(before, entry)).and_then(Vec::pop).is_none() {
                gone.push(entry);
            }
        }
        let mut added: Vec<&Entry> = again.into_values().flatten().collect();
        added.sort_unstable_by_key(|entry| (Reverse(entry.connected_at()), Reverse(entry.id)));
        let matched = gone.len().min(added.len());
        unmatched.gone.extend(gone.into_iter().skip(matched));
        unmatched.added.extend(added.into_iter().skip(matched));
    }
}
