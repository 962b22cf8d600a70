//! The rooms of the host and who may call whom: what is not listed here is not allowed.
//!
//! A request flows `edge → tenant → admission → runtime → driver → capability → backend`; nobody
//! calls to the left. The control plane stands beside that way and reaches it only through the
//! snapshot of `tenant` and the descriptions of `runtime`. The command line knows the API's types
//! and nothing else of the host. A new edge is a decision: add it here, with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Every crate of the host, in request order, with the crates of the host it may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    // Names and identifiers, and what is written in a manifest: everybody may know them.
    ("canopy-ids", &[]),
    ("canopy-manifest", &["canopy-ids"]),
    // The way of a request.
    (
        "canopy-edge",
        // `runtime` last: it is handed to the edge behind one trait, with its errors.
        &[
            "canopy-ids",
            "canopy-tenant",
            "canopy-admission",
            "canopy-runtime",
        ],
    ),
    // A route leads to a description that the runtime runs.
    ("canopy-tenant", &["canopy-ids", "canopy-runtime"]),
    ("canopy-admission", &["canopy-ids"]),
    (
        "canopy-runtime",
        &[
            "canopy-ids",
            "canopy-engine",
            "canopy-driver",
            "canopy-capability-blobs",
            "canopy-capability-config",
            "canopy-capability-identity",
            "canopy-capability-keyvalue",
            "canopy-capability-log",
            "canopy-capability-messages",
            "canopy-capability-network",
            "canopy-capability-sql",
            "canopy-backend",
            "canopy-backend-logs",
            // Over the same storage as keys and values.
            "canopy-backend-queue",
        ],
    ),
    (
        "canopy-driver",
        // The capabilities for what their streams and futures carry, which a driver may hand on;
        // `backend` for the account of what the host keeps.
        &[
            "canopy-ids",
            "canopy-backend",
            "canopy-engine",
            "canopy-capability-blobs",
            "canopy-capability-sql",
        ],
    ),
    // wasmtime: no SQL, no HTTP API, no capability.
    ("canopy-engine", &["canopy-ids"]),
    // Capabilities know the backend that they need, and not one another.
    ("canopy-capability-blobs", &["canopy-ids", "canopy-backend"]),
    ("canopy-capability-config", &["canopy-ids"]),
    ("canopy-capability-identity", &["canopy-ids"]),
    (
        "canopy-capability-keyvalue",
        &["canopy-ids", "canopy-backend"],
    ),
    (
        "canopy-capability-log",
        &["canopy-ids", "canopy-backend-logs"],
    ),
    (
        "canopy-capability-messages",
        &["canopy-ids", "canopy-backend", "canopy-backend-logs"],
    ),
    (
        "canopy-capability-network",
        // `backend` for the account of what the host keeps.
        &["canopy-ids", "canopy-backend", "canopy-backend-logs"],
    ),
    ("canopy-capability-sql", &["canopy-backend"]),
    // Backends know no WebAssembly.
    ("canopy-backend", &["canopy-ids"]),
    // Files of backups and archives, by way of the traits alone.
    ("canopy-backend-archive", &["canopy-ids", "canopy-backend"]),
    // The operator's key and what it wraps; files that are opened with such keys.
    ("canopy-backend-keys", &["canopy-ids", "canopy-backend"]),
    (
        "canopy-backend-sqlite",
        &["canopy-backend", "canopy-backend-keys"],
    ),
    (
        "canopy-backend-embedded",
        &[
            "canopy-ids",
            "canopy-backend",
            "canopy-backend-keys",
            "canopy-backend-sqlite",
        ],
    ),
    (
        "canopy-backend-blobs",
        &[
            "canopy-ids",
            "canopy-backend",
            "canopy-backend-keys",
            "canopy-backend-sqlite",
        ],
    ),
    (
        "canopy-backend-sql",
        &[
            "canopy-ids",
            "canopy-backend",
            "canopy-backend-keys",
            "canopy-backend-sqlite",
        ],
    ),
    ("canopy-backend-logs", &["canopy-ids", "canopy-backend"]),
    // Over the traits alone.
    ("canopy-backend-queue", &["canopy-ids", "canopy-backend"]),
    // The control plane, beside the way.
    ("canopy-api-types", &["canopy-ids"]),
    (
        "canopy-store",
        // Its own file is encrypted like all others.
        &[
            "canopy-ids",
            "canopy-manifest",
            "canopy-backend-keys",
            "canopy-backend-sqlite",
        ],
    ),
    (
        "canopy-app",
        &[
            "canopy-ids",
            "canopy-manifest",
            "canopy-api-types",
            "canopy-store",
            // It publishes the snapshot …
            "canopy-tenant",
            "canopy-runtime",
            // … checks components and bindings before they are saved …
            "canopy-engine",
            "canopy-driver",
            "canopy-capability-network",
            // … erases what a tenant leaves behind …
            "canopy-backend",
            "canopy-backend-logs",
            // … and backs up, exports, and changes keys.
            "canopy-backend-archive",
            "canopy-backend-keys",
        ],
    ),
    (
        "canopy-api",
        // The others for the causes for which an upload or a write is refused, which it explains.
        &[
            "canopy-ids",
            "canopy-app",
            "canopy-api-types",
            "canopy-manifest",
            "canopy-engine",
            "canopy-backend",
        ],
    ),
    (
        "canopy-cli",
        &["canopy-ids", "canopy-manifest", "canopy-api-types"],
    ),
    // Measures single steps; no part of a node.
    ("canopy-bench", &[]),
    // Tries the storage under faults; no part of a node.
    ("canopy-faults", &[]),
    // Wires everything; nobody depends on it.
    (
        "canopy",
        &[
            "canopy-ids",
            "canopy-edge",
            "canopy-tenant",
            "canopy-admission",
            "canopy-runtime",
            "canopy-engine",
            "canopy-backend",
            "canopy-backend-archive",
            "canopy-backend-blobs",
            "canopy-backend-embedded",
            "canopy-backend-keys",
            "canopy-backend-logs",
            "canopy-backend-sql",
            "canopy-store",
            "canopy-app",
            "canopy-api",
            "canopy-cli",
        ],
    ),
];

