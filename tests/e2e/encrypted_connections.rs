//! Drivers that speak TLS with their servers, whose certificates are of an authority of the tenant's own.

use serde_json::json;

use crate::engines::{Setup, ask, node_on, postgres_setup, redis_setup, try_driver};
use crate::support::{Certificate, Node, Postgres, Redis, Smtp, plugin};

/// The settings by which a server of `certificate` is known.
fn trusting(certificate: &Certificate) -> [(&'static str, String); 2] {
    [
        ("ca", certificate.authority.clone()),
        ("server_name", Certificate::NAME.into()),
    ]
}

/// Why `driver` is not set up so.
fn refusal(node: &Node, driver: &str, setup: &Setup) -> String {
    let added = try_driver(node, driver, "globex", setup);
    assert_eq!(added.code, 3, "{}", added.stderr);
    added.stderr
}

/// What a driver must not be set up with: the wrong authority, the wrong name, no TLS.
fn refuses(driver: &str, setup: impl Fn(Vec<(&'static str, String)>) -> Setup, clear: &str) {
    let mut node = Node::start();
    assert!(node.terminate().success());
    // Even a node that takes backtraces keeps them to itself.
    node.start_again_with(|node| {
        node.env("RUST_BACKTRACE", "1");
    });
    node.publish(&plugin(driver));
    node.run("tenant create globex");
    let stranger = Certificate::new();
    for config in [
        trusting(&stranger).to_vec(),
        vec![("server_name", Certificate::NAME.into())],
    ] {
        let refused = refusal(&node, driver, &setup(config));
        assert!(refused.contains("no TLS with db.example"), "{refused}");
        assert!(!refused.contains("backtrace"), "{refused}");
    }
    let unsafe_setup = setup(vec![("-", String::new())]);
    let refused = refusal(&node, driver, &unsafe_setup);
    assert!(refused.contains(clear), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_talked_to_by_tls() {
    let certificate = Certificate::new();
    let redis = Redis::start_with_tls(&certificate, "secret");
    let with = |config: Vec<(&'static str, String)>, password: &str| {
        let mut setup = redis_setup(&redis);
        if config[0].0 != "-" {
            setup.config.push(("tls", "true".into()));
            setup.config.extend(config);
        }
        setup.secrets = vec![("password", password.to_owned())];
        setup
    };
    let node = node_on("redis", &with(trusting(&certificate).to_vec(), "secret"));
    ask(&node, &[("op", "set"), ("key", "k"), ("value", "v")]).await;
    assert_eq!(ask(&node, &[("op", "get"), ("key", "k")]).await, "v");
    let wrong = with(trusting(&certificate).to_vec(), "wrong");
    let wrong = refusal(
        &node,
        "redis",
        &Setup {
            egress: format!("{} --name other", wrong.egress),
            ..wrong
        },
    );
    assert!(wrong.contains("WRONGPASS"), "{wrong}");
    refuses(
        "redis",
        |config| with(config, "secret"),
        "closed the connection",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_is_talked_to_by_tls() {
    let certificate = Certificate::new();
    let postgres = Postgres::start_with_tls(&certificate);
    let with = |config: Vec<(&'static str, String)>| {
        let mut setup = postgres_setup(&postgres, Postgres::PASSWORD);
        if config[0].0 != "-" {
            setup.config.push(("sslmode", "verify-full".into()));
            setup.config.extend(config);
        }
        setup
    };
    let node = node_on("postgres", &with(trusting(&certificate).to_vec()));
    ask(&node, &[("op", "set"), ("key", "k"), ("value", "v")]).await;
    assert_eq!(ask(&node, &[("op", "get"), ("key", "k")]).await, "v");
    refuses("postgres", with, "does not let the driver in");
    let clear = Postgres::start();
    let mut setup = postgres_setup(&clear, Postgres::PASSWORD);
    setup.config.push(("sslmode", "verify-full".into()));
    setup.egress.push_str(" --name clear");
    let refused = refusal(&node, "postgres", &setup);
    assert!(refused.contains("offers no TLS"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_is_handed_over_by_tls_from_the_beginning_or_after_the_greeting() {
    let certificate = Certificate::new();
    for how in ["starttls", "implicit"] {
        let smtp = Smtp::start_with_tls(&certificate, how);
        let with = |config: Vec<(&'static str, String)>, password: &str| {
            let mut setup = Setup {
                config: vec![
                    ("host", "127.0.0.1".into()),
                    ("port", smtp.port.to_string()),
                    ("from", "office@acme.example".into()),
                    ("username", "ada".into()),
                ],
                egress: format!("127.0.0.1:{}", smtp.port),
                secrets: vec![("password", password.to_owned())],
            };
            if config[0].0 != "-" {
                setup.config.push(("tls", how.into()));
                setup.config.extend(config);
            }
            setup
        };
        let node = Node::start();
        node.publish(&plugin("smtp"));
        node.publish(&plugin("mailroom"));
        node.run("tenant create globex");
        let wrong = with(trusting(&certificate).to_vec(), "wrong");
        let refused = refusal(&node, "smtp", &wrong);
        assert!(refused.contains("535"), "{how}: {refused}");
        let added = try_driver(
            &node,
            "smtp",
            "globex",
            &with(trusting(&certificate).to_vec(), "secret"),
        );
        assert_eq!(added.code, 0, "{how}: {}", added.stderr);
        node.run("install canopy/mailroom --tenant globex --bind canopy:mail=smtp --set anonymous_access=write");
        let message = json!({ "to": ["ada@example.com"], "subject": "By TLS", "text": "Hello." });
        let sent = node.post("mailroom.globex", "/api/messages", message).await;
        assert_eq!(sent.status, 201, "{how}: {sent:?}");
        assert_eq!(smtp.messages().len(), 1);
        refuses(
            "smtp",
            |config| with(config, "secret"),
            "allow_plaintext_auth",
        );
    }
}
