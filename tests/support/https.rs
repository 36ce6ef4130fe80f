//! A TLS client that exposes the server's certificate.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use super::certificates::Certificates;
use super::http::{Answer, connect, exchange};

/// A client that trusts one authority. It may have a client certificate.
pub(crate) struct Client(Arc<ClientConfig>);

impl Client {
    pub(crate) fn trusting(authority: &Certificates) -> Self {
        Self::new(authority, None, &[&TLS13, &TLS12])
    }

    pub(crate) fn speaking(authority: &Certificates, version: &'static SupportedProtocolVersion) -> Self {
        Self::new(authority, None, &[version])
    }

    /// Returns a client that presents the client certificate of `own`.
    pub(crate) fn showing(authority: &Certificates, own: &Certificates) -> Self {
        Self::new(authority, Some(own), &[&TLS13, &TLS12])
    }

    fn new(
        authority: &Certificates,
        own: Option<&Certificates>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let certificate = |path| CertificateDer::from_pem_file(path).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(certificate(authority.path("ca.crt"))).expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let key = PrivateKeyDer::from_pem_file(own.path("client.key")).expect("a key");
                builder.with_client_auth_cert(vec![certificate(own.path("client.crt"))], key).expect("a pair")
            }
        };
        Self(Arc::new(config))
    }

    pub(crate) fn get(&self, address: &str, path: &str, headers: &[&str]) -> io::Result<Answer> {
        exchange(self.stream(address)?, address, "GET", path, headers)
    }

    pub(crate) fn status(&self, address: &str) -> Option<u16> {
        self.get(address, "/-/healthy", &[]).ok().map(|answer| answer.status)
    }

    /// Returns the certificate that the server presents.
    pub(crate) fn shown(&self, address: &str) -> Option<CertificateDer<'static>> {
        let mut stream = self.stream(address).ok()?;
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).ok()?;
        }
        Some(stream.conn.peer_certificates()?.first()?.clone().into_owned())
    }

    fn stream(&self, address: &str) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let connection = ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        Ok(StreamOwned::new(connection, connect(address)?))
    }
}
