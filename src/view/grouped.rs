//! Rows counted by what they have in a column: the most first.

use std::collections::HashMap;

use serde_json::{Value as Json, json};

use super::rows::{Column, Record, Row, Value};
use crate::snapshot::State;

/// Rows that have the same value in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What they have; [`Value::None`] for those that lack it, or have it empty.
    pub value: Value,
    /// How many they are.
    pub connections: u64,
    /// How many of them are in each state, in the order of [`State::ALL`]. Internal connections are in none.
    pub states: [u64; State::ALL.len()],
    /// The longest time since a last interaction among them, in seconds.
    pub oldest_interaction_seconds: Option<u64>,
    /// Bytes that wait to be sent to them.
    pub buffers_bytes: i64,
}

/// The groups of rows by a column: the most connections first, equal ones by value.
pub fn groups(rows: &[Row<'_>], column: Column) -> Vec<Group> {
    let mut groups: HashMap<Value, Group> = HashMap::new();
    for row in rows {
        // What is empty says as little as what is not there.
        let value = Some(row.value(column)).filter(|value| *value != Value::Text(String::new())).unwrap_or(Value::None);
        groups.entry(value).or_insert_with_key(|value| Group::none_yet(value.clone())).add(row);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_unstable_by(|one, other| {
        other.connections.cmp(&one.connections).then_with(|| one.value.cmp(&other.value))
    });
    groups
}

impl Group {
    fn none_yet(value: Value) -> Self {
        Self {
            value,
            connections: 0,
            states: [0; State::ALL.len()],
            oldest_interaction_seconds: None,
            buffers_bytes: 0,
        }
    }

    fn add(&mut self, row: &Row<'_>) {
        self.connections += 1;
        if let Some(state) = row.state {
            self.states[state as usize] += 1;
        }
        if !row.client.is_silent() {
            self.oldest_interaction_seconds = self.oldest_interaction_seconds.max(row.client.idle_seconds());
        }
        if let Value::Number(bytes) = row.value(Column::Buffers) {
            self.buffers_bytes = self.buffers_bytes.saturating_add(bytes);
        }
    }

    /// How many of them are in a state.
    pub fn in_state(&self, state: State) -> u64 {
        self.states[state as usize]
    }

    /// As a JSON object; what has no value is `null`.
    pub fn object(&self) -> Json {
        json!({
            "group": match &self.value {
                Value::None => Json::Null,
                Value::Number(number) => (*number).into(),
                Value::Text(text) => text.as_str().into(),
            },
            "connections": self.connections,
            "active": self.in_state(State::Active),
            "waiting": self.in_state(State::Waiting),
            "idle": self.in_state(State::Idle),
            "oldest_interaction_seconds": self.oldest_interaction_seconds,
            "buffers_bytes": self.buffers_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Limits;
    use crate::view::fixture::snapshot;
    use crate::view::rows::rows;

    #[test]
    fn groups_add_up_to_the_rows() {
        let snapshot = snapshot(
            "id=1 addr=10.0.0.1:1 user=app idle=5 cmd=get flags=N obl=0 omem=7\n\
             id=2 addr=10.0.0.1:2 user=app idle=700 cmd=get flags=N omem=5\n\
             id=3 addr=[::ffff:10.0.0.1]:3 user=ops idle=9000 cmd=NULL flags=N\n\
             id=4 addr=/run/redis.sock:0 cmd=blpop flags=b\n",
        );
        let rows = rows("node", &snapshot, &Limits::default());
        let of = |column: &str| {
            let groups = groups(&rows, Column::from_name(column).expect("a column"));
            assert_eq!(groups.iter().map(|group| group.connections).sum::<u64>(), 4, "{column}");
            groups
        };
        let users = of("user");
        let app = &users[0];
        assert_eq!((&app.value, app.connections, app.buffers_bytes), (&Value::Text("app".into()), 2, 12));
        assert_eq!((app.oldest_interaction_seconds, app.in_state(State::Idle)), (Some(700), 1));
        assert_eq!(users.iter().filter(|group| group.value == Value::None).count(), 1);
        let never_spoke = users.iter().find(|group| group.value == Value::Text("ops".into()));
        assert_eq!(never_spoke.and_then(|group| group.oldest_interaction_seconds), None);
        let hosts: Vec<_> =
            of("host").iter().map(|group| (group.object()["group"].clone(), group.connections)).collect();
        assert_eq!(hosts, [("10.0.0.1".into(), 3), ("/run/redis.sock".into(), 1)]);
    }
}
