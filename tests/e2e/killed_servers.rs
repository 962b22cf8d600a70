//! Servers of drivers that are killed while requests are under way: defined errors, and afterwards all goes
//! on without a restart of node or driver.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::documents;
use crate::engines::{add_driver, node_on, postgres_setup, redis_setup, s3_setup};
use crate::support::{Node, Postgres, Redis, S3, Smtp, plugin};

/// How many clients ask at once, and how often each of them at most.
const CLIENTS: usize = 4;
const REQUESTS: usize = 10_000;

/// Requests that are made all the time.
struct Load {
    stop: Arc<AtomicBool>,
    counts: Arc<[AtomicUsize; 2]>,
    clients: Vec<tokio::task::JoinHandle<BTreeSet<u16>>>,
}

impl Load {
    fn begin(
        node: &Arc<Node>,
        request: impl Fn(&Node, usize) -> RequestBuilder + Clone + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let client = |client: usize| {
            let (node, stop, counts) = (Arc::clone(node), Arc::clone(&stop), Arc::clone(&counts));
            let request = request.clone();
            tokio::spawn(async move {
                let mut statuses = BTreeSet::new();
                for number in 0..REQUESTS {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    // A refusal that comes before a body was read may break its connection.
                    let mut succeeded = false;
                    if let Ok(answer) = request(&node, number * CLIENTS + client).send().await {
                        statuses.insert(answer.status().as_u16());
                        // An answer that breaks off is told so by its body.
                        succeeded = answer.status().is_success() && answer.bytes().await.is_ok();
                    }
                    counts[usize::from(!succeeded)].fetch_add(1, Ordering::Relaxed);
                    if !succeeded {
                        // As clients do that do not want to make it worse.
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
                statuses
            })
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self {
            stop,
            counts,
            clients,
        }
    }

    /// Waits until so many more requests have succeeded (0) or failed (1).
    async fn until(&self, which: usize, more: usize) {
        let deadline = Instant::now() + Duration::from_secs(120);
        let begun = self.counts[which].load(Ordering::Relaxed);
        while self.counts[which].load(Ordering::Relaxed) < begun + more {
            assert!(Instant::now() < deadline, "{which}: {:?}", self.counts);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it, and tells which statuses there were.
    async fn end(self) -> BTreeSet<u16> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = BTreeSet::new();
        for client in self.clients {
            all.extend(client.await.expect("a client"));
        }
        all
    }
}

/// Kills a server under load and starts it again. Twice: what recovered once does so again.
async fn survives(
    node: &Arc<Node>,
    allowed: &[u16],
    request: impl Fn(&Node, usize) -> RequestBuilder + Clone + Send + 'static,
    mut server: impl FnMut(bool),
) {
    let load = Load::begin(node, request);
    for _ in 0..2 {
        load.until(0, 20).await;
        server(false);
        load.until(1, 10).await;
        server(true);
    }
    load.until(0, 20).await;
    let statuses = load.end().await;
    let defined = statuses.iter().all(|status| allowed.contains(status));
    assert!(defined, "{statuses:?}");
    assert!(!node.log().contains("panicked"), "{}", node.log());
}

fn keyvalue(node: &Node, number: usize) -> RequestBuilder {
    let key = number % 50;
    let query = match number % 3 {
        0 => format!("/?op=set&key=k{key}&value=v{number}"),
        1 => format!("/?op=get&key=k{key}"),
        _ => "/?op=increment&key=n&delta=1".to_owned(),
    };
    node.request(Method::GET, "kv-probe.acme", &query)
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_may_be_killed_under_load() {
    let mut redis = Redis::start();
    let node = Arc::new(node_on("redis", &redis_setup(&redis)));
    // What the application answers for an error of the interface is 500.
    survives(&node, &[200, 500], keyvalue, |again| match again {
        true => redis.start_again(),
        false => redis.kill(),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_may_be_killed_under_load_of_documents() {
    let mut postgres = Postgres::start();
    let node = Node::start();
    node.publish(&plugin("postgres"));
    documents::install(&node);
    let setup = postgres_setup(&postgres, Postgres::PASSWORD);
    add_driver(&node, "postgres", "acme", &setup);
    node.run("bind documents canopy:storage/sql postgres --tenant acme");
    let node = Arc::new(node);
    let request = |node: &Node, number: usize| match number % 2 {
        0 => {
            let path = format!("/api/files/load/{number}.txt");
            node.request(Method::PUT, documents::APP, &path)
                .body("text")
        }
        _ => node.request(Method::GET, documents::APP, "/api/folders"),
    };
    // A write that met another one, or one that cannot be begun, is to be tried again.
    survives(&node, &[200, 201, 409, 503], request, |again| match again {
        true => postgres.start_again(),
        false => postgres.kill(),
    })
    .await;
    // What was answered as written is there, and nothing half.
    let usage = node.get(documents::APP, "/api/usage").await.json();
    assert_eq!(usage["documents"], usage["versions"], "{usage}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_may_be_killed_under_load_of_documents() {
    // One that takes any key, for it comes back with another one.
    let mut s3 = S3::start_open();
    let node = Node::start();
    node.publish(&plugin("s3"));
    documents::install(&node);
    add_driver(&node, "s3", "acme", &s3_setup(&s3));
    node.run("bind documents canopy:storage/blobs s3 --tenant acme");
    let node = Arc::new(node);
    let request = |node: &Node, number: usize| {
        let path = format!("/api/files/load/{}.bin", number % 8);
        match number % 2 {
            0 => node
                .request(Method::PUT, documents::APP, &path)
                .body(vec![7_u8; 300_000]),
            _ => node.request(Method::GET, documents::APP, &path),
        }
    };
    // It comes back empty: what was there is not found.
    let allowed = [200, 201, 404, 409, 500, 503];
    survives(&node, &allowed, request, |again| match again {
        true => s3.start_again(),
        false => s3.kill(),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_may_be_killed_under_load() {
    let mut smtp = Smtp::start();
    let node = Node::start();
    node.publish(&plugin("smtp"));
    node.publish(&plugin("mailroom"));
    node.run("tenant create acme");
    node.run(&format!(
        "driver add canopy/smtp --tenant acme --set host=127.0.0.1 --set port={0} --set from=office@acme.example --egress 127.0.0.1:{0}",
        smtp.port
    ));
    node.run("install canopy/mailroom --tenant acme --bind canopy:mail=smtp --set anonymous_access=write");
    let node = Arc::new(node);
    let request = |node: &Node, number: usize| {
        let message =
            json!({ "to": ["ada@example.com"], "subject": number.to_string(), "text": "Hello." });
        node.request(Method::POST, "mailroom.acme", "/api/messages")
            .json(&message)
    };
    survives(&node, &[201, 502, 503], request, |again| match again {
        true => smtp.start_again(),
        false => smtp.kill(),
    })
    .await;
}
