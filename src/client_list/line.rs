//! One row of the reply: the position of each field's value.
//!
//! Knows the grammar of a row, but not the meaning of the fields. A row consists of `key=value` tokens separated by
//! single spaces, without quoting. A value may contain `=`, and a few may contain spaces (the path of a unix socket; on
//! compatible servers that do not validate names, names too), so a token that does not begin with `key=` continues the
//! value before it.

use std::borrow::Cow;

use memchr::memchr;

use super::field::{FIELDS, Field};

/// Maximum length in bytes of a row that is kept unchanged, so that the position of a value fits in two 16-bit numbers.
pub(super) const MAX_ROW: usize = u16::MAX as usize;

/// Maximum length in bytes of a value in a row that had to be shortened. A client may set a name of many megabytes.
const MAX_VALUE: usize = 1024;

/// The position of a value in its row. A start of 0 means that the row does not have the field: a key always comes
/// first.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Span {
    start: u16,
    len: u16,
}

/// A row and the positions of the known fields in it.
#[derive(Clone)]
pub(super) struct Line<'a> {
    text: Cow<'a, [u8]>,
    spans: [Span; FIELDS],
    /// A bit for each field that occurs again after a text that clients set. Which one is true cannot be known.
    ambiguous: u64,
}

/// The keys of a row in their order, each with its `=`. The rows of one reply nearly always have the same keys, so the
/// previous row predicts the keys of this one, and most keys are recognized by one comparison.
pub(super) type Layout<'a> = Vec<(&'a [u8], Option<Field>)>;

impl<'a> Line<'a> {
    /// Parses a row that begins with a key. `layout` has the keys of the previous row, and is replaced by those of this
    /// row.
    pub(super) fn read(text: &'a [u8], layout: &mut Layout<'a>) -> Self {
        let mut spans = [Span::default(); FIELDS];
        let mut ambiguous = 0;
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
                if span.start == 0 {
                    *span = Span { start: start as u16, len: (end - start) as u16 };
                } else if !field.precedes_text_of_clients() {
                    ambiguous |= bit(field);
                }
            }
            if end == text.len() {
                break;
            }
            at = end + 1;
        }
        layout.truncate(place);
        Self { text: Cow::Borrowed(text), spans, ambiguous }
    }

    /// Parses a row longer than [`MAX_ROW`], with values truncated to 1 KiB. `None` if it is still too long.
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
        let Line { spans, ambiguous, .. } = Line::read(&short, &mut Layout::new());
        Some(Self { text: Cow::Owned(short), spans, ambiguous })
    }

    /// The bytes of the row.
    pub(super) fn row(&self) -> &[u8] {
        &self.text
    }

    /// The value of a known field, without a copy; `None` if the row does not have it, or has several.
    pub(super) fn value(&self, field: Field) -> Option<&[u8]> {
        let Span { start, len } = self.spans[field as usize];
        (start != 0 && self.ambiguous & bit(field) == 0)
            .then(|| &self.text[start as usize..start as usize + len as usize])
    }

    /// Every field in the order of the row, including unknown ones.
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

/// The bit of a field.
const fn bit(field: Field) -> u64 {
    const { assert!(FIELDS <= u64::BITS as usize) };
    1 << field as u8
}

/// Appends a row with its values truncated to 1 KiB. If it is still too long, it ends after the limit.
pub(super) fn shorten(row: &[u8], short: &mut Vec<u8>) {
    let begin = short.len();
    for token in row.trim_ascii_end().split(|&byte| byte == b' ') {
        if short.len() > begin {
            short.push(b' ');
        }
        short.extend_from_slice(&token[..token.len().min(MAX_VALUE)]);
        if short.len() - begin > MAX_ROW {
            short.truncate(begin + MAX_ROW + 1);
            return;
        }
    }
}

/// Returns true if a line begins like the row of a client. Log prefixes, prompts and parts of forged rows do not.
pub(super) fn begins_a_client(text: &[u8]) -> bool {
    text.starts_with(b"id=") || text.starts_with(b"addr=")
}

/// The end of the value that begins at `start`. `next` is the key that probably follows it.
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

/// The next space at or after `from`. Nearly all values have a few bytes, for which a plain loop is faster than a call.
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
