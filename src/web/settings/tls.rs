//! The TLS settings of the file, as far as rustls supports them. Versions, cipher suites and curves have their names in
//! Go.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring::{self, cipher_suite as suite, kx_group as group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ProtocolVersion, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};
use secrecy::ExposeSecret;

use super::client_certificate::{self, Strictness};
use super::file::TlsSection;
use crate::followed_file;

/// The TLS settings, ready for use.
#[derive(Clone, Debug)]
pub(in crate::web) struct Tls {
    pub(in crate::web) config: Arc<ServerConfig>,
    /// True if a client certificate is checked to be signed by a trusted authority.
    pub(in crate::web) verifies_clients: bool,
    pub(super) client_certificates: Strictness,
}

/// Go's cipher suites (`crypto/tls: CipherSuites`, and those that it listed as secure until 1.22), each with its rustls
/// counterpart if there is one. The suites of TLS 1.3 are always enabled, as in Go.
static SUITES: [(&str, Option<&SupportedCipherSuite>); 17] = [
    ("TLS_AES_128_GCM_SHA256", Some(&suite::TLS13_AES_128_GCM_SHA256)),
    ("TLS_AES_256_GCM_SHA384", Some(&suite::TLS13_AES_256_GCM_SHA384)),
    ("TLS_CHACHA20_POLY1305_SHA256", Some(&suite::TLS13_CHACHA20_POLY1305_SHA256)),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", Some(&suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", Some(&suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384)),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", Some(&suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256)),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Some(&suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", Some(&suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384)),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", Some(&suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256)),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", None),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", None),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", None),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", None),
    ("TLS_RSA_WITH_AES_128_GCM_SHA256", None),
    ("TLS_RSA_WITH_AES_256_GCM_SHA384", None),
    ("TLS_RSA_WITH_AES_128_CBC_SHA", None),
    ("TLS_RSA_WITH_AES_256_CBC_SHA", None),
];

/// The exporter-toolkit's curves, each with its rustls counterpart if there is one.
static CURVES: [(&str, Option<&dyn SupportedKxGroup>); 4] = [
    ("X25519", Some(group::X25519)),
    ("CurveP256", Some(group::SECP256R1)),
    ("CurveP384", Some(group::SECP384R1)),
    ("CurveP521", None),
];

/// The names of the versions, the lowest first.
const VERSIONS: [&str; 4] = ["TLS10", "TLS11", "TLS12", "TLS13"];

impl Tls {
    /// Reads the files and makes the settings; `None` if the section does not enable TLS. Settings that are not
    /// supported and can be ignored are added to `notes`.
    ///
    /// # Errors
    /// The first fault.
    pub(super) fn new(section: &TlsSection, folder: &Path, notes: &mut Vec<String>) -> Result<Option<Self>, String> {
        let (provider, versions) = (provider(section, notes)?, versions(section)?);
        let versions = usable(&provider, versions, notes)?;
        if !is_enabled(section) {
            return Ok(None);
        }
        let missing = |file: &str, inline: &str| format!("{file} or {inline} is missing; add it");
        let certificate = text(&section.cert_file, folder, "cert_file", "cert", section.cert.as_deref())?;
        let certificate = certificate.ok_or_else(|| missing("cert_file", "cert"))?;
        let key = section.key.as_ref().map(ExposeSecret::expose_secret);
        let key = text(&section.key_file, folder, "key_file", "key", key)?.ok_or_else(|| missing("key_file", "key"))?;
        let chain = certificate.certificates()?;
        // The parser's error is dropped: it might quote the key.
        let der = PrivateKeyDer::from_pem_slice(key.pem.as_bytes())
            .map_err(|_| key.unusable("it has no unencrypted private key in PEM format"))?;
        let authorities =
            text(&section.client_ca_file, folder, "client_ca_file", "client_ca", section.client_ca.as_deref())?;
        let authorities = authorities.map(|text| text.certificates()).transpose()?;
        let provider = Arc::new(provider);
        let policy = client_certificate::policy(section, authorities, &provider)?;
        let verifies_clients = policy.as_ref().is_some_and(|policy| policy.verifies());
        let client_certificates = policy.as_ref().map(|policy| policy.strictness()).unwrap_or_default();
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|error| error.to_string())?;
        let builder = match policy {
            Some(policy) => builder.with_client_cert_verifier(Arc::new(policy)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain, der)
            .map_err(|error| format!("{} and {} cannot be used together: {error}", certificate.name, key.name))?;
        config.ignore_client_order = section.prefer_server_cipher_suites.unwrap_or(true);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Self { config: Arc::new(config), verifies_clients, client_certificates }))
    }
}

