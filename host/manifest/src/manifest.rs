//! The manifest as a whole: its fields, their limits, and reading them.

use canopy_ids::{InterfaceName, PackageName};
use semver::Version;
use toml::Table;

use crate::config::ConfigSchema;
use crate::error::{Fault, ManifestError};
use crate::need::Need;
use crate::reader::Reader;
use crate::schedule::{self, ScheduleAsked};
use crate::sql::{self, SqlAsked};
use crate::store::{self, StoreAsked};
use crate::subscription::{self, SubscriptionAsked};
use crate::tls::{self, TlsAsked};

/// Bytes of the longest manifest that is read. An inlined icon is the only thing that makes one
/// grow past a few kilobytes.
pub const MAX_MANIFEST_BYTES: usize = 128 << 10;

const MAX_TITLE: usize = 80;
const MAX_SUMMARY: usize = 200;
const MAX_DESCRIPTION: usize = 20_000;
const MAX_REASON: usize = 400;
const MAX_URL: usize = 2_000;
const MAX_ICON: usize = 64 << 10;
const MAX_ENTRIES: usize = 64;

/// What a package is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Answers HTTP requests.
    App,
    /// Serves interfaces that applications import.
    Driver,
}

impl Kind {
    /// The kind as it stands in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Driver => "driver",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Kind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "app" => Ok(Self::App),
            "driver" => Ok(Self::Driver),
            _ => Err("must be `app` or `driver`"),
        }
    }
}

/// Limits that a package asks for. What is absent is the platform's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitsAsked {
    /// Bytes of all linear memories and tables of one instance.
    pub memory_bytes: Option<u64>,
    /// Milliseconds that the guest may run for one call.
    pub cpu_ms: Option<u64>,
    /// Milliseconds from a request's arrival to the end of its response.
    pub wall_ms: Option<u64>,
    /// Milliseconds from a request's arrival to the end of a response that streams.
    pub stream_ms: Option<u64>,
    /// Requests of one installation under way at once.
    pub concurrency: Option<u32>,
    /// Stores at once, which share nothing; of a driver only.
    pub instances: Option<u32>,
    /// Bytes of one request body.
    pub request_body_bytes: Option<u64>,
}

/// A manifest whose content is valid in itself.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The package's name, `publisher/name`.
    pub name: PackageName,
    /// The version that this manifest describes.
    pub version: Version,
    /// What the package is for.
    pub kind: Kind,
    /// What people call it.
    pub title: String,
    /// One sentence about it.
    pub summary: String,
    /// A longer text in Markdown; may be empty.
    pub description: String,
    /// Where a catalogue lists it.
    pub categories: Vec<String>,
    /// An image, as a `data:image/…` or `https:` URL.
    pub icon: Option<String>,
    /// The licence's SPDX expression.
    pub license: Option<String>,
    /// Where to read more, an `https:` or `http:` URL.
    pub homepage: Option<String>,
    /// Where the build leaves the component, relative to the manifest.
    pub component: String,
    /// The interfaces that it asks for.
    pub needs: Vec<Need>,
    /// The stores of keys and values that it opens besides `default`; of an app only.
    pub stores: Vec<StoreAsked>,
    /// The SQL databases that it opens, and what brings them to its version; of an app only.
    pub sql: Vec<SqlAsked>,
    /// The interfaces that it serves; of a driver only.
    pub serves: Vec<InterfaceName>,
    /// Its configuration.
    pub config: ConfigSchema,
    /// Which of its keys say how connections by TLS are made.
    pub tls: TlsAsked,
    /// Path patterns that anonymous callers may reach; of an app only.
    pub anonymous: Vec<String>,
    /// Whether an instance may serve one request after the other though the component is of WASI
    /// 0.2, whose guests expect to end with their request; of an app only.
    pub reuse: bool,
    /// The calls that it asks to get at certain times; of an app only.
    pub schedules: Vec<ScheduleAsked>,
    /// The messages that it asks for; of an app only.
    pub subscriptions: Vec<SubscriptionAsked>,
    /// The limits that it asks for.
    pub limits: LimitsAsked,
}

impl Manifest {
    /// Reads a manifest.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        if text.len() > MAX_MANIFEST_BYTES {
            let (actual, limit) = (text.len(), MAX_MANIFEST_BYTES);
            return Err(ManifestError::TooLong { actual, limit });
        }
        let table: Table = toml::from_str(text).map_err(|error| syntax(text, &error))?;
        let mut faults = Vec::new();
        let manifest = read(table, &mut faults);
        match manifest {
            Some(manifest) if faults.is_empty() => Ok(manifest),
            _ => Err(ManifestError::Faults(faults)),
        }
    }
}

fn syntax(text: &str, error: &toml::de::Error) -> ManifestError {
    let offset = error.span().map_or(0, |span| span.start);
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    ManifestError::Syntax {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        message: error.message().chars().take(300).collect(),
    }
}

