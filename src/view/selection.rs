//! A selection of clients: their filters, their order, and a window. It is made from URL parameters in `web` and from
//! flags in `command`, which choose the nodes. Pure.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::LazyLock;

use super::column::{Column, ValueKind};
use super::filter::{Filter, compare_versions, parse_version, unknown_column};
use super::row::{Record, Row, rows};
use super::value::Value;
use crate::snapshot::{ClientKind, Snapshot, Tally};

/// The columns in which a search looks.
static SEARCHED: LazyLock<Vec<&'static Column>> = LazyLock::new(|| {
    let names = ["id", "address", "name", "user", "library", "command", "app"];
    names.into_iter().filter_map(Column::find).collect()
});

/// Maximum number of conditions of a selection.
pub const MAX_FILTERS: usize = 16;

/// A selection of clients.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// Text that one of a client's values must contain, in lower case.
    search: Option<String>,
    filters: Vec<Filter>,
    /// The order.
    pub sort: Sort,
    /// The number of matching clients before the window.
    pub offset: usize,
    /// Maximum number of clients of the window.
    pub limit: usize,
}

/// An order of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// The column to sort by.
    pub column: &'static Column,
    /// True for the largest first.
    pub descending: bool,
}

/// A window of the matching clients.
#[derive(Debug)]
pub struct Window<R> {
    /// The number of clients of the nodes.
    pub total: usize,
    /// The number of matching clients.
    pub matched: usize,
    /// The clients of the window, in order.
    pub rows: Vec<R>,
}

/// Clients that have the same value in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group<'a> {
    /// The value; [`Value::None`] for clients without one, or with an empty one.
    pub value: Value<'a>,
    /// The counts over its clients.
    pub tally: Tally,
}

/// A window of the groups of the matching clients.
#[derive(Debug)]
pub struct GroupWindow<'a> {
    /// The number of clients of the nodes.
    pub total: usize,
    /// The number of matching clients that are counted in a group.
    pub matched: usize,
    /// The number of matching internal connections, which are not counted in a group.
    pub internal: usize,
    /// The number of all groups.
    pub groups: usize,
    /// The groups of the window: the most connections first, equal ones by value.
    pub rows: Vec<Group<'a>>,
}

impl Default for Selection {
    /// All clients, the largest idle time first.
    fn default() -> Self {
        let column = Column::of_field(crate::client_list::Field::Idle);
        let sort = Sort { column, descending: true };
        Self { search: None, filters: Vec::new(), sort, offset: 0, limit: usize::MAX }
    }
}

impl Selection {
    /// A selection of all clients in the default order, at most `limit`.
    pub fn of(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Adds a condition; all must be met.
    ///
    /// # Errors
    /// Returns a sentence if there are too many.
    pub fn add_filter(&mut self, filter: Filter) -> Result<(), String> {
        if self.filters.len() >= MAX_FILTERS {
            return Err(format!("there are more than {MAX_FILTERS} conditions"));
        }
        self.filters.push(filter);
        Ok(())
    }

    /// Sets the text to search for, without regard to case.
    pub fn search(&mut self, text: &str) {
        self.search = Some(text.to_lowercase());
    }

    /// True if a row meets all conditions and contains the search text.
    pub fn matches<'a>(&self, row: impl Record<'a>) -> bool {
        self.filters.iter().all(|filter| filter.matches(row)) && self.contains_search(row)
    }

