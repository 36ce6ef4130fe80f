//! Conditions on clients: `idle>10m`, `memory>1MB`, `address=10.0.0.0/8`, `library_version<6`. Pure.
//!
//! The type of the column decides how values are compared. A condition that no client can ever meet is an error, since
//! an empty list would look like a valid result.

mod address;

use std::cmp::Ordering;

use jiff::Timestamp;

use super::column::{Column, ValueKind};
use super::row::Record;
use super::value::Value;
use crate::duration::duration;
use crate::size::bytes;

use address::{AddressCondition, address};

/// A condition on a column.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    column: &'static Column,
    condition: Condition,
    /// True for `!=`.
    negated: bool,
}

/// A condition on a value.
#[derive(Clone, Debug, PartialEq)]
enum Condition {
    /// There is no value, or it is empty.
    Empty,
    Equal(String),
    StartsWith(String),
    Contains(String),
    /// One of these words.
    OneOf(Vec<&'static str>),
    Number(Order, i64),
    /// Before or after a time.
    Time(Order, Timestamp),
    /// Before or after a number of seconds ago.
    Ago(Order, i64),
    Address(AddressCondition),
    Version(Order, Vec<u64>),
}

/// A comparison of a value with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Equal,
    AtMost,
    AtLeast,
    Below,
    Above,
}

/// An operator as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Unequal,
    Contains,
    StartsWith,
    Ordered(Order),
}

/// The operators. If two match at one position, the longer one counts.
const OPERATORS: [(&str, Operator); 8] = [
    ("!=", Operator::Unequal),
    ("^=", Operator::StartsWith),
    ("<=", Operator::Ordered(Order::AtMost)),
    (">=", Operator::Ordered(Order::AtLeast)),
    ("=", Operator::Ordered(Order::Equal)),
    ("<", Operator::Ordered(Order::Below)),
    (">", Operator::Ordered(Order::Above)),
    ("~", Operator::Contains),
];

/// Words that stand for several others.
const WORD_GROUPS: [(&str, &[&str]); 1] = [("waiting", &["blocked", "subscribed"])];

impl Filter {
    /// Parses a condition: a column, an operator, a value.
    ///
    /// # Errors
    /// Returns a sentence that says what is wrong, with the right syntax.
    pub fn parse(text: &str) -> Result<Self, String> {
        let found = OPERATORS.into_iter().filter_map(|(sign, operator)| Some((text.find(sign)?, sign, operator)));
        let Some((at, sign, operator)) = found.min_by_key(|&(at, sign, _)| (at, usize::MAX - sign.len())) else {
            return Err(format!("{text} has no operator; write 'idle>10m' or 'user=app'"));
        };
        // Only spaces around the operator are removed; other white space may be part of the value.
        let (name, value) = (text[..at].trim_matches(' '), text[at + sign.len()..].trim_matches(' '));
        let column = Column::find(name).ok_or_else(|| unknown_column(name))?;
        Self::new(column, operator, value).map_err(|fault| format!("{text}: {fault}"))
    }

    /// Makes the condition that a column equals a value.
    ///
    /// # Errors
    /// Returns a sentence if no value of the column can equal it.
    pub fn equal(column: &'static Column, value: &str) -> Result<Self, String> {
        Self::new(column, Operator::Ordered(Order::Equal), value).map_err(|fault| format!("{}: {fault}", column.name))
    }

    /// The column of the condition.
    pub fn column(&self) -> &'static Column {
        self.column
    }

    fn new(column: &'static Column, operator: Operator, value: &str) -> Result<Self, String> {
        let negated = operator == Operator::Unequal;
        let condition = match operator {
            Operator::Unequal | Operator::Ordered(Order::Equal) if value.is_empty() => Condition::Empty,
            Operator::Unequal => condition(column, Order::Equal, value)?,
            Operator::Ordered(order) => condition(column, order, value)?,
            Operator::Contains | Operator::StartsWith if !has_text(column.kind) => {
                return Err(format!("{} is not text; compare it with = != < > <= >=", column.name));
            }
            Operator::Contains => {
                check_word(column.kind, value, |word| word.contains(value))?;
                Condition::Contains(value.to_owned())
            }
            Operator::StartsWith => {
                check_word(column.kind, value, |word| word.starts_with(value))?;
                Condition::StartsWith(value.to_owned())
            }
        };
        Ok(Self { column, condition, negated })
    }

    /// True if a row meets the condition. A row without a value meets only `COLUMN=` and `COLUMN!=VALUE`.
    pub fn matches<'a>(&self, row: impl Record<'a>) -> bool {
        let value = row.value(self.column);
        let met = match &self.condition {
            Condition::Empty => value.is_empty(),
            Condition::Ago(order, seconds) => match value {
                // `last_interaction>5m` means more than five minutes ago.
                Value::Time(time) => order.holds(row.now().duration_since(time).as_secs().cmp(seconds)),
                _ => false,
            },
            condition => condition.is_met(&value),
        };
        met != self.negated
    }
}

