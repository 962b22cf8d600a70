//! Many installations on a node that has few files open: each finds its own data when its turn
//! comes.

use futures::{StreamExt, stream};
use reqwest::Method;
use serde_json::json;

use crate::support::{Face, Node, guest};

/// Of each package.
const INSTALLATIONS: usize = 100;
/// Databases of each kind that may be open.
const OPEN: usize = 8;

/// Files in the node's data folder that it has open, but for those of the control plane.
fn open_files(node: &Node) -> usize {
    let storage = node.data_dir().join("storage");
    let folder = format!("/proc/{}/fd", node.pid());
    let links = std::fs::read_dir(folder).expect("the node's descriptors");
    let links = links.filter_map(|link| std::fs::read_link(link.ok()?.path()).ok());
    links.filter(|path| path.starts_with(&storage)).count()
}

async fn install(node: &Node, package: &str, name: String) {
    let path = format!("/api/v1/tenants/acme/installations/{name}");
    let request = node.api(Method::PUT, &path);
    let answer = request
        .json(&json!({ "package": package }))
        .send()
        .await
        .expect("an answer");
    assert!(answer.status().is_success(), "{:?}", answer.text().await);
}

/// Writes by one installation of each package, or reads what it has written.
async fn use_each(node: &Node, number: usize, reading: bool) {
    let value = format!("of {number}");
    let face = |kind: &str| Face::new(node, format!("{kind}{number}.acme"));
    let (keys, objects, databases) = (face("keys"), face("objects"), face("databases"));
    let insert = "INSERT INTO note (writer) VALUES (?)";
    let select = "SELECT writer FROM note";
    let parameters = json!([value]).to_string();
    let key = [("key", "k"), ("value", &*value)];
    let object = [("store", "box"), ("key", "o")];
    if reading {
        assert_eq!(keys.ask("get", &key).await, value);
        assert_eq!(objects.ask("whole", &object).await, value);
        let rows = databases.ask("sql", &[("key", select)]).await;
        assert_eq!(rows, json!([[value]]));
    } else {
        keys.ask("set", &key).await;
        objects.ask("create", &object).await;
        let put = objects.send("put", &object, value).await;
        assert_eq!(put.status(), 200, "{:?}", put.text().await);
        let fields = [("key", insert), ("value", &*parameters)];
        databases.ask("sql", &fields).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_installations_share_a_few_open_files() {
    let node = Node::start_with(&format!(
        "[storage]\nopen_databases = {OPEN}\nopen_wait = \"60 s\"\n\
         [blobs]\nopen_indexes = {OPEN}\nopen_wait = \"60 s\"\n\
         [sql]\nopen_connections = {OPEN}\nwait = \"60 s\""
    ));
    node.run("tenant create acme");
    for (kind, component, package) in [
        ("keys", "face-canopy", "guests/faces"),
        ("objects", "blob-canopy", "guests/objects"),
        ("databases", "sql-canopy", "guests/sql"),
    ] {
        node.publish(&guest(component));
        let install = |number| install(&node, package, format!("{kind}{number}"));
        let installed = stream::iter(0..INSTALLATIONS).map(install);
        installed.buffer_unordered(4).collect::<Vec<_>>().await;
    }
    let mut most = 0;
    for reading in [false, true] {
        let all: Vec<_> = (0..INSTALLATIONS).collect();
        for some in all.chunks(16) {
            let used = some.iter().map(|number| use_each(&node, *number, reading));
            futures::future::join_all(used).await;
            most = most.max(open_files(&node));
        }
    }
    // A database of keys has a writer and readers, each of up to three files, an index of objects
    // one connection, and a connection of SQL counts for itself.
    let bound = OPEN * 3 * (1 + 4) + OPEN * 3 + OPEN * 3 + 16;
    assert!(most > 0 && most <= bound, "{most} files were open");
}
