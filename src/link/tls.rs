//! TLS to a server: trusted CAs and our client certificate.

use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::TlsFiles;

/// Performs the TLS handshake over a TCP connection.
///
/// # Errors
/// A sentence: the file that cannot be used, or the error of the handshake.
pub(super) async fn handshake(files: &TlsFiles, host: &str, tcp: TcpStream) -> Result<TlsStream<TcpStream>, String> {
    // Reading the system's CA store takes milliseconds, so it must not run on a worker of the runtime.
    let files = files.clone();
    let config = tokio::task::spawn_blocking(move || config(&files)).await.map_err(|error| error.to_string())??;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("{host} is not a valid host name for a certificate"))?;
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(|error| error.to_string())
}

/// Reads the files. Also called when the program starts, so that an invalid file is reported at once.
///
/// # Errors
/// A sentence that names the file.
pub fn config(files: &TlsFiles) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots(files.ca.as_deref())?);
    match &files.client {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            builder.with_client_auth_cert(certificates(certificate)?, private_key(key)?).map_err(|error| {
                format!("the certificate {} and the key {} do not match: {error}", certificate.display(), key.display())
            })
        }
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
