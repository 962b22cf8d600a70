//! What a tenant leaves behind: a word that is planted wherever a tenant, or an operator for it, can put
//! one is nowhere on the disk after the tenant is gone, in none of several encodings.

use std::fs;
use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Node, answer, guest, plugin};

/// A word that occurs nowhere else; where it was planted follows it.
const CANARY: &str = "c4nary8f21";

/// A node with a place for backups, and two other tenants who stay.
fn node() -> (Node, TempDir) {
    let place = tempfile::tempdir().expect("a folder");
    let repository = place.path().join("backups");
    let node = Node::start_with(&format!(
        "[backup]\ndir = {repository:?}\n[messages]\nretry_after = \"10ms\"\nattempts = 2\n"
    ));
    for name in [
        "kv-probe",
        "config-probe",
        "log-flood",
        "objects-canopy",
        "courier",
    ] {
        node.publish(&guest(name));
    }
    node.publish(&guest("sql-canopy"));
    node.publish(&plugin("documents"));
    node.run("tenant create globex");
    node.run("install guests/kv-probe --tenant globex");
    (node, place)
}

/// Runs a command line of which one word may have blanks.
fn run(node: &Node, words: &[&str]) -> Value {
    let output = node.cli(words.iter().copied().chain(["--json"]));
    assert_eq!(
        output.code, 0,
        "{words:?}: {}{}",
        output.stdout, output.stderr
    );
    serde_json::from_str(&output.stdout).unwrap_or_default()
}

/// Plants the canary in `tenant`, which is made.
async fn plant(node: &Node, tenant: &str) {
    let of = |app: &str| format!("{app}.{tenant}");
    let put = async |app: &str, path: &str, body: &str| {
        let answer = answer(
            node.request(Method::PUT, &of(app), path)
                .body(body.to_owned()),
        )
        .await;
        assert!((200..300).contains(&answer.status), "{path}: {answer:?}");
    };
    let get = async |app: &str, path: &str| {
        let answer = node.get(&of(app), path).await;
        assert!((200..300).contains(&answer.status), "{path}: {answer:?}");
    };
    let (display, attribute) = (
        format!("{CANARY} display name"),
        format!("note={CANARY}-attribute"),
    );
    run(
        node,
        &[
            "tenant",
            "create",
            tenant,
            "--display-name",
            &display,
            "--attribute",
            &attribute,
        ],
    );
    let token = format!("{CANARY} token");
    run(
        node,
        &[
            "token",
            "create",
            "robot",
            "--tenant",
            tenant,
            "--display-name",
            &token,
            "--role",
            &format!("{CANARY}-role"),
        ],
    );
    for app in ["kv-probe", "log-flood", "objects", "courier", "sql"] {
        run(
            node,
            &["install", &format!("guests/{app}"), "--tenant", tenant],
        );
    }
    run(
        node,
        &[
            "install",
            "guests/config-probe",
            "--tenant",
            tenant,
            "--set",
            &format!("greeting={CANARY}-config"),
        ],
    );
    run(
        node,
        &[
            "install",
            "canopy/documents",
            "--tenant",
            tenant,
            "--set",
            "anonymous_access=write",
        ],
    );
    run(
        node,
        &[
            "secret",
            "set",
            "config-probe",
            &format!("token={CANARY}-secret"),
            "--tenant",
            tenant,
        ],
    );
    run(
        node,
        &[
            "domain",
            "add",
            "kv-probe",
            &format!("{CANARY}.{tenant}.example.com"),
            "--tenant",
            tenant,
        ],
    );

    get(
        "kv-probe",
        &format!("/?op=set&key={CANARY}-key&value={CANARY}-value"),
    )
    .await;
    get(
        "kv-probe",
        &format!("/?op=set&key=gone&value={CANARY}-removed-value"),
    )
    .await;
    get("kv-probe", "/?op=delete&key=gone").await;
    // So large that it is in pages of its own, some of which become free.
    let large = format!("{CANARY}-large ").repeat(4000);
    let set = node.request(Method::POST, &of("kv-probe"), "/?op=set&key=large");
    assert_eq!(answer(set.body(large)).await.status, 200);
    get("kv-probe", "/?op=delete&key=large").await;
    put(
        "objects",
        &format!("/o/{CANARY}-object"),
        &format!("{CANARY}-content"),
    )
    .await;
    put("objects", "/o/replaced", &format!("{CANARY}-replaced")).await;
    put("objects", "/o/replaced", "by this").await;
    put(
        "documents",
        &format!("/api/files/{CANARY}-folder/{CANARY}-name.md"),
        &format!("# {CANARY}-document"),
    )
    .await;
    let statement =
        format!("INSERT INTO note (writer, size, data) VALUES ('{CANARY}-row', 1, x'00')");
    let url = reqwest::Url::parse_with_params(
        "http://any/",
        [
            ("op", "sql"),
            ("store", "default"),
            ("key", &statement),
            ("value", "[]"),
        ],
    );
    let url = url.expect("a URL");
    get("sql", &format!("/?{}", url.query().expect("a query"))).await;
    get("log-flood", &format!("/?lines=20&text={CANARY}-log")).await;
    // One message waits for a day, one is given up.
    for (query, body) in [
        ("topic=orders&delay=86400000", "message"),
        ("topic=orders", "broken"),
    ] {
        let sent = node.request(Method::POST, &of("courier"), &format!("/send?{query}"));
        let body = if body == "broken" {
            body.to_owned()
        } else {
            format!("{CANARY}-{body}")
        };
        assert_eq!(answer(sent.body(body)).await.status, 202);
    }
}

