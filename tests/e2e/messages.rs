//! Messages between the applications of a tenant: they come, in order, again, and after a kill -9.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use crate::support::{Answer, Node, answer, guest, version_of};

const SETTINGS: &str = "[messages]\nretry_after = \"50ms\"\nattempts = 3";

/// A node where `acme` has the courier twice, as `courier` and `second`, and `globex` once.
async fn couriers() -> Node {
    let node = Node::start_with(SETTINGS);
    node.serve(&guest("courier"), "guests/courier", &["acme", "globex"]);
    node.run("install guests/courier --name second --tenant acme");
    node
}

async fn send(node: &Node, from: &str, query: &str, body: &str) -> Answer {
    let path = format!("/send?{query}");
    answer(
        node.request(Method::POST, from, &path)
            .body(body.to_owned()),
    )
    .await
}

/// Asks until an application has got `count` messages.
async fn got(node: &Node, app: &str, count: usize) -> Vec<Value> {
    loop {
        let got = node.get(app, "/got").await.json();
        let got = got.as_array().expect("a list");
        if got.len() >= count {
            return got.clone();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_subscriber_of_the_tenant_gets_a_message_and_nobody_else() {
    let node = couriers().await;
    let sent = send(&node, "courier.acme", "topic=orders", "one").await;
    assert_eq!((sent.status, sent.body.as_str()), (202, "2"), "{sent:?}");
    for app in ["courier.acme", "second.acme"] {
        let got = got(&node, app, 1).await;
        let message = &got[0];
        assert_eq!(message["body"], "one");
        assert_eq!(message["topic"], "orders");
        assert_eq!(message["sender"], "courier");
        assert_eq!(message["caller"], "courier");
        assert_eq!(message["type"], "text/plain");
        assert_eq!(message["attempt"], "1");
    }
    let theirs = send(&node, "second.acme", "topic=events&by=wasmcloud", "two").await;
    assert_eq!(theirs.status, 202, "{theirs:?}");
    let got = got(&node, "courier.acme", 2).await;
    assert_eq!(
        (&got[1]["body"], &got[1]["reply_to"]),
        (&"two".into(), &"answers".into())
    );
    assert_eq!(
        node.get("courier.globex", "/got").await.json(),
        Value::from(Vec::<Value>::new())
    );

    let nobody = send(&node, "courier.acme", "topic=unheard", "x").await;
    assert_eq!((nobody.status, nobody.body.as_str()), (202, "0"));
    for (query, said) in [
        ("topic=Orders", "InvalidTopic"),
        ("topic=orders&delay=99999999999", "TooLate"),
        ("topic=unheard&by=request", "nobody subscribes"),
    ] {
        let refused = send(&node, "courier.acme", query, "x").await;
        assert!(
            refused.status == 409 && refused.body.contains(said),
            "{refused:?}"
        );
    }
    let long = send(
        &node,
        "courier.acme",
        "topic=orders",
        &"x".repeat(300 << 10),
    )
    .await;
    assert!(long.body.contains("TooLarge"), "{}", long.status);
    // Nobody from outside delivers anything.
    let forged = node.request(Method::POST, "courier.acme", "/on/orders");
    assert_eq!(answer(forged).await.status, 401);
    let stores = node.run("kv stores courier --tenant acme");
    assert!(!stores.to_string().contains("messages"), "{stores}");
}

#[tokio::test(flavor = "multi_thread")]
async fn order_is_kept_over_failures_and_a_held_back_message_waits() {
    let node = couriers().await;
    for body in ["first", "twice", "third", "fourth"] {
        assert_eq!(
            send(&node, "courier.acme", "topic=orders", body)
                .await
                .status,
            202
        );
    }
    let all = got(&node, "courier.acme", 4).await;
    let bodies: Vec<_> = all
        .iter()
        .map(|message| message["body"].as_str().expect("text"))
        .collect();
    assert_eq!(bodies, ["first", "twice", "third", "fourth"]);
    assert_eq!(all[1]["attempt"], "3");
    let begun = Instant::now();
    send(&node, "courier.acme", "topic=events&delay=1500", "late").await;
    got(&node, "courier.acme", 5).await;
    assert!(begun.elapsed() >= Duration::from_millis(1500));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_is_kept_and_can_be_delivered_again() {
    let node = couriers().await;
    send(&node, "courier.acme", "topic=orders", "broken").await;
    send(&node, "courier.acme", "topic=orders", "behind").await;
    let after = got(&node, "courier.acme", 1).await;
    assert_eq!(
        after[0]["body"], "behind",
        "what is given up holds nobody up"
    );
    let dead = node.run("messages dead courier --tenant acme");
    assert_eq!(dead.as_array().map(Vec::len), Some(1), "{dead}");
    assert_eq!(
        (&dead[0]["attempts"], &dead[0]["sender"]),
        (&3.into(), &"courier".into())
    );
    let id = dead[0]["id"].as_str().expect("an id");
    let shown = node.run(&format!("messages show courier {id} --tenant acme"));
    assert_eq!(shown["body"], "YnJva2Vu");
    let log = node.cli(["logs", "courier", "--tenant", "acme"]).stdout;
    assert!(
        log.contains("attempt 3 of 3") && log.contains("given up"),
        "{log}"
    );

    assert_eq!(node.get("courier.acme", "/mend").await.status, 200);
    node.run("messages requeue courier --all --tenant acme");
    let all = got(&node, "courier.acme", 2).await;
    assert_eq!(
        (&all[1]["body"], &all[1]["message"]),
        (&"broken".into(), &id.into())
    );
    let dead = node.run("messages dead courier --tenant acme");
    assert_eq!(dead.as_array().map(Vec::len), Some(0), "{dead}");
    let discard = ["messages", "discard", "courier", id, "--tenant", "acme"];
    assert_ne!(node.cli(discard).code, 0, "it is gone");
    let topics = node.run("messages list courier --tenant acme");
    assert_eq!(
        (&topics[0]["topic"], &topics[0]["waiting"]),
        (&"orders".into(), &0.into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_no_message_that_was_acknowledged() {
    let mut node = couriers().await;
    let mut sent = Vec::new();
    for number in 0..20 {
        let body = format!("m{number}");
        if send(&node, "courier.acme", "topic=events&delay=300", &body)
            .await
            .status
            == 202
        {
            sent.push(body);
        }
    }
    node.kill_and_restart();
    let mut missing = sent;
    while !missing.is_empty() {
        let got = node.get("second.acme", "/got").await.json();
        let got = got.as_array().expect("a list");
        missing.retain(|body| !got.iter().any(|message| message["body"] == body.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_within_the_tenant_or_not_in_time() {
    let node = Node::start_with(SETTINGS);
    node.serve(&guest("courier"), "guests/courier", &["acme"]);
    let ask = "topic=questions&by=request";
    let answered = send(&node, "courier.acme", ask, "who").await;
    assert_eq!(
        (answered.status, answered.body.as_str()),
        (200, "who? says courier"),
        "{answered:?}"
    );
    // Several at once get each their own.
    let asked = ["a", "b", "c"].map(|text| send(&node, "courier.acme", ask, text));
    for (answered, text) in futures::future::join_all(asked)
        .await
        .iter()
        .zip(["a", "b", "c"])
    {
        assert_eq!(answered.body, format!("{text}? says courier"));
    }
    let late = send(&node, "courier.acme", ask, "silence").await;
    assert!(
        late.status == 409 && late.body.contains("no answer within 5000 ms"),
        "{late:?}"
    );
}

/// A node where `acme` has the courier and the listener, which has a handler of messages alone.
async fn listener() -> Node {
    let node = Node::start_with(SETTINGS);
    node.serve(&guest("courier"), "guests/courier", &["acme"]);
    node.publish(&guest("listener"));
    node.run("install guests/listener --tenant acme");
    node
}

/// Asks until the listener has passed on `count` messages to the courier.
async fn passed_on(node: &Node, count: usize) -> Vec<Value> {
    loop {
        let got = node.get("courier.acme", "/got").await.json();
        let got = got.as_array().expect("a list").iter();
        let passed: Vec<_> = got
            .filter(|message| message["sender"] == "listener")
            .map(|message| message["body"].clone())
            .collect();
        if passed.len() >= count {
            return passed;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_component_takes_messages_by_its_own_handler() {
    let node = listener().await;
    for body in ["one", "two", "three"] {
        let sent = send(&node, "courier.acme", "topic=orders", body).await;
        assert_eq!((sent.status, sent.body.as_str()), (202, "2"), "{sent:?}");
    }
    // What it has not subscribed to it does not get.
    let other = send(&node, "courier.acme", "topic=events", "four").await;
    assert_eq!((other.status, other.body.as_str()), (202, "1"), "{other:?}");
    let nobody = send(&node, "courier.acme", "topic=order&by=request", "x").await;
    assert!(nobody.body.contains("nobody subscribes"), "{nobody:?}");
    got(&node, "courier.acme", 7).await;
    assert_eq!(
        passed_on(&node, 3).await,
        ["orders: one", "orders: two", "orders: three"]
    );

    let asked = ["a", "b", "c"];
    let answers = asked.map(|text| send(&node, "courier.acme", "topic=riddles&by=request", text));
    for (answer, text) in futures::future::join_all(answers).await.iter().zip(asked) {
        let expected = format!("{text}! says listener");
        assert_eq!((answer.status, &answer.body), (200, &expected));
    }

    // Requests it does not answer.
    let refused = node.get("listener.acme", "/").await;
    assert_eq!(
        (refused.status, refused.problem().as_str()),
        (501, "requests-not-supported")
    );
    let shown = node.run("installation show listener --tenant acme");
    assert!(shown.get("url").is_none(), "{shown}");
    let listed = node.cli(["installation", "list", "--tenant", "acme"]);
    for line in listed.stdout.lines() {
        let (of_courier, has_url) = (line.starts_with("courier"), line.contains("http://"));
        assert_eq!(of_courier, has_url, "{}", listed.stdout);
    }
    let topics = node.run("messages list listener --tenant acme");
    assert_eq!(
        (&topics[0]["topic"], &topics[0]["concurrency"]),
        (&"orders".into(), &1.into())
    );
    assert!(topics[0]["path"].is_null(), "{topics}");

    // And `install` says so.
    let takes = |topics| format!("messages that applications of acme send to {topics}");
    for (package, said) in [
        (
            "guests/listener",
            format!("answers no requests. It takes {}", takes("orders, riddles")),
        ),
        (
            "guests/courier",
            format!("\nIt takes {}", takes("orders, events, questions")),
        ),
    ] {
        let installed = node.cli(["install", package, "--tenant", "acme", "--replace"]);
        assert!(installed.stdout.contains(&said), "{}", installed.stdout);
        assert_eq!(
            installed.stdout.contains("It answers at http://"),
            package == "guests/courier"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_handler_declines_or_traps_on_is_delivered_again_and_given_up() {
    let node = listener().await;
    for body in ["declined", "broken", "after"] {
        send(&node, "courier.acme", "topic=orders", body).await;
    }
    assert_eq!(passed_on(&node, 1).await, ["orders: after"]);
    let dead = node.run("messages dead listener --tenant acme");
    let dead = dead.as_array().expect("a list");
    assert_eq!(dead.len(), 2, "{dead:?}");
    for message in dead {
        assert_eq!(
            (&message["topic"], &message["attempts"]),
            (&"orders".into(), &3.into())
        );
    }
    assert_eq!(
        dead[0]["error"],
        "the application did not take it: no such order"
    );
    let log = node
        .cli(["logs", "listener", "--tenant", "acme", "--tail", "1000"])
        .stdout;
    for said in [
        "attempt 1 of 3: the application did not take it: no such order; it is delivered again",
        "attempt 3 of 3: the application did not take it: no such order; it is given up",
        "the application failed: wasm trap: wasm `unreachable` instruction executed",
    ] {
        assert!(log.contains(said), "{said}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_too_late_is_told_in_the_log_and_is_no_failure() {
    let node = listener().await;
    let ask = "topic=riddles&by=request&within=200";
    let late = send(&node, "courier.acme", ask, "slow").await;
    assert!(late.body.contains("no answer within 200 ms"), "{late:?}");
    loop {
        let log = node.cli(["logs", "listener", "--tenant", "acme"]).stdout;
        if log.contains("was dropped: nobody waits for it any more") {
            break;
        }
    }
    // It was taken, and is not delivered again.
    let answered = send(&node, "courier.acme", "topic=riddles&by=request", "now").await;
    assert_eq!(answered.body, "now! says listener");
    loop {
        let topics = node.run("messages list listener --tenant acme");
        let mut topics = topics.as_array().expect("a list").iter();
        if topics.all(|topic| topic["waiting"] == 0) {
            break;
        }
    }
    let dead = node.run("messages dead listener --tenant acme");
    assert_eq!(dead.as_array().map(Vec::len), Some(0), "{dead}");
}

#[test]
fn subscriptions_that_nobody_would_take_are_not_published() {
    let node = Node::start();
    let folder = tempfile::tempdir().expect("a folder");
    let publish = |name: &str, version: &str, subscription: &str| {
        let project = version_of(name, version, folder.path());
        let manifest = project.join("canopy.toml");
        let text = std::fs::read_to_string(&manifest).expect("a manifest");
        std::fs::write(&manifest, format!("{text}\n{subscription}")).expect("written");
        let project = project.to_str().expect("UTF-8").to_owned();
        node.cli(["publish", &project, "--create-publisher"])
    };
    for (code, name, subscription, said) in [
        (
            3,
            "hello-p2-wstd",
            "topic = \"a\"",
            "the subscription to `a` has no `path`, and the component does not export",
        ),
        (
            3,
            "listener",
            "topic = \"a\"\npath = \"/on/a\"",
            "calls the path `/on/a`, and the component answers no HTTP requests",
        ),
        (
            1,
            "listener",
            "topic = \"canopy-reply.a\"",
            "is for answers, which go to who has asked",
        ),
    ] {
        let subscription = format!("[[subscriptions]]\n{subscription}\nreason = \"r\"");
        let refused = publish(name, "0.2.0", &subscription);
        assert_eq!(refused.code, code, "{}", refused.stderr);
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_handlers_take_long_keeps_nobody_elses_messages() {
    let node = Node::start_with("[messages]\nconcurrent = 3\ntenant_concurrent = 2");
    node.serve(&guest("courier"), "guests/courier", &["acme", "globex"]);
    let begun = async || node.get("courier.acme", "/begun").await.body;
    for _ in 0..4 {
        let sent = send(&node, "courier.acme", "topic=events", "sleep 15000").await;
        assert_eq!(sent.status, 202, "{sent:?}");
    }
    let patience = Instant::now() + Duration::from_secs(60);
    while begun().await.parse::<u32>().expect("a number") < 2 {
        assert!(Instant::now() < patience, "nothing is delivered");
    }
    send(&node, "courier.globex", "topic=events", "soon").await;
    assert_eq!(got(&node, "courier.globex", 1).await[0]["body"], "soon");
    assert_eq!(begun().await, "2", "its part of three");
    let none = Value::from(Vec::<Value>::new());
    assert_eq!(node.get("courier.acme", "/got").await.json(), none);
}