/// Crates that only the named rooms may use, because they decide what a room is.
const RESERVED: &[(&str, &[&str])] = &[
    (
        "wasmtime",
        &[
            "canopy-engine",
            "canopy-driver",
            "canopy-runtime",
            "canopy-app",
            "canopy-capability-blobs",
            "canopy-capability-config",
            "canopy-capability-identity",
            "canopy-capability-keyvalue",
            "canopy-capability-log",
            "canopy-capability-messages",
            "canopy-capability-network",
            "canopy-capability-sql",
        ],
    ),
    (
        "rusqlite",
        &[
            "canopy-backend-sqlite",
            "canopy-backend-embedded",
            "canopy-backend-blobs",
            "canopy-backend-sql",
            "canopy-store",
        ],
    ),
    ("axum", &["canopy-api", "canopy"]),
    ("reqwest", &["canopy-cli"]),
];

/// The crates of the workspace with what each needs to run; what only tests need is not listed.
fn workspace() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .arg(concat!(
            "--manifest-path=",
            env!("CARGO_MANIFEST_DIR"),
            "/Cargo.toml"
        ))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            let needed = dependencies.iter().filter(|one| one["kind"] != "dev");
            (
                text(&package["name"]),
                needed.map(|one| text(&one["name"])).collect(),
            )
        })
        .collect()
}

#[test]
fn rooms_call_only_whom_they_may() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let workspace = workspace();
    let mut wrong = Vec::new();
    for (name, needed) in &workspace {
        let Some(may) = allowed.get(&**name) else {
            wrong.push(format!("{name} is not in the list of this test"));
            continue;
        };
        for other in needed.iter().filter(|other| workspace.contains_key(*other)) {
            if !may.contains(&&**other) {
                wrong.push(format!("{name} must not depend on {other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_list_names_crates_that_exist() {
    let workspace = workspace();
    for (name, may) in ALLOWED {
        for name in [name].into_iter().chain(*may) {
            assert!(workspace.contains_key(*name), "{name} does not exist");
        }
    }
}

#[test]
fn what_makes_a_room_stays_in_it() {
    for (name, needed) in workspace() {
        for (reserved, rooms) in RESERVED {
            assert!(
                !needed.contains(*reserved) || rooms.contains(&&*name),
                "{name} must not use {reserved}"
            );
        }
    }
}

#[test]
fn the_allowed_edges_make_no_circle() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    while done.len() < allowed.len() {
        let before = done.len();
        for (name, may) in &allowed {
            if may.iter().all(|other| done.contains(other)) {
                done.insert(name);
            }
        }
        assert!(done.len() > before, "a circle among {:?}", allowed.keys());
    }
}
