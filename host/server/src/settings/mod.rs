//! The settings of a node: one TOML file, and the environment above it. They are read once, here.
//!
//! A key of the file that does not exist is refused, with the nearest that does. A variable of the
//! environment is only warned about, because others name variables too: a container platform puts
//! `CANOPY_PORT` there for any service that is called `canopy`.

mod keys;
mod memory;
mod room;
mod value;

use std::fmt;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use canopy_admission::AdmissionSettings;
use canopy_app::{AppSettings, PlannedBackups, Timetable};
use canopy_backend_blobs::BlobSettings;
use canopy_backend_embedded::EmbeddedSettings;
use canopy_backend_logs::LogSettings;
use canopy_backend_sql::SqlSettings;
use canopy_edge::{EdgeSettings, TlsSettings};
use canopy_engine::EngineSettings;
use canopy_runtime::{OperatorEgress, RuntimeSettings};
use ipnet::IpNet;

use crate::api_listener::ApiSettings;
use crate::operator_key::KeySettings;
use keys::{Key, keys};
pub(crate) use memory::NodeMemory;

/// Everything that a node can be told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    pub(crate) data_dir: FilePath,
    pub(crate) listen: SocketAddr,
    pub(crate) api_listen: SocketAddr,
    pub(crate) api_public: bool,
    pub(crate) base_domain: BaseDomain,
    pub(crate) operator_token_file: Option<FilePath>,
    pub(crate) private_networks: Vec<IpNet>,
    pub(crate) operator_egress: OperatorEgress,
    pub(crate) trusted_certificates: Vec<FilePath>,
    pub(crate) upload_bytes: u64,
    pub(crate) min_free_bytes: u64,
    pub(crate) backup_dir: Option<FilePath>,
    pub(crate) backup_roots: Vec<FilePath>,
    pub(crate) backup_schedule: Option<Utc>,
    pub(crate) backup_prune: bool,
    pub(crate) log: NodeLog,
    pub(crate) app: AppSettings,
    pub(crate) api: ApiSettings,
    pub(crate) api_tls: ApiTls,
    pub(crate) edge: EdgeSettings,
    /// Connections of applications' clients that wait to be accepted.
    pub(crate) backlog: u32,
    /// Those to the API.
    pub(crate) api_backlog: u32,
    pub(crate) descriptor_reserve: usize,
    pub(crate) tls: Tls,
    pub(crate) admission: AdmissionSettings,
    pub(crate) engine: EngineSettings,
    pub(crate) runtime: RuntimeSettings,
    pub(crate) node_memory: NodeMemory,
    pub(crate) keys: KeySettings,
    pub(crate) storage: EmbeddedSettings,
    pub(crate) blobs: BlobSettings,
    pub(crate) sql: SqlSettings,
    pub(crate) logs: LogSettings,
}

/// TLS for applications. Without an address there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) certificate: Option<FilePath>,
    pub(crate) key: Option<FilePath>,
    pub(crate) domains: Option<FilePath>,
    pub(crate) redirect: bool,
    pub(crate) handshake_timeout: Duration,
    pub(crate) check_interval: Duration,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            listen: None,
            certificate: None,
            key: None,
            domains: None,
            redirect: false,
            handshake_timeout: Duration::from_secs(10),
            check_interval: Duration::from_secs(5),
        }
    }
}

impl Tls {
    /// What the edge is told, and where it is to listen.
    pub(crate) fn files(&self) -> Option<(SocketAddr, TlsSettings)> {
        let settings = TlsSettings {
            certificate: self.certificate.clone()?.0,
            key: self.key.clone()?.0,
            domains: self.domains.clone().map(|folder| folder.0),
            handshake_timeout: self.handshake_timeout,
            check_interval: self.check_interval,
        };
        Some((self.listen?, settings))
    }
}

/// TLS for the control API. Without a certificate there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiTls {
    pub(crate) certificate: Option<FilePath>,
    pub(crate) key: Option<FilePath>,
    pub(crate) handshake_timeout: Duration,
    pub(crate) check_interval: Duration,
}

