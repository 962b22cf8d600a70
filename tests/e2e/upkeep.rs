//! Backups, restores, exports, imports, keys, checks and erasures, as an operator does them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Node, answer, guest, plugin};

const KV: &str = "kv-probe.acme";
const DOCUMENTS: &str = "documents.acme";

/// A node with a place for backups, and `acme` with something of every kind of storage.
fn furnished() -> (Node, TempDir) {
    let place = tempfile::tempdir().expect("a folder");
    let repository = place.path().join("backups");
    let node = Node::start_with(&format!("[backup]\ndir = {repository:?}\n"));
    publish(&node);
    node.run("tenant create acme");
    node.run("install guests/kv-probe --tenant acme");
    node.run("install canopy/documents --tenant acme --set anonymous_access=write");
    (node, place)
}

fn publish(node: &Node) {
    node.publish(&guest("kv-probe"));
    node.publish(&plugin("documents"));
}

async fn set(node: &Node, app: &str, key: &str, value: &str) {
    let path = format!("/?op=set&key={key}&value={value}");
    let set = node.get(app, &path).await;
    assert_eq!(set.status, 200, "{set:?}");
}

async fn value(node: &Node, app: &str, key: &str) -> Value {
    let got = node.get(app, &format!("/?op=get&key={key}")).await;
    assert_eq!(got.status, 200, "{got:?}");
    got.json()
}

async fn put(node: &Node, app: &str, path: &str, body: &str) {
    let path = format!("/api/files/{path}");
    let put = answer(node.request(Method::PUT, app, &path).body(body.to_owned())).await;
    assert!((200..300).contains(&put.status), "{put:?}");
}

async fn document(node: &Node, app: &str, path: &str) -> (u16, String) {
    let got = node.get(app, &format!("/api/files/{path}")).await;
    (got.status, got.body)
}

