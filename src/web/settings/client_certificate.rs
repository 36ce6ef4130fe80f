//! TLS client certificates: when one is requested, and which are accepted.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::file::TlsSection;

/// The policy for client certificates, named as in Go's `crypto/tls: ClientAuthType`. A client that presents a
/// certificate always proves that it holds the key. The signer is checked only if there is a `chain`.
#[derive(Debug)]
pub(super) struct Policy {
    mandatory: bool,
    chain: Option<Arc<dyn ClientCertVerifier>>,
    /// The allowed names. If set, a certificate must have at least one of them.
    names: Option<Vec<String>>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The clients that a policy refuses, from none to those without a certificate of a trusted authority and an allowed
/// name. A certificate of any signer proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strictness {
    #[default]
    Open,
    Verified,
    VerifiedName,
}

/// Makes the policy of the file; `None` if no certificate is requested.
///
/// # Errors
/// Names settings that contradict each other, and says what to write.
pub(super) fn policy(
    section: &TlsSection,
    authorities: Option<Vec<CertificateDer<'static>>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Policy>, String> {
    let (mandatory, verifies) = match section.client_auth_type.as_deref().unwrap_or_default() {
        "" | "NoClientCert" if authorities.is_some() => {
            return Err(
                "client_ca_file has no effect without client_auth_type; write RequireAndVerifyClientCert".into()
            );
        }
        "" | "NoClientCert" if section.client_allowed_sans.is_none() => return Ok(None),
        "" | "NoClientCert" => (false, false),
        "RequestClientCert" => (false, false),
        "RequireAnyClientCert" | "RequireClientCert" => (true, false),
        "VerifyClientCertIfGiven" => (false, true),
        "RequireAndVerifyClientCert" => (true, true),
        other => {
            return Err(format!(
                "client_auth_type: {} is not known; use NoClientCert, RequestClientCert, RequireAnyClientCert, \
                 VerifyClientCertIfGiven or RequireAndVerifyClientCert",
                other.escape_debug()
            ));
        }
    };
    if let Some(names) = &section.client_allowed_sans {
        if !mandatory {
            return Err("client_allowed_sans needs a client_auth_type that requires a certificate; write \
                        RequireAndVerifyClientCert"
                .into());
        }
        if names.is_empty() {
            return Err("client_allowed_sans is empty, so no client would be accepted; add a name or remove it".into());
        }
    }
    let chain = if verifies { Some(chain(authorities, provider)?) } else { None };
    let algorithms = provider.signature_verification_algorithms;
    Ok(Some(Policy { mandatory, chain, names: section.client_allowed_sans.clone(), algorithms }))
}

/// Makes a verifier that trusts the given authorities or, as in Go, the system's.
fn chain(
    authorities: Option<Vec<CertificateDer<'static>>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let authorities = authorities.unwrap_or_else(|| rustls_native_certs::load_native_certs().certs);
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(authorities);
    if added == 0 {
        return Err("there is no trusted certificate authority; set client_ca_file".into());
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let verifier: Arc<dyn ClientCertVerifier> = builder.build().map_err(|error| format!("client_ca_file: {error}"))?;
    Ok(verifier)
}

impl Policy {
    /// Returns true if a presented certificate authenticates the client.
    pub(super) fn verifies(&self) -> bool {
        self.chain.is_some()
    }

    pub(super) fn strictness(&self) -> Strictness {
        match (self.mandatory && self.verifies(), &self.names) {
            (false, _) => Strictness::Open,
            (true, None) => Strictness::Verified,
            (true, Some(_)) => Strictness::VerifiedName,
        }
    }
}

impl ClientCertVerifier for Policy {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.as_ref().map_or(&[], |chain| chain.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(chain) = &self.chain {
            chain.verify_client_cert(end_entity, intermediates, now)?;
        }
        match &self.names {
            Some(allowed) if !subject_names(end_entity)?.iter().any(|name| allowed.contains(name)) => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(ClientCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Returns the subject alternative names of a certificate, formatted as in Go.
fn subject_names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, Error> {
    let (_, certificate) = parse_x509_certificate(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let names = certificate.subject_alternative_name().map_err(|_| CertificateError::BadEncoding)?;
    let names = names.map(|names| names.value.general_names.iter().filter_map(format_name).collect());
    Ok(names.unwrap_or_default())
}

fn format_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    #[test]
    fn names_are_formatted_as_in_go() {
        let mut params = CertificateParams::new(["db.example".to_owned()]).expect("parameters");
        params.subject_alt_names.extend([
            SanType::Rfc822Name("ann@example.org".try_into().expect("a name")),
            SanType::URI("spiffe://example.org/ann".try_into().expect("a name")),
            SanType::IpAddress("10.0.0.1".parse().expect("an address")),
            SanType::IpAddress("2001:db8::1".parse().expect("an address")),
        ]);
        let certificate = params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate");
        let names = subject_names(certificate.der()).expect("names");
        let expected = ["db.example", "ann@example.org", "spiffe://example.org/ann", "10.0.0.1", "2001:db8::1"];
        assert_eq!(names, expected);
        assert!(subject_names(&CertificateDer::from(vec![1, 2, 3])).is_err());
    }
}
