//! The certificates of a node: one for every name that no other has, and a folder of further ones,
//! as of custom domains. A client is shown the one for the name it asks for (SNI).
//!
//! The files are looked at again every few seconds. What has changed is shown to whoever connects
//! from then on, and connections that are open stay open. A file that cannot be used is an error at
//! the start; later it is reported, and what was there before goes on.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use crate::certificate::{Certificate, CertificateError};

/// Where certificates are, and how long a handshake may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificate and its chain (PEM), for every name that has no other.
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
    /// Folder of further certificates: `NAME.pem` with `NAME.key`, each for the names it says.
    pub domains: Option<PathBuf>,
    /// Time for a client's TLS handshake. Default 10 s.
    pub handshake_timeout: Duration,
    /// How often the files are looked at for changes. Default 5 s.
    pub check_interval: Duration,
}

/// The certificates of a node. Clones are the same.
#[derive(Clone)]
pub struct Certificates(Arc<Inner>);

struct Inner {
    settings: TlsSettings,
    provider: Arc<CryptoProvider>,
    shown: RwLock<Arc<Shown>>,
    /// The files as they were when they were last looked at.
    seen: Mutex<Vec<Seen>>,
}

/// What clients are shown.
struct Shown {
    main: Certificate,
    /// Of the folder, by the file's path.
    further: HashMap<PathBuf, Certificate>,
    by_name: HashMap<Box<str>, Arc<CertifiedKey>>,
}

type Seen = (PathBuf, Option<(SystemTime, u64)>);

/// An expired certificate is a warning and no refusal: what else the node serves must go on.
const EXPIRES_SOON: time::Duration = time::Duration::days(14);

impl Certificates {
    /// Reads the certificates that `settings` name. The main one must be usable; of the folder,
    /// one that is not is reported and left out, so that one domain's mistake stops no other.
    pub fn load(settings: TlsSettings) -> Result<Self, CertificateError> {
        let provider = Arc::new(ring::default_provider());
        let main = Certificate::read(&settings.certificate, &settings.key, &provider)?;
        let seen = look(&settings)?;
        let further = further(&seen, &HashMap::new(), &provider);
        let shown = Shown::new(main, further);
        shown.report(&settings);
        Ok(Self(Arc::new(Inner {
            settings,
            provider,
            shown: RwLock::new(Arc::new(shown)),
            seen: Mutex::new(seen),
        })))
    }

    /// How long a handshake may take.
    pub(crate) fn handshake_timeout(&self) -> Duration {
        self.0.settings.handshake_timeout
    }

    /// TLS 1.2 and 1.3 for HTTP/2 and HTTP/1.1.
    pub(crate) fn server_config(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(self.0.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = ring::Ticketer::new()?;
        Ok(Arc::new(config))
    }

    /// Looks at the files from time to time, for good.
    pub(crate) async fn watch(self) {
        let mut ticks = tokio::time::interval(self.0.settings.check_interval);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let this = self.clone();
            if tokio::task::spawn_blocking(move || this.refresh())
                .await
                .is_err()
            {
                tracing::error!("looking at the certificates failed");
            }
        }
    }

    /// Takes over what has changed. Whether anything had.
    pub fn refresh(&self) -> bool {
        let inner = &*self.0;
        let settings = &inner.settings;
        let now = match look(settings) {
            Ok(now) => now,
            Err(error) => {
                tracing::error!("certificates stay as they are: {error}");
                return false;
            }
        };
        let mut seen = inner.seen.lock();
        if *seen == now {
            return false;
        }
        *seen = now;
        let before = inner.shown.read().clone();
        let main = Certificate::read(&settings.certificate, &settings.key, &inner.provider)
            .unwrap_or_else(|error| {
                tracing::error!("the certificate stays as it is: {error}");
                before.main.clone()
            });
        let further = further(&seen, &before.further, &inner.provider);
        let shown = Shown::new(main, further);
        tracing::info!(names = shown.by_name.len(), "certificates were read again");
        shown.report(settings);
        *inner.shown.write() = Arc::new(shown);
        true
    }
}

impl Shown {
    fn new(main: Certificate, further: HashMap<PathBuf, Certificate>) -> Self {
        let mut all: Vec<&Certificate> = further.values().collect();
        // Of two for one name, the one that is valid longer.
        all.sort_by_key(|certificate| certificate.expires);
        let mut by_name = HashMap::new();
        for certificate in std::iter::once(&main).chain(all) {
            for name in certificate.names.iter() {
                by_name.insert(name.clone(), certificate.key.clone());
            }
        }
        Self {
            main,
            further,
            by_name,
        }
    }

    fn report(&self, settings: &TlsSettings) {
        let main = (&settings.certificate, &self.main);
        let now = OffsetDateTime::now_utc();
        for (file, certificate) in std::iter::once(main).chain(&self.further) {
            let (file, expires) = (file.display(), certificate.expires);
            if expires <= now {
                tracing::warn!(%file, %expires, "this certificate has expired; clients will refuse it");
            } else if expires - now < EXPIRES_SOON {
                tracing::warn!(%file, %expires, "this certificate expires soon");
            }
        }
    }

    /// The certificate for a name, or for a `*` in place of its first label, or the main one.
    fn find(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let found = name.map(str::to_ascii_lowercase).and_then(|name| {
            self.by_name.get(name.as_str()).or_else(|| {
                let (_, parent) = name.split_once('.')?;
                self.by_name.get(format!("*.{parent}").as_str())
            })
        });
        found.unwrap_or(&self.main.key).clone()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.shown.read().find(hello.server_name()))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates")
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

/// The files that matter, and when each was last written.
fn look(settings: &TlsSettings) -> Result<Vec<Seen>, CertificateError> {
    let mut paths = vec![settings.certificate.clone(), settings.key.clone()];
    if let Some(folder) = &settings.domains {
        let failed = |error| CertificateError::Read {
            path: folder.clone(),
            error,
        };
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let kind = path.extension().and_then(|kind| kind.to_str());
            if matches!(kind, Some("pem" | "key")) {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let written = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    Ok(paths
        .into_iter()
        .map(|path| (path.clone(), written(&path)))
        .collect())
}

/// The certificates of the folder; in place of one that cannot be used, what was there `before`.
fn further(
    seen: &[Seen],
    before: &HashMap<PathBuf, Certificate>,
    provider: &CryptoProvider,
) -> HashMap<PathBuf, Certificate> {
    let mut found = HashMap::new();
    for (path, _) in seen {
        let key = path.with_extension("key");
        let in_pair = |other: &Path| seen.iter().any(|(path, _)| path == other);
        if path.extension().is_none_or(|kind| kind != "pem") || !in_pair(&key) {
            continue;
        }
        match Certificate::read(path, &key, provider) {
            Ok(certificate) => {
                found.insert(path.clone(), certificate);
            }
            Err(error) => {
                let last = before.get(path).cloned();
                let goes_on = last.is_some();
                tracing::error!(goes_on, "a domain's certificate cannot be used: {error}");
                found.extend(last.map(|last| (path.clone(), last)));
            }
        }
    }
    found
}
