//! One client as its row describes it.

use super::address::Address;
use super::field::Field;
use super::flags::Flags;
use super::line::Line;

/// One connection, borrowed from the reply that lists it. A field that the server does not report is `None`; so is a
/// number that cannot be read. Text is bytes: users and unix paths need not be UTF-8.
#[derive(Clone)]
pub struct Client<'a> {
    pub(super) line: Line<'a>,
}

impl Client<'_> {
    /// The bytes of a field's value.
    pub fn text(&self, field: Field) -> Option<&[u8]> {
        self.line.value(field)
    }

    /// A field's value as a number. Negative ones happen: `multi=-1`, or an age after the server's clock stepped back.
    pub fn number(&self, field: Field) -> Option<i64> {
        number(self.text(field)?)
    }

    /// A field's value as a count; `None` for a negative number.
    pub fn unsigned(&self, field: Field) -> Option<u64> {
        u64::try_from(self.number(field)?).ok()
    }

    /// Every field in the row's own order, fields that this program does not know included.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.line.fields()
    }

    /// The connection's number; `None` before Redis 2.8.12 and on look-alikes without one.
    pub fn id(&self) -> Option<u64> {
        self.unsigned(Field::Id)
    }

    /// Where it connected from.
    pub fn address(&self) -> Option<Address<'_>> {
        self.text(Field::Addr).map(Address::parse)
    }

    /// Its flags; none where a look-alike leaves them out.
    pub fn flags(&self) -> Flags<'_> {
        Flags(self.text(Field::Flags).unwrap_or_default())
    }

    /// Seconds since the last byte in either direction, never negative.
    pub fn idle_seconds(&self) -> Option<u64> {
        self.seconds(Field::Idle)
    }

    /// Seconds since it was accepted, never negative.
    pub fn age_seconds(&self) -> Option<u64> {
        self.seconds(Field::Age)
    }

    /// Channels, patterns and shard channels it is subscribed to.
    pub fn subscriptions(&self) -> u64 {
        [Field::Sub, Field::Psub, Field::Ssub].into_iter().filter_map(|field| self.seconds(field)).sum()
    }

    /// Whether it has never sent a command. Also true for one whose only command so far was unknown to the server.
    pub fn is_silent(&self) -> bool {
        self.text(Field::Cmd) == Some(b"NULL")
    }

    /// A count that is negative only after the server's wall clock stepped back; then it is 0.
    fn seconds(&self, field: Field) -> Option<u64> {
        Some(self.number(field)?.max(0).unsigned_abs())
    }
}

/// A decimal number with an optional minus; `None` for anything else, and for what 64 bits cannot hold.
fn number(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: i64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(i64::from(digit - b'0'))?;
    }
    Some(if negative { -value } else { value })
}