impl Default for ApiTls {
    fn default() -> Self {
        let Tls {
            handshake_timeout,
            check_interval,
            ..
        } = Tls::default();
        Self {
            certificate: None,
            key: None,
            handshake_timeout,
            check_interval,
        }
    }
}

impl ApiTls {
    /// What its listener is told.
    pub(crate) fn files(&self) -> Option<TlsSettings> {
        Some(TlsSettings {
            certificate: self.certificate.clone()?.0,
            key: self.key.clone()?.0,
            domains: None,
            handshake_timeout: self.handshake_timeout,
            check_interval: self.check_interval,
        })
    }
}

/// The node's own log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeLog {
    pub(crate) format: LogFormat,
    pub(crate) filter: String,
    /// What may wait to be written.
    pub(crate) queue_bytes: usize,
}

/// Form of the node's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("expected `text` or `json`"),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// A path that can be shown, and so can be a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilePath(pub(crate) PathBuf);

impl FromStr for FilePath {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            Err("a path must not be empty")
        } else {
            Ok(Self(text.into()))
        }
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// A timetable in UTC, written as its cron expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Utc(Timetable);

impl FromStr for Utc {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let timetable = Timetable::new(text, "UTC").map_err(|fault| format!("it {fault}"))?;
        Ok(Self(timetable))
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.cron())
    }
}

/// The name below which tenants and their applications are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseDomain(pub(crate) canopy_tenant::HostName);

impl FromStr for BaseDomain {
    type Err = canopy_tenant::InvalidHost;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        canopy_tenant::HostName::from_name(text).map(Self)
    }
}

impl fmt::Display for BaseDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Default for Settings {
    fn default() -> Self {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            data_dir: FilePath("canopy-data".into()),
            listen: local(8080),
            api_listen: local(8081),
            api_public: false,
            base_domain: BaseDomain(LOCALHOST.clone()),
            operator_token_file: None,
            private_networks: Vec::new(),
            operator_egress: OperatorEgress::default(),
            trusted_certificates: Vec::new(),
            upload_bytes: 64 << 20,
            min_free_bytes: 64 << 20,
            backup_dir: None,
            backup_roots: Vec::new(),
            backup_schedule: None,
            backup_prune: true,
            log: NodeLog {
                format: LogFormat::Text,
                filter: "info,h2=error".into(),
                queue_bytes: 4 << 20,
            },
            app: AppSettings {
                port: None,
                ..AppSettings::new(LOCALHOST.clone())
            },
            api: ApiSettings::default(),
            api_tls: ApiTls::default(),
            edge: EdgeSettings::default(),
            backlog: 4096,
            api_backlog: 512,
            descriptor_reserve: 1024,
            tls: Tls::default(),
            admission: AdmissionSettings::default(),
            engine: EngineSettings::default(),
            runtime: RuntimeSettings::default(),
            node_memory: NodeMemory::default(),
            keys: KeySettings::default(),
            storage: EmbeddedSettings::default(),
            blobs: BlobSettings::default(),
            sql: SqlSettings::default(),
            logs: LogSettings::default(),
        }
    }
}