impl Condition {
    fn is_met(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Condition::Number(order, other), Value::Number(number)) => order.holds(number.cmp(other)),
            (Condition::Time(order, other), Value::Time(time)) => order.holds(time.as_second().cmp(&other.as_second())),
            (condition, Value::Text(text)) => condition.is_met_by_text(text),
            _ => false,
        }
    }

    fn is_met_by_text(&self, text: &str) -> bool {
        match self {
            Condition::Equal(value) => text == value,
            Condition::StartsWith(value) => text.starts_with(value.as_str()),
            Condition::Contains(value) => text.contains(value.as_str()),
            Condition::OneOf(words) => words.contains(&text),
            Condition::Address(address) => address.matches(text),
            Condition::Version(order, version) => {
                parse_version(text).is_some_and(|found| order.holds(compare_versions(&found, version)))
            }
            _ => false,
        }
    }
}

impl Order {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Order::Equal => ordering.is_eq(),
            Order::AtMost => ordering.is_le(),
            Order::AtLeast => ordering.is_ge(),
            Order::Below => ordering.is_lt(),
            Order::Above => ordering.is_gt(),
        }
    }
}

/// The error sentence for a column that does not exist.
pub fn unknown_column(name: &str) -> String {
    let names: Vec<_> = super::column::COLUMNS.iter().map(|column| column.name).collect();
    format!("unknown column {name:?}; columns are {}, and the keys of CLIENT LIST", names.join(", "))
}

