//! TLS as the file wants it, as far as rustls can: versions, suites and curves by their names in Go.

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

use super::client_certificate;
use super::file::TlsSection;
use crate::followed_file;

/// How connections are encrypted.
#[derive(Clone, Debug)]
pub(in crate::web) struct Tls {
    pub(in crate::web) config: Arc<ServerConfig>,
    /// Whether a certificate that a client shows was found to be of an authority that is trusted.
    pub(in crate::web) verifies_clients: bool,
}

/// Go's suites (`crypto/tls: CipherSuites`, with those it called secure until 1.22), and which of them rustls has. Those of
/// TLS 1.3 are always there, as in Go.
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

/// The toolkit's curves, and which of them rustls has.
static CURVES: [(&str, Option<&dyn SupportedKxGroup>); 4] = [
    ("X25519", Some(group::X25519)),
    ("CurveP256", Some(group::SECP256R1)),
    ("CurveP384", Some(group::SECP384R1)),
    ("CurveP521", None),
];

/// The versions' names, the lowest first.
const VERSIONS: [&str; 4] = ["TLS10", "TLS11", "TLS12", "TLS13"];

impl Tls {
    /// Reads the files and makes what they say ready; `None` if nothing asks for TLS. `notes` takes what cannot be had.
    ///
    /// # Errors
    /// The first thing that makes no sense.
    pub(super) fn new(words: &TlsSection, folder: &Path, notes: &mut Vec<String>) -> Result<Option<Self>, String> {
        let (provider, versions) = (provider(words, notes)?, versions(words)?);
        let versions = usable(&provider, versions, notes)?;
        if !is_wanted(words) {
            return Ok(None);
        }
        let missing = |file: &str, inline: &str| format!("{file} or {inline} is missing");
        let certificate = text(&words.cert_file, folder, "cert_file", "cert", words.cert.as_deref())?;
        let certificate = certificate.ok_or_else(|| missing("cert_file", "cert"))?;
        let key = words.key.as_ref().map(ExposeSecret::expose_secret);
        let key = text(&words.key_file, folder, "key_file", "key", key)?.ok_or_else(|| missing("key_file", "key"))?;
        let chain = certificate.certificates()?;
        // What the parser says might quote the key.
        let der = PrivateKeyDer::from_pem_slice(key.pem.as_bytes())
            .map_err(|_| key.unusable("it holds no private key in PEM format that is not encrypted"))?;
        let authorities =
            text(&words.client_ca_file, folder, "client_ca_file", "client_ca", words.client_ca.as_deref())?;
        let authorities = authorities.map(|text| text.certificates()).transpose()?;
        let provider = Arc::new(provider);
        let policy = client_certificate::policy(words, authorities, &provider)?;
        let verifies_clients = policy.as_ref().is_some_and(|policy| policy.verifies());
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
        config.ignore_client_order = words.prefer_server_cipher_suites.unwrap_or(true);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Self { config: Arc::new(config), verifies_clients }))
    }
}

/// `web/tls_config.go: IsEnabled`.
fn is_wanted(words: &TlsSection) -> bool {
    let files = [&words.cert_file, &words.key_file, &words.client_ca_file];
    let texts = [&words.cert, &words.client_ca, &words.client_auth_type];
    let key = words.key.as_ref().is_some_and(|key| !key.expose_secret().is_empty());
    files.into_iter().flatten().any(|file| !file.as_os_str().is_empty())
        || texts.into_iter().flatten().any(|text| !text.is_empty())
        || key
}

/// A text in PEM format, and what to call it.
struct Pem {
    name: String,
    pem: String,
}

/// What a file holds, or what stands in its place; a file goes first.
fn text(
    file: &Option<PathBuf>,
    folder: &Path,
    file_word: &str,
    word: &str,
    inline: Option<&str>,
) -> Result<Option<Pem>, String> {
    if let Some(file) = file.as_ref().filter(|file| !file.as_os_str().is_empty()) {
        let path = folder.join(file);
        let name = format!("{file_word} {}", path.display());
        let pem = followed_file::read(&path).map_err(|error| format!("{name} cannot be used: {error}"))?;
        return Ok(Some(Pem { name, pem }));
    }
    let inline = inline.filter(|inline| !inline.is_empty());
    Ok(inline.map(|pem| Pem { name: word.to_owned(), pem: pem.to_owned() }))
}

