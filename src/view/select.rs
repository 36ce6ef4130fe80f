//! Which rows, and in which order.

use std::cmp::Ordering;

use super::rows::{Column, Record, Row, Value};
use crate::duration::duration;

/// A condition on a row: a column, how it is compared, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    column: Column,
    comparison: Comparison,
    value: String,
    /// The value as a number; a duration counts as its seconds.
    number: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Contains,
    AtMost,
    AtLeast,
    Below,
    Above,
}

/// How each comparison is written.
const SIGNS: [(&str, Comparison); 7] = [
    ("!=", Comparison::Unequal),
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("=", Comparison::Equal),
    ("<", Comparison::Below),
    (">", Comparison::Above),
    ("~", Comparison::Contains),
];

impl Filter {
    /// Reads `idle>10m`, `user=app`, `addr~10.0.`.
    ///
    /// # Errors
    /// What is wrong with it, and how conditions are written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let first = SIGNS.into_iter().filter_map(|(sign, comparison)| Some((text.find(sign)?, sign, comparison)));
        // Of two at one place the longer one is meant: `<=` is not `<`.
        let Some((at, sign, comparison)) = first.min_by_key(|&(at, sign, _)| (at, usize::MAX - sign.len())) else {
            return Err(format!("{text} compares nothing; write 'idle>10m' or 'user=app'"));
        };
        // What people type around a sign; other white space may be a part of the value.
        let (name, value) = (text[..at].trim_matches(' '), text[at + sign.len()..].trim_matches(' '));
        let column = Column::from_name(name).ok_or_else(|| unknown(name))?;
        let number = number(value);
        let ordered =
            matches!(comparison, Comparison::AtMost | Comparison::AtLeast | Comparison::Below | Comparison::Above);
        if ordered && number.is_none() {
            return Err(format!("{text}: {value} is neither a number nor a duration"));
        }
        Ok(Self { column, comparison, value: value.to_owned(), number })
    }

    /// The condition that a column has exactly this value.
    ///
    /// # Errors
    /// That there is no such column.
    pub fn equal(name: &str, value: &str) -> Result<Self, String> {
        let column = Column::from_name(name).ok_or_else(|| unknown(name))?;
        Ok(Self { column, comparison: Comparison::Equal, value: value.to_owned(), number: number(value) })
    }

    /// Whether it is true of a client. One that lacks the value matches nothing but "unequal", and equal to nothing.
    pub fn matches(&self, record: &impl Record) -> bool {
        let value = record.value(self.column);
        let ordering = match (&value, self.number) {
            (Value::Number(number), Some(other)) => Some(number.cmp(&other)),
            _ => None,
        };
        match self.comparison {
            Comparison::Equal => self.equals(&value),
            Comparison::Unequal => !self.equals(&value),
            Comparison::Contains => matches!(&value, Value::Text(text) if text.contains(&self.value)),
            Comparison::AtMost => ordering.is_some_and(Ordering::is_le),
            Comparison::AtLeast => ordering.is_some_and(Ordering::is_ge),
            Comparison::Below => ordering.is_some_and(Ordering::is_lt),
            Comparison::Above => ordering.is_some_and(Ordering::is_gt),
        }
    }

    fn equals(&self, value: &Value) -> bool {
        match value {
            Value::None => self.value.is_empty(),
            Value::Number(number) => Some(*number) == self.number,
            Value::Text(text) => *text == self.value,
        }
    }
}

/// An order of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    column: Column,
    descending: bool,
}

impl Sort {
    /// Reads `idle` or `-idle`.
    ///
    /// # Errors
    /// That there is no such field.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (descending, name) = text.strip_prefix('-').map_or((false, text), |name| (true, name));
        Ok(Self { column: Column::from_name(name).ok_or_else(|| unknown(name))?, descending })
    }

    /// Sorts rows. Rows without the value come last either way; equal ones keep their order.
    pub fn apply(&self, rows: &mut [Row<'_>]) {
        rows.sort_by_cached_key(|row| {
            let value = row.value(self.column);
            (value == Value::None, Directed { value, descending: self.descending })
        });
    }
}

/// A value that sorts in the direction wanted.
#[derive(PartialEq, Eq)]
struct Directed {
    value: Value,
    descending: bool,
}

impl Ord for Directed {
    fn cmp(&self, other: &Self) -> Ordering {
        let ordering = self.value.cmp(&other.value);
        if self.descending { ordering.reverse() } else { ordering }
    }
}

impl PartialOrd for Directed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

pub(super) fn unknown(name: &str) -> String {
    format!(
        "there is no field {name}; fields are those of CLIENT LIST, and redis, app, network, host, kind, state, buffers, address, library"
    )
}

fn number(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| duration(text).ok()?.as_secs().try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Snapshot;
    use crate::view::fixture::snapshot;
    use crate::view::rows::rows;

    const REPLY: &str = "id=1 addr=10.0.0.1:1 name=web user=app idle=5 cmd=get flags=N\n\
                         id=2 addr=10.0.0.2:2 name=job user=app idle=700 cmd=NULL flags=N\n\
                         id=3 addr=10.1.0.3:3 name= user=ops cmd=get flags=b\n";

    fn ids(snapshot: &Snapshot, filters: &[&str], sort: &str) -> Vec<u64> {
        let filters: Vec<_> = filters.iter().map(|text| Filter::parse(text).expect("a condition")).collect();
        let mut rows = rows("node", snapshot, &crate::snapshot::Limits::default());
        rows.retain(|row| filters.iter().all(|filter| filter.matches(row)));
        Sort::parse(sort).expect("an order").apply(&mut rows);
        rows.iter().filter_map(|row| row.client.id()).collect()
    }

    #[test]
    fn conditions_and_orders_do_what_they_say() {
        let snapshot = snapshot(REPLY);
        for (filters, sort, expected) in [
            (&["idle>10m"][..], "id", &[2][..]),
            (&["idle<=5"], "id", &[1]),
            (&["user=app"], "-idle", &[2, 1]),
            (&["user!=app"], "id", &[3]),
            (&["addr~10.0."], "-id", &[2, 1]),
            (&["kind=application", "state=waiting"], "id", &[3]),
            (&["name="], "id", &[3]),
            (&["idle="], "id", &[3]),
            (&["app=ops"], "id", &[3]),
            (&["network=10.0.0.0/24"], "id", &[1, 2]),
            (&[], "-idle", &[2, 1, 3]),
            (&[], "idle", &[1, 2, 3]),
            (&[], "-id", &[3, 2, 1]),
        ] {
            assert_eq!(ids(&snapshot, filters, sort), expected, "{filters:?} {sort}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_told() {
        for text in ["idle", "nonsense=1", "idle>soon", ">5", ""] {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
        assert!(Sort::parse("-nonsense").is_err());
    }
}