/// Checks that a column is one of these.
///
/// # Errors
/// Returns a sentence that names them if it is not. `of` names the rows: `clients`.
pub fn check_column(column: &Column, columns: &[&'static Column], of: &str) -> Result<(), String> {
    if columns.contains(&column) {
        return Ok(());
    }
    let names: Vec<_> = columns.iter().map(|column| column.name).collect();
    Err(format!("{of} have no column {}; columns are {}", column.name, names.join(", ")))
}

fn has_text(kind: ValueKind) -> bool {
    matches!(kind, ValueKind::Text | ValueKind::Word(_) | ValueKind::Address | ValueKind::Version)
}

fn condition(column: &Column, order: Order, value: &str) -> Result<Condition, String> {
    match (column.kind, order) {
        (ValueKind::Number | ValueKind::Count, _) => {
            let number = value.parse().map_err(|_| format!("{value:?} is not a whole number"))?;
            Ok(Condition::Number(order, number))
        }
        (ValueKind::Bytes, _) => Ok(Condition::Number(order, bytes(value)?)),
        (ValueKind::Seconds, _) => seconds(order, value).map(|(order, seconds)| Condition::Number(order, seconds)),
        (ValueKind::Time, _) => time(order, value),
        (ValueKind::Version, _) => match parse_version(value) {
            // Compared as text, so that 5.0 does not equal 5.0.1.
            _ if order == Order::Equal => Ok(Condition::Equal(value.to_owned())),
            Some(version) => Ok(Condition::Version(order, version)),
            None => Err(format!("{value:?} is not a version; write 6 or 5.2.1")),
        },
        (_, order) if order != Order::Equal => Err(format!(
            "{} values have no order; compare them with =, !=, ~ (contains) or ^= (starts with)",
            column.kind.label()
        )),
        (ValueKind::Word(words), _) => one_of(&words(), value),
        // The addresses of fields have a port, hosts and networks have none.
        (ValueKind::Address, _) => address(value, column.key().is_some()).map(Condition::Address),
        (ValueKind::Text, _) => Ok(Condition::Equal(value.to_owned())),
    }
}

fn one_of(words: &[&'static str], value: &str) -> Result<Condition, String> {
    if let Some(word) = words.iter().find(|word| **word == value) {
        return Ok(Condition::OneOf(vec![word]));
    }
    let mut known = words.to_vec();
    for (group, members) in WORD_GROUPS {
        if members.iter().all(|member| words.contains(member)) {
            if group == value {
                return Ok(Condition::OneOf(members.to_vec()));
            }
            known.push(group);
        }
    }
    Err(format!("unknown value {value:?}; values are {}", known.join(", ")))
}

/// Refuses a part of a word that no word of the column has.
fn check_word(kind: ValueKind, value: &str, is_part: impl Fn(&str) -> bool) -> Result<(), String> {
    let ValueKind::Word(words) = kind else { return Ok(()) };
    let words = words();
    if words.iter().any(|word| is_part(word)) {
        return Ok(());
    }
    Err(format!("there is no {value:?}; values are {}", words.join(", ")))
}

/// The order between whole seconds and a duration: less than 1.5 s is at most 1 s.
fn seconds(order: Order, value: &str) -> Result<(Order, i64), String> {
    if let Ok(number) = value.parse() {
        return Ok((order, number));
    }
    let duration = duration(value)?;
    let order = match order {
        order if duration.subsec_nanos() == 0 => order,
        Order::Below | Order::AtMost => Order::AtMost,
        Order::Above | Order::AtLeast => Order::Above,
        Order::Equal => return Err(format!("{value:?} is not a whole number of seconds")),
    };
    Ok((order, i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)))
}

fn time(order: Order, value: &str) -> Result<Condition, String> {
    if let Ok(time) = value.parse() {
        return Ok(Condition::Time(order, time));
    }
    let fault = |_| {
        format!("{value:?} is neither a time nor a duration; write 2026-01-31T12:00:00Z, or 5m for five minutes ago")
    };
    seconds(order, value).map(|(order, seconds)| Condition::Ago(order, seconds)).map_err(fault)
}

/// Parses the numbers of a version: `v5.2.1-rc1` is 5, 2, 1. `None` if it does not begin with a number.
pub(super) fn parse_version(text: &str) -> Option<Vec<u64>> {
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let numbers: Vec<u64> = text[..end].split('.').map_while(|part| part.parse().ok()).collect();
    (!numbers.is_empty()).then_some(numbers)
}

/// Compares two versions number by number. A missing number is 0, so 6 equals 6.0.0.
pub(super) fn compare_versions(one: &[u64], other: &[u64]) -> Ordering {
    let longest = one.len().max(other.len());
    let padded =
        |version: &[u64]| version.iter().copied().chain(std::iter::repeat(0)).take(longest).collect::<Vec<_>>();
    padded(one).cmp(&padded(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Snapshot;
    use crate::view::fixture::snapshot;
    use crate::view::row::rows;

    const REPLY: &str = "id=1 addr=10.0.0.1:1 name=web user=app idle=5 cmd=get flags=N lib-ver=5.2.1 \
                         omem=2000000 obl=7 tot-mem=900\n\
                         id=2 addr=10.0.0.2:2 name=job user=app idle=700 cmd=NULL flags=N lib-ver=10.0\n\
                         id=3 addr=[::ffff:10.1.0.3]:3 name= user=ops cmd=get flags=b lib-ver=v6-rc1\n\
                         id=4 addr=/run/redis.sock:0 user=ops idle=1 cmd=get flags=P lib-ver=\n";

    fn ids(snapshot: &Snapshot, filter: &str) -> Vec<u64> {
        let filter = Filter::parse(filter).expect(filter);
        rows("node", snapshot).filter(|row| filter.matches(*row)).filter_map(|row| row.entry.id).collect()
    }

    #[test]
    fn conditions_compare_by_the_type_of_their_column() {
        let snapshot = snapshot(REPLY);
        for (filter, expected) in [
            ("idle>10m", &[2][..]),
            ("idle<=5", &[1, 4]),
            ("idle=", &[3]),
            ("idle!=", &[1, 2, 4]),
            ("user=app", &[1, 2]),
            ("user!=app", &[3, 4]),
            ("user ^= o", &[3, 4]),
            ("name=", &[3, 4]),
            ("addr~10.0.", &[1, 2]),
            ("address=10.0.0.1", &[1]),
            ("address=10.0.0.1:1", &[1]),
            ("address=10.0.0.1:2", &[]),
            ("address=10.1.0.3", &[3]),
            ("address=10.0.0.0/8", &[1, 2, 3]),
            ("address!=10.0.0.0/8", &[4]),
            ("address=10.0.*", &[1, 2]),
            ("address=10.0.", &[1, 2]),
            ("address=/run/redis.sock", &[4]),
            ("address=::ffff:10.0.0.0/104", &[1, 2, 3]),
            ("address=10.1.*", &[3]),
            ("address=10.1.0.3:*", &[3]),
            ("state~ock", &[3]),
            ("idle<4.5s", &[4]),
            ("idle<=5500ms", &[1, 4]),
            ("idle>4.5", &[1, 2]),
            ("idle>=5.5", &[2]),
            ("last_interaction<4.5s", &[4]),
            ("host=10.1.0.3", &[3]),
            ("network=10.0.0.0/24", &[1, 2]),
            ("network=10.0.0.1", &[1, 2]),
            ("network=10.0.0.0/8", &[1, 2, 3]),
            ("network=(unix)", &[4]),
            ("kind=application", &[1, 2, 3, 4]),
            ("state=blocked", &[3]),
            ("state=waiting", &[3, 4]),
            ("state!=waiting", &[1, 2]),
            ("command=", &[2]),
            ("omem>1MB", &[1]),
            ("omem>2MB", &[]),
            ("output_buffer_bytes=2000007", &[1]),
            ("memory>0.5KB", &[1]),
            ("library_version<6", &[1]),
            ("library_version<=6", &[1, 3]),
            ("library_version>6.0", &[2]),
            ("library_version=10.0", &[2]),
            ("last_interaction>5m", &[]),
            ("last_interaction<5m", &[1, 4]),
            ("last_interaction>=2025-12-31T23:59:55Z", &[1, 4]),
            ("last_interaction<2025-12-31T23:59:59Z", &[1]),
        ] {
            assert_eq!(ids(&snapshot, filter), expected, "{filter}");
        }
    }

    /// A bracket, no bracket (Azure), and an address whose last group could be a port.
    #[test]
    fn every_form_of_an_address_is_found_by_what_is_shown() {
        let snapshot = snapshot(
            "id=1 addr=[fd00::1]:7 laddr=[fd00::9]:6379\nid=2 addr=fd00::1:7 laddr=fd00::9:6379\n\
             id=3 addr=[fd00::1:7]:8 laddr=[fd00::9]:6380\nid=4 addr=[2001:db8::1]:7 laddr=[fd00::9]:6379\n",
        );
        for (filter, expected) in [
            ("address=fd00:*", &[1, 2, 3][..]),
            ("address=FD00:*", &[1, 2, 3]),
            ("address=[fd00:*", &[1, 2, 3]),
            ("address=fd00::1", &[1, 2]),
            ("address=fd00::1:7", &[2, 3]),
            ("address=[fd00::1]:7", &[1, 2]),
            ("host=fd00::1", &[1, 2]),
            ("host=fd00::1:7", &[3]),
            ("host=fd00:*", &[1, 2, 3]),
            ("local_address=fd00::9:6379", &[2]),
            ("local_address=[fd00::9]:6379", &[1, 2, 4]),
        ] {
            assert_eq!(ids(&snapshot, filter), expected, "{filter}");
        }
    }

    #[test]
    fn a_condition_that_can_never_be_met_is_an_error_that_names_the_values() {
        for (text, expected) in [
            ("state=blokked", "values are active, blocked, subscribed, idle, waiting"),
            ("kind=app", "values are application, replica"),
            ("closed_reason=x", "values are limit"),
            ("idle=abc", "not a duration"),
            ("idle>soon", "not a duration"),
            ("idle=1.5s", "not a whole number of seconds"),
            ("state~blokked", "values are active, blocked, subscribed, idle"),
            ("kind^=app.", "values are application, replica"),
            ("host=10.0.0.5:6379", "not an address"),
            ("id=x", "not a whole number"),
            ("omem>much", "not a size"),
            ("address=abc", "not an address"),
            ("address=10.0.0.0/33", "not an address"),
            ("connected_at>yesterday", "neither a time nor a duration"),
            ("library_version<new", "not a version"),
            ("name>web", "no order"),
            ("idle~5", "not text"),
            ("idle", "no operator"),
            ("nonsense=1", "unknown column"),
            (">5", "unknown column"),
            ("", "no operator"),
        ] {
            let fault = Filter::parse(text).expect_err(text);
            assert!(fault.contains(expected), "{text}: {fault}");
        }
    }
}
