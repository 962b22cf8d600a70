//! Servers of drivers that are killed while requests are under way: defined errors, and afterwards all goes
//! on without a restart of node or driver.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::documents;
use crate::engines::{Setup, add_driver, postgres_setup, redis_setup, s3_setup};
use crate::samples::number;
use crate::support::{Node, Postgres, Redis, S3, Smtp, plugin};

/// How many clients ask at once, and how often each of them at most.
const CLIENTS: usize = 4;
const REQUESTS: usize = 10_000;

/// What an answer may be that is no success: its status, the type of its problem document, and what its
/// detail begins with.
type Told = (u16, &'static str, &'static str);

const STORAGE: Told = (
    503,
    "about:blank",
    "The storage did not answer as it should. Nothing is known to be lost; try again.",
);
const DATABASE: Told = (
    503,
    "about:blank",
    "The database did not answer as it should.",
);
const OBJECTS: Told = (
    503,
    "about:blank",
    "The storage did not answer as it should. Try again later.",
);
/// A body broke off whose head has been sent, which the connection tells.
const BROKEN_OFF: Told = (200, "", "the body broke off");
/// The answer came before the body had been read, and its connection broke.
const NO_ANSWER: Told = (0, "", "no answer");

/// The same of an answer that came.
type Answered = (u16, String, String);

/// What an answer says that is no success.
async fn refusal(answer: reqwest::Result<reqwest::Response>) -> Option<Answered> {
    let told = |(status, kind, detail): Told| Some((status, kind.to_owned(), detail.to_owned()));
    let Ok(answer) = answer else {
        return told(NO_ANSWER);
    };
    let status = answer.status();
    let is_problem = answer
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind == "application/problem+json");
    let Ok(body) = answer.bytes().await else {
        return told((status.as_u16(), BROKEN_OFF.1, BROKEN_OFF.2));
    };
    if status.is_success() {
        return None;
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    if !is_problem {
        return Some((status.as_u16(), "no problem document".to_owned(), body));
    }
    let document: Value = serde_json::from_str(&body).expect("a problem document");
    assert_eq!(document["status"], status.as_u16(), "{document}");
    let text = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
    Some((status.as_u16(), text("type"), text("detail")))
}

