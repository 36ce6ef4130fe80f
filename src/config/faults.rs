//! What is wrong with the words, all of it at once.

use std::fmt;

/// What is wrong with the command line: one sentence a fault, never with a secret in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.0 {
            writeln!(f, "error: {fault}")?;
        }
        write!(f, "\nSee redis-client-exporter --help.")
    }
}

impl std::error::Error for Faults {}

impl Faults {
    /// Adds a fault: a sentence that begins with the flag and names the mend.
    pub fn add(&mut self, fault: impl Into<String>) {
        self.0.push(fault.into());
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Both together.
    pub fn and(mut self, more: Faults) -> Self {
        self.0.extend(more.0);
        self
    }

    /// The value, or what is put in its place so that the other faults are found too.
    pub(crate) fn take<T>(&mut self, flag: &str, value: Result<T, String>, instead: T) -> T {
        value.unwrap_or_else(|fault| {
            self.add(format!("{flag}: {fault}"));
            instead
        })
    }

    pub(super) fn none_or<T>(self, config: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(config) } else { Err(self) }
    }
}
