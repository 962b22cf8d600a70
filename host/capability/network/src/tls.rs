//! TLS of one installation or driver instance: the roots of the node and its own, and the certificate
//! that it shows. For `wasi:http`, and for `wasi:tls` over sockets.
//!
//! Sessions that may be resumed are the owner's own too: what a server can recognise a client by is
//! never shared.

use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Authorities that one owner may add.
const MAX_ROOTS: usize = 1_024;
/// Certificates of one chain.
const MAX_CHAIN: usize = 16;
/// Sessions that may be resumed.
const SESSIONS: usize = 32;

/// What of an owner's TLS cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {what} for TLS cannot be used: {reason}")]
pub struct InvalidTls {
    what: &'static str,
    reason: String,
}

impl InvalidTls {
    fn new(what: &'static str, reason: impl ToString) -> Self {
        Self {
            what,
            reason: reason.to_string(),
        }
    }
}

/// What one installation or driver instance adds to the node's TLS, each text in PEM. The default
/// adds nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TlsIdentity {
    /// Authorities that are trusted beside the node's.
    pub roots: Option<String>,
    /// The certificate that is shown, with its chain.
    pub certificate: Option<String>,
    /// Its key. Without both, no certificate is shown.
    pub key: Option<String>,
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity")
            .field("roots", &self.roots.is_some())
            .field("certificate", &self.certificate.is_some())
            .field("key", &self.key.is_some())
            .finish()
    }
}

impl TlsIdentity {
    /// Whether all of it can be used.
    pub fn check(&self) -> Result<(), InvalidTls> {
        self.config(&RootCertStore::empty()).map(drop)
    }

    /// Clients' TLS with `roots`, without any application protocol.
    pub(crate) fn config(&self, roots: &RootCertStore) -> Result<ClientConfig, InvalidTls> {
        let mut roots = roots.clone();
        if let Some(own) = &self.roots {
            let own = certificates(own, "roots", MAX_ROOTS)?;
            for certificate in own {
                roots
                    .add(certificate)
                    .map_err(|error| InvalidTls::new("roots", error))?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| InvalidTls::new("versions", error))?
            .with_root_certificates(roots);
        let mut config = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let chain = certificates(certificate, "certificate", MAX_CHAIN)?;
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
                    .map_err(|error| InvalidTls::new("key", error))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| InvalidTls::new("certificate with its key", error))?
            }
            _ => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(config)
    }
}

fn certificates(
    text: &str,
    what: &'static str,
    limit: usize,
) -> Result<Vec<CertificateDer<'static>>, InvalidTls> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        found.push(certificate.map_err(|error| InvalidTls::new(what, error))?);
        if found.len() > limit {
            let reason = format!("more than {limit} certificates");
            return Err(InvalidTls::new(what, reason));
        }
    }
    if found.is_empty() {
        return Err(InvalidTls::new(what, "there is no certificate in it"));
    }
    Ok(found)
}

/// The two ways in which one owner speaks TLS, made when the first is needed.
pub(crate) struct Tls {
    /// For `wasi:http`.
    pub(crate) http: Arc<ClientConfig>,
    /// For `wasi:tls`, where the guest speaks what it likes.
    pub(crate) sockets: Arc<ClientConfig>,
}

impl Tls {
    pub(crate) fn new(
        identity: &TlsIdentity,
        roots: &RootCertStore,
        http2: bool,
    ) -> Result<Self, InvalidTls> {
        let sockets = identity.config(roots)?;
        let mut http = sockets.clone();
        http.alpn_protocols = match http2 {
            true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            false => vec![b"http/1.1".to_vec()],
        };
        Ok(Self {
            http: Arc::new(http),
            sockets: Arc::new(sockets),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_named() {
        let text = |text: &str| Some(text.to_owned());
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for (identity, named) in [
            (
                TlsIdentity {
                    roots: text("no PEM"),
                    ..TlsIdentity::default()
                },
                "roots",
            ),
            (
                TlsIdentity {
                    roots: text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
                    ..TlsIdentity::default()
                },
                "roots",
            ),
            (
                TlsIdentity {
                    certificate: text(key),
                    key: text(key),
                    ..TlsIdentity::default()
                },
                "certificate",
            ),
        ] {
            let error = identity.check().expect_err("it cannot be used").to_string();
            assert!(error.contains(named), "{error}");
        }
        TlsIdentity::default().check().expect("nothing is added");
        let half = TlsIdentity {
            key: text(key),
            ..TlsIdentity::default()
        };
        half.check()
            .expect("nothing is shown without a certificate");
        assert!(!format!("{half:?}").contains("AAAA"));
    }
}
