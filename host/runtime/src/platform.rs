//! Which interfaces the platform serves itself, whatever is bound.

use std::sync::LazyLock;

use canopy_ids::{Import, InterfaceName};

/// WASI 0.2, served in the version that wasmtime has; compatible ones link to it.
const WASI_0_2: &[&str] = &[
    "wasi:io/error@0.2.12",
    "wasi:io/poll@0.2.12",
    "wasi:io/streams@0.2.12",
    "wasi:clocks/monotonic-clock@0.2.12",
    "wasi:clocks/wall-clock@0.2.12",
    "wasi:random/random@0.2.12",
    "wasi:random/insecure@0.2.12",
    "wasi:random/insecure-seed@0.2.12",
    "wasi:cli/environment@0.2.12",
    "wasi:cli/exit@0.2.12",
    "wasi:cli/stdin@0.2.12",
    "wasi:cli/stdout@0.2.12",
    "wasi:cli/stderr@0.2.12",
    "wasi:cli/terminal-input@0.2.12",
    "wasi:cli/terminal-output@0.2.12",
    "wasi:cli/terminal-stdin@0.2.12",
    "wasi:cli/terminal-stdout@0.2.12",
    "wasi:cli/terminal-stderr@0.2.12",
    "wasi:filesystem/types@0.2.12",
    "wasi:filesystem/preopens@0.2.12",
    "wasi:sockets/network@0.2.12",
    "wasi:sockets/instance-network@0.2.12",
    "wasi:sockets/ip-name-lookup@0.2.12",
    "wasi:sockets/tcp@0.2.12",
    "wasi:sockets/tcp-create-socket@0.2.12",
    "wasi:sockets/udp@0.2.12",
    "wasi:sockets/udp-create-socket@0.2.12",
    "wasi:http/types@0.2.12",
    "wasi:http/outgoing-handler@0.2.12",
];

/// WASI 0.3, served where the operator has not switched it off.
const WASI_0_3: &[&str] = &[
    "wasi:clocks/types@0.3.0",
    "wasi:clocks/monotonic-clock@0.3.0",
    "wasi:clocks/system-clock@0.3.0",
    "wasi:random/random@0.3.0",
    "wasi:random/insecure@0.3.0",
    "wasi:random/insecure-seed@0.3.0",
    "wasi:cli/types@0.3.0",
    "wasi:cli/environment@0.3.0",
    "wasi:cli/exit@0.3.0",
    "wasi:cli/stdin@0.3.0",
    "wasi:cli/stdout@0.3.0",
    "wasi:cli/stderr@0.3.0",
    "wasi:cli/terminal-input@0.3.0",
    "wasi:cli/terminal-output@0.3.0",
    "wasi:cli/terminal-stdin@0.3.0",
    "wasi:cli/terminal-stdout@0.3.0",
    "wasi:cli/terminal-stderr@0.3.0",
    "wasi:filesystem/types@0.3.0",
    "wasi:filesystem/preopens@0.3.0",
    "wasi:sockets/types@0.3.0",
    "wasi:sockets/ip-name-lookup@0.3.0",
    "wasi:http/types@0.3.0",
    "wasi:http/client@0.3.0",
];

/// The capabilities of the platform.
const CAPABILITIES: &[&str] = &[
    "canopy:tenant/identity@0.1.0",
    "wasi:config/store@0.2.0-rc.1",
    "wasi:config/store@0.2.0-draft-2024-09-27",
    "wasi:logging/logging@0.1.0-draft",
    "canopy:storage/blobs@0.1.0",
    "wasi:blobstore/types@0.2.0-draft",
    "wasi:blobstore/container@0.2.0-draft",
    "wasi:blobstore/blobstore@0.2.0-draft",
    "wasi:keyvalue/store@0.2.0-draft",
    "wasi:keyvalue/atomics@0.2.0-draft",
    "wasi:keyvalue/batch@0.2.0-draft",
    "wasi:keyvalue/store@0.2.0-draft2",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:keyvalue/batch@0.2.0-draft2",
    "fermyon:spin/key-value@2.0.0",
    "spin:key-value/key-value@3.0.0",
    "canopy:storage/key-value@0.1.0",
    "canopy:storage/sql@0.1.0",
    "spin:sqlite/sqlite@3.1.0",
    "fermyon:spin/sqlite@2.0.0",
];

static INTERFACES: LazyLock<Vec<InterfaceName>> = LazyLock::new(|| {
    let all = [WASI_0_2, WASI_0_3, CAPABILITIES];
    all.into_iter()
        .flatten()
        .filter_map(|name| name.parse().ok())
        .collect()
});

/// Every interface that the platform serves itself, in the version that it serves.
pub fn interfaces() -> &'static [InterfaceName] {
    &INTERFACES
}

/// Whether the platform serves `import` itself. Of WASI 0.2 and 0.3 any version counts that is
/// compatible with the served one, also a newer one: what it has more is looked for when the
/// component is linked.
pub fn serves(import: &InterfaceName) -> bool {
    interfaces()
        .iter()
        .any(|served| import.accepts(served) || served.accepts(import))
}

/// What an interface stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Keys and values.
    KeyValue,
    /// Objects.
    Blobs,
    /// SQL databases.
    Sql,
}

/// What `interface` stores, where it stands for an installation's own storage. A driver that
/// imports it has none unless a binding says so: it would be that of whoever calls.
pub fn storage_of(interface: &InterfaceName) -> Option<Storage> {
    let package = &interface.package;
    match (&*package.namespace, &*package.name, &*interface.interface) {
        ("wasi", "keyvalue", _) | ("spin", "key-value", _) => Some(Storage::KeyValue),
        ("canopy", "storage", "key-value") | ("fermyon", "spin", "key-value") => {
            Some(Storage::KeyValue)
        }
        ("wasi", "blobstore", _) | ("canopy", "storage", "blobs") => Some(Storage::Blobs),
        ("canopy", "storage", "sql") | ("fermyon", "spin", "sqlite") | ("spin", "sqlite", _) => {
            Some(Storage::Sql)
        }
        _ => None,
    }
}

/// Whether the platform serves `import` itself. Under a label it serves what stores.
pub fn serves_import(import: &Import) -> bool {
    serves(&import.interface) && (import.label.is_none() || storage_of(&import.interface).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(name: &str) -> bool {
        serves(&name.parse().expect(name))
    }

    #[test]
    fn every_name_in_the_lists_is_one() {
        assert_eq!(
            interfaces().len(),
            WASI_0_2.len() + WASI_0_3.len() + CAPABILITIES.len()
        );
    }

    #[test]
    fn compatible_versions_are_served() {
        for name in [
            "wasi:http/types@0.2.0",
            "wasi:http/types@0.2.12",
            "wasi:http/types@0.2.13",
            "wasi:http/client@0.3.2",
            "wasi:keyvalue/store@0.2.0-draft2",
            "canopy:tenant/identity@0.1.0",
        ] {
            assert!(served(name), "{name}");
        }
    }

    #[test]
    fn others_are_not() {
        for name in [
            "wasi:http/types",
            "wasi:http/types@0.4.0",
            "wasi:http/types@0.3.0-rc-2025-09-16",
            "wasi:http/incoming-handler@0.2.0",
            "wasi:keyvalue/store@0.2.0",
            "wasi:keyvalue/watcher@0.2.0-draft2",
            "acme:payments/charge@1.2.0",
        ] {
            assert!(!served(name), "{name}");
        }
    }
}
