//! A disk that fails, injected by strace into the system calls of the process.
//!
//! `cargo test -p canopy-backend-embedded --test crash disk -- --ignored`

use std::os::unix::process::ExitStatusExt;

use canopy_backend::KeyValueProvider;

use crate::acknowledged::Acknowledged;
use crate::process::Setup;
use crate::settings;
use crate::support::open;

const SYNC: &str = "fsync,fdatasync";
/// What changes files and folders; acknowledgements are written too, and may be cut off.
const CHANGE: &str = "write,pwrite64,ftruncate,rename,renameat,renameat2,unlink,unlinkat,mkdir";
const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

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

/// The disk fails to synchronise, once, at the n-th time: what was not synchronised is not
/// acknowledged, and the process ends instead of trying again.
#[tokio::test]
#[ignore = "needs strace"]
async fn a_failed_synchronisation_ends_the_process_and_acknowledges_nothing() {
    for n in 1..40 {
        let setup = made().await;
        let mut acknowledged = Acknowledged::default();
        let process =
            setup.start_with_fault("child::writing", SYNC, &format!("error=EIO:when={n}"));
        let status = process.read(|line| acknowledged.take(line));
        assert_eq!(status.signal(), Some(SIGABRT), "n = {n}");
        acknowledged.check(&setup).await;
    }
}

/// Killed at the n-th synchronisation, for each n in turn, from the making of the files on.
#[tokio::test]
#[ignore = "needs strace"]
async fn killed_at_each_synchronisation_everything_acknowledged_is_there() {
    for n in 1..80 {
        let setup = Setup::new();
        let mut acknowledged = Acknowledged::default();
        let process =
            setup.start_with_fault("child::writing", SYNC, &format!("signal=KILL:when={n}"));
        let status = process.read(|line| acknowledged.take(line));
        assert_eq!(status.signal(), Some(SIGKILL), "n = {n}");
        acknowledged.check(&setup).await;
    }
}

/// Killed at the n-th call that changes a file or a folder, for each n in turn, from the making of
/// the keys on.
#[tokio::test]
#[ignore = "needs strace"]
async fn killed_at_each_change_everything_acknowledged_is_there() {
    for n in 1..200 {
        let setup = Setup::new();
        let mut acknowledged = Acknowledged::default();
        let fault = format!("signal=KILL:when={n}");
        let process = setup.start_with_fault("child::writing", CHANGE, &fault);
        let status = process.read(|line| acknowledged.take(line));
        assert_eq!(status.signal(), Some(SIGKILL), "n = {n}");
        acknowledged.check(&setup).await;
    }
}

/// The n-th such call fails, for each n in turn: whatever the process then does, what it has
/// acknowledged is there, and the storage opens.
#[tokio::test]
#[ignore = "needs strace"]
async fn after_any_failed_change_everything_acknowledged_is_there() {
    for error in ["EIO", "ENOSPC"] {
        for n in 1..100 {
            let setup = Setup::new();
            let mut acknowledged = Acknowledged::default();
            let fault = format!("error={error}:when={n}");
            let process = setup.start_with_fault("child::writing_a_while", CHANGE, &fault);
            process.read(|line| acknowledged.take(line));
            acknowledged.check(&setup).await;
        }
    }
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
