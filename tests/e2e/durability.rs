//! What was acknowledged is there after a restart and after `kill -9`.

use serde_json::json;

use crate::support::{Node, guest, plugin};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_loses_nothing() {
    let mut node = Node::start();
    node.serve(&plugin("invoices"), "canopy/invoices", &["acme"]);
    node.run("config set invoices --tenant acme anonymous_access=write");
    node.run("token create robot --tenant acme");
    let customer = node
        .post("invoices.acme", "/api/customers", json!({ "name": "Ada" }))
        .await;
    assert_eq!(customer.status, 201, "{customer:?}");
    let tenants = node.run("tenant list");
    assert!(node.terminate().success());
    node.start_again();
    assert_eq!(node.run("tenant list"), tenants);
    let customers = node.get("invoices.acme", "/api/customers").await;
    assert!(customers.body.contains("Ada"), "{customers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_nothing_that_was_acknowledged() {
    let mut node = Node::start();
    node.serve(&guest("kv-probe"), "guests/kv-probe", &["acme"]);
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        let mut writes = tokio::task::JoinSet::new();
        for writer in 0..8 {
            let base = format!("http://127.0.0.1:{}", node.apps_port());
            let http = node.http.clone();
            writes.spawn(async move {
                let mut done = Vec::new();
                for count in 0.. {
                    let key = format!("r{round}-w{writer}-{count}");
                    let url = format!("{base}/?op=set&key={key}&value={key}");
                    let host = "kv-probe.acme.localhost";
                    match http.get(url).header("host", host).send().await {
                        Ok(answer) if answer.status() == 200 => done.push(key),
                        _ => break,
                    }
                }
                done
            });
        }
        // The kill has to fall into the middle of writing: wait for writes to be under way, not
        // for a time to pass.
        while !node
            .get("kv-probe.acme", &format!("/?op=exists&key=r{round}-w0-5"))
            .await
            .json()
            .as_bool()
            .unwrap_or(false)
        {}
        node.kill_and_restart();
        for keys in writes.join_all().await {
            acknowledged.extend(keys);
        }
        for key in &acknowledged {
            let found = node
                .get("kv-probe.acme", &format!("/?op=get&key={key}"))
                .await;
            assert_eq!(found.json(), key.as_str(), "{found:?}");
        }
    }
    assert!(acknowledged.len() >= 5 * 5, "{} writes", acknowledged.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_artifact_is_compiled_again_and_never_trusted() {
    let mut node = Node::start();
    node.serve(&guest("identity"), "guests/identity", &["acme"]);
    assert_eq!(node.get("identity.acme", "/").await.status, 200);
    assert!(node.terminate().success());
    let mut damaged = 0;
    for file in std::fs::read_dir(node.data_dir().join("artifacts"))
        .expect("artifacts")
        .flatten()
    {
        if file
            .path()
            .extension()
            .is_some_and(|extension| extension == "cwasm")
        {
            let mut bytes = std::fs::read(file.path()).expect("an artifact");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(file.path(), bytes).expect("damaged");
            damaged += 1;
        }
    }
    assert!(damaged > 0);
    node.start_again();
    assert_eq!(node.get("identity.acme", "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_on_the_same_data_is_refused() {
    let node = Node::start();
    let config = node.data_dir().join("../canopy.toml");
    let second = node.cli(["serve", "--config", config.to_str().expect("UTF-8")]);
    assert_ne!(second.code, 0);
    assert!(
        second.stderr.contains("another canopy uses it"),
        "{}",
        second.stderr
    );
}
