//! One row of the reply: where each field's value lies.
//!
//! Knows the grammar of a row and nothing of what the fields mean. A row is `key=value` tokens divided by single
//! spaces; nothing is quoted. A value may hold `=`, and a few may hold spaces (a unix socket's path; on look-alikes
//! that do not validate names, those too), so a token that does not begin with `key=` continues the value before it.

use std::borrow::Cow;

use memchr::memchr;

use super::field::{FIELDS, Field};

/// The longest row that is kept as it came, in bytes; the limit that lets a value's place be two 16-bit numbers.
pub(super) const MAX_ROW: usize = u16::MAX as usize;

/// The longest value kept of a row that had to be shortened, in bytes. A client may name itself with megabytes.
const MAX_VALUE: usize = 1024;

/// Where a value lies in its row. A start of 0 says that the row has no such field: a key always comes first.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Span {
    start: u16,
    len: u16,
}

/// A row and the places of the known fields in it.
#[derive(Clone)]
pub(super) struct Line<'a> {
    text: Cow<'a, [u8]>,
    spans: [Span; FIELDS],
}

/// The keys of a row in their order, each with its `=`. The rows of one reply nearly always share it, so the row
/// before predicts this one's, and most keys are recognised by one comparison.
pub(super) type Layout<'a> = Vec<(&'a [u8], Option<Field>)>;

impl<'a> Line<'a> {
    /// Reads a row that begins with a key. `layout` holds the keys of the row before and is left with this row's.
    pub(super) fn read(text: &'a [u8], layout: &mut Layout<'a>) -> Self {
        let mut spans = [Span::default(); FIELDS];
        let mut place = 0;
        let mut at = 0;
        loop {
            let (key, field) = match layout.get(place) {
                Some(&(key, field)) if text[at..].starts_with(key) => (key, field),
                _ => {
                    let key = key_at(text, at).unwrap_or_default();
                    let field = Field::from_key(key.strip_suffix(b"=").unwrap_or(key));
                    layout.truncate(place);
                    layout.push((key, field));
                    (key, field)
                }
            };
            let start = at + key.len();
            place += 1;
            let end = value_end(text, start, layout.get(place).map(|&(key, _)| key));
            if let Some(field) = field {
                let span = &mut spans[field as usize];
                // The first occurrence wins, so that a value that slipped in `name=` later cannot override it.
                if span.start == 0 {
                    *span = Span { start: start as u16, len: (end - start) as u16 };
                }
            }
            if end == text.len() {
                break;
            }
            at = end + 1;
        }
        layout.truncate(place);
        Self { text: Cow::Borrowed(text), spans }
    }

    /// Reads a row longer than [`MAX_ROW`], with values over 1 KiB cut. `None` if it is too long even so.
    pub(super) fn read_shortened(text: &[u8]) -> Option<Self> {
        let mut short = Vec::new();
        for token in text.split(|&byte| byte == b' ') {
            if !short.is_empty() {
                short.push(b' ');
            }
            short.extend_from_slice(&token[..token.len().min(MAX_VALUE)]);
            if short.len() > MAX_ROW {
                return None;
            }
        }
        let spans = Line::read(&short, &mut Layout::new()).spans;
        Some(Self { text: Cow::Owned(short), spans })
    }

    /// The value of a known field, without a copy; `None` where the row does not have it.
    pub(super) fn value(&self, field: Field) -> Option<&[u8]> {
        let Span { start, len } = self.spans[field as usize];
        (start != 0).then(|| &self.text[start as usize..start as usize + len as usize])
    }

    /// Every field of the row in its order, the unknown ones too.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let text = self.text.as_ref();
        let mut at = 0;
        std::iter::from_fn(move || {
            let key = key_at(text, at)?;
            let start = at + key.len();
            let end = value_end(text, start, None);
            at = end + 1;
            Some((&key[..key.len() - 1], &text[start..end]))
        })
    }
}

/// Whether a row of the reply begins as a client's row does. Log prefixes, prompts and halves of forged rows do not.
pub(super) fn begins_a_client(text: &[u8]) -> bool {
    text.starts_with(b"id=") || text.starts_with(b"addr=")
}

/// Where the value that begins at `start` ends. `next` is the key that probably follows it.
fn value_end(text: &[u8], start: usize, next: Option<&[u8]>) -> usize {
    let mut from = start;
    loop {
        let Some(space) = find_space(text, from) else {
            return text.len();
        };
        let rest = &text[space + 1..];
        if next.is_some_and(|key| rest.starts_with(key)) || key_at(text, space + 1).is_some() {
            return space;
        }
        from = space + 1;
    }
}

/// The next space at or after `from`. Nearly all values are a few bytes long, where a plain loop beats a call.
fn find_space(text: &[u8], from: usize) -> Option<usize> {
    const NEAR: usize = 8;
    let near = &text[from..text.len().min(from + NEAR)];
    if let Some(offset) = near.iter().position(|&byte| byte == b' ') {
        return Some(from + offset);
    }
    let far = from + near.len();
    memchr(b' ', &text[far..]).map(|offset| far + offset)
}

/// The key that begins at `at`, with its `=`: `[a-z][a-z0-9-]*=`.
fn key_at(text: &[u8], at: usize) -> Option<&[u8]> {
    let rest = text.get(at..)?;
    if !rest.first()?.is_ascii_lowercase() {
        return None;
    }
    let end = rest.iter().position(|&byte| !(byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'))?;
    (rest[end] == b'=').then(|| &rest[..=end])
}
