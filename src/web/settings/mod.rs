//! The settings of `--web.config.file`: TLS, users, headers and the rate limit. The parent module applies them.

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

/// The settings of the file, ready for use. The default applies without a file.
#[derive(Debug, Default)]
pub struct WebSettings {
    /// The TLS settings, if connections are encrypted.
    pub(super) tls: Option<Tls>,
    /// The users that are admitted. If there are none, every peer is.
    pub(super) users: Users,
    /// The rate limit, if there is one.
    pub(super) limiter: Option<Limiter>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Warnings: settings of the file that are not supported and can be ignored safely.
    notes: Vec<String>,
}

impl WebSettings {
    /// Adds the operator's headers to a response. They replace ours of the same name.
    pub(super) fn apply_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
    }

    /// Returns the name of a protection that the settings before have and these lack.
    fn protects_less(&self, before: &Self) -> Option<&'static str> {
        let certificates =
            |settings: &Self| settings.tls.as_ref().map(|tls| tls.client_certificates).unwrap_or_default();
        if before.tls.is_some() && self.tls.is_none() {
            Some("TLS (tls_server_config)")
        } else if !before.users.is_empty() && self.users.is_empty() {
            Some("users (basic_auth_users)")
        } else if certificates(before) > certificates(self) {
            Some("the same check of client certificates (client_auth_type, client_allowed_sans)")
        } else {
            None
        }
    }

    /// Returns whether connections are encrypted, and whether a user and password are required.
    pub fn summary(&self) -> (bool, bool) {
        (self.tls.is_some(), !self.users.is_empty())
    }
}