/// Requests that are made all the time.
struct Load {
    stop: Arc<AtomicBool>,
    counts: Arc<[AtomicUsize; 2]>,
    clients: Vec<tokio::task::JoinHandle<BTreeSet<Answered>>>,
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
                let mut refusals = BTreeSet::new();
                for number in 0..REQUESTS {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let answer = request(&node, number * CLIENTS + client).send().await;
                    let refused = refusal(answer).await;
                    counts[usize::from(refused.is_some())].fetch_add(1, Ordering::Relaxed);
                    if let Some(refused) = refused {
                        refusals.insert(refused);
                        // As clients do that do not want to make it worse.
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
                refusals
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

    /// Ends it, and tells which answers there were that were no success.
    async fn end(self) -> BTreeSet<Answered> {
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
    defined: &[Told],
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
    let mut refusals = load.end().await;
    refusals.retain(|(status, kind, detail)| {
        let is = |told: &Told| (told.0, told.1) == (*status, kind) && detail.starts_with(told.2);
        !defined.iter().any(is)
    });
    assert!(refusals.is_empty(), "not defined: {refusals:?}");
    assert!(!node.log().contains("panicked"), "{}", node.log());
}

const INVOICES: &str = "invoices.acme";
/// Drafts that are issued under load.
const DRAFTS: usize = 40;

/// `invoices` at acme keeps its books by `driver`, whose server is killed under it. Afterwards the
/// numbers have no gap.
async fn books_survive(driver: &str, setup: &Setup, server: impl FnMut(bool)) {
    let node = Node::start();
    node.publish(&plugin(driver));
    node.serve(&plugin("invoices"), "canopy/invoices", &["acme"]);
    add_driver(&node, driver, "acme", setup);
    node.run(&format!(
        "bind invoices wasi:keyvalue {driver} --tenant acme"
    ));
    node.run("config set invoices --tenant acme anonymous_access=write");
    let customer = json!({"name": "Ada & Söhne", "email": "ada@example.com"});
    let made = node
        .post(INVOICES, "/api/customers", customer.clone())
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let line = json!({
        "description": "Hours", "quantity": 3, "unit_price_cents": 9950, "vat_rate": 19,
    });
    let draft = json!({"customer": made.json()["id"], "lines": [line]});
    let mut drafts = Vec::new();
    for _ in 0..DRAFTS {
        let made = node.post(INVOICES, "/api/invoices", draft.clone()).await;
        assert_eq!(made.status, 201, "{made:?}");
        drafts.push(format!("/api/invoices/{}/issue", made.json()["id"]));
    }
    let node = Arc::new(node);
    let paths = drafts.clone();
    let request = move |node: &Node, number: usize| {
        let post = |path: &str, body: &Value| node.request(Method::POST, INVOICES, path).json(body);
        match number % 4 {
            0 => post("/api/customers", &customer),
            1 => node.request(Method::GET, INVOICES, "/api/invoices?limit=5"),
            2 => post("/api/invoices", &draft),
            _ => post(&paths[number / 4 % DRAFTS], &json!({})),
        }
    };
    survives(&node, &[STORAGE], request, server).await;
    let mut numbers = Vec::new();
    for path in &drafts {
        let issued = node.post(INVOICES, path, json!({})).await;
        assert_eq!(issued.status, 200, "{issued:?}");
        numbers.push(number(&issued.json()["number"]));
    }
    numbers.sort_unstable();
    let all: Vec<u64> = (1..).take(DRAFTS).collect();
    assert_eq!(numbers, all, "each number once, and none left out");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_may_be_killed_under_load_of_invoices() {
    let mut redis = Redis::start_lasting();
    let setup = redis_setup(&redis);
    books_survive("redis", &setup, |again| match again {
        true => redis.start_again(),
        false => redis.kill(),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_may_be_killed_under_load_of_invoices() {
    let mut postgres = Postgres::start();
    let setup = postgres_setup(&postgres, Postgres::PASSWORD);
    books_survive("postgres", &setup, |again| match again {
        true => postgres.start_again(),
        false => postgres.kill(),
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
    let taken = (
        409,
        "urn:canopy:documents:taken",
        "There is something called “load” in this folder already.",
    );
    survives(&node, &[DATABASE, taken], request, |again| match again {
        true => postgres.start_again(),
        false => postgres.kill(),
    })
    .await;
    // What was answered as written is there, and nothing half.
    let usage = node.get(documents::APP, "/api/usage").await.json();
    assert_eq!(usage["documents"], usage["versions"], "{usage}");
}

/// `documents` at acme keeps its objects by a chain that ends with S3, which is killed under it. `links` are the
/// drivers before S3, the last one first, each with how it is added.
async fn objects_survive(links: &[(&str, &str)]) {
    // One that takes any key, for it comes back with another one.
    let mut s3 = S3::start_open();
    let node = Node::start();
    node.publish(&plugin("s3"));
    documents::install(&node);
    add_driver(&node, "s3", "acme", &s3_setup(&s3));
    let mut end = "s3";
    // Thirty-two equal bytes as base64, which is enough for a test.
    let key = format!("one:{}QUE=", "QUFB".repeat(10));
    for (driver, how) in links {
        node.publish(&plugin(driver));
        let add = format!(
            "driver add canopy/{driver} --tenant acme --bind canopy:storage/blobs={end} {how}"
        );
        let added = node.cli_with(add.split_whitespace(), &[("KEY", &key)]);
        assert_eq!(added.code, 0, "{}", added.stderr);
        end = driver;
    }
    node.run(&format!(
        "bind documents canopy:storage/blobs {end} --tenant acme"
    ));
    for number in 0..8 {
        let made = documents::put(&node, &format!("load/{number}.bin"), "old").await;
        assert_eq!(made.status, 201, "{made:?}");
    }
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
    let gone = (404, "about:blank", "there is no such object.");
    let defined = [OBJECTS, gone, BROKEN_OFF, NO_ANSWER];
    survives(&node, &defined, request, |again| match again {
        true => s3.start_again(),
        false => s3.kill(),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_may_be_killed_under_load_of_documents() {
    objects_survive(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_may_be_killed_behind_a_cache_and_encryption_under_load_of_documents() {
    objects_survive(&[
        ("encrypt-blobs", "--secret-env key=KEY"),
        ("cache-blobs", ""),
    ])
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
    let unsent = |detail| (503, "urn:canopy:mailroom:not-sent", detail);
    let defined = [
        unsent(
            "The mail server cannot be reached or is busy; try again later: \
             no connection to the mail server: the connection was refused",
        ),
        // Killed while it took the connection.
        unsent(
            "The mail server cannot be reached or is busy; try again later: \
             no connection to the mail server: it closed the connection",
        ),
        unsent(
            "The mail server cannot be reached or is busy; try again later: \
             the conversation broke: it closed the connection",
        ),
    ];
    survives(&node, &defined, request, |again| match again {
        true => smtp.start_again(),
        false => smtp.kill(),
    })
    .await;
}
