//! Basic authentication of HTTP clients against the users of `--web.config.file`.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use hyper::header::{self, HeaderMap};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;
use tokio::sync::Semaphore;

use super::settings::Users;

/// The other side of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    /// True if the peer is authenticated: by a password, or by a certificate that a trusted authority signed.
    pub(super) authenticated: bool,
}

/// The maximum number of verified user and password pairs that are cached.
const MAX_VERIFIED: usize = 128;

/// The maximum number of passwords that are compared at once. bcrypt is slow by design and must leave CPU time to
/// sampling.
const MAX_COMPARISONS: usize = 1;

/// Checks passwords and caches the pairs that were verified.
#[derive(Debug)]
pub(super) struct Authenticator {
    key: [u8; 32],
    /// Digests of user, hash and password of verified pairs, the newest last.
    verified: Mutex<VecDeque<Digest>>,
    comparisons: Arc<Semaphore>,
}

/// A keyed digest of a secret. It is of no use without the random key of this process.
type Digest = [u8; 32];

/// The user and password of a request's `Authorization` header.
pub(super) struct BasicCredentials {
    user: Vec<u8>,
    password: SecretSlice<u8>,
}

impl BasicCredentials {
    /// Parses the header, as Go's `net/http: BasicAuth` does.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(header::AUTHORIZATION)?.as_bytes();
        let (scheme, encoded) = value.split_at_checked("Basic ".len())?;
        if !scheme.eq_ignore_ascii_case(b"Basic ") {
            return None;
        }
        let mut user = BASE64_STANDARD.decode(encoded).ok()?;
        let colon = user.iter().position(|byte| *byte == b':')?;
        let password = user.split_off(colon + 1);
        user.pop();
        Some(Self { user, password: password.into() })
    }
}

impl Authenticator {
    pub(super) fn new() -> Arc<Self> {
        let comparisons = Arc::new(Semaphore::new(MAX_COMPARISONS));
        Arc::new(Self { key: rand::random(), verified: Mutex::default(), comparisons })
    }

