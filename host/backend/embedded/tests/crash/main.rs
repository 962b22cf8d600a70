//! The storage in a process that is killed at any moment, or whose disk fails: everything
//! acknowledged is there afterwards, and nothing is there by half.
//!
//! The process is this test program itself, run again with one of the ignored tests in `child`.
//! It acknowledges on its standard output, which survives it. `CANOPY_CRASH_ROUNDS` sets how
//! often it is killed.

mod acknowledged;
mod child;
mod disk;
mod process;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use canopy_backend::{KeyValueProvider, Maintenance};
use canopy_backend_embedded::EmbeddedSettings;

use crate::acknowledged::Acknowledged;
use crate::process::Setup;
use crate::support::{folder, open, scope};

/// Kills of one storage; then comes a new one, as each check reads all there is.
const KILLS: usize = 20;

fn settings() -> EmbeddedSettings {
    // Short, so that kills also meet databases being opened and closed.
    EmbeddedSettings {
        idle_close: Duration::from_millis(20),
        ..Default::default()
    }
}

/// What task `task` stores as its write number `n`: one page or two, or a part of one.
fn value(task: u64, n: u64) -> Vec<u8> {
    let length = 1 + usize::try_from((task * 7919 + n * 104_729) % 6000).expect("small");
    format!("{task}/{n}:")
        .bytes()
        .cycle()
        .take(length)
        .collect()
}

fn rounds(default: usize) -> usize {
    let set = std::env::var("CANOPY_CRASH_ROUNDS").ok();
    set.and_then(|rounds| rounds.parse().ok())
        .unwrap_or(default)
}

#[tokio::test]
async fn killed_at_any_moment_everything_acknowledged_is_there() {
    let rounds = rounds(20);
    let mut lines = 0;
    for round in (0..rounds).step_by(KILLS) {
        let mut setup = Setup::new();
        let mut acknowledged = Acknowledged::default();
        for _ in round..rounds.min(round + KILLS) {
            setup.first = acknowledged.next;
            let child = setup.start("child::writing");
            let within = Duration::from_millis(120);
            let status = child.kill_within(within, |line| acknowledged.take(line));
            assert!(!status.success(), "the child was killed");
            acknowledged.check(&setup).await;
        }
        lines += acknowledged.lines;
    }
    println!("{rounds} kills, {lines} acknowledgements, none lost");
}

/// Kills a process in the middle of erasing: the installation is whole or gone, and the next
/// start leaves no file of what is gone.
#[tokio::test]
async fn killed_while_erasing_an_installation_is_whole_or_gone() {
    let mut setup = Setup::new();
    for _ in 0..rounds(10).min(100) {
        setup.scope = scope();
        setup
            .start("child::erasing")
            .kill_within(Duration::from_millis(4), |_| {});
        let storage = open(setup.dir(), settings());
        if folder(setup.dir(), setup.scope).exists() {
            let bucket = storage
                .open(setup.scope, "default")
                .await
                .expect("a bucket opens");
            let page = bucket.list("", None, 1000).await.expect("list");
            assert_eq!(page.keys.len(), 100, "it is there, so all of it is");
            storage.erase(setup.scope).await.expect("erased");
        }
        storage.close().await;
        let tenant = setup.dir().join(setup.scope.tenant.to_string());
        let left = std::fs::read_dir(tenant).expect("the folder").count();
        assert!(left <= 1, "only the tenant's keys are left");
    }
}
