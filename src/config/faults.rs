//! The faults of a command line, collected so that all of them are reported together.

use std::fmt;

/// The faults of a command line, one sentence each. A sentence never contains a secret.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.0 {
            writeln!(f, "error: {fault}")?;
        }
        write!(f, "\nFor help: redis-client-exporter --help")
    }
}

impl std::error::Error for Faults {}

impl Faults {
    /// Adds a fault: a sentence that begins with the flag and names the fix.
    pub fn add(&mut self, fault: impl Into<String>) {
        self.0.push(fault.into());
    }

    /// Returns true if there are no faults.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends the faults of `more`.
    pub fn and(mut self, more: Faults) -> Self {
        self.0.extend(more.0);
        self
    }

    /// Returns the value. If it is a fault, adds the fault and returns `fallback`, so that further faults are found
    /// too.
    pub(crate) fn take<T>(&mut self, flag: &str, value: Result<T, String>, fallback: T) -> T {
        value.unwrap_or_else(|fault| {
            self.add(format!("{flag}: {fault}"));
            fallback
        })
    }

    /// Returns `config` if there are no faults.
    pub(super) fn into_result<T>(self, config: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(config) } else { Err(self) }
    }
}
