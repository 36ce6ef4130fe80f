//! The format of the file, the same as the Prometheus exporter-toolkit's (`docs/web-configuration.md` there, and
//! `web/tls_config.go` for what that does not specify). An unknown key is an error. An empty value is the same as none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hyper::header::{HeaderName, HeaderValue};
use secrecy::SecretString;
use serde::Deserialize;
use serde_saphyr::Error;

use super::{Limiter, Tls, Users, WebSettings};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sections {
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

/// The headers that may be set (`web/handler.go`), each with its allowed values. No values: any value is allowed.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

impl Sections {
    /// Parses the file.
    ///
    /// # Errors
    /// Says what is wrong and where, but never quotes a value: it may be a secret.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        // A file of comments only is an empty file.
        let sections: Option<Self> = serde_saphyr::from_str(text).map_err(|error| describe(&error))?;
        Ok(sections.unwrap_or_default())
    }

    /// Returns the files that it names. Relative paths start at `folder`, the folder of this file.
    pub(super) fn files(&self, folder: &Path) -> Vec<PathBuf> {
        let Some(tls) = &self.tls_server_config else { return Vec::new() };
        let files = [&tls.cert_file, &tls.key_file, &tls.client_ca_file];
        files.into_iter().flatten().filter(|file| !file.as_os_str().is_empty()).map(|file| folder.join(file)).collect()
    }

    /// Makes the settings, which reads the files that are named.
    ///
    /// # Errors
    /// All faults.
    pub(super) fn settings(self, folder: &Path) -> Result<WebSettings, Vec<String>> {
        let (mut notes, mut faults) = (Vec::new(), Vec::new());
        let mut fault = |section: &str, fault: String| faults.push(format!("{section}: {fault}"));
        let mut settings = WebSettings::default();
        match Tls::new(&self.tls_server_config.unwrap_or_default(), folder, &mut notes) {
            Ok(tls) => settings.tls = tls,
            Err(error) => fault("tls_server_config", error),
        }
        for (name, value) in self.http_server_config.and_then(|http| http.headers).unwrap_or_default() {
            match header(&name, value.as_deref().unwrap_or_default()) {
                Ok(header) => settings.headers.extend(header),
                Err(error) => fault("http_server_config: headers", error),
            }
        }
        match Users::new(self.basic_auth_users.unwrap_or_default()) {
            Ok(users) => settings.users = users,
            Err(error) => fault("basic_auth_users", error),
        }
        let rate = self.rate_limit.unwrap_or_default();
        match Limiter::new(rate.interval.as_deref().unwrap_or("0"), rate.burst.unwrap_or(0)) {
            Ok(limiter) => settings.limiter = limiter,
            Err(error) => fault("rate_limit", error),
        }
        settings.notes = notes;
        if faults.is_empty() { Ok(settings) } else { Err(faults) }
    }
}

/// Checks a header. Returns `None` if its value is empty.
fn header(name: &str, value: &str) -> Result<Option<(HeaderName, HeaderValue)>, String> {
    let known = HEADERS.iter().find(|(known, _)| *known == name);
    let Some((known, values)) = known else {
        let known = HEADERS.map(|(name, _)| name).join(", ");
        return Err(format!("{} cannot be set; remove it or use one of {known}", name.escape_debug()));
    };
    if value.is_empty() {
        return Ok(None);
    }
    if !values.is_empty() && !values.contains(&value) {
        return Err(format!("{known} must be {}", values.join(" or ")));
    }
    let value = HeaderValue::from_str(value).map_err(|_| {
        format!("{known} has a character that is not allowed in a header; use visible ASCII characters")
    })?;
    let name = HeaderName::from_bytes(known.as_bytes()).map_err(|error| error.to_string())?;
    Ok(Some((name, value)))
}

/// Describes a parse error: its place and the expected form, but not the text found there, which may be a secret.
fn describe(error: &Error) -> String {
    let what = match error.without_snippet() {
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("{} is not known; use {}", field.escape_debug(), expected.join(", "))
        }
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            format!("the value must be {expected}")
        }
        Error::DuplicateMappingKey { .. } => "a key is set twice; remove one".to_owned(),
        _ => "this is not valid YAML, or not in the form of docs/web-configuration.md".to_owned(),
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
        let sections = Sections::parse(text).map_err(|fault| vec![fault]);
        let settings = sections.and_then(|sections| sections.settings(Path::new("/")));
        settings.expect_err("a fault").join("\n")
    }

    #[test]
    fn an_empty_file_is_valid() {
        for text in
            ["", "# nothing\n", "{}", "tls_server_config:\nbasic_auth_users:\nhttp_server_config:\nrate_limit:\n"]
        {
            let sections = Sections::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
            assert!(sections.files(Path::new("/")).is_empty());
            let settings = sections.settings(Path::new("/")).expect("valid");
            assert_eq!(settings.summary(), (false, false), "{text}");
        }
    }

    #[test]
    fn an_error_names_the_place_and_never_a_secret() {
        for (text, expected) in [
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
            assert!(fault.contains(expected) && !fault.contains("hush"), "{text}: {fault}");
        }
    }

    #[test]
    fn all_faults_are_reported() {
        let text = "tls_server_config: {cert_file: nowhere}\n\
                    http_server_config: {headers: {Server: me, X-Frame-Options: no}}\n\
                    basic_auth_users: {ann: secret}\nrate_limit: {interval: 1s}";
        assert_eq!(faults(text).lines().count(), 5);
    }

    #[test]
    fn an_empty_header_is_omitted() {
        let text = "http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options:\n    \
                    X-XSS-Protection: ''\n    Strict-Transport-Security: max-age=9";
        let settings = Sections::parse(text).expect("valid").settings(Path::new("/")).expect("valid");
        assert_eq!(settings.headers.len(), 1);
    }
}