/// The word in the encodings in which it might lie about: as text, in two bytes a letter, as hexadecimal
/// digits, and as Base64 wherever it begins in a group of three bytes.
fn encodings(word: &str) -> Vec<Vec<u8>> {
    let wide =
        |bytes: fn(u16) -> [u8; 2]| -> Vec<u8> { word.encode_utf16().flat_map(bytes).collect() };
    let hex: String = word.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut all = vec![
        word.as_bytes().to_vec(),
        wide(u16::to_le_bytes),
        wide(u16::to_be_bytes),
        hex.clone().into_bytes(),
        hex.to_uppercase().into_bytes(),
    ];
    for shift in 0..3 {
        let text = base64(format!("{}{word}", &"xxx"[..shift]).as_bytes());
        // The first and the last group depend on what is beside the word.
        let text = &text[if shift == 0 { 0 } else { 4 }..(shift + word.len()) / 3 * 4];
        all.push(text.as_bytes().to_vec());
    }
    all
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8]| {
        let bits = group
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        [18, 12, 6, 0].map(|shift| char::from(DIGITS[(bits >> shift & 63) as usize]))
    };
    bytes.chunks(3).flat_map(group).collect()
}

/// The files below `roots` that hold the canary in any encoding, in their names or their bytes, each
/// with what stands around it.
fn hits(roots: &[&Path]) -> Vec<(PathBuf, String)> {
    let encodings = encodings(CANARY);
    let mut hits = Vec::new();
    let mut left: Vec<PathBuf> = roots.iter().map(|root| root.to_path_buf()).collect();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(
                fs::read_dir(&path)
                    .expect("a folder")
                    .flatten()
                    .map(|entry| entry.path()),
            );
            if path.to_string_lossy().contains(CANARY) {
                hits.push((path, "its name".into()));
            }
            continue;
        }
        let name = path.to_string_lossy().into_owned().into_bytes();
        let bytes = fs::read(&path).expect("a file");
        for encoding in &encodings {
            let finder = |bytes: &[u8]| {
                bytes
                    .windows(encoding.len())
                    .position(|window| window == encoding)
            };
            for bytes in [&name, &bytes] {
                if let Some(at) = finder(bytes) {
                    let around = &bytes[at.saturating_sub(20)..bytes.len().min(at + 60)];
                    hits.push((path.clone(), String::from_utf8_lossy(around).into_owned()));
                }
            }
        }
    }
    hits
}

/// What the node's own log says, but for the paths of requests: it is the operator's, who keeps it
/// elsewhere and as long as he likes.
fn said(log: &Path) -> Vec<String> {
    let encodings = encodings(CANARY);
    let text = fs::read_to_string(log).expect("the node's log");
    let holds = |line: &&str| {
        let holds = |word: &Vec<u8>| line.as_bytes().windows(word.len()).any(|part| part == word);
        encodings.iter().any(holds) && !line.contains(" path=")
    };
    text.lines().filter(holds).map(str::to_owned).collect()
}

