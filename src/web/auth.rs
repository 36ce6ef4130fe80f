//! Who asks, and whether they may: basic authentication against the users of `--web.config.file`.

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

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    /// Whether they proved who they are: with a password, or a certificate of an authority that is trusted.
    pub(super) authenticated: bool,
}

/// The most pairs of user and password that are remembered.
const REMEMBERED: usize = 128;

/// Passwords that are compared at once. bcrypt is slow by design, and sampling must go on beside it.
const AT_ONCE: usize = 1;

/// What is known of those who were let in.
#[derive(Debug)]
pub(super) struct Authenticator {
    key: [u8; 32],
    /// Marks of user, hash and password that were found to fit, the newest last.
    verified: Mutex<VecDeque<Mark>>,
    turn: Arc<Semaphore>,
}

/// Stands for something secret; of no use to anybody without the key of this process.
type Mark = [u8; 32];

/// What a request says of itself.
pub(super) struct BasicCredentials {
    user: Vec<u8>,
    password: SecretSlice<u8>,
}

impl BasicCredentials {
    /// Reads the header, as Go's `net/http: BasicAuth` does.
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
        let turn = Arc::new(Semaphore::new(AT_ONCE));
        Arc::new(Self { key: rand::random(), verified: Mutex::default(), turn })
    }

    /// Whether somebody may come in. Who is no user is refused after the same work as a user with a wrong password.
    pub(super) async fn admits(self: &Arc<Self>, users: &Users, credentials: Option<BasicCredentials>) -> bool {
        let Some(BasicCredentials { user, password }) = credentials else { return false };
        let known = users.hash(&user);
        let Some(hash) = known.or_else(|| users.stand_in(self.lot(&user))) else { return false };
        let (is_known, hash) = (known.is_some(), hash.clone());
        let mark = self.mark(&[&user, hash.expose_secret().as_bytes(), password.expose_secret()]);
        if is_known && self.remembers(&mark) {
            return true;
        }
        let turn = Arc::clone(&self.turn).acquire_owned().await.expect("the semaphore is never closed");
        // Others may have asked the same meanwhile.
        if is_known && self.remembers(&mark) {
            return true;
        }
        let access = Arc::clone(self);
        let compared = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let fits = bcrypt::verify(password.expose_secret(), hash.expose_secret()).unwrap_or(false);
            // Remembered here, so that who loses patience finds it done the next time.
            if is_known && fits {
                access.remember(mark);
            }
            is_known && fits
        });
        compared.await.unwrap_or(false)
    }

    fn mark(&self, parts: &[&[u8]]) -> Mark {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of any length will do");
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// A number that nobody else can tell from a name.
    fn lot(&self, user: &[u8]) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.mark(&[user]);
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    fn remembers(&self, mark: &Mark) -> bool {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).contains(mark)
    }

    fn remember(&self, mark: Mark) {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() == REMEMBERED {
            verified.pop_front();
        }
        verified.push_back(mark);
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use secrecy::SecretString;

    use super::*;

    /// A hash that htpasswd might have made, of the lowest cost.
    fn users(users: &[(&str, &str)]) -> Users {
        let hash = |password: &str| SecretString::from(bcrypt::hash(password, 4).expect("a hash"));
        Users::new(users.iter().map(|(user, password)| ((*user).to_owned(), hash(password))).collect()).expect("users")
    }

    fn credentials(user: &str, password: &str) -> Option<BasicCredentials> {
        Some(BasicCredentials { user: user.into(), password: password.as_bytes().to_vec().into() })
    }

    fn remembered(access: &Authenticator) -> usize {
        access.verified.lock().expect("nobody panicked").len()
    }

    #[tokio::test]
    async fn only_what_fits_is_remembered_and_only_with_its_hash() {
        let (access, before) = (Authenticator::new(), users(&[("ann", "a"), ("bob", "b")]));
        for (user, password, admitted) in
            [("ann", "b", false), ("eve", "a", false), ("eve", "b", false), ("", "", false)]
        {
            assert_eq!(access.admits(&before, credentials(user, password)).await, admitted, "{user}");
        }
        assert!(!access.admits(&before, None).await && remembered(&access) == 0);
        for _ in 0..3 {
            assert!(access.admits(&before, credentials("ann", "a")).await);
        }
        assert_eq!(remembered(&access), 1);
        assert!(!access.admits(&users(&[("ann", "c")]), credentials("ann", "a")).await, "the password was changed");
        assert!(!access.admits(&users(&[("bob", "b")]), credentials("ann", "a")).await, "she is no user any more");
        assert!(!access.admits(&Users::default(), credentials("ann", "a")).await, "there is nobody");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let access = Authenticator::new();
        for place in 0..2 * REMEMBERED {
            access.remember(access.mark(&[&place.to_be_bytes()]));
        }
        assert_eq!(remembered(&access), REMEMBERED);
        assert_ne!(access.mark(&[b"ab", b"c"]), access.mark(&[b"a", b"bc"]));
        assert_ne!(access.mark(&[b"a"]), Authenticator::new().mark(&[b"a"]));
    }

    #[tokio::test]
    async fn who_is_no_user_is_compared_all_the_same() {
        let users = users(&[("ann", "a"), ("bob", "b"), ("cem", "c")]);
        let access = Authenticator::new();
        let hash = |user: &[u8]| users.stand_in(access.lot(user)).map(|hash| hash.expose_secret().to_owned());
        assert!(hash(b"eve").is_some_and(|first| Some(first) == hash(b"eve")));
        let names: Vec<_> = (0..100).map(|name: u32| hash(&name.to_be_bytes())).collect();
        assert!(names.iter().any(|name| *name != names[0]), "strangers differ as users do");
    }

    /// A hash of version 2y, as htpasswd makes it; it is told to be of `fakepassword` (`exporter-toolkit: web/handler.go`).
    #[tokio::test]
    async fn hashes_of_other_programs_are_taken() {
        let hash = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";
        let users = Users::new([("ann".to_owned(), SecretString::from(hash))].into()).expect("a user");
        assert!(Authenticator::new().admits(&users, credentials("ann", "fakepassword")).await);
        assert!(!format!("{users:?}").contains("QOauh"));
    }

    #[test]
    fn credentials_are_read_as_go_does() {
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
