//! Nested replies, which only questions about topology have. Read within bounds on bytes, elements and depth, so that
//! a hostile server cannot make more of them than the largest real cluster does.

use crate::memory::Reservation;

/// A reply that may be nested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyTree {
    /// A text.
    Text(Vec<u8>),
    /// A number.
    Number(i64),
    /// Several replies. Pairs of key and value are two elements (RESP2).
    List(Vec<ReplyTree>),
    /// No value.
    Nothing,
}

/// Maximum number of elements of a nested reply, of all levels together: a cluster of 10,000 nodes has 200,000.
pub(super) const MAX_ELEMENTS: u64 = 400_000;

/// Maximum number of levels. `CLUSTER SHARDS` has four.
pub(super) const MAX_DEPTH: usize = 8;

/// Memory of an element beside its text, in bytes.
pub(super) const ELEMENT_BYTES: u64 = 64;

impl ReplyTree {
    /// The text; `None` for anything else.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            ReplyTree::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, which some servers send as text.
    pub fn number(&self) -> Option<i64> {
        match self {
            ReplyTree::Number(number) => Some(*number),
            ReplyTree::Text(text) => std::str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// The elements; none for a single value.
    pub fn list(&self) -> &[ReplyTree] {
        match self {
            ReplyTree::List(list) => list,
            _ => &[],
        }
    }

    /// The value of a key in a list of keys and values.
    pub fn get(&self, key: &str) -> Option<&ReplyTree> {
        let mut pairs = self.list().chunks_exact(2);
        pairs.find(|pair| pair[0].text() == Some(key.as_bytes())).map(|pair| &pair[1])
    }
}

/// A tree with its reservation of memory.
#[derive(Debug)]
pub struct HeldTree {
    /// The reply.
    pub tree: ReplyTree,
    /// Released when the reply is dropped.
    pub(super) _reservation: Reservation,
}

/// A tree in progress: lists that still miss elements, the outermost first.
#[derive(Debug, Default)]
pub(super) struct TreeBuilder {
    open: Vec<(Vec<ReplyTree>, u64)>,
}

impl TreeBuilder {
    /// Adds a list of this many elements, which follow. Returns the tree if it is complete, and `Err` if it is
    /// too deep.
    pub(super) fn open(&mut self, elements: u64) -> Result<Option<ReplyTree>, ()> {
        if elements == 0 {
            return Ok(self.add(ReplyTree::List(Vec::new())));
        }
        if self.open.len() == MAX_DEPTH {
            return Err(());
        }
        // Not with the declared capacity: most of it may never come.
        self.open.push((Vec::new(), elements));
        Ok(None)
    }

    /// Adds a value. Returns the tree if it is complete.
    pub(super) fn add(&mut self, mut value: ReplyTree) -> Option<ReplyTree> {
        loop {
            let Some((mut list, missing)) = self.open.pop() else { return Some(value) };
            list.push(value);
            if missing > 1 {
                self.open.push((list, missing - 1));
                return None;
            }
            value = ReplyTree::List(list);
        }
    }
}
