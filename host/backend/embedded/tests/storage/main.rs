//! What embedded storage does beyond the suite: files, group commit, idle closing, erasure,
//! quota, refusals.

mod commits;
mod files;
mod quota;
#[path = "../support/mod.rs"]
mod support;
mod tenants;
mod upkeep;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use canopy_backend::{KeyValue, KeyValueProvider, Scope};
use canopy_backend_embedded::EmbeddedStorage;

async fn bucket(storage: &EmbeddedStorage, scope: Scope) -> Arc<dyn KeyValue> {
    storage
        .open(scope, "default")
        .await
        .expect("a bucket opens")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<_> = entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("in ten seconds: {what}");
}
