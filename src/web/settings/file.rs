//! The words of the file, as the Prometheus exporter-toolkit reads them (its `docs/web-configuration.md`, and
//! `web/tls_config.go` for what that leaves open): an unknown word is a fault, an empty one is as good as none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hyper::header::{HeaderName, HeaderValue};
use secrecy::SecretString;
use serde::Deserialize;
use serde_saphyr::Error;

use super::{Limiter, Tls, Users, WebSettings};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Words {
    tls_server_config: Option<TlsSection>,
    http_server_config: Option<HttpSection>,
    basic_auth_users: Option<BTreeMap<String, SecretString>>,
    rate_limit: Option<RateLimitSection>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TlsSection {
    pub(super) cert: Option<String>,
    pub(super) key: Option<SecretString>,
    pub(super) client_ca: Option<String>,
    pub(super) cert_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) client_auth_type: Option<String>,
    pub(super) client_ca_file: Option<PathBuf>,
    pub(super) client_allowed_sans: Option<Vec<String>>,
    pub(super) min_version: Option<String>,
    pub(super) max_version: Option<String>,
    pub(super) cipher_suites: Option<Vec<String>>,
    pub(super) prefer_server_cipher_suites: Option<bool>,
    pub(super) curve_preferences: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HttpSection {
    #[serde(rename = "http2")]
    _http2: Option<bool>,
    headers: Option<BTreeMap<String, Option<String>>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RateLimitSection {
    interval: Option<String>,
    burst: Option<u32>,
}

/// The headers that may be set, and the values that each may have, if only some: `web/handler.go`.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

impl Words {
    /// Reads the words.
    ///
    /// # Errors
    /// What is wrong, and where, without what stands there: it may be a secret.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        // Nothing but comments is nothing.
        let words: Option<Self> = serde_saphyr::from_str(text).map_err(|error| told(&error))?;
        Ok(words.unwrap_or_default())
    }

    /// The files that are named, from the folder of this one.
    pub(super) fn files(&self, folder: &Path) -> Vec<PathBuf> {
        let Some(tls) = &self.tls_server_config else { return Vec::new() };
        let files = [&tls.cert_file, &tls.key_file, &tls.client_ca_file];
        files.into_iter().flatten().filter(|file| !file.as_os_str().is_empty()).map(|file| folder.join(file)).collect()
    }

    /// Finds out what they mean, with the files that are named.
    ///
    /// # Errors
    /// All that makes no sense.
    pub(super) fn meaning(self, folder: &Path) -> Result<WebSettings, Vec<String>> {
        let (mut notes, mut faults) = (Vec::new(), Vec::new());
        let mut fault = |section: &str, fault: String| faults.push(format!("{section}: {fault}"));
        let mut settings = WebSettings::default();
        match Tls::new(&self.tls_server_config.unwrap_or_default(), folder, &mut notes) {
            Ok(tls) => settings.tls = tls,
            Err(told) => fault("tls_server_config", told),
        }
        for (name, value) in self.http_server_config.and_then(|http| http.headers).unwrap_or_default() {
            match header(&name, value.as_deref().unwrap_or_default()) {
                Ok(header) => settings.headers.extend(header),
                Err(told) => fault("http_server_config: headers", told),
            }
        }
        match Users::new(self.basic_auth_users.unwrap_or_default()) {
            Ok(users) => settings.users = users,
            Err(told) => fault("basic_auth_users", told),
        }
        let rate = self.rate_limit.unwrap_or_default();
        match Limiter::new(rate.interval.as_deref().unwrap_or("0"), rate.burst.unwrap_or(0)) {
            Ok(limiter) => settings.limiter = limiter,
            Err(told) => fault("rate_limit", told),
        }
        settings.notes = notes;
        if faults.is_empty() { Ok(settings) } else { Err(faults) }
    }
}

/// A header that is set; `None` for one that is left blank.
fn header(name: &str, value: &str) -> Result<Option<(HeaderName, HeaderValue)>, String> {
    let known = HEADERS.iter().find(|(known, _)| *known == name);
    let Some((known, values)) = known else {
        let known = HEADERS.map(|(name, _)| name).join(", ");
        return Err(format!("{} cannot be set; these can: {known}", name.escape_debug()));
    };
    if value.is_empty() {
        return Ok(None);
    }
    if !values.is_empty() && !values.contains(&value) {
        return Err(format!("{known} must be {}", values.join(" or ")));
    }
    let value = HeaderValue::from_str(value).map_err(|_| format!("{known} holds what no header may hold"))?;
    let name = HeaderName::from_bytes(known.as_bytes()).map_err(|error| error.to_string())?;
    Ok(Some((name, value)))
}

/// An error as it may be shown: where it is and what is meant to be there, but not what is.
fn told(error: &Error) -> String {
    let what = match error.without_snippet() {
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("{} is not known; known are {}", field.escape_debug(), expected.join(", "))
        }
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            format!("{expected} is meant to be there")
        }
        Error::DuplicateMappingKey { .. } => "a key is there twice".to_owned(),
        _ => "it cannot be read as the YAML that is meant to be there".to_owned(),
    };
    match error.location() {
        Some(place) => format!("line {}, column {}: {what}", place.line(), place.column()),
        None => what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> String {
        let meaning = Words::parse(text).map_err(|fault| vec![fault]).and_then(|words| words.meaning(Path::new("/")));
        meaning.expect_err("a fault").join("\n")
    }

    #[test]
    fn nothing_is_no_fault() {
        for text in
            ["", "# nothing\n", "{}", "tls_server_config:\nbasic_auth_users:\nhttp_server_config:\nrate_limit:\n"]
        {
            let words = Words::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
            assert!(words.files(Path::new("/")).is_empty());
            let settings = words.meaning(Path::new("/")).expect("sense");
            assert_eq!(settings.summary(), (false, false), "{text}");
        }
    }

    #[test]
    fn a_fault_tells_where_and_never_a_secret() {
        for (text, told) in [
            ("basic_auth_user: {}", "basic_auth_users"),
            ("basic_auth_users: hush-hush", "line 1"),
            ("basic_auth_users: [hush-hush]", "line 1"),
            ("basic_auth_users:\n  ann: hush-hush", "ann"),
            ("basic_auth_users:\n  ann: {hush-hush: 1}", "line 2"),
            ("basic_auth_users:\n  ann: \"hush-hush", "line"),
            ("tls_server_config: {key: [hush-hush]}", "line 1"),
            ("tls_server_config: {key: hush-hush}", "cert_file"),
            ("tls_server_config: {cert: hush-hush, key: hush-hush}", "cert"),
            ("http_server_config: {http2: hush-hush}", "line 1"),
            ("http_server_config: {headers: {Server: me}}", "Strict-Transport-Security"),
            ("http_server_config: {headers: {X-Frame-Options: ALLOW}}", "deny or sameorigin"),
            ("http_server_config: {headers: {X-XSS-Protection: \"a\\nb\"}}", "X-XSS-Protection"),
            ("rate_limit: {interval: soon}", "interval"),
            ("rate_limit: {interval: 1s}", "burst"),
        ] {
            let fault = faults(text);
            assert!(fault.contains(told) && !fault.contains("hush"), "{text}: {fault}");
        }
    }

    #[test]
    fn all_faults_are_told() {
        let text = "tls_server_config: {cert_file: nowhere}\nhttp_server_config: {headers: {Server: me, X-Frame-Options: no}}\n\
                    basic_auth_users: {ann: secret}\nrate_limit: {interval: 1s}";
        assert_eq!(faults(text).lines().count(), 5);
    }

    #[test]
    fn a_blank_header_is_left_out() {
        let text = "http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options:\n    X-XSS-Protection: ''\n    Strict-Transport-Security: max-age=9";
        let settings = Words::parse(text).expect("words").meaning(Path::new("/")).expect("sense");
        assert_eq!(settings.headers.len(), 1);
    }
}
