//! `canopy check` on a stopped node: damage of every kind of file is found, and named by its place.

use std::fs;
use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::Value;

use crate::support::{Node, answer, guest, plugin};

/// A stopped node on whose disk there is a file of every kind.
async fn furnished() -> Node {
    let mut node = Node::start();
    node.publish(&guest("kv-probe"));
    node.publish(&guest("log-flood"));
    node.publish(&plugin("documents"));
    node.run("tenant create acme");
    node.run("install guests/kv-probe --tenant acme");
    node.run("install guests/log-flood --tenant acme");
    node.run("install canopy/documents --tenant acme --set anonymous_access=write");
    let value = "x".repeat(20_000);
    let set = node.request(Method::POST, "kv-probe.acme", "/?op=set&key=a");
    assert_eq!(answer(set.body(value)).await.status, 200);
    let put = node.request(Method::PUT, "documents.acme", "/api/files/plan.md");
    let put = answer(put.body("the plan ".repeat(10_000))).await;
    assert!((200..300).contains(&put.status), "{put:?}");
    let logged = node.get("log-flood.acme", "/?lines=50&text=a-line").await;
    assert_eq!(logged.status, 200, "{logged:?}");
    assert!(node.terminate().success());
    node
}

/// Files below `folder` whose path has `part` in it and ends with `end`.
fn files(folder: &Path, part: &str, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(
                fs::read_dir(&path)
                    .expect("a folder")
                    .flatten()
                    .map(|entry| entry.path()),
            );
        } else {
            let text = path.to_string_lossy();
            if text.contains(part) && text.ends_with(end) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What is done to a file.
#[derive(Clone, Copy)]
enum Damage {
    /// One bit of this byte is turned over.
    Bit(usize),
    /// One bit in the middle.
    Middle,
    /// The second half is gone.
    Cut,
    /// It is gone.
    Gone,
}

impl Damage {
    fn of(self, path: &Path) {
        let mut bytes = fs::read(path).expect("a file");
        let middle = bytes.len() / 2;
        match self {
            Self::Bit(at) => bytes[at] ^= 1,
            Self::Middle => bytes[middle] ^= 1,
            Self::Cut => bytes.truncate(middle),
            Self::Gone => return fs::remove_file(path).expect("removed"),
        }
        fs::write(path, bytes).expect("written");
    }
}

fn check(node: &Node) -> (i32, Value, String) {
    let data = node.data_dir();
    let output = node.cli([
        Path::new("check"),
        Path::new("--json"),
        Path::new("--data-dir"),
        &data,
    ]);
    let found = serde_json::from_str(&output.stdout).unwrap_or_default();
    (output.code, found, output.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_of_every_kind_of_file_is_found_and_its_place_named() {
    let node = furnished().await;
    let data = node.data_dir();
    let (code, found, said) = check(&node);
    assert_eq!(code, 0, "{found} {said}");
    let second_page = 4096 + 100;
    // The file, what is done to it, and words that stand in the place of what is found.
    let cases: &[(&str, &str, &str, Damage, &[&str])] = &[
        (
            "a page of keys and values",
            "key-value",
            "data.db",
            Damage::Middle,
            &["acme/kv-probe", "key-value"],
        ),
        (
            "their first page",
            "key-value",
            "data.db",
            Damage::Bit(200),
            &["acme/kv-probe", "key-value"],
        ),
        (
            "keys and values that end too soon",
            "key-value",
            "data.db",
            Damage::Cut,
            &["acme/kv-probe", "key-value"],
        ),
        (
            "the bytes of an object",
            "blobs/objects/",
            "",
            Damage::Middle,
            &["acme/documents", "objects/"],
        ),
        (
            "an object that ends too soon",
            "blobs/objects/",
            "",
            Damage::Cut,
            &["acme/documents"],
        ),
        (
            "an object's file that is gone",
            "blobs/objects/",
            "",
            Damage::Gone,
            &["acme/documents"],
        ),
        (
            "the index of objects",
            "blobs",
            "index.db",
            Damage::Bit(second_page),
            &["acme/documents", "index.db"],
        ),
        (
            "a page of an SQL database",
            "/sql/",
            ".db",
            Damage::Middle,
            &["acme/documents", ".db"],
        ),
        (
            "a component",
            "components",
            ".wasm",
            Damage::Middle,
            &["components/"],
        ),
        (
            "a component that is gone",
            "components",
            ".wasm",
            Damage::Gone,
            &["components/"],
        ),
        (
            "native code",
            "artifacts",
            ".cwasm",
            Damage::Middle,
            &["artifacts/"],
        ),
        (
            "a line of a log",
            "logs",
            ".ndjson",
            Damage::Bit(0),
            &["logs/", ".ndjson"],
        ),
        (
            "a tenant's keys",
            "storage/ten_",
            "/key",
            Damage::Middle,
            &["storage/ten_", "key"],
        ),
        (
            "a tenant's keys that are gone",
            "storage/ten_",
            "/key",
            Damage::Gone,
            &["storage/ten_"],
        ),
    ];
    for (what, part, end, damage, place) in cases {
        let file = files(&data, part, end)
            .pop()
            .unwrap_or_else(|| panic!("no file for {what}"));
        let whole = fs::read(&file).expect("a file");
        let mode = fs::metadata(&file).expect("there").permissions();
        damage.of(&file);
        let (code, found, said) = check(&node);
        assert_eq!(code, 1, "{what}: {found} {said}");
        let findings = found["findings"]
            .as_array()
            .unwrap_or_else(|| panic!("{what}: {said}"));
        let named = |finding: &&Value| {
            let text = finding["place"].as_str().expect("a place");
            place.iter().all(|word| text.contains(word))
        };
        let finding = findings.iter().find(named);
        let finding = finding.unwrap_or_else(|| panic!("{what}, {}: {found}", file.display()));
        assert_ne!(finding["what"], "", "{what}: {found}");
        fs::write(&file, whole).expect("as it was");
        fs::set_permissions(&file, mode).expect("as it was");
        let (code, found, said) = check(&node);
        assert_eq!(code, 0, "{what}, put right: {found} {said}");
    }
}

/// What everything else hangs on cannot be worked around: the check says so and ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_control_database_or_node_key_is_named() {
    let node = furnished().await;
    let data = node.data_dir();
    let control = data.join("control/control.db");
    for (file, at, words) in [
        (&control, 200, &["control"][..]),
        (&control, 4096 * 3 + 100, &["control"]),
        (&data.join("storage/node.key"), 100, &["node.key"]),
    ] {
        let whole = fs::read(file).expect("a file");
        Damage::Bit(at).of(file);
        let (code, found, said) = check(&node);
        assert_eq!(code, 1, "{}: {found} {said}", file.display());
        let text = format!("{found} {said}");
        assert!(
            words.iter().all(|word| text.contains(word)),
            "{}: {text}",
            file.display()
        );
        fs::write(file, whole).expect("as it was");
        assert_eq!(check(&node).0, 0);
    }
}
