//! One client as its row describes it.

use super::address::Address;
use super::field::Field;
use super::flags::Flags;
use super::line::Line;

/// One connection, borrowed from the reply that lists it. A field is `None` if the server does not report it, or if its
/// number is invalid. Text is bytes: users and unix paths need not be UTF-8.
#[derive(Clone)]
pub struct Client<'a> {
    pub(super) line: Line<'a>,
}

impl Client<'_> {
    /// The bytes of the row, with values that were shortened.
    pub fn row(&self) -> &[u8] {
        self.line.row()
    }

    /// The bytes of a field's value.
    pub fn text(&self, field: Field) -> Option<&[u8]> {
        self.line.value(field)
    }

    /// A field's value as a number. It may be negative: `multi=-1`, or an age after the server's clock stepped back.
    pub fn number(&self, field: Field) -> Option<i64> {
        number(self.text(field)?)
    }

    /// A field's value as a count; `None` for a negative number.
    pub fn unsigned(&self, field: Field) -> Option<u64> {
        u64::try_from(self.number(field)?).ok()
    }

    /// Every field in the order of the row, including fields that this program does not know.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.line.fields()
    }

    /// The id of the connection; `None` before Redis 2.8.12, and on compatible servers without ids.
    pub fn id(&self) -> Option<u64> {
        self.unsigned(Field::Id)
    }

    /// The address of the peer.
    pub fn address(&self) -> Option<Address<'_>> {
        self.text(Field::Addr).map(Address::parse)
    }

    /// The flags; empty if a compatible server omits them.
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

    /// Number of subscribed channels, patterns and shard channels.
    pub fn subscriptions(&self) -> u64 {
        let counts = [Field::Sub, Field::Psub, Field::Ssub].into_iter().filter_map(|field| self.seconds(field));
        counts.fold(0, u64::saturating_add)
    }

    /// Returns true if it has never sent a command. Also true if all its commands were unknown to the server.
    pub fn is_silent(&self) -> bool {
        self.text(Field::Cmd) == Some(b"NULL")
    }

    /// A number of seconds or a count. It is negative only after the server's wall clock stepped back, and is then 0.
    fn seconds(&self, field: Field) -> Option<u64> {
        Some(self.number(field)?.max(0).unsigned_abs())
    }
}

/// Parses a decimal number with an optional minus; `None` for anything else, and for an overflow of 64 bits.
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