impl Pem {
    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.pem.as_bytes()).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            _ => Err(self.unusable("it holds no certificate in PEM format")),
        }
    }

    fn unusable(&self, why: impl Display) -> String {
        format!("{} cannot be used: {why}", self.name)
    }
}

/// Looks names up in a table; what the table has nothing for is noted.
fn chosen<T: Copy>(
    word: &str,
    names: &[String],
    table: &[(&str, Option<T>)],
    notes: &mut Vec<String>,
) -> Result<Vec<T>, String> {
    let mut chosen = Vec::new();
    for name in names {
        let known = table.iter().find(|(known, _)| known == name).map(|(_, found)| *found);
        match known {
            Some(Some(found)) => chosen.push(found),
            Some(None) => notes.push(format!("{word}: {name} is not offered: this program has no such thing")),
            None => {
                let known: Vec<_> = table.iter().filter(|(_, found)| found.is_some()).map(|(name, _)| *name).collect();
                return Err(format!("{word}: {} is not known; use {}", name.escape_debug(), known.join(", ")));
            }
        }
    }
    Ok(chosen)
}

fn provider(words: &TlsSection, notes: &mut Vec<String>) -> Result<CryptoProvider, String> {
    let mut provider = ring::default_provider();
    let names = words.cipher_suites.as_deref().unwrap_or_default();
    if !names.is_empty() {
        let chosen = chosen("cipher_suites", names, &SUITES, notes)?;
        let old = chosen.into_iter().copied().filter(|suite| suite.tls13().is_none());
        provider.cipher_suites.retain(|suite| suite.tls13().is_some());
        provider.cipher_suites.extend(old);
    }
    let names = words.curve_preferences.as_deref().unwrap_or_default();
    if !names.is_empty() {
        provider.kx_groups = chosen("curve_preferences", names, &CURVES, notes)?;
        if provider.kx_groups.is_empty() {
            return Err("curve_preferences: none of these is there; use X25519, CurveP256, CurveP384".to_owned());
        }
    }
    Ok(provider)
}

fn versions(words: &TlsSection) -> Result<(usize, usize), String> {
    let place = |word: &str, name: &Option<String>, default: usize| match name {
        None => Ok(default),
        Some(name) => VERSIONS
            .iter()
            .position(|known| known == name)
            .ok_or_else(|| format!("{word}: {} is not known; use TLS12 or TLS13", name.escape_debug())),
    };
    let (least, most) = (place("min_version", &words.min_version, 2)?, place("max_version", &words.max_version, 3)?);
    if most < 2 {
        return Err(format!("max_version: {} is not spoken, it is not safe; write TLS12 or TLS13", VERSIONS[most]));
    }
    if least > most {
        return Err(format!("min_version {} is above max_version {}", VERSIONS[least], VERSIONS[most]));
    }
    Ok((least, most))
}

