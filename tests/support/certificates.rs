//! Certificates for one test: an authority, a server certificate and a client certificate.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// A folder with the certificate of an authority, and those that it signed.
pub(crate) struct Certificates {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let key = KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Each authority has its own name: of two with the same name, clients would report a bad signature instead of
        // an unknown issuer.
        let name = folder.path().display().to_string();
        authority.distinguished_name.push(DnType::CommonName, name);
        let certificate = authority.self_signed(&key).expect("a certificate");
        fs::write(folder.path().join("ca.crt"), certificate.pem()).expect("a file");
        fs::write(folder.path().join("ca.key"), key.serialize_pem()).expect("a file");
        let issuer = Issuer::new(authority, key);
        let certificates = Self { folder, issuer };
        certificates.renew_server();
        certificates.sign("client", &["client"]);
        certificates
    }

    /// Replaces the server's certificate and key with new ones.
    pub(crate) fn renew_server(&self) {
        self.sign("server", &["127.0.0.1", "localhost"]);
    }

    /// Makes a certificate for these names, and its key: `NAME.crt` and `NAME.key`.
    pub(crate) fn sign(&self, name: &str, names: &[&str]) {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        fs::write(self.path(&format!("{name}.crt")), certificate.pem()).expect("a file");
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).expect("a file");
    }

    /// Returns the path of `ca.crt`, `server.crt`, `server.key`, `client.crt` or `client.key`.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}