static LOCALHOST: std::sync::LazyLock<canopy_tenant::HostName> = std::sync::LazyLock::new(|| {
    canopy_tenant::HostName::from_name("localhost").expect("`localhost` is a host name")
});

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("{path}: {error}")]
    Read { path: String, error: std::io::Error },
    #[error("{path}: {error}")]
    Syntax {
        path: String,
        error: toml::de::Error,
    },
    #[error("there is no setting `{key}`; {}", nearest_hint(nearest))]
    UnknownKey {
        key: String,
        nearest: Option<&'static str>,
    },
    #[error("setting `{key}`: {message}")]
    Value { key: &'static str, message: String },
    #[error("setting `{key}` means nothing without `{needs}`; set both or none")]
    Needs {
        key: &'static str,
        needs: &'static str,
    },
    #[error("variable {variable}: {message}")]
    Variable { variable: String, message: String },
    #[error(
        "setting `api_listen`: {address} can be reached by other machines, and the API speaks plain \
         HTTP. Listen at 127.0.0.1, give it a certificate by `api.tls.certificate` and `api.tls.key`, \
         or put a proxy with TLS before it and set `api_public = true`"
    )]
    PublicApi { address: SocketAddr },
    #[error(
        "settings `keys.operator_key_file` and `keys.operator_key_command`: the operator's key \
         comes from one of them; remove the other"
    )]
    TwoOperatorKeys,
    #[error("setting `{key}` is {value}: it must be at {bound}, as `{other}` is {than}")]
    Room {
        key: &'static str,
        value: u64,
        bound: String,
        other: &'static str,
        than: u64,
    },
    #[error(transparent)]
    Engine(#[from] canopy_engine::InvalidSetting),
}

fn nearest_hint(nearest: &Option<&'static str>) -> String {
    match nearest {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => "`canopy config` prints all there are".to_owned(),
    }
}

impl Settings {
    /// Reads `file`, if there is one, and lets variables override it. The texts are warnings.
    pub(crate) fn load(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Self, Vec<String>), SettingsError> {
        let mut settings = Self::default();
        if let Some(file) = file {
            let path = file.display().to_string();
            let text = std::fs::read_to_string(file).map_err(|error| SettingsError::Read {
                path: path.clone(),
                error,
            })?;
            let table: toml::Table = text
                .parse()
                .map_err(|error| SettingsError::Syntax { path, error })?;
            settings.apply_table("", &table)?;
        }
        let warnings = settings.apply_variables(variables)?;
        settings.validate()?;
        settings.share();
        Ok((settings, warnings))
    }

    fn apply_table(&mut self, prefix: &str, table: &toml::Table) -> Result<(), SettingsError> {
        for (name, value) in table {
            let name = format!("{prefix}{name}");
            if let Some(key) = keys().find(|key| key.name == name) {
                (key.set)(self, value).map_err(|message| SettingsError::Value {
                    key: key.name,
                    message,
                })?;
                continue;
            }
            let below = format!("{name}.");
            match value {
                toml::Value::Table(table) if keys().any(|k| k.name.starts_with(&below)) => {
                    self.apply_table(&below, table)?;
                }
                _ => {
                    let nearest = nearest(&name, keys().map(|key| key.name));
                    return Err(SettingsError::UnknownKey { key: name, nearest });
                }
            }
        }
        Ok(())
    }