fn read(table: Table, faults: &mut Vec<Fault>) -> Option<Manifest> {
    let mut top = Reader::new("", table, faults);
    let name = top.required_parsed::<PackageName>("name");
    let version = top.required_parsed::<Version>("version");
    let kind = top.required_parsed::<Kind>("kind");
    let title = top.required_text("title", MAX_TITLE);
    let summary = top.required_text("summary", MAX_SUMMARY);
    let description = top
        .short_text("description", MAX_DESCRIPTION)
        .unwrap_or_default();
    let categories = top.texts("categories", MAX_ENTRIES);
    for (index, category) in categories.iter().enumerate() {
        if let Err(error) = category.parse::<canopy_ids::Label>() {
            top.fault(&format!("categories[{index}]"), error.to_string());
        }
    }
    let icon = top.text("icon");
    if let Some(fault) = icon.as_deref().and_then(icon_fault) {
        top.fault("icon", fault);
    }
    let license = top.short_text("license", MAX_TITLE);
    let homepage = top.short_text("homepage", MAX_URL);
    if homepage.as_deref().is_some_and(|url| !is_web_url(url)) {
        top.fault("homepage", "must begin with `https://` or `http://`");
    }
    let component = top.required_text("component", MAX_URL);
    if component.starts_with('/') || component.split(['/', '\\']).any(|part| part == "..") {
        top.fault("component", "must be a path below the manifest's folder");
    }

    let mut needs = Vec::new();
    for (path, table) in top.tables("needs", MAX_ENTRIES) {
        needs.extend(read_need(&path, table, top.faults()));
    }
    for (index, need) in needs.iter().enumerate() {
        let same = |other: &Need| other.interface == need.interface && other.label == need.label;
        if needs[..index].iter().any(same) {
            top.fault(
                &format!("needs[{index}]"),
                format!("`{need}` is named twice"),
            );
        }
    }
    let tables = top.tables("stores", MAX_ENTRIES);
    if kind == Some(Kind::Driver) && !tables.is_empty() {
        top.fault(
            "stores",
            "only an app has storage; this package is a driver",
        );
    }
    let stores = store::read(tables, top.faults());
    let tables = top.tables("sql", MAX_ENTRIES);
    if kind == Some(Kind::Driver) && !tables.is_empty() {
        top.fault("sql", "only an app has databases; this package is a driver");
    }
    let sql = sql::read(tables, top.faults());
    let serves = match top.table("serves") {
        Some(table) => read_serves(table, kind, top.faults()),
        None => Vec::new(),
    };
    if kind == Some(Kind::Driver) && serves.is_empty() {
        top.fault(
            "serves.interfaces",
            "a driver must name the interfaces that it serves",
        );
    }
    let config = match top.table("config") {
        Some(table) => ConfigSchema::read("config", table, top.faults()),
        None => Some(ConfigSchema::none()),
    };
    let tls = match top.table("network") {
        Some(table) => tls::read(table, config.as_ref(), top.faults()),
        None => TlsAsked::default(),
    };
    let (anonymous, reuse) = match top.table("http") {
        Some(table) => read_http(table, kind, top.faults()),
        None => (Vec::new(), false),
    };
    let tables = top.tables("schedules", MAX_ENTRIES);
    if kind == Some(Kind::Driver) && !tables.is_empty() {
        top.fault(
            "schedules",
            "only an app is called at certain times; this package is a driver",
        );
    }
    let schedules = schedule::read(tables, top.faults());
    let tables = top.tables("subscriptions", MAX_ENTRIES);
    if kind == Some(Kind::Driver) && !tables.is_empty() {
        top.fault(
            "subscriptions",
            "only an app gets messages; this package is a driver",
        );
    }
    let subscriptions = subscription::read(tables, top.faults());
    let limits = match top.table("limits") {
        Some(table) => read_limits(table, kind, top.faults()),
        None => LimitsAsked::default(),
    };
    top.finish();

    Some(Manifest {
        name: name?,
        version: version?,
        kind: kind?,
        title,
        summary,
        description,
        categories,
        icon,
        license,
        homepage,
        component,
        needs,
        stores,
        sql,
        serves,
        config: config?,
        tls,
        anonymous,
        reuse,
        schedules,
        subscriptions,
        limits,
    })
}

fn read_need(path: &str, table: Table, faults: &mut Vec<Fault>) -> Option<Need> {
    let mut reader = Reader::new(path, table, faults);
    let interface = reader.required_parsed("interface");
    let label = reader.parsed("label");
    let reason = reader.required_text("reason", MAX_REASON);
    let hosts = reader.texts("hosts", MAX_ENTRIES);
    for (index, host) in hosts.iter().enumerate() {
        if !is_egress_rule(host) {
            reader.fault(
                &format!("hosts[{index}]"),
                "must be `host:port`, as in `api.example.com:443`, with a scheme and methods before \
                 it if it is for these alone, as in `GET,HEAD https://api.example.com`, or `*` for \
                 hosts that the configuration decides",
            );
        }
    }
    reader.finish();
    Some(Need {
        interface: interface?,
        label,
        reason,
        hosts,
    })
}

