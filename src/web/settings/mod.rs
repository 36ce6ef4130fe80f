//! What `--web.config.file` says: TLS, who may come in, headers, how many requests. Knows the file's form, not its fate.

mod client_certificate;
mod file;
mod follow;
mod limiter;
mod tls;
mod users;

pub use follow::ConfigFile;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

pub(super) use limiter::Limiter;
pub(super) use tls::Tls;
pub(super) use users::Users;

/// What the file says, made ready for use. The default is what holds without a file.
#[derive(Debug, Default)]
pub struct WebSettings {
    /// How connections are encrypted, if they are.
    pub(super) tls: Option<Tls>,
    /// Who may come in; nobody is named: everybody.
    pub(super) users: Users,
    /// How many requests are answered, if that is bounded.
    pub(super) limiter: Option<Limiter>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// What the file asks for and cannot have, though it is no harm to go on.
    notes: Vec<String>,
}

impl WebSettings {
    /// Adds the operator's headers to an answer, instead of ours of the same name.
    pub(super) fn apply_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
    }

    /// Whether connections are encrypted, and whether users are asked for a password.
    pub fn summary(&self) -> (bool, bool) {
        (self.tls.is_some(), !self.users.is_empty())
    }
}
