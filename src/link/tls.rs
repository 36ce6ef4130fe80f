//! TLS to a server: trusted CAs and our client certificate.

use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::TlsOptions;

/// Performs the TLS handshake over a TCP connection.
///
/// # Errors
/// A sentence with the fix: the file that cannot be used, or the error of the handshake.
pub(super) async fn handshake(
    options: &TlsOptions,
    host: &str,
    tcp: TcpStream,
) -> Result<TlsStream<TcpStream>, String> {
    // Reading the system's CA store takes milliseconds, so it must not run on a worker of the runtime.
    let (options, host) = (options.clone(), options.server_name.as_deref().unwrap_or(host).to_owned());
    let config = tokio::task::spawn_blocking(move || config(&options)).await.map_err(|error| error.to_string())??;
    let name = ServerName::try_from(host.clone())
        .map_err(|_| format!("{host} is not a valid host name for a certificate; set --redis.tls-server-name"))?;
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(|error| explained(&error, &host))
}

/// Reads the files. Also called when the program starts, so that an invalid file is reported at once.
///
/// # Errors
/// A sentence that names the file.
pub fn config(options: &TlsOptions) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match options.insecure_skip_verify {
        true => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate)),
        false => builder.with_root_certificates(roots(options.ca.as_deref())?),
    };
    match &options.client {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            builder.with_client_auth_cert(certificates(certificate)?, private_key(key)?).map_err(|error| {
                format!("the certificate {} and the key {} do not match: {error}", certificate.display(), key.display())
            })
        }
    }
}

/// Returns true if a certificate can be for this name.
pub fn is_server_name(name: &str) -> bool {
    ServerName::try_from(name).is_ok()
}

/// Maximum length of the cause in an error, in characters: the certificate of a server may have any number of names.
const MAX_CAUSE_CHARS: usize = 200;

/// The error of a handshake with the fix that fits it.
fn explained(error: &std::io::Error, host: &str) -> String {
    let Some(cause) = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) else {
        return format!(
            "{error}; check that this is a TLS port (otherwise use redis://), and that the server has not reached \
            maxclients"
        );
    };
    let reissue = "check that the connection is not intercepted, and issue another one; \
                   --redis.tls-insecure-skip-verify accepts it without a check";
    let fix = match cause {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "set --redis.tls-ca-file to the CA that issued the server's certificate".to_owned()
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!(
            "the server's certificate is not for {host}: use the name that it is for in the address, or set it with \
            --redis.tls-server-name; if it has only a common name (CN), {reissue}"
        ),
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "renew the server's certificate, or set the clock of this machine".to_owned(),
        // Such as a certificate that is its own CA, or one of X.509 version 1.
        rustls::Error::InvalidCertificate(_) => format!("the server's certificate cannot be verified: {reissue}"),
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "the server supports neither TLS 1.2 nor 1.3; see its option tls-protocols".to_owned()
        }
        rustls::Error::AlertReceived(_) => "the server refuses us: does it require a client certificate \
             (--redis.tls-cert-file, --redis.tls-key-file) of its CA?"
            .to_owned(),
        rustls::Error::InvalidMessage(_) => "this is not a TLS port; use redis://".to_owned(),
        _ => "check that this is a TLS port (otherwise use redis://)".to_owned(),
    };
    let cause: String = cause.to_string().chars().take(MAX_CAUSE_CHARS).collect();
    format!("{cause}; {fix}")
}

/// Accepts every certificate (`--redis.tls-insecure-skip-verify`).
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    // The key may be in a certificate that cannot be parsed, such as one of X.509 version 1.
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let certificates = match ca {
        Some(path) => certificates(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    // The system's store may contain certificates that rustls does not accept; the others are used.
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(match ca {
            Some(path) => format!("{} has no usable certificate", path.display()),
            None => "the system has no CA certificates; set --redis.tls-ca-file".into(),
        });
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(unusable(path, "it has no certificate in PEM format")),
        Err(error) => Err(unusable(path, error)),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| unusable(path, error))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| unusable(path, error))
}

fn unusable(path: &Path, why: impl Display) -> String {
    format!("{} cannot be used: {why}", path.display())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn an_error_of_the_handshake_is_bounded_and_names_the_fix_that_fits() {
        let of = |cause: rustls::Error| explained(&io::Error::other(cause), "redis.example");
        // A certificate may be for thousands of names, and all are in the error.
        let long = of(rustls::Error::General("x".repeat(100_000)));
        assert!(long.len() < 400 && long.contains("otherwise use redis://"), "{} bytes", long.len());
        for (cause, fix) in [
            (rustls::Error::AlertReceived(AlertDescription::ProtocolVersion), "tls-protocols"),
            (rustls::Error::AlertReceived(AlertDescription::CertificateRequired), "--redis.tls-cert-file"),
            (rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType), "use redis://"),
            (CertificateError::UnknownIssuer.into(), "--redis.tls-ca-file"),
            (CertificateError::NotValidForName.into(), "--redis.tls-server-name"),
            (CertificateError::Expired.into(), "renew"),
            (CertificateError::BadEncoding.into(), "--redis.tls-insecure-skip-verify"),
        ] {
            let sentence = of(cause);
            assert!(sentence.contains(fix), "{sentence}");
        }
    }
}
