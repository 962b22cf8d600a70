//! What all guests of a node share: limits, trusted certificates, the resolver.

use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;

use canopy_ids::TenantId;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use crate::account::{Accounts, EgressUsage};
use crate::lookups::Lookups;
use crate::pool::IdleCount;
use crate::settings::NetworkSettings;

/// Why the network cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A trusted certificate is not one.
    #[error("trusted certificate {number} cannot be used: {error}")]
    Certificate {
        /// Its place in the settings, from 1.
        number: usize,
        /// Why.
        error: rustls::Error,
    },
}

/// Resolves names.
pub trait Resolver: Send + Sync + 'static {
    /// The addresses of `name`. It is called on a thread of its own and may take as long as it likes.
    fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The resolver of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = (name, 0).to_socket_addrs()?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// The network of a node. Clones are the same.
#[derive(Clone)]
pub struct Network(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) settings: NetworkSettings,
    pub(crate) lookups: Lookups,
    /// Which authorities every owner trusts.
    pub(crate) roots: RootCertStore,
    /// What the tenants use.
    pub(crate) accounts: Accounts,
    /// Connections that lie idle.
    pub(crate) idle: Arc<IdleCount>,
}

impl Network {
    /// A network with these limits, resolving names as the operating system does.
    pub fn new(settings: NetworkSettings) -> Result<Self, NetworkError> {
        Self::with_resolver(settings, SystemResolver)
    }

    /// What `tenant` uses of it now.
    pub fn usage(&self, tenant: TenantId) -> EgressUsage {
        self.0.accounts.usage(tenant)
    }

    /// A network that resolves names by `resolver`.
    pub fn with_resolver(
        settings: NetworkSettings,
        resolver: impl Resolver,
    ) -> Result<Self, NetworkError> {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.into(),
        };
        for (index, der) in settings.trusted_certificates.iter().enumerate() {
            roots
                .add(CertificateDer::from(der.clone()))
                .map_err(|error| NetworkError::Certificate {
                    number: index + 1,
                    error,
                })?;
        }
        Ok(Self(Arc::new(Inner {
            lookups: Lookups::new(resolver, settings.lookups),
            accounts: Accounts::new(settings.tenant_lookups),
            settings,
            roots,
            idle: Arc::default(),
        })))
    }
}