/// The versions that can be spoken of those that are wanted.
fn usable(
    provider: &CryptoProvider,
    (least, most): (usize, usize),
    notes: &mut Vec<String>,
) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    if least < 2 {
        notes.push(format!("min_version: {} is not spoken, it is not safe; TLS12 is the lowest", VERSIONS[least]));
    }
    let mut versions = Vec::new();
    if most >= 3 {
        versions.push(&TLS13);
    }
    let has_old = provider.cipher_suites.iter().any(|suite| suite.version().version == ProtocolVersion::TLSv1_2);
    match (least <= 2, has_old) {
        (true, true) => versions.push(&TLS12),
        (true, false) if versions.is_empty() => {
            return Err("cipher_suites: none of these is there for TLS12; leave cipher_suites out".to_owned());
        }
        (true, false) => notes.push("cipher_suites: none of these is there for TLS12; only TLS13 is spoken".to_owned()),
        (false, _) => {}
    }
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The versions and the number of suites and curves, and the notes.
    fn spoken(words: &TlsSection) -> Result<(Vec<ProtocolVersion>, usize, usize, usize), String> {
        let mut notes = Vec::new();
        let provider = provider(words, &mut notes)?;
        let versions = usable(&provider, versions(words)?, &mut notes)?;
        let versions = versions.iter().map(|version| version.version).collect();
        Ok((versions, provider.cipher_suites.len(), provider.kx_groups.len(), notes.len()))
    }

    fn names(names: &[&str]) -> Option<Vec<String>> {
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn versions_are_those_that_are_safe() {
        let between = |least: &str, most: &str| {
            let (min_version, max_version) = (Some(least.to_owned()), Some(most.to_owned()));
            spoken(&TlsSection { min_version, max_version, ..TlsSection::default() })
        };
        let (new, old) = (ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2);
        assert_eq!(spoken(&TlsSection::default()), Ok((vec![new, old], 9, 3, 0)));
        assert_eq!(between("TLS10", "TLS13"), Ok((vec![new, old], 9, 3, 1)));
        assert_eq!(between("TLS12", "TLS12"), Ok((vec![old], 9, 3, 0)));
        assert_eq!(between("TLS13", "TLS13"), Ok((vec![new], 9, 3, 0)));
        for (least, most) in [("TLS10", "TLS11"), ("TLS13", "TLS12"), ("1.2", "TLS13"), ("TLS12", "SSL30")] {
            between(least, most).expect_err("no version is left");
        }
    }

    #[test]
    fn suites_and_curves_are_those_that_are_named_and_there() {
        let with = |suites: &[&str], curves: &[&str]| {
            let (cipher_suites, curve_preferences) = (names(suites), names(curves));
            spoken(&TlsSection { cipher_suites, curve_preferences, ..TlsSection::default() })
        };
        let (new, old) = (ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2);
        let (gcm, cbc) = ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA");
        assert_eq!(with(&[gcm], &["CurveP384", "X25519"]), Ok((vec![new, old], 4, 2, 0)));
        assert_eq!(with(&[gcm, cbc], &["CurveP521", "CurveP256"]), Ok((vec![new, old], 4, 1, 2)));
        assert_eq!(with(&[cbc], &[]), Ok((vec![new], 3, 3, 2)));
        assert!(with(&["NULL"], &[]).is_err() && with(&[], &["CurveP521"]).is_err() && with(&[], &["P-256"]).is_err());
        let words =
            TlsSection { cipher_suites: names(&[cbc]), max_version: Some("TLS12".to_owned()), ..TlsSection::default() };
        assert!(spoken(&words).is_err());
    }

    #[test]
    fn only_a_certificate_of_a_trusted_authority_proves_who_one_is() {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        for (policy, expected) in [
            ("NoClientCert", false),
            ("RequestClientCert", false),
            ("RequireAnyClientCert", false),
            ("RequireClientCert", false),
            ("VerifyClientCertIfGiven", true),
            ("RequireAndVerifyClientCert", true),
        ] {
            let words = TlsSection {
                cert: Some(own.cert.pem()),
                key: Some(own.signing_key.serialize_pem().into()),
                client_ca: expected.then(|| own.cert.pem()),
                client_auth_type: Some(policy.to_owned()),
                ..TlsSection::default()
            };
            let tls = Tls::new(&words, Path::new("/"), &mut Vec::new()).expect("sense").expect("TLS is wanted");
            assert_eq!(tls.verifies_clients, expected, "{policy}");
        }
    }

    #[test]
    fn names_are_asked_of_certificates_that_have_to_be_shown() {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let made = |policy: &str, allowed: &[&str]| {
            let words = TlsSection {
                cert: Some(own.cert.pem()),
                key: Some(own.signing_key.serialize_pem().into()),
                client_auth_type: Some(policy.to_owned()),
                client_allowed_sans: names(allowed),
                ..TlsSection::default()
            };
            Tls::new(&words, Path::new("/"), &mut Vec::new()).map(|_| ())
        };
        assert_eq!(made("RequireAnyClientCert", &["client"]), Ok(()));
        for policy in ["", "NoClientCert", "RequestClientCert", "VerifyClientCertIfGiven"] {
            made(policy, &["client"]).expect_err(policy);
        }
        made("RequireAnyClientCert", &[]).expect_err("nobody could come in");
    }
}