#[test]
fn the_search_finds_the_canary_in_every_encoding() {
    let folder = tempfile::tempdir().expect("a folder");
    let wide: Vec<u8> = CANARY.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let hex: String = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect();
    let base64s =
        (0..3).map(|n| base64(format!("{}{CANARY} and more", &"abc"[..n]).as_bytes()).into_bytes());
    let all = [CANARY.as_bytes().to_vec(), wide, hex.into_bytes()];
    for (n, bytes) in all.into_iter().chain(base64s).enumerate() {
        let path = folder.path().join(n.to_string());
        fs::write(&path, [b"before".as_slice(), &bytes, b"after"].concat()).expect("written");
        let found = hits(&[folder.path()]);
        assert!(found.iter().any(|(hit, _)| *hit == path), "{n}: {found:?}");
    }
    fs::write(folder.path().join(format!("x{CANARY}")), "").expect("written");
    assert_eq!(hits(&[&folder.path().join(format!("x{CANARY}"))]).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_tenant_is_nowhere_on_the_disk() {
    let (mut node, place) = node();
    plant(&node, "acme").await;
    node.run("backup create --tenant acme");
    node.run("backup create");
    let archive = place.path().join("acme.tar");
    node.run(&format!(
        "tenant export acme --output {}",
        archive.display()
    ));
    assert!(!hits(&[&archive]).is_empty(), "an export is plain");
    // An archive that waits on the node, and one that was sent to it by half.
    let kept = node
        .api(Method::POST, "/api/v1/tenants/acme/exports")
        .send()
        .await;
    assert!(kept.expect("an answer").status().is_success());
    let get = node
        .get("kv-probe.globex", "/?op=set&key=a&value=one")
        .await;
    assert_eq!(get.status, 200);

    let plan = node.run("tenant erase acme");
    let amounts = plan["amounts"].as_array().expect("amounts");
    let items = |what: &str| {
        let one = amounts.iter().find(|one| one["what"] == what);
        one.and_then(|one| one["items"].as_u64())
            .unwrap_or_else(|| panic!("{what} in {plan}"))
    };
    assert_eq!(items("installations"), 7);
    assert!(
        items("key-value") >= 1 && items("blobs") >= 1 && items("sql") >= 1,
        "{plan}"
    );
    let wrong = node.cli(["tenant", "erase", "acme", "--confirm", "globex"]);
    assert_eq!(wrong.code, 3, "{}", wrong.stderr);

    // It can be taken back as long as its time has not come.
    let job = node.run("tenant erase acme --confirm acme");
    assert_eq!(job["state"], "queued", "{job}");
    assert_eq!(
        node.get("kv-probe.acme", "/?op=get&key=a").await.status,
        404
    );
    node.run(&format!(
        "job cancel {}",
        job["id"].as_str().expect("an id")
    ));
    let back = node
        .get("kv-probe.acme", &format!("/?op=get&key={CANARY}-key"))
        .await;
    assert_eq!(back.json(), format!("{CANARY}-value"));

    let erased = node.run("tenant erase acme --confirm acme --now");
    assert_eq!(erased["state"], "done", "{erased}");
    let id = erased["result"]["erasure"].as_str().expect("an id");
    assert_eq!(node.cli(["tenant", "show", "acme"]).code, 4);
    node.run(&format!("erasure verify {id}"));
    let record = node.run(&format!("erasure show {id}"));
    let signed: Value =
        serde_json::from_str(record["record"].as_str().expect("text")).expect("JSON");
    assert_eq!(signed["name"], "acme");
    assert_eq!(signed["keys"].as_array().map(Vec::len), Some(1), "{signed}");
    assert_eq!(signed["snapshots"], 2, "{signed}");
    let file = place.path().join("record.json");
    let mut forged = record.clone();
    let text = record["record"].as_str().expect("text");
    forged["record"] = json!(text.replace("acme", "evil"));
    fs::write(&file, forged.to_string()).expect("written");
    let refused = node.cli(["erasure", "verify", file.to_str().expect("UTF-8")]);
    assert_eq!(refused.code, 1, "{}", refused.stdout);

    let kept = node.get("kv-probe.globex", "/?op=get&key=a").await;
    assert_eq!(kept.json(), "one");
    node.run("backup check");
    // While it runs, with its logs of writes as they are, and stopped.
    let (data, backups) = (node.data_dir(), place.path().join("backups"));
    let log = data.with_file_name("stderr.log");
    assert_eq!(hits(&[&data, &backups]), []);
    assert_eq!(said(&log), Vec::<String>::new());
    assert!(node.terminate().success());
    assert_eq!(hits(&[&data, &backups]), []);
    let tenant = signed["tenant"].as_str().expect("an id");
    assert!(!data.join("storage").join(tenant).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_tenant_is_nowhere_on_the_disk() {
    let (mut node, _place) = node();
    plant(&node, "acme").await;
    let data = node.data_dir();
    assert!(
        hits(&[&data])
            .iter()
            .any(|(path, _)| path.starts_with(data.join("logs"))),
        "logs are plain"
    );
    let id = node.run("tenant show acme")["id"].clone();
    let folder = data.join("storage").join(id.as_str().expect("an id"));
    assert!(folder.exists());
    node.run("tenant delete acme --yes");
    assert!(node.terminate().success());
    // What a deletion leaves for later is done at a start at the latest.
    node.start_again();
    assert_eq!(node.cli(["tenant", "show", "acme"]).code, 4);
    assert!(node.terminate().success());
    assert_eq!(hits(&[&data]), []);
    assert!(!folder.exists(), "nor are its keys");
    node.run(&format!("check --data-dir {}", data.display()));
    assert_eq!(
        said(&data.with_file_name("stderr.log")),
        Vec::<String>::new()
    );
}