    fn apply_variables(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Vec<String>, SettingsError> {
        let known: Vec<(String, &Key)> = keys().map(|key| (key.variable(), key)).collect();
        let mut warnings = Vec::new();
        for (variable, text) in variables {
            if !variable.starts_with("CANOPY_") || CLIENT_VARIABLES.contains(&&*variable) {
                continue;
            }
            match known.iter().find(|(name, _)| *name == variable) {
                Some((_, key)) => (key.set)(self, &toml::Value::String(text))
                    .map_err(|message| SettingsError::Variable { variable, message })?,
                None => {
                    let mut warning =
                        format!("the variable {variable} is no setting and is ignored");
                    if let Some(near) = nearest(&variable, known.iter().map(|(name, _)| &**name)) {
                        let _ = write!(warning, "; did you mean {near}?");
                    }
                    warnings.push(warning);
                }
            }
        }
        Ok(warnings)
    }

    /// Tells the control plane what it must know of the rest.
    fn share(&mut self) {
        let app = &mut self.app;
        app.base = self.base_domain.0.clone();
        app.opened_networks = self.private_networks.as_slice().into();
        app.operator_egress = Arc::new(self.operator_egress.clone());
        app.p3_enabled = self.engine.p3_enabled;
        app.upkeep.backup_dir = self.backup_dir.as_ref().map(|dir| dir.0.clone());
        let planned = self.backup_dir.as_ref().zip(self.backup_schedule.as_ref());
        app.upkeep.planned_backups = planned.map(|(dir, when)| PlannedBackups {
            timetable: when.0.clone(),
            repository: dir.0.clone(),
            prune: self.backup_prune,
        });
        app.upkeep.backup_roots = self.backup_roots.iter().map(|dir| dir.0.clone()).collect();
        let tls = self.tls.listen.filter(|_| self.tls.redirect);
        if tls.is_some() {
            app.scheme = "https".into();
        }
        app.port = match app.port {
            None => Some(tls.unwrap_or(self.listen).port()),
            Some(0) => None,
            port => port,
        };
    }

    fn validate(&self) -> Result<(), SettingsError> {
        let secure = self.api_tls.certificate.is_some();
        if !self.api_listen.ip().is_loopback() && !self.api_public && !secure {
            return Err(SettingsError::PublicApi {
                address: self.api_listen,
            });
        }
        if self.keys.operator_key_file.is_some() && !self.keys.operator_key_command.is_empty() {
            return Err(SettingsError::TwoOperatorKeys);
        }
        let Tls {
            listen,
            certificate,
            key,
            domains,
            redirect,
            ..
        } = &self.tls;
        let missing = match (listen, certificate, key) {
            (Some(_), None, _) => Some(("tls.listen", "tls.certificate")),
            (Some(_), _, None) => Some(("tls.listen", "tls.key")),
            (None, Some(_), _) => Some(("tls.certificate", "tls.listen")),
            (None, _, Some(_)) => Some(("tls.key", "tls.listen")),
            (None, _, _) if domains.is_some() => Some(("tls.domains", "tls.listen")),
            (None, _, _) if *redirect => Some(("tls.redirect", "tls.listen")),
            _ if secure && self.api_tls.key.is_none() => {
                Some(("api.tls.certificate", "api.tls.key"))
            }
            _ if self.api_tls.key.is_some() && !secure => {
                Some(("api.tls.key", "api.tls.certificate"))
            }
            _ if self.backup_schedule.is_some() && self.backup_dir.is_none() => {
                Some(("backup.schedule", "backup.dir"))
            }
            _ => None,
        };
        if let Some((key, needs)) = missing {
            return Err(SettingsError::Needs { key, needs });
        }
        if self.runtime.drivers.held >= self.runtime.driver_store_resources {
            return Err(SettingsError::Value {
                key: "driver.held",
                message:
                    "it has to be less than `driver.resources`, or one application could use up \
                          what others of its tenant are served by"
                        .to_owned(),
            });
        }
        self.engine.validate()?;
        room::check(self)
    }
}

/// Variables that the command line's client reads.
const CLIENT_VARIABLES: [&str; 5] = [
    "CANOPY_CA",
    "CANOPY_URL",
    "CANOPY_TOKEN",
    "CANOPY_TENANT",
    "CANOPY_CONFIG",
];

fn nearest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(text, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// All settings with their defaults and what they mean, as a file to start from.
pub(crate) fn documentation() -> String {
    let defaults = Settings::default();
    let mut text = String::from(
        "# Settings of `canopy serve --config FILE`, each with its default. The variable named with\n\
         # a setting overrides it.\n",
    );
    let mut table = "";
    for key in keys() {
        let (parent, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
        if parent != table {
            let _ = write!(text, "\n\n[{parent}]");
            table = parent;
        }
        text.push_str("\n\n");
        for line in wrap(key.doc, 97) {
            let _ = writeln!(text, "# {line}");
        }
        let _ = writeln!(text, "# {}; {}", key.form, key.variable());
        let value = (key.show)(&defaults).unwrap_or_else(|| "\"\"".to_owned());
        let _ = write!(text, "# {name} = {value}");
    }
    text.push('\n');
    text.replace("\n\n\n", "\n\n")
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut();
        match last {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod limits;
#[cfg(test)]
mod tests;
