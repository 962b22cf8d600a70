//! The sample packages, against the real servers that their drivers talk to.

use serde_json::{Value, json};

use crate::support::{Node, Redis, Smtp, answer, guest, plugin};

/// The digits that an invoice's number ends with.
pub(crate) fn number(number: &Value) -> u64 {
    let text = number.as_str().unwrap_or_else(|| panic!("{number}"));
    let prefix = text.trim_end_matches(|digit: char| digit.is_ascii_digit());
    text[prefix.len()..].parse().expect("a number")
}

pub(crate) async fn issues_invoices_without_gaps(node: &Node, app: &str) {
    let customer = node
        .post(
            app,
            "/api/customers",
            json!({ "name": "Ada & Söhne", "email": "ada@example.com" }),
        )
        .await;
    assert_eq!(customer.status, 201, "{customer:?}");
    let customer = customer.json()["id"].clone();
    let mut numbers = Vec::new();
    for quantity in 1..=3 {
        let draft = json!({
            "customer": customer,
            "lines": [{
                "description": "Hours", "quantity": quantity, "unit_price_cents": 9950, "vat_rate": 19,
            }],
        });
        let created = node.post(app, "/api/invoices", draft).await;
        assert_eq!(created.status, 201, "{created:?}");
        assert_eq!(
            created.json()["total_cents"],
            (quantity * 9950 * 119 + 50) / 100
        );
        let path = format!("/api/invoices/{}/issue", created.json()["id"]);
        let issued = node.post(app, &path, json!({})).await;
        assert_eq!(issued.status, 200, "{issued:?}");
        numbers.push(issued.json()["number"].clone());
    }
    let numbers: Vec<u64> = numbers.iter().map(number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    let page = node.get(app, "/").await;
    assert!(
        page.status == 200 && page.body.contains("<html"),
        "{page:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn invoices_run_on_the_embedded_engine_and_on_redis_by_a_binding_alone() {
    let redis = Redis::start();
    let node = Node::start();
    node.publish(&plugin("redis"));
    node.serve(&plugin("invoices"), "canopy/invoices", &["acme", "globex"]);
    for tenant in ["acme", "globex"] {
        node.run(&format!(
            "config set invoices --tenant {tenant} anonymous_access=write"
        ));
    }
    node.run(&format!(
        "driver add canopy/redis --tenant globex --set host=127.0.0.1 --set port={} --egress 127.0.0.1:{}",
        redis.port, redis.port
    ));
    node.run("bind invoices wasi:keyvalue redis --tenant globex");
    issues_invoices_without_gaps(&node, "invoices.acme").await;
    issues_invoices_without_gaps(&node, "invoices.globex").await;
    let keys = std::process::Command::new("redis-cli")
        .args(["-p", &redis.port.to_string(), "dbsize"])
        .output()
        .expect("redis-cli");
    let keys = String::from_utf8_lossy(&keys.stdout)
        .trim()
        .parse::<u64>()
        .expect("a count");
    assert!(keys > 0, "globex's data is in Redis");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_values_cross_to_a_driver_and_back() {
    let redis = Redis::start();
    let node = Node::start();
    node.publish(&plugin("redis"));
    node.serve(&guest("kv-probe"), "guests/kv-probe", &["acme"]);
    node.run(&format!(
        "driver add canopy/redis --tenant acme --set host=127.0.0.1 --set port={0} --egress 127.0.0.1:{0}",
        redis.port
    ));
    node.run("bind kv-probe wasi:keyvalue redis --tenant acme");
    let value = "x".repeat(512 << 10);
    let set = node
        .request(reqwest::Method::POST, "kv-probe.acme", "/?op=set&key=k")
        .body(value.clone());
    assert_eq!(answer(set).await.status, 200);
    assert_eq!(
        node.get("kv-probe.acme", "/?op=get&key=k").await.json(),
        value
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mailroom_hands_its_mail_to_a_real_server() {
    let smtp = Smtp::start();
    let node = Node::start();
    node.publish(&plugin("smtp"));
    node.publish(&plugin("mailroom"));
    node.run("tenant create acme");
    node.run(&format!(
        "driver add canopy/smtp --tenant acme --set host=127.0.0.1 --set port={} --set from=office@acme.example --egress 127.0.0.1:{}",
        smtp.port, smtp.port
    ));
    node.run("install canopy/mailroom --tenant acme --bind canopy:mail=smtp --set anonymous_access=write");
    let message = json!({
        "to": ["ada@example.com"], "subject": "Grüße", "text": "Hello.\n.\nA line with a dot.",
    });
    let sent = node.post("mailroom.acme", "/api/messages", message).await;
    assert_eq!(sent.status, 201, "{sent:?}");
    let messages = smtp.messages();
    assert_eq!(messages.len(), 1);
    assert!(
        messages[0].contains("office@acme.example"),
        "{}",
        messages[0]
    );

    let injected = json!({ "to": ["ada@example.com\r\nRCPT TO:<eve@example.com>"], "subject": "x", "text": "x" });
    let refused = node.post("mailroom.acme", "/api/messages", injected).await;
    assert!((400..500).contains(&refused.status), "{refused:?}");
    assert_eq!(smtp.messages().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_cannot_connect_is_refused_when_it_is_added() {
    let redis = Redis::start();
    let node = Node::start();
    node.publish(&plugin("redis"));
    node.run("tenant create acme");
    let add = |port: u16, more: &[&str]| {
        let port = port.to_string();
        let set = format!("port={port}");
        let grant = format!("127.0.0.1:{port}");
        let mut words = vec![
            "driver",
            "add",
            "canopy/redis",
            "--tenant",
            "acme",
            "--set",
            "host=127.0.0.1",
            "--set",
            &set,
            "--egress",
            &grant,
        ];
        words.extend(more);
        node.cli(words)
    };
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = closed.local_addr().expect("an address").port();
    drop(closed);
    let refused = add(port, &[]);
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("cannot be used"),
        "in the driver's words: {}",
        refused.stderr
    );
    let forced = add(port, &["--no-check", "--name", "later"]);
    assert_eq!(forced.code, 0, "{}", forced.stderr);
    assert_eq!(
        node.cli(["driver", "check", "later", "--tenant", "acme"])
            .code,
        3
    );
    assert_eq!(add(redis.port, &[]).code, 0);
    node.run("driver check redis --tenant acme");
}
