//! The users of basic authentication, each with the bcrypt hash of a password.

use std::collections::BTreeMap;

use bcrypt::HashParts;
use secrecy::{ExposeSecret, SecretString};

/// The maximum cost of a hash. Each step doubles the time: 10 takes about 70 ms, 20 more than a minute.
const MAX_COST: u32 = 20;

/// The minimum cost that bcrypt has.
const MIN_COST: u32 = 4;

/// The users by name. `Debug` prints no hash.
#[derive(Debug, Default)]
pub(in crate::web) struct Users(Vec<(String, SecretString)>);

impl Users {
    /// Checks that each user has a usable hash.
    ///
    /// # Errors
    /// Names the first user that has none, and says how to make one.
    pub(in crate::web) fn new(users: BTreeMap<String, SecretString>) -> Result<Self, String> {
        for (name, hash) in &users {
            let name = name.escape_debug();
            let parts: HashParts = hash.expose_secret().parse().map_err(|_| {
                format!("{name} has no bcrypt hash; make one with htpasswd -nBC 10 \"\" | tr -d ':\\n'")
            })?;
            if !(MIN_COST..=MAX_COST).contains(&parts.get_cost()) {
                return Err(format!("{name} has a hash of cost {}; make one of cost 10 to 12", parts.get_cost()));
            }
        }
        Ok(Self(users.into_iter().collect()))
    }

    pub(in crate::web) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the hash of a user.
    pub(in crate::web) fn hash(&self, name: &[u8]) -> Option<&SecretString> {
        self.0.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, hash)| hash)
    }

    /// Returns one of the users' hashes, always the same for the same `number`. An unknown user's password is compared
    /// with it, so that the refusal takes as long as for a known user.
    pub(in crate::web) fn stand_in(&self, number: u64) -> Option<&SecretString> {
        let place = number.checked_rem(self.0.len() as u64)?;
        self.0.get(place as usize).map(|(_, hash)| hash)
    }
}
