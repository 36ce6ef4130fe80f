//! Who may come in, each with the bcrypt hash of a password.

use std::collections::BTreeMap;

use bcrypt::HashParts;
use secrecy::{ExposeSecret, SecretString};

/// The highest cost of a hash. It doubles the time with each step: 10 takes some 70 ms, 20 more than a minute.
const HIGHEST_COST: u32 = 20;

/// The lowest cost there is.
const LOWEST_COST: u32 = 4;

/// The users by name. `Debug` prints no hash.
#[derive(Debug, Default)]
pub(in crate::web) struct Users(Vec<(String, SecretString)>);

impl Users {
    /// Takes users that each have a usable hash.
    ///
    /// # Errors
    /// The first who has none, and how one is made.
    pub(in crate::web) fn new(users: BTreeMap<String, SecretString>) -> Result<Self, String> {
        for (name, hash) in &users {
            let name = name.escape_debug();
            let parts: HashParts = hash.expose_secret().parse().map_err(|_| {
                format!("{name} has no bcrypt hash; make one with htpasswd -nBC 10 \"\" | tr -d ':\\n'")
            })?;
            if !(LOWEST_COST..=HIGHEST_COST).contains(&parts.get_cost()) {
                return Err(format!("{name} has a hash of cost {}; make one of cost 10 to 12", parts.get_cost()));
            }
        }
        Ok(Self(users.into_iter().collect()))
    }

    pub(in crate::web) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The hash of a user.
    pub(in crate::web) fn hash(&self, name: &[u8]) -> Option<&SecretString> {
        self.0.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, hash)| hash)
    }

    /// A hash for somebody who is no user, so that refusing takes as long as it takes for users: one of theirs, always the
    /// same for the same `lot`.
    pub(in crate::web) fn stand_in(&self, lot: u64) -> Option<&SecretString> {
        let place = lot.checked_rem(self.0.len() as u64)?;
        self.0.get(place as usize).map(|(_, hash)| hash)
    }
}
