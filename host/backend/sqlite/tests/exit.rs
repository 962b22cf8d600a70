//! A process that ends while its threads are at work on databases.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use canopy_backend::Scope;
use canopy_backend_keys::{Keyring, OperatorKey};
use canopy_backend_sqlite::{Format, open};
use canopy_ids::{InstallationId, TenantId};

const FOLDER: &str = "CANOPY_EXIT_FOLDER";
const ROUNDS: usize = 20;
const THREADS: usize = 4;
const FORMAT: Format = Format {
    application_id: 0x1234_5678,
    migrations: &["CREATE TABLE thing (id INTEGER PRIMARY KEY) STRICT"],
};

/// Opens, writes and closes a database of its own for as long as the process lives.
fn work(folder: &Path, begun: &mpsc::Sender<()>) {
    let ring = Keyring::open(OperatorKey::generate().expect("a key"), folder).expect("a ring");
    let scope = Scope {
        tenant: TenantId::new(),
        installation: InstallationId::new(),
    };
    let tenant = ring.tenant(scope.tenant).expect("keys");
    let keys = tenant.file_keys(scope, "test");
    let path = folder.join("data.db");
    for round in 0_u64.. {
        let conn = open(&path, &keys, &FORMAT, 1 << 20).expect("opens");
        let inserted = conn.execute("INSERT INTO thing DEFAULT VALUES", []);
        inserted.expect("inserted");
        if round == 0 {
            begun.send(()).expect("somebody waits");
        }
    }
}

/// What the test below starts.
#[test]
#[ignore = "ends the process; run by the test below"]
fn child() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("a folder"));
    let (begun, all_begun) = mpsc::channel();
    for number in 0..THREADS {
        let (folder, begun) = (folder.join(number.to_string()), begun.clone());
        thread::spawn(move || work(&folder, &begun));
    }
    drop(begun);
    for _ in 0..THREADS {
        all_begun.recv().expect("a thread has written");
    }
    std::process::exit(0);
}

#[test]
fn a_process_ends_in_order_while_its_threads_write() {
    for round in 0..ROUNDS {
        let folder = tempfile::tempdir().expect("a folder");
        let ended = Command::new(std::env::current_exe().expect("this program"))
            .args(["child", "--exact", "--ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .output()
            .expect("started");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "round {round}: {}", ended.status);
        assert!(said.is_empty(), "round {round}: a thread failed: {said}");
    }
}
