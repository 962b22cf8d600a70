//! A disk that is full for a while, injected by strace into the system calls of the process. What one
//! failing call does is tried by `tests/faults`, each in turn.
//!
//! `cargo test -p canopy-backend-embedded --test crash disk -- --ignored`

use canopy_backend::KeyValueProvider;

use crate::process::Setup;
use crate::settings;
use crate::support::open;

/// A setup whose files exist, so that a fault meets a write and not their making.
async fn made() -> Setup {
    let setup = Setup::new();
    let storage = open(setup.dir(), settings());
    let bucket = storage
        .open(setup.scope, "default")
        .await
        .expect("a bucket opens");
    bucket.increment("counter", 0).await.expect("increment");
    storage.close().await;
    setup
}

/// The disk is full from the n-th write on, for ten writes: none of them is acknowledged, what
/// was there is read, and when there is space again writing goes on.
#[tokio::test]
#[ignore = "needs strace"]
async fn a_full_disk_refuses_writes_and_nothing_else() {
    let mut refused = Vec::new();
    for n in (1..120).step_by(4) {
        let setup = made().await;
        let fault = format!("error=ENOSPC:when={n}..{}", n + 9);
        let process = setup.start_with_fault("child::on_a_full_disk", "pwrite64", &fault);
        let status = process.read(|line| refused.push(line.to_owned()));
        assert!(
            status.success(),
            "n = {n}: {status}, {} refused",
            refused.len()
        );
    }
    refused.sort();
    let full = refused
        .iter()
        .filter(|line| line.ends_with("the disk of the node is full"))
        .count();
    let refusals = refused.len();
    refused.dedup();
    assert!(
        full > 20 && full * 10 > refusals * 9,
        "{full} of {refusals}: {refused:?}"
    );
}