/// Whether `text` has the form of an egress rule: `[METHODS ][SCHEME://]HOST[:PORT]`, or `*`. What
/// hosts and methods there are is known to the platform.
fn is_egress_rule(text: &str) -> bool {
    let (methods, rest) = match text.split_once(' ') {
        Some((methods, rest)) => (Some(methods), rest),
        None => (None, text),
    };
    let (scheme, place) = match rest.split_once("://") {
        Some((scheme, place)) => (Some(scheme), place),
        None => (None, rest),
    };
    let is_method = |method: &str| {
        !method.is_empty() && method.bytes().all(|c| c.is_ascii_uppercase() || c == b'-')
    };
    let has_port = place.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && (port == "*" || port.parse::<u16>().is_ok_and(|port| port != 0))
    });
    let is_web = matches!(scheme, Some("http" | "https"));
    text == "*"
        || (text.len() <= 300
            && methods.is_none_or(|methods| methods.split(',').all(is_method))
            && matches!(scheme, None | Some("http" | "https" | "tcp" | "udp"))
            && (methods.is_none() || scheme.is_none() || is_web)
            && !place.is_empty()
            && !place.contains(['/', '@', ' '])
            && (has_port || is_web))
}

fn read_serves(table: Table, kind: Option<Kind>, faults: &mut Vec<Fault>) -> Vec<InterfaceName> {
    let mut reader = Reader::new("serves", table, faults);
    let texts = reader.texts("interfaces", MAX_ENTRIES);
    let mut interfaces: Vec<InterfaceName> = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let key = format!("interfaces[{index}]");
        match text.parse::<InterfaceName>() {
            Ok(name) if interfaces.contains(&name) => {
                reader.fault(&key, format!("`{name}` is named twice"));
            }
            Ok(name) => interfaces.push(name),
            Err(error) => reader.fault(&key, error.to_string()),
        }
    }
    if kind == Some(Kind::App) {
        reader.fault(
            "interfaces",
            "only a driver serves interfaces; this package is an app",
        );
    }
    reader.finish();
    interfaces
}

fn read_http(table: Table, kind: Option<Kind>, faults: &mut Vec<Fault>) -> (Vec<String>, bool) {
    let mut reader = Reader::new("http", table, faults);
    let anonymous = reader.texts("anonymous", MAX_ENTRIES);
    for (index, pattern) in anonymous.iter().enumerate() {
        if !is_path_pattern(pattern) {
            reader.fault(
                &format!("anonymous[{index}]"),
                "must be a path such as `/login`, or `/api/*` for everything below `/api/`",
            );
        }
    }
    let reuse = reader.boolean("reuse").unwrap_or(false);
    if kind == Some(Kind::Driver) {
        reader.fault(
            "anonymous",
            "only an app answers HTTP requests; this package is a driver",
        );
    }
    reader.finish();
    (anonymous, reuse)
}

fn read_limits(table: Table, kind: Option<Kind>, faults: &mut Vec<Fault>) -> LimitsAsked {
    let mut reader = Reader::new("limits", table, faults);
    let limits = LimitsAsked {
        memory_bytes: reader.number("memory_bytes", 64 << 10, 4 << 30),
        cpu_ms: reader.number("cpu_ms", 1, 3_600_000),
        wall_ms: reader.number("wall_ms", 1, 86_400_000),
        stream_ms: reader.number("stream_ms", 1, 604_800_000),
        concurrency: reader
            .number("concurrency", 1, 100_000)
            .and_then(|number| u32::try_from(number).ok()),
        instances: reader
            .number("instances", 1, 1_000)
            .and_then(|number| u32::try_from(number).ok()),
        request_body_bytes: reader.number("request_body_bytes", 0, 1 << 40),
    };
    if kind == Some(Kind::App) && limits.instances.is_some() {
        reader.fault(
            "instances",
            "only a driver has instances that last; this package is an app",
        );
    }
    reader.finish();
    limits
}

fn is_web_url(url: &str) -> bool {
    url.strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
}

fn icon_fault(icon: &str) -> Option<String> {
    if icon.len() > MAX_ICON {
        return Some(format!(
            "has {} bytes; at most {MAX_ICON} are allowed",
            icon.len()
        ));
    }
    let is_data = icon.starts_with("data:image/") && icon.contains(',');
    let is_web = icon.starts_with("https://") && is_web_url(icon) && icon.len() <= MAX_URL;
    (!is_data && !is_web).then(|| "must be a `data:image/…` URL or an `https://` URL".to_owned())
}

fn is_path_pattern(pattern: &str) -> bool {
    let path = match pattern.strip_suffix('*') {
        Some(path) if path.ends_with('/') => path,
        Some(_) => return false,
        None => pattern,
    };
    path.starts_with('/')
        && !path.contains("//")
        && !path.contains(['*', '?', '#', ' ', '\\', ';', '%'])
        && !path.split('/').any(|segment| matches!(segment, "." | ".."))
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