/// Returns true if the section enables TLS (`web/tls_config.go: IsEnabled`).
fn is_enabled(section: &TlsSection) -> bool {
    let files = [&section.cert_file, &section.key_file, &section.client_ca_file];
    let texts = [&section.cert, &section.client_ca, &section.client_auth_type];
    let key = section.key.as_ref().is_some_and(|key| !key.expose_secret().is_empty());
    files.into_iter().flatten().any(|file| !file.as_os_str().is_empty())
        || texts.into_iter().flatten().any(|text| !text.is_empty())
        || key
}

/// A text in PEM format, and its name for error messages.
struct Pem {
    name: String,
    pem: String,
}

/// Returns the content of a file, or else the text given inline. The file takes precedence.
fn text(
    file: &Option<PathBuf>,
    folder: &Path,
    file_key: &str,
    inline_key: &str,
    inline: Option<&str>,
) -> Result<Option<Pem>, String> {
    if let Some(file) = file.as_ref().filter(|file| !file.as_os_str().is_empty()) {
        let path = folder.join(file);
        let name = format!("{file_key} {}", path.display());
        let pem = followed_file::read(&path).map_err(|error| format!("{name} cannot be used: {error}"))?;
        return Ok(Some(Pem { name, pem }));
    }
    let inline = inline.filter(|inline| !inline.is_empty());
    Ok(inline.map(|pem| Pem { name: inline_key.to_owned(), pem: pem.to_owned() }))
}

impl Pem {
    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.pem.as_bytes()).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            _ => Err(self.unusable("it has no certificate in PEM format")),
        }
    }

    fn unusable(&self, reason: impl Display) -> String {
        format!("{} cannot be used: {reason}", self.name)
    }
}

/// Finds names in a table. Names that Go knows and rustls does not support are added to `notes`.
fn lookup<T: Copy>(
    key: &str,
    names: &[String],
    table: &[(&str, Option<T>)],
    notes: &mut Vec<String>,
) -> Result<Vec<T>, String> {
    let mut supported = Vec::new();
    for name in names {
        let known = table.iter().find(|(known, _)| known == name).map(|(_, found)| *found);
        match known {
            Some(Some(found)) => supported.push(found),
            Some(None) => notes.push(format!("{key}: {name} is not supported and is ignored")),
            None => {
                let known: Vec<_> = table.iter().filter(|(_, found)| found.is_some()).map(|(name, _)| *name).collect();
                return Err(format!("{key}: {} is not known; use {}", name.escape_debug(), known.join(", ")));
            }
        }
    }
    Ok(supported)
}

fn provider(section: &TlsSection, notes: &mut Vec<String>) -> Result<CryptoProvider, String> {
    let mut provider = ring::default_provider();
    let names = section.cipher_suites.as_deref().unwrap_or_default();
    if !names.is_empty() {
        let suites = lookup("cipher_suites", names, &SUITES, notes)?;
        let old = suites.into_iter().copied().filter(|suite| suite.tls13().is_none());
        provider.cipher_suites.retain(|suite| suite.tls13().is_some());
        provider.cipher_suites.extend(old);
    }
    let names = section.curve_preferences.as_deref().unwrap_or_default();
    if !names.is_empty() {
        provider.kx_groups = lookup("curve_preferences", names, &CURVES, notes)?;
        if provider.kx_groups.is_empty() {
            return Err("curve_preferences: none of these is supported; use X25519, CurveP256, CurveP384".to_owned());
        }
    }
    Ok(provider)
}

fn versions(section: &TlsSection) -> Result<(usize, usize), String> {
    let position = |key: &str, name: &Option<String>, default: usize| match name {
        None => Ok(default),
        Some(name) => VERSIONS
            .iter()
            .position(|known| known == name)
            .ok_or_else(|| format!("{key}: {} is not known; use TLS12 or TLS13", name.escape_debug())),
    };
    let min = position("min_version", &section.min_version, 2)?;
    let max = position("max_version", &section.max_version, 3)?;
    if max < 2 {
        return Err(format!(
            "max_version: {} is not supported, as it is not secure; write TLS12 or TLS13",
            VERSIONS[max]
        ));
    }
    if min > max {
        return Err(format!("min_version {} is above max_version {}; swap them", VERSIONS[min], VERSIONS[max]));
    }
    Ok((min, max))
}