    /// Returns true if the credentials are those of a user. Refusing an unknown user takes the same work as refusing a
    /// wrong password, so that the time does not reveal which users exist.
    pub(super) async fn admits(self: &Arc<Self>, users: &Users, credentials: Option<BasicCredentials>) -> bool {
        let Some(BasicCredentials { user, password }) = credentials else { return false };
        let known = users.hash(&user);
        let Some(hash) = known.or_else(|| users.stand_in(self.stand_in_number(&user))) else { return false };
        let (is_known, hash) = (known.is_some(), hash.clone());
        let digest = self.digest(&[&user, hash.expose_secret().as_bytes(), password.expose_secret()]);
        if is_known && self.remembers(&digest) {
            return true;
        }
        let permit = Arc::clone(&self.comparisons).acquire_owned().await.expect("the semaphore is never closed");
        // Another request may have verified the same pair in the meantime.
        if is_known && self.remembers(&digest) {
            return true;
        }
        let authenticator = Arc::clone(self);
        let compared = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let matches = bcrypt::verify(password.expose_secret(), hash.expose_secret()).unwrap_or(false);
            // Cached in this task, so that a client that gives up waiting succeeds at once when it retries.
            if is_known && matches {
                authenticator.remember(digest);
            }
            is_known && matches
        });
        compared.await.unwrap_or(false)
    }

    fn digest(&self, parts: &[&[u8]]) -> Digest {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// Returns a number that is always the same for a name, and that cannot be predicted without the key.
    fn stand_in_number(&self, user: &[u8]) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.digest(&[user]);
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    fn remembers(&self, digest: &Digest) -> bool {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).contains(digest)
    }

    fn remember(&self, digest: Digest) {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() == MAX_VERIFIED {
            verified.pop_front();
        }
        verified.push_back(digest);
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use secrecy::SecretString;

    use super::*;

    /// Returns users whose passwords have bcrypt hashes of the lowest cost.
    fn users(users: &[(&str, &str)]) -> Users {
        let hash = |password: &str| SecretString::from(bcrypt::hash(password, 4).expect("a hash"));
        Users::new(users.iter().map(|(user, password)| ((*user).to_owned(), hash(password))).collect()).expect("users")
    }

    fn credentials(user: &str, password: &str) -> Option<BasicCredentials> {
        Some(BasicCredentials { user: user.into(), password: password.as_bytes().to_vec().into() })
    }

    fn cached(authenticator: &Authenticator) -> usize {
        authenticator.verified.lock().expect("no thread panicked").len()
    }

    #[tokio::test]
    async fn only_verified_pairs_are_cached_and_only_with_their_hash() {
        let (authenticator, before) = (Authenticator::new(), users(&[("ann", "a"), ("bob", "b")]));
        for (user, password, admitted) in
            [("ann", "b", false), ("eve", "a", false), ("eve", "b", false), ("", "", false)]
        {
            assert_eq!(authenticator.admits(&before, credentials(user, password)).await, admitted, "{user}");
        }
        assert!(!authenticator.admits(&before, None).await && cached(&authenticator) == 0);
        for _ in 0..3 {
            assert!(authenticator.admits(&before, credentials("ann", "a")).await);
        }
        assert_eq!(cached(&authenticator), 1);
        assert!(
            !authenticator.admits(&users(&[("ann", "c")]), credentials("ann", "a")).await,
            "the password was changed"
        );
        assert!(!authenticator.admits(&users(&[("bob", "b")]), credentials("ann", "a")).await, "the user was removed");
        assert!(!authenticator.admits(&Users::default(), credentials("ann", "a")).await, "there are no users");
    }

    #[test]
    fn the_cache_of_verified_pairs_is_bounded() {
        let authenticator = Authenticator::new();
        for place in 0..2 * MAX_VERIFIED {
            authenticator.remember(authenticator.digest(&[&place.to_be_bytes()]));
        }
        assert_eq!(cached(&authenticator), MAX_VERIFIED);
        assert_ne!(authenticator.digest(&[b"ab", b"c"]), authenticator.digest(&[b"a", b"bc"]));
        assert_ne!(authenticator.digest(&[b"a"]), Authenticator::new().digest(&[b"a"]));
    }

    #[tokio::test]
    async fn an_unknown_user_costs_a_comparison_too() {
        let users = users(&[("ann", "a"), ("bob", "b"), ("cem", "c")]);
        let authenticator = Authenticator::new();
        let hash = |user: &[u8]| {
            users.stand_in(authenticator.stand_in_number(user)).map(|hash| hash.expose_secret().to_owned())
        };
        assert!(hash(b"eve").is_some_and(|first| Some(first) == hash(b"eve")));
        let names: Vec<_> = (0..100).map(|name: u32| hash(&name.to_be_bytes())).collect();
        assert!(names.iter().any(|name| *name != names[0]), "unknown users get different hashes, as users do");
    }

    /// A hash of version 2y, as htpasswd makes it. Its password is `fakepassword` (`exporter-toolkit: web/handler.go`).
    #[tokio::test]
    async fn hashes_from_other_programs_are_accepted() {
        let hash = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";
        let users = Users::new([("ann".to_owned(), SecretString::from(hash))].into()).expect("a user");
        assert!(Authenticator::new().admits(&users, credentials("ann", "fakepassword")).await);
        assert!(!format!("{users:?}").contains("QOauh"));
    }

    #[test]
    fn credentials_are_parsed_as_in_go() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).expect("a value"));
            let read = BasicCredentials::of(&headers)?;
            Some((read.user, read.password.expose_secret().to_vec()))
        };
        let pair = |user: &[u8], password: &[u8]| Some((user.to_vec(), password.to_vec()));
        assert_eq!(of("Basic YW5uOmE6Yg=="), pair(b"ann", b"a:b"));
        assert_eq!(of("bAsIc Og=="), pair(b"", b""));
        assert_eq!(of("Basic /zr+"), pair(b"\xff", b"\xfe"));
        for wrong in
            ["", "Basic", "Basic ", "Basic YW5u", "Basic YW5uOmE6Yg", "Basic  YW5uOmE6Yg==", "Bearer YW5uOmE6Yg=="]
        {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
