//! The letters of a client's `flags`.

/// The flag letters of one client, in any order. The meaning of a letter differs between servers (`I` is an internal
/// connection in Redis 8 and an import source in Valkey 8.1), so this type does not interpret them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags<'a>(pub(super) &'a [u8]);

impl<'a> Flags<'a> {
    /// Returns true if the letter is present.
    pub fn has(self, letter: char) -> bool {
        self.0.iter().any(|&byte| char::from(byte) == letter)
    }

    /// The letters as the server printed them.
    pub fn letters(self) -> &'a [u8] {
        self.0
    }
}