    fn contains_search<'a>(&self, row: impl Record<'a>) -> bool {
        let Some(search) = &self.search else { return true };
        SEARCHED.iter().any(|column| match row.value(column) {
            Value::Text(text) => text.to_lowercase().contains(search),
            Value::None => false,
            value => value.into_text().contains(search),
        })
    }

    /// The window of the clients of these nodes.
    pub fn window<'a>(&self, nodes: impl Iterator<Item = (&'a str, &'a Snapshot)>) -> Window<Row<'a>> {
        self.window_of(nodes.flat_map(|(node, snapshot)| rows(node, snapshot)))
    }

    /// The window of these rows. Keeps at most twice as many rows as the window and the rows before it.
    pub fn window_of<'a, R: Record<'a>>(&self, rows: impl Iterator<Item = R>) -> Window<R> {
        let needed = self.offset.saturating_add(self.limit);
        let (mut total, mut matched) = (0, 0);
        let mut kept: Vec<(SortKey<'a>, R)> = Vec::new();
        for row in rows {
            total += 1;
            if !self.matches(row) {
                continue;
            }
            kept.push((self.sort.key(row, matched), row));
            matched += 1;
            if kept.len() > needed.saturating_mul(2).max(64) {
                keep_first(&mut kept, needed);
            }
        }
        kept.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let rows = kept.into_iter().skip(self.offset).take(self.limit).map(|(_, row)| row).collect();
        Window { total, matched, rows }
    }

    /// True if groups by this column count internal connections: only if the column is the kind or a condition is on
    /// the kind. All other groups are of application clients.
    pub fn counts_internal(&self, by: &Column) -> bool {
        by.name == "kind" || self.filters.iter().any(|filter| filter.column().name == "kind")
    }

    /// Groups the matching clients of these nodes by the value of a column.
    pub fn groups<'a>(&self, by: &Column, nodes: impl Iterator<Item = (&'a str, &'a Snapshot)>) -> GroupWindow<'a> {
        let counts_internal = self.counts_internal(by);
        let (mut total, mut matched, mut internal) = (0, 0, 0);
        let mut tallies: HashMap<Value<'a>, Tally> = HashMap::new();
        for row in nodes.flat_map(|(node, snapshot)| rows(node, snapshot)) {
            total += 1;
            if !self.matches(row) {
                continue;
            }
            if row.entry.kind != ClientKind::Application && !counts_internal {
                internal += 1;
                continue;
            }
            matched += 1;
            // An empty value is grouped with missing ones.
            let value = Some(row.value(by)).filter(|value| !value.is_empty()).unwrap_or(Value::None);
            tallies.entry(value).or_default().add(row.entry, row.client, &[]);
        }
        let mut rows: Vec<Group<'a>> = tallies.into_iter().map(|(value, tally)| Group { value, tally }).collect();
        rows.sort_unstable_by(|one, other| {
            other.tally.connections.cmp(&one.tally.connections).then_with(|| one.value.cmp(&other.value))
        });
        let groups = rows.len();
        let rows = rows.into_iter().skip(self.offset).take(self.limit).collect();
        GroupWindow { total, matched, internal, groups, rows }
    }
}

impl Sort {
    /// Parses `idle`, or `-idle` for the largest first.
    ///
    /// # Errors
    /// Returns a sentence if there is no such column.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (descending, name) = text.strip_prefix('-').map_or((false, text), |name| (true, name));
        Ok(Self { column: Column::find(name).ok_or_else(|| unknown_column(name))?, descending })
    }

    fn key<'a>(self, row: impl Record<'a>, sequence: usize) -> SortKey<'a> {
        let value = row.value(self.column);
        let version = match (self.column.kind, &value) {
            (ValueKind::Version, Value::Text(text)) => parse_version(text),
            _ => None,
        };
        SortKey { value, version, descending: self.descending, sequence }
    }
}

/// Orders rows by a value. Rows without the value are last in either direction; equal ones keep their order.
struct SortKey<'a> {
    value: Value<'a>,
    /// The numbers of a version, by which it is ordered before its text.
    version: Option<Vec<u64>>,
    descending: bool,
    sequence: usize,
}

impl SortKey<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let versions = match (&self.version, &other.version) {
            (Some(one), Some(other)) => compare_versions(one, other),
            (one, other) => one.is_some().cmp(&other.is_some()),
        };
        let by_value = versions.then_with(|| self.value.cmp(&other.value));
        let by_value = if self.descending { by_value.reverse() } else { by_value };
        self.value.is_empty().cmp(&other.value.is_empty()).then(by_value).then(self.sequence.cmp(&other.sequence))
    }
}

