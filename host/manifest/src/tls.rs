//! Which keys of the configuration say how a package's connections by TLS are made.

use toml::Table;

use crate::config::ConfigSchema;
use crate::error::Fault;
use crate::reader::Reader;

const MAX_KEY: usize = 128;

/// Keys of the configuration whose values are in PEM, `[network.tls]`. Each may be left unset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsAsked {
    /// Authorities that are trusted beside those of the public web.
    pub roots: Option<String>,
    /// The certificate, and its chain, that the package shows to servers that ask for one.
    pub certificate: Option<String>,
    /// The key of that certificate. It may be the same key of the configuration.
    pub key: Option<String>,
}

/// Reads `[network]`. `config` is `None` where it has faults itself.
pub(crate) fn read(
    table: Table,
    config: Option<&ConfigSchema>,
    faults: &mut Vec<Fault>,
) -> TlsAsked {
    let mut network = Reader::new("network", table, faults);
    let tls = network.table("tls");
    network.finish();
    let Some(tls) = tls else {
        return TlsAsked::default();
    };
    let mut reader = Reader::new("network.tls", tls, faults);
    let asked = TlsAsked {
        roots: reader.short_text("roots", MAX_KEY),
        certificate: reader.short_text("certificate", MAX_KEY),
        key: reader.short_text("key", MAX_KEY),
    };
    let named = [
        ("roots", &asked.roots),
        ("certificate", &asked.certificate),
        ("key", &asked.key),
    ];
    for (place, key) in named {
        let (Some(key), Some(config)) = (key, config) else {
            continue;
        };
        if config.document()["properties"].get(key).is_none() {
            let message = format!("`{key}` is not among the keys of `config.properties`");
            reader.fault(place, message);
        } else if place == "key" && !config.secrets().contains(key) {
            let message = format!("`{key}` must be a secret, with `writeOnly = true`");
            reader.fault(place, message);
        }
    }
    match (&asked.certificate, &asked.key) {
        (Some(_), None) => reader.fault("certificate", "needs a `key` beside it"),
        (None, Some(_)) => reader.fault("key", "needs a `certificate` beside it"),
        _ => {}
    }
    reader.finish();
    asked
}