/// Returns the versions within the limits that are supported with the chosen cipher suites.
fn usable(
    provider: &CryptoProvider,
    (min, max): (usize, usize),
    notes: &mut Vec<String>,
) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    if min < 2 {
        notes.push(format!("min_version: {} is not supported, as it is not secure; using TLS12", VERSIONS[min]));
    }
    let mut versions = Vec::new();
    if max >= 3 {
        versions.push(&TLS13);
    }
    let has_old = provider.cipher_suites.iter().any(|suite| suite.version().version == ProtocolVersion::TLSv1_2);
    match (min <= 2, has_old) {
        (true, true) => versions.push(&TLS12),
        (true, false) if versions.is_empty() => {
            return Err("cipher_suites: none of these is supported with TLS12; remove cipher_suites".to_owned());
        }
        (true, false) => {
            notes.push("cipher_suites: none of these is supported with TLS12; using TLS13 only".to_owned())
        }
        (false, _) => {}
    }
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the versions, and the numbers of suites, curves and notes.
    fn negotiable(section: &TlsSection) -> Result<(Vec<ProtocolVersion>, usize, usize, usize), String> {
        let mut notes = Vec::new();
        let provider = provider(section, &mut notes)?;
        let versions = usable(&provider, versions(section)?, &mut notes)?;
        let versions = versions.iter().map(|version| version.version).collect();
        Ok((versions, provider.cipher_suites.len(), provider.kx_groups.len(), notes.len()))
    }

    fn names(names: &[&str]) -> Option<Vec<String>> {
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn only_secure_versions_are_enabled() {
        let between = |min: &str, max: &str| {
            let (min_version, max_version) = (Some(min.to_owned()), Some(max.to_owned()));
            negotiable(&TlsSection { min_version, max_version, ..TlsSection::default() })
        };
        let (new, old) = (ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2);
        assert_eq!(negotiable(&TlsSection::default()), Ok((vec![new, old], 9, 3, 0)));
        assert_eq!(between("TLS10", "TLS13"), Ok((vec![new, old], 9, 3, 1)));
        assert_eq!(between("TLS12", "TLS12"), Ok((vec![old], 9, 3, 0)));
        assert_eq!(between("TLS13", "TLS13"), Ok((vec![new], 9, 3, 0)));
        for (min, max) in [("TLS10", "TLS11"), ("TLS13", "TLS12"), ("1.2", "TLS13"), ("TLS12", "SSL30")] {
            between(min, max).expect_err("no version is left");
        }
    }

    #[test]
    fn named_suites_and_curves_are_enabled_if_supported() {
        let with = |suites: &[&str], curves: &[&str]| {
            let (cipher_suites, curve_preferences) = (names(suites), names(curves));
            negotiable(&TlsSection { cipher_suites, curve_preferences, ..TlsSection::default() })
        };
        let (new, old) = (ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2);
        let (gcm, cbc) = ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA");
        assert_eq!(with(&[gcm], &["CurveP384", "X25519"]), Ok((vec![new, old], 4, 2, 0)));
        assert_eq!(with(&[gcm, cbc], &["CurveP521", "CurveP256"]), Ok((vec![new, old], 4, 1, 2)));
        assert_eq!(with(&[cbc], &[]), Ok((vec![new], 3, 3, 2)));
        assert!(with(&["NULL"], &[]).is_err() && with(&[], &["CurveP521"]).is_err() && with(&[], &["P-256"]).is_err());
        let section =
            TlsSection { cipher_suites: names(&[cbc]), max_version: Some("TLS12".to_owned()), ..TlsSection::default() };
        assert!(negotiable(&section).is_err());
    }

    #[test]
    fn only_a_certificate_of_a_trusted_authority_authenticates() {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        for (policy, expected) in [
            ("NoClientCert", false),
            ("RequestClientCert", false),
            ("RequireAnyClientCert", false),
            ("RequireClientCert", false),
            ("VerifyClientCertIfGiven", true),
            ("RequireAndVerifyClientCert", true),
        ] {
            let section = TlsSection {
                cert: Some(own.cert.pem()),
                key: Some(own.signing_key.serialize_pem().into()),
                client_ca: expected.then(|| own.cert.pem()),
                client_auth_type: Some(policy.to_owned()),
                ..TlsSection::default()
            };
            let tls = Tls::new(&section, Path::new("/"), &mut Vec::new()).expect("valid").expect("TLS is enabled");
            assert_eq!(tls.verifies_clients, expected, "{policy}");
        }
    }

    #[test]
    fn allowed_names_need_a_policy_that_requires_a_certificate() {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let made = |policy: &str, allowed: &[&str]| {
            let section = TlsSection {
                cert: Some(own.cert.pem()),
                key: Some(own.signing_key.serialize_pem().into()),
                client_auth_type: Some(policy.to_owned()),
                client_allowed_sans: names(allowed),
                ..TlsSection::default()
            };
            Tls::new(&section, Path::new("/"), &mut Vec::new()).map(|_| ())
        };
        assert_eq!(made("RequireAnyClientCert", &["client"]), Ok(()));
        for policy in ["", "NoClientCert", "RequestClientCert", "VerifyClientCertIfGiven"] {
            made(policy, &["client"]).expect_err(policy);
        }
        made("RequireAnyClientCert", &[]).expect_err("no client would be accepted");
    }
}