/// The result of the job that a command began and waited for.
fn result(job: &Value) -> &Value {
    assert_eq!(job["state"], "done", "{job}");
    &job["result"]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_backed_up_comes_back() {
    let (node, place) = furnished();
    set(&node, KV, "a", "one").await;
    put(&node, DOCUMENTS, "plan.md", "the first plan").await;
    let first = node.run("backup create --tenant acme");
    let first = result(&first);
    assert!(first["new_bytes"].as_u64() > Some(0), "{first}");

    set(&node, KV, "a", "two").await;
    set(&node, KV, "b", "new").await;
    put(&node, DOCUMENTS, "plan.md", "the second plan").await;
    put(&node, DOCUMENTS, "more.md", "more").await;
    let second = node.run("backup create --tenant acme");
    let second = result(&second);
    assert!(
        second["shared_bytes"].as_u64() > Some(0),
        "pages that did not change are kept once: {second}"
    );

    let snapshot = |of: &Value| of["snapshot"].as_str().expect("an id").to_owned();
    let listed = node.run("backup list");
    assert_eq!(
        listed["items"].as_array().map(Vec::len),
        Some(2),
        "{listed}"
    );
    node.run("backup check");
    node.run(&format!("backup verify {}", snapshot(second)));

    let refused = node.cli(["restore", "--tenant", "acme"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    node.run(&format!(
        "restore --tenant acme --snapshot {} --yes",
        snapshot(first)
    ));
    assert_eq!(value(&node, KV, "a").await, "one");
    assert_eq!(value(&node, KV, "b").await, Value::Null);
    assert_eq!(
        document(&node, DOCUMENTS, "plan.md").await.1,
        "the first plan"
    );
    assert_eq!(document(&node, DOCUMENTS, "more.md").await.0, 404);
    node.run("check --tenant acme");

    // Of one installation alone, and to a point in time.
    let before = node.run(&format!("backup show {}", snapshot(second)))["taken_at"].clone();
    let before = before.as_str().expect("a time");
    node.run(&format!(
        "restore --tenant acme --installation kv-probe --before {before} --yes"
    ));
    assert_eq!(value(&node, KV, "b").await, "new");
    assert_eq!(document(&node, DOCUMENTS, "more.md").await.0, 404);
    set(&node, KV, "c", "after").await;
    assert_eq!(value(&node, KV, "c").await, "after");

    // A new key does not make old backups unreadable.
    node.run("key rotate-tenant acme");
    assert_eq!(value(&node, KV, "c").await, "after");
    assert_eq!(
        document(&node, DOCUMENTS, "plan.md").await.1,
        "the first plan"
    );
    node.run(&format!(
        "restore --tenant acme --snapshot {} --yes",
        snapshot(second)
    ));
    assert_eq!(value(&node, KV, "a").await, "two");
    assert_eq!(
        document(&node, DOCUMENTS, "plan.md").await.1,
        "the second plan"
    );

    let pruned = node.run("backup prune --keep-last 1");
    assert_eq!(result(&pruned)["removed"].as_array().map(Vec::len), Some(1));
    node.run("backup check");
    damage_one_chunk(&place.path().join("backups/chunks"));
    let found = node.cli(["backup", "check"]);
    assert_eq!(found.code, 1, "{}{}", found.stdout, found.stderr);
    let refused = node.cli(["restore", "--tenant", "acme", "--yes", "--json"]);
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(refused.stderr.contains("damaged"), "{}", refused.stderr);
    assert_eq!(value(&node, KV, "a").await, "two", "nothing was touched");
}

/// Damages every chunk, so that whichever is read is one.
fn damage_one_chunk(chunks: &Path) {
    for folder in fs::read_dir(chunks).expect("chunks").flatten() {
        for file in fs::read_dir(folder.path()).expect("a folder").flatten() {
            let mut bytes = fs::read(file.path()).expect("a chunk");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(file.path(), bytes).expect("damaged");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_backed_up_by_its_timetable_and_old_snapshots_go() {
    let place = tempfile::tempdir().expect("a folder");
    let repository = place.path().join("backups");
    let keep = "keep_last = 1\nkeep_daily = 0\nkeep_weekly = 0\nkeep_monthly = 0";
    let node = Node::start_with(&format!(
        "[backup]\ndir = {repository:?}\nschedule = \"* * * * * *\"\n{keep}\n"
    ));
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let jobs = node.run("job list");
        let done = |kind: &str| {
            let all = jobs.as_array().expect("jobs").iter();
            let done = all.filter(|job| job["kind"] == kind && job["state"] == "done");
            done.filter(|job| job["requested_by"] == "backup.schedule")
                .count()
        };
        if done("backup") >= 2 && done("backup-prune") >= 2 {
            break;
        }
        assert!(Instant::now() < deadline, "{jobs}");
    }
    let listed = node.run("backup list");
    let snapshots = listed["items"].as_array().map(Vec::len);
    assert!(matches!(snapshots, Some(1 | 2)), "{listed}");
    assert_eq!(listed["items"][0]["scope"], "node", "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_node_comes_back_on_an_empty_disk() {
    let (mut node, place) = furnished();
    set(&node, KV, "a", "one").await;
    put(&node, DOCUMENTS, "plan.md", "the plan").await;
    node.run("backup create");
    assert!(node.terminate().success());

    let key = fs::read(node.data_dir().join("operator.key")).expect("the operator's key");
    fs::remove_dir_all(node.data_dir()).expect("the disk is gone");
    let data = node.data_dir();
    let from = place.path().join("backups");
    let arguments = |data: &Path| -> Vec<PathBuf> {
        let plain = ["restore", "--json", "--data-dir"].map(PathBuf::from);
        let mut all = plain.to_vec();
        all.extend([data.to_owned(), "--from".into(), from.clone()]);
        all
    };
    let restored = node.cli(arguments(&data));
    assert_eq!(restored.code, 0, "{}{}", restored.stdout, restored.stderr);
    let again = node.cli(arguments(&data));
    assert_eq!(again.code, 1, "{}", again.stdout);
    assert!(again.stderr.contains("not empty"), "{}", again.stderr);

    let check = |node: &Node| node.cli([Path::new("check"), Path::new("--data-dir"), &data]);
    let without = check(&node);
    assert_eq!(without.code, 1, "without its key: {}", without.stdout);
    let path = data.join("operator.key");
    fs::write(&path, &key).expect("the key is put back");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("private");
    let checked = check(&node);
    assert_eq!(checked.code, 0, "{}{}", checked.stdout, checked.stderr);

    // Another key for the operator, while the node is stopped.
    let new = place.path().join("new.key");
    let rotate = ["key", "rotate-operator", "--data-dir"].map(PathBuf::from);
    let mut rotate = rotate.to_vec();
    rotate.extend([data.clone(), "--new".into(), new.clone()]);
    let rotated = node.cli(rotate);
    assert_eq!(rotated.code, 0, "{}{}", rotated.stdout, rotated.stderr);
    let old = check(&node);
    assert_eq!(old.code, 1, "{}", old.stdout);
    assert!(old.stderr.contains("operator"), "{}", old.stderr);
    fs::rename(&new, &path).expect("moved");

    node.start_again();
    let running = check(&node);
    assert_eq!(running.code, 1, "{}", running.stdout);
    assert!(
        running.stderr.contains("another canopy uses it"),
        "{}",
        running.stderr
    );
    assert_eq!(value(&node, KV, "a").await, "one");
    assert_eq!(document(&node, DOCUMENTS, "plan.md").await.1, "the plan");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_tenant_goes_on_on_another_node() {
    let (node, place) = furnished();
    set(&node, KV, "greeting", "hello").await;
    put(&node, DOCUMENTS, "plans/plan.md", "the plan of acme").await;
    let archive = place.path().join("acme.tar");
    let shown = archive.display();
    let exported = node.run(&format!("tenant export acme --output {shown}"));
    assert_eq!(
        exported["size"].as_u64(),
        Some(archive.metadata().expect("a file").len())
    );

    let other = Node::start();
    let missing = other.cli(["tenant", "import", &shown.to_string()]);
    assert_eq!(missing.code, 3, "{}", missing.stdout);
    assert!(
        missing.stderr.contains("guests/kv-probe@0.1.0")
            && missing.stderr.contains("canopy/documents@0.1.0"),
        "{}",
        missing.stderr
    );
    assert_eq!(other.run("tenant list"), json!([]));

    publish(&other);
    let imported = other.run(&format!("tenant import {shown} --as moved"));
    assert_eq!(result(&imported)["installations"], 2);
    assert_eq!(value(&other, "kv-probe.moved", "greeting").await, "hello");
    let there = document(&other, "documents.moved", "plans/plan.md").await;
    assert_eq!(there, (200, "the plan of acme".into()));
    put(&other, "documents.moved", "plans/plan.md", "and goes on").await;
    set(&other, "kv-probe.moved", "greeting", "again").await;
    assert_eq!(
        value(&node, KV, "greeting").await,
        "hello",
        "the first is its own"
    );
    other.run("check --tenant moved");

    let taken = other.cli(["tenant", "import", &shown.to_string(), "--as", "moved"]);
    assert_eq!(taken.code, 3, "{}", taken.stdout);
    let mut bytes = fs::read(&archive).expect("the archive");
    let canary = b"the plan of acme";
    let at = bytes
        .windows(canary.len())
        .position(|window| window == canary);
    bytes[at.expect("plain in the archive")] ^= 1;
    fs::write(&archive, bytes).expect("damaged");
    let damaged = other.cli(["tenant", "import", &shown.to_string(), "--as", "third"]);
    assert_eq!(damaged.code, 3, "{}", damaged.stdout);
    assert!(
        damaged
            .stderr
            .contains("installations/documents/blobs/objects/"),
        "{}",
        damaged.stderr
    );
    assert_eq!(other.cli(["tenant", "show", "third"]).code, 4);
}
