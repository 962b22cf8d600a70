//! What becomes of a driver's stores: several of them, failures, changes under load; and what a driver
//! is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Node, guest, version_of};

fn plumbing() -> Node {
    let node = Node::start();
    node.publish(&guest("pipes"));
    node.publish(&guest("plumber"));
    node.run("tenant create acme");
    node.run("driver add guests/pipes --tenant acme");
    node.run("install guests/plumber --tenant acme --bind acme:pipes=pipes");
    node
}

fn health(node: &Node) -> Value {
    node.run("driver show pipes --tenant acme")["health"].clone()
}

/// Waits until the driver's health is as `holds` wants it.
async fn wait_for(node: &Node, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..600 {
        let health = health(node);
        if holds(&health) {
            return health;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: {}", health(node));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_has_as_many_stores_as_it_needs_and_may_have() {
    let node = plumbing();
    let before = health(&node);
    assert_eq!(
        (&before["state"], &before["max_stores"]),
        (&"idle".into(), &3.into())
    );
    let naps = (0..4).map(|_| node.get("plumber.acme", "/nap/4000"));
    let naps = futures::future::join_all(naps);
    let meanwhile = wait_for(&node, "three at work and one waiting", |health| {
        health["stores"] == 3 && health["calls"] == 4
    });
    let (naps, meanwhile) = tokio::join!(naps, meanwhile);
    assert!(naps.iter().all(|nap| nap.body == "rested"), "{naps:?}");
    assert_eq!(meanwhile["state"], "ready");

    node.run("plan create small --limit driver_instances=1");
    node.run("tenant set acme --plan small");
    assert_eq!(node.get("plumber.acme", "/nap/1").await.body, "rested");
    wait_for(&node, "the plan bounds it", |health| {
        health["max_stores"] == 1
    })
    .await;
    let above = node.cli([
        "plan",
        "create",
        "large",
        "--limit",
        "driver_instances=1000",
    ]);
    assert!(
        above.stderr.contains("limits.max.instances"),
        "{}",
        above.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_fails_again_and_again_is_not_asked_for_a_while() {
    let node = plumbing();
    let broken = async {
        while health(&node)["state"] != "broken" {
            let answer = node.get("plumber.acme", "/trap").await;
            assert_eq!(answer.body, "true|", "the application goes on");
        }
    };
    let broken = tokio::time::timeout(Duration::from_secs(60), broken).await;
    broken.expect("five traps in a row");
    let broken = health(&node);
    assert_eq!(
        (&broken["failures"], &broken["restarts"]),
        (&5.into(), &5.into())
    );
    let last = broken["last_failure"]["message"]
        .as_str()
        .unwrap_or_default();
    assert!(last.contains("unreachable"), "{broken}");
    let list = node.cli(["driver", "list", "--tenant", "acme"]);
    assert!(list.stdout.contains("broken"), "{}", list.stdout);

    let recovered = async {
        while node.get("plumber.acme", "/nap/1").await.body != "rested" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let recovered = tokio::time::timeout(Duration::from_secs(60), recovered).await;
    recovered.expect("a call that is let through is answered");
    let health = health(&node);
    assert_eq!(
        (&health["state"], &health["failures"]),
        (&"ready".into(), &0.into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drivers_trap_is_in_its_log_with_the_request_that_caused_it() {
    let node = plumbing();
    let answer = node.get("plumber.acme", "/trap").await;
    let request = answer.headers["x-request-id"].to_str().expect("text");
    let log = node.run("logs pipes --driver --tenant acme");
    let records = log["items"].as_array().expect("records").iter();
    let caused: Vec<_> = records
        .filter(|record| record["request_id"] == request && record["source"] == "platform")
        .map(|record| record["message"].as_str().unwrap_or_default().to_owned())
        .collect();
    let said = caused.first().map_or("", String::as_str);
    assert!(
        said.contains("`trap` of `acme:pipes/pipes@0.1.0`")
            && said.contains("called by `plumber` (guests/plumber 0.1.0)"),
        "{caused:?}"
    );
    assert!(
        caused.iter().any(|line| line.contains("wasm backtrace")),
        "{caused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_is_lost_when_a_driver_is_changed_under_load() {
    let node = Arc::new(plumbing());
    let folder = tempfile::tempdir().expect("a folder");
    node.publish(&version_of("pipes", "0.2.0", folder.path()));
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..6)
        .map(|client| {
            let (node, over) = (node.clone(), over.clone());
            tokio::spawn(async move {
                let mut calls = 0;
                while !over.load(Ordering::Relaxed) {
                    let nap = 10 + client * 20;
                    let answer = node.get("plumber.acme", &format!("/nap/{nap}")).await;
                    assert_eq!((answer.status, answer.body.as_str()), (200, "rested"));
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    let long = {
        let node = node.clone();
        tokio::spawn(async move { node.get("plumber.acme", "/nap/5000").await })
    };
    wait_for(&node, "under way", |health| {
        health["calls"].as_u64() >= Some(2)
    })
    .await;
    for round in 0..3 {
        let token = format!("token-{round}");
        let set = [
            "secret",
            "set",
            "pipes",
            &format!("token={token}"),
            "--driver",
            "--tenant",
            "acme",
        ];
        let set = node.cli(set);
        assert_eq!(set.code, 0, "{}", set.stderr);
        assert_eq!(
            node.get("plumber.acme", "/token").await.body,
            token,
            "rotated"
        );
        node.run("driver upgrade pipes 0.2.0 --tenant acme");
        node.run("driver rollback pipes --tenant acme");
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.await.expect("no call failed") > 0);
    }
    let long = long.await.expect("join");
    assert_eq!(long.body, "rested", "it was under way all the while");
    assert_eq!(health(&node)["restarts"], 0);
    let replaced = node.run("driver add guests/pipes --tenant acme --replace");
    assert_eq!(replaced["version"], "0.1.0", "no other was named");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_hears_who_is_bound_to_it_and_who_is_not_any_more() {
    let node = plumbing();
    let log = || {
        node.cli(["logs", "pipes", "--driver", "--tenant", "acme"])
            .stdout
    };
    let said = async |text: &str| {
        for _ in 0..600 {
            if log().contains(text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{text}: {}", log());
    };
    said("bound: plumber (guests/plumber) to acme:pipes").await;
    node.run("driver add guests/pipes --name second --tenant acme");
    node.run("bind plumber acme:pipes second --tenant acme");
    said("unbound: plumber (guests/plumber) from acme:pipes").await;

    let closed = [
        "secret",
        "set",
        "second",
        "token=closed",
        "--driver",
        "--tenant",
        "acme",
    ];
    assert_eq!(node.cli(closed).code, 0);
    let install = [
        "install",
        "guests/plumber",
        "--name",
        "other",
        "--tenant",
        "acme",
        "--bind",
        "acme:pipes=second",
    ];
    let refused = node.cli(install);
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("other is one too many"),
        "{}",
        refused.stderr
    );
    node.run("uninstall plumber --tenant acme --yes");
    node.run("driver remove second --tenant acme --yes");
}

/// What the hoarder got of `count` buckets, and why no more; it keeps them for so long.
async fn hoard(node: &Node, count: u32, ms: u32) -> (u64, String) {
    let path = format!("/?count={count}&ms={ms}");
    let answer = node.get("hoarder.acme", &path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let got = answer.json();
    let refused = got["refused"].as_str().unwrap_or_default().to_owned();
    (got["held"].as_u64().expect("a number"), refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_hoards_a_drivers_resources_is_refused_alone() {
    let node = Arc::new(Node::start());
    node.publish(&guest("relay"));
    node.publish(&guest("hoarder"));
    node.publish(&guest("kv-probe"));
    node.run("tenant create acme");
    node.run("driver add guests/relay --tenant acme --bind wasi:keyvalue=platform");
    for app in ["hoarder", "kv-probe"] {
        node.run(&format!(
            "install guests/{app} --tenant acme --bind wasi:keyvalue=relay"
        ));
    }
    let full = "holds 500 of its resources, which is the limit";
    let (held, refused) = hoard(&node, 2_000, 0).await;
    assert!(held == 500 && refused.contains(full), "{held}: {refused}");
    assert_eq!(
        hoard(&node, 400, 0).await,
        (400, String::new()),
        "it let go"
    );

    // Each holds less than it may, and all together more than the driver's store has.
    let hoarders: Vec<_> = (0..4)
        .map(|_| {
            let node = node.clone();
            tokio::spawn(async move { hoard(&node, 300, 25_000).await })
        })
        .collect();
    let is_full = async |wanted: bool| {
        let reached = async { while hoard(&node, 1, 0).await.1.contains(full) != wanted {} };
        let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
        assert!(reached.is_ok(), "{wanted}");
    };
    is_full(true).await;
    let others = (0..40).map(|_| node.get("kv-probe.acme", "/?op=increment&key=n"));
    for answer in futures::future::join_all(others).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert!(hoard(&node, 1, 0).await.1.contains(full), "all the while");
    for hoarder in hoarders {
        hoarder.abort();
    }
    is_full(false).await;
    let health = node.run("driver show relay --tenant acme")["health"].clone();
    assert_eq!(
        (&health["restarts"], &health["failures"]),
        (&0.into(), &0.into()),
        "{health}"
    );
}