/// Keeps the first `count` rows, in any order.
fn keep_first<R>(rows: &mut Vec<(SortKey<'_>, R)>, count: usize) {
    if count < rows.len() {
        rows.select_nth_unstable_by(count, |one, other| one.0.cmp(&other.0));
        rows.truncate(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::State;
    use crate::view::fixture::snapshot;

    const REPLY: &str = "id=1 addr=10.0.0.1:1 name=web-1 user=app idle=5 age=10 cmd=get flags=N\n\
                         id=2 addr=10.0.0.2:2 name=job-1 user=app idle=700 age=900 cmd=NULL flags=N\n\
                         id=3 addr=10.1.0.3:3 name= user=ops age=9000 cmd=blpop flags=b\n\
                         id=4 addr=10.1.0.3:4 name= user=ops idle=2 age=9000 cmd=replconf flags=S\n";

    fn selection(sort: &str, offset: usize, limit: usize) -> Selection {
        Selection { sort: Sort::parse(sort).expect(sort), offset, limit, ..Selection::default() }
    }

    fn ids(selection: &Selection, reply: &str) -> (usize, Vec<u64>) {
        let snapshot = snapshot(reply);
        let window = selection.window([("node", &snapshot)].into_iter());
        (window.matched, window.rows.iter().filter_map(|row| row.entry.id).collect())
    }

    #[test]
    fn rows_without_the_value_are_last_in_either_direction() {
        assert_eq!(ids(&selection("-idle", 0, 9), REPLY), (4, vec![2, 1, 4, 3]));
        assert_eq!(ids(&selection("idle", 0, 9), REPLY), (4, vec![4, 1, 2, 3]));
        assert_eq!(ids(&selection("-id", 1, 2), REPLY), (4, vec![3, 2]));
        // An empty name says as little as none.
        assert_eq!(ids(&selection("name", 0, 9), REPLY), (4, vec![2, 1, 3, 4]));
        assert_eq!(ids(&selection("-name", 0, 9), REPLY), (4, vec![1, 2, 3, 4]));
        assert!(Sort::parse("-nonsense").is_err());
    }

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        let version = |(id, version): (u64, &str)| format!("id={id} addr=a lib-ver={version} flags=N\n");
        let reply: String = [(1, "10.0"), (2, "5.2.1"), (3, ""), (4, "v6-rc1"), (5, "latest")].map(version).concat();
        assert_eq!(ids(&selection("library_version", 0, 9), &reply).1, [5, 2, 4, 1, 3]);
        assert_eq!(ids(&selection("-library_version", 0, 9), &reply).1, [1, 4, 2, 5, 3]);
    }

    #[test]
    fn a_window_is_the_same_part_of_the_whole_order() {
        let reply: String = (0..1000).map(|id| format!("id={id} addr=a idle={} flags=N\n", id * 7919 % 101)).collect();
        let all = ids(&selection("-idle", 0, usize::MAX), &reply).1;
        for (offset, limit) in [(0, 10), (5, 1), (90, 20), (990, 50), (2000, 5), (0, 0)] {
            let expected: Vec<u64> = all.iter().copied().skip(offset).take(limit).collect();
            assert_eq!(ids(&selection("-idle", offset, limit), &reply), (1000, expected), "{offset} {limit}");
        }
    }

    #[test]
    fn the_search_covers_the_columns_that_identify_a_client() {
        let found = |text: &str| {
            let mut selection = selection("id", 0, 9);
            selection.search(text);
            ids(&selection, REPLY).1
        };
        assert_eq!(found("JOB"), [2]);
        assert_eq!(found("10.1."), [3, 4]);
        assert_eq!(found("nothing"), [] as [u64; 0]);
    }

    #[test]
    fn the_number_of_conditions_is_bounded() {
        let mut selection = Selection::default();
        let filter = Filter::parse("id>0").expect("a condition");
        for _ in 0..MAX_FILTERS {
            selection.add_filter(filter.clone()).expect("there is room");
        }
        assert!(selection.add_filter(filter).is_err());
    }

    #[test]
    fn groups_count_applications_and_add_up() {
        let snapshot = snapshot(REPLY);
        let groups = |by: &str, filter: Option<&str>| {
            let mut selection = Selection::default();
            if let Some(filter) = filter {
                selection.add_filter(Filter::parse(filter).expect(filter)).expect("there is room");
            }
            selection.groups(Column::find(by).expect(by), [("node", &snapshot)].into_iter())
        };
        let users = groups("user", None);
        assert_eq!((users.total, users.matched, users.internal, users.groups), (4, 3, 1, 2));
        let app = &users.rows[0];
        assert_eq!((app.value.clone(), app.tally.connections), (Value::Text("app".into()), 2));
        assert_eq!((app.tally.oldest_interaction_seconds, app.tally.in_state(State::Idle)), (Some(5), 1));
        assert_eq!(users.rows[1].tally.in_state(State::Blocked), 1);
        assert_eq!(groups("kind", None).internal, 0);
        assert_eq!(groups("user", Some("kind=replica")).matched, 1);
        assert_eq!((groups("user", Some("kind!=primary")).matched, groups("user", Some("name=")).internal), (4, 1));
        let hosts = groups("host", None);
        assert_eq!(hosts.rows.iter().map(|group| group.tally.connections).sum::<u64>(), 3);
        assert_eq!(groups("name", None).rows.iter().filter(|group| group.value == Value::None).count(), 1);
    }
}
