//! Clients as rows: one client of one node, connected or closed.

use jiff::Timestamp;

use super::column::Column;
use super::value::Value;
use crate::client_list::{Client, Field};
use crate::snapshot::{Closed, Entry, NetworkPrefix, Roster, Snapshot};

/// One client of one node. It only has references into the snapshot, so it costs nothing to make.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// The node it is connected to.
    pub node: &'a str,
    /// The index of its entry.
    pub index: usize,
    /// Its classification.
    pub entry: &'a Entry,
    /// Its fields, as the server reports them.
    pub client: &'a Client<'a>,
    /// Its application; internal connections have none.
    pub app: Option<&'a str>,
    roster: &'a Roster,
}

/// One closed client of one node.
#[derive(Clone, Copy)]
pub struct ClosedRow<'a> {
    /// The node it was connected to.
    pub node: &'a str,
    /// Its last known values.
    pub closed: &'a Closed,
    /// The time of the node's newest sample.
    pub now: Timestamp,
}

/// A row with a value for each column.
pub trait Record<'a>: Copy {
    /// The value of a column.
    fn value(self, column: &Column) -> Value<'a>;

    /// The time to which ages of the row's times are relative.
    fn now(self) -> Timestamp;
}

impl<'a> Record<'a> for Row<'a> {
    fn value(self, column: &Column) -> Value<'a> {
        column.value(self)
    }

    fn now(self) -> Timestamp {
        self.read_at()
    }
}

impl<'a> Record<'a> for ClosedRow<'a> {
    fn value(self, column: &Column) -> Value<'a> {
        column.closed_value(self)
    }

    fn now(self) -> Timestamp {
        self.now
    }
}

impl<'a> Row<'a> {
    /// Makes the row of an entry; `None` if there is no such entry.
    pub fn new(node: &'a str, snapshot: &'a Snapshot, index: usize) -> Option<Self> {
        let roster = snapshot.clients()?;
        let entry = roster.entries().get(index)?;
        let app = roster.app(entry).map(|app| &**app);
        Some(Self { node, index, entry, client: roster.client(entry)?, app, roster })
    }

    /// The time at which it was read.
    pub fn read_at(self) -> Timestamp {
        self.roster.read_at(self.entry)
    }

    /// The prefix lengths by which clients are grouped into networks.
    pub fn network_prefix(self) -> NetworkPrefix {
        self.roster.network_prefix()
    }

    /// The value of a field as bytes.
    pub fn text(self, field: Field) -> Option<&'a [u8]> {
        self.client.text(field)
    }
}

/// The clients of a node's snapshot, in the order of the sample.
pub fn rows<'a>(node: &'a str, snapshot: &'a Snapshot) -> impl Iterator<Item = Row<'a>> {
    let count = snapshot.clients().map_or(0, |roster| roster.entries().len());
    (0..count).filter_map(move |index| Row::new(node, snapshot, index))
}

/// The remembered closed clients of a node, the last closed first.
pub fn closed_rows<'a>(node: &'a str, snapshot: &'a Snapshot) -> impl Iterator<Item = ClosedRow<'a>> {
    snapshot.churn.ring.iter().map(move |closed| ClosedRow { node, closed, now: snapshot.sample.at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::filter::Filter;
    use crate::view::fixture::{snapshot, snapshot_after};

    /// As for clients that are connected: `closed_at<5m` is in the last five minutes.
    #[test]
    fn a_closed_client_was_closed_so_long_before_the_newest_sample() {
        let first = snapshot("id=1 addr=a age=60 flags=N\nid=2 addr=b age=60 flags=N\n");
        let second = snapshot_after(Some(&first), "2026-01-01T00:00:10Z", "id=2 addr=b age=70 flags=N\n");
        let third = snapshot_after(Some(&second), "2026-01-01T00:10:10Z", "id=3 addr=c age=1 flags=N\n");
        let ids = |filter: &str| -> Vec<u64> {
            let filter = Filter::parse(filter).expect(filter);
            closed_rows("node", &third).filter(|row| filter.matches(*row)).map(|row| row.closed.id).collect()
        };
        assert_eq!((ids("closed_at<5m"), ids("closed_at>5m"), ids("connected_at>11m")), (vec![2], vec![1], vec![2, 1]));
    }
}
