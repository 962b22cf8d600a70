//! Drivers that serve `wasi:keyvalue`, each against the real server that it is made for: one
//! behaviour for all of them, and what comes of a server that ends.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::samples::issues_invoices_without_gaps;
use crate::support::{Answer, Node, Output, Postgres, Redis, S3, answer, guest, plugin};

/// The configuration of a driver, what it may reach, and its secrets.
pub(crate) struct Setup {
    pub(crate) config: Vec<(&'static str, String)>,
    pub(crate) egress: String,
    pub(crate) secrets: Vec<(&'static str, String)>,
}

/// A node on which `driver` serves keys and values to `kv-probe` and `invoices` of `acme`, and to
/// `kv-probe` of `globex`.
pub(crate) fn node_on(driver: &str, setup: &Setup) -> Node {
    let node = Node::start();
    node.publish(&plugin(driver));
    node.serve(&guest("kv-probe"), "guests/kv-probe", &TENANTS);
    node.serve(&plugin("invoices"), "canopy/invoices", &TENANTS[..1]);
    for tenant in TENANTS {
        add_driver(&node, driver, tenant, setup);
    }
    bind_all(&node, driver);
    node
}

const TENANTS: [&str; 2] = ["acme", "globex"];

pub(crate) fn add_driver(node: &Node, driver: &str, tenant: &str, setup: &Setup) {
    let added = try_driver(node, driver, tenant, setup);
    assert_eq!(added.code, 0, "{}", added.stderr);
}

pub(crate) fn try_driver(node: &Node, driver: &str, tenant: &str, setup: &Setup) -> Output {
    let add = format!(
        "driver add canopy/{driver} --tenant {tenant} --egress {}",
        setup.egress
    );
    let mut add: Vec<String> = add.split_whitespace().map(str::to_owned).collect();
    for (key, value) in &setup.config {
        add.extend(["--set".to_owned(), format!("{key}={value}")]);
    }
    // Secrets come by the environment, here each under its own name.
    for (key, _) in &setup.secrets {
        add.extend(["--secret-env".to_owned(), format!("{key}={key}")]);
    }
    let secrets = setup.secrets.iter();
    let secrets: Vec<_> = secrets.map(|(key, value)| (*key, value.as_str())).collect();
    node.cli_with(add, &secrets)
}

fn bind_all(node: &Node, driver: &str) {
    for tenant in TENANTS {
        node.run(&format!(
            "bind kv-probe wasi:keyvalue {driver} --tenant {tenant}"
        ));
    }
    node.run(&format!(
        "bind invoices wasi:keyvalue {driver} --tenant acme"
    ));
    node.run("config set invoices --tenant acme anonymous_access=write");
}

pub(crate) async fn probe(node: &Node, app: &str, query: &[(&str, &str)]) -> Answer {
    let url = reqwest::Url::parse_with_params("http://any/", query).expect("an address");
    let path = format!("/?{}", url.query().expect("a query"));
    answer(node.request(Method::GET, app, &path)).await
}

pub(crate) async fn ask(node: &Node, query: &[(&str, &str)]) -> Value {
    let answer = probe(node, "kv-probe.acme", query).await;
    assert_eq!(answer.status, 200, "{query:?}: {answer:?}");
    answer.json()
}

async fn refusal(node: &Node, query: &[(&str, &str)]) -> String {
    let answer = probe(node, "kv-probe.acme", query).await;
    assert_eq!(answer.status, 500, "{query:?}: {answer:?}");
    answer.body
}

/// Keys in which something could take a part for something else.
const ODD_KEYS: [&str; 12] = [
    "a/b", "a//b", "/", "..", "../x", ".", "%2F", "a b+c", "ü€", "k?x=1&y", "'\"\\;--", "=2F",
];

async fn behaves(node: &Node) {
    assert!(ask(node, &[("op", "get"), ("key", "k")]).await.is_null());
    assert_eq!(ask(node, &[("op", "exists"), ("key", "k")]).await, false);
    for value in ["one", "two"] {
        ask(node, &[("op", "set"), ("key", "k"), ("value", value)]).await;
    }
    assert_eq!(ask(node, &[("op", "get"), ("key", "k")]).await, "two");
    assert_eq!(ask(node, &[("op", "exists"), ("key", "k")]).await, true);
    ask(node, &[("op", "set"), ("key", "empty")]).await;
    assert_eq!(ask(node, &[("op", "get"), ("key", "empty")]).await, "");
    for _ in 0..2 {
        ask(node, &[("op", "delete"), ("key", "empty")]).await;
        assert_eq!(
            ask(node, &[("op", "exists"), ("key", "empty")]).await,
            false
        );
    }

    let mut written = BTreeSet::from(["k"]);
    for key in ODD_KEYS {
        ask(node, &[("op", "set"), ("key", key), ("value", key)]).await;
        written.insert(key);
    }
    for key in ODD_KEYS {
        assert_eq!(ask(node, &[("op", "get"), ("key", key)]).await, key);
    }
    let listed = ask(node, &[("op", "list")]).await;
    let listed: Vec<String> = serde_json::from_value(listed).expect("keys");
    assert_eq!(listed.len(), written.len(), "each key once: {listed:?}");
    assert_eq!(
        BTreeSet::from_iter(listed.iter().map(String::as_str)),
        written
    );

    // Buckets, and the tenants with the same driver and server, are apart.
    let elsewhere = [("op", "list"), ("bucket", "second")];
    assert_eq!(ask(node, &elsewhere).await, json!([]));
    let other = probe(node, "kv-probe.globex", &[("op", "list")]).await;
    assert_eq!(other.json(), json!([]), "{other:?}");
    let refused = refusal(
        node,
        &[("op", "get"), ("bucket", "../default"), ("key", "k")],
    )
    .await;
    assert!(refused.contains("no such bucket"), "{refused}");

    counts(node).await;
    takes_batches(node).await;
    let long = "k".repeat(2_000);
    let refused = refusal(node, &[("op", "set"), ("key", &long)]).await;
    assert!(refused.contains("over the limit"), "{refused}");
}

async fn counts(node: &Node) {
    let increment = |delta: &'static str| [("op", "increment"), ("key", "n"), ("delta", delta)];
    assert_eq!(ask(node, &increment("3")).await, 3);
    assert_eq!(ask(node, &increment("4")).await, 7);
    assert_eq!(ask(node, &[("op", "get"), ("key", "n")]).await, "7");
    refusal(node, &increment("9223372036854775807")).await;
    refusal(node, &increment("18446744073709551615")).await;
    refusal(node, &[("op", "increment"), ("key", "k"), ("delta", "1")]).await;
    assert_eq!(
        ask(node, &increment("0")).await,
        7,
        "refusals change nothing"
    );
    let once = [("op", "increment"), ("key", "many"), ("delta", "1")];
    let all = (0..8).map(|_| ask(node, &once));
    let all = futures::future::join_all(all).await;
    let counted: BTreeSet<u64> = all.iter().map(|sum| sum.as_u64().expect("a sum")).collect();
    assert_eq!(counted, (1..=8).collect(), "each sum is given once");
}

async fn takes_batches(node: &Node) {
    let names: Vec<String> = (0..600).map(|n| format!("batch{n}")).collect();
    for some in names.chunks(100) {
        let some = some.join(",");
        ask(node, &[("op", "set-many"), ("key", &some), ("value", "v")]).await;
    }
    let names = names.join(",");
    let listed = ask(node, &[("op", "list"), ("key", "batch")]).await;
    let listed: BTreeSet<String> = serde_json::from_value(listed).expect("keys");
    assert_eq!(listed.len(), 600, "over several pages");
    let read = ask(
        node,
        &[("op", "get-many"), ("key", "batch1,nothing,batch599")],
    )
    .await;
    assert_eq!(read.as_array().map(Vec::len), Some(3), "{read}");
    assert!(
        !read[0].is_null() && read[1].is_null() && !read[2].is_null(),
        "{read}"
    );
    ask(node, &[("op", "delete-many"), ("key", &names)]).await;
    assert_eq!(
        ask(node, &[("op", "list"), ("key", "batch")]).await,
        json!([])
    );
    ask(
        node,
        &[("op", "set-many"), ("key", "twice,twice"), ("value", "v")],
    )
    .await;
}

pub(crate) fn redis_setup(redis: &Redis) -> Setup {
    Setup {
        config: vec![
            ("host", "127.0.0.1".into()),
            ("port", redis.port.to_string()),
        ],
        egress: format!("127.0.0.1:{}", redis.port),
        secrets: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_values_are_kept_by_redis() {
    let redis = Redis::start();
    behaves(&node_on("redis", &redis_setup(&redis))).await;
}

pub(crate) fn postgres_setup(postgres: &Postgres, password: &str) -> Setup {
    Setup {
        config: vec![
            ("host", "127.0.0.1".into()),
            ("port", postgres.port.to_string()),
            ("username", "canopy".into()),
            ("database", "postgres".into()),
        ],
        egress: format!("127.0.0.1:{}", postgres.port),
        secrets: vec![("password", password.to_owned())],
    }
}

fn on_postgres(postgres: &Postgres) -> Node {
    node_on("postgres", &postgres_setup(postgres, Postgres::PASSWORD))
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_values_and_the_books_are_kept_by_postgresql() {
    let postgres = Postgres::start();
    let node = on_postgres(&postgres);
    behaves(&node).await;
    issues_invoices_without_gaps(&node, "invoices.acme").await;
    let owners = "SELECT count(DISTINCT installation) FROM canopy_keyvalue";
    assert_eq!(postgres.query(owners), "2", "those of acme, in one table");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_server_that_ends_is_an_error_until_it_is_back() {
    let mut postgres = Postgres::start();
    let node = on_postgres(&postgres);
    let increment = [("op", "increment"), ("key", "n"), ("delta", "1")];
    ask(&node, &[("op", "set"), ("key", "k"), ("value", "kept")]).await;
    assert_eq!(ask(&node, &increment).await, 1);
    postgres.kill();
    for query in [&increment[..], &[("op", "get"), ("key", "k")]] {
        let refused = refusal(&node, query).await;
        assert!(refused.contains("cannot be used"), "{refused}");
    }
    let invoices = node.get("invoices.acme", "/api/customers").await;
    assert_eq!(invoices.status, 503, "{invoices:?}");
    postgres.start_again();
    assert_eq!(ask(&node, &increment).await, 2, "the same driver goes on");
    // A connection that broke while it was idle is noticed before anything is counted twice.
    postgres.kill();
    postgres.start_again();
    assert_eq!(ask(&node, &increment).await, 3);
    assert_eq!(ask(&node, &[("op", "get"), ("key", "k")]).await, "kept");
    assert_eq!(
        node.get("invoices.acme", "/api/customers").await.status,
        200
    );
}

/// Tries to set `driver` up, which is refused in the driver's words.
fn refused_setup(driver: &str, setup: &Setup) -> String {
    let node = Node::start();
    node.publish(&plugin(driver));
    node.run("tenant create acme");
    let added = try_driver(&node, driver, "acme", setup);
    assert_eq!(added.code, 3, "{}", added.stderr);
    added.stderr
}

#[test]
fn a_wrong_password_is_told_when_the_driver_is_set_up() {
    let postgres = Postgres::start();
    let refused = refused_setup("postgres", &postgres_setup(&postgres, "wrong"));
    assert!(refused.contains("does not let the driver in"), "{refused}");
    assert!(refused.contains("28P01"), "{refused}");
    let s3 = S3::start();
    let mut setup = s3_setup(&s3);
    setup.secrets = vec![("secret_access_key", "wrong".to_owned())];
    let refused = refused_setup("s3", &setup);
    assert!(refused.contains("SignatureDoesNotMatch"), "{refused}");
}

pub(crate) fn s3_setup(s3: &S3) -> Setup {
    Setup {
        config: vec![
            ("endpoint", format!("http://127.0.0.1:{}", s3.port)),
            ("bucket", S3::BUCKET.into()),
            ("access_key_id", s3.key.0.clone()),
        ],
        egress: format!("127.0.0.1:{}", s3.port),
        secrets: vec![("secret_access_key", s3.key.1.clone())],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_values_and_the_books_are_kept_by_s3() {
    let s3 = S3::start();
    let node = node_on("s3", &s3_setup(&s3));
    behaves(&node).await;
    issues_invoices_without_gaps(&node, "invoices.acme").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_s3_service_that_ends_or_refuses_is_an_error_until_it_does_not() {
    let mut s3 = S3::start();
    let node = node_on("s3", &s3_setup(&s3));
    let get = [("op", "get"), ("key", "k")];
    assert!(ask(&node, &get).await.is_null());
    s3.kill();
    let increment = [("op", "increment"), ("key", "n"), ("delta", "1")];
    for query in [&get[..], &increment] {
        let refused = refusal(&node, query).await;
        assert!(refused.contains("cannot be used"), "{refused}");
    }
    // It comes back with another access key, which the driver does not have yet.
    s3.start_again();
    let refused = refusal(&node, &get).await;
    assert!(refused.contains("InvalidAccessKeyId"), "{refused}");
    let mut setup = s3_setup(&s3);
    setup.egress.push_str(" --replace");
    add_driver(&node, "s3", "acme", &setup);
    assert!(ask(&node, &get).await.is_null(), "it goes on, and is empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_values_and_the_books_pass_a_cache_and_encryption_on_their_way_to_s3() {
    let s3 = S3::start();
    let setup = s3_setup(&s3);
    let node = node_on("s3", &setup);
    for driver in ["encrypt", "cache"] {
        node.publish(&plugin(driver));
    }
    // Thirty-two equal bytes as base64, which is enough for a test.
    let key = format!("{}QUE=", "QUFB".repeat(10));
    let secrets = [("key", format!("one:{key}")), ("name_key", key)];
    let secrets = secrets
        .each_ref()
        .map(|(key, value)| (*key, value.as_str()));
    for tenant in TENANTS {
        let add = format!(
            "driver add canopy/encrypt --tenant {tenant} --secret-env key=key --secret-env name_key=name_key --bind wasi:keyvalue=s3"
        );
        let added = node.cli_with(add.split_whitespace(), &secrets);
        assert_eq!(added.code, 0, "{}", added.stderr);
        node.run(&format!(
            "driver add canopy/cache --tenant {tenant} --bind wasi:keyvalue=encrypt"
        ));
    }
    bind_all(&node, "cache");
    behaves(&node).await;
    issues_invoices_without_gaps(&node, "invoices.acme").await;
}
