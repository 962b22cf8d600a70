//! Drivers that serve an interface which the platform has never heard of.

use std::time::Duration;

use crate::support::{Node, answer, guest};

fn shop(tenants: &[&str]) -> Node {
    let node = Node::start();
    node.publish(&guest("acme-payments"));
    node.publish(&guest("shop"));
    for tenant in tenants {
        node.run(&format!("tenant create {tenant}"));
        node.run(&format!(
            "driver add guests/acme-payments --name payments --tenant {tenant}"
        ));
        node.run(&format!(
            "install guests/shop --tenant {tenant} --bind acme:payments=payments"
        ));
    }
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn values_and_resources_cross_between_app_and_driver() {
    let node = shop(&["acme"]);
    let bought = node.get("shop.acme", "/buy/4242").await;
    assert_eq!(bought.status, 200, "{bought:?}");
    let bought = bought.json();
    assert_eq!(bought["holder"], "Ada");
    assert_eq!(
        (&bought["total"], &bought["lines"]),
        (&225.into(), &2.into())
    );
    assert_eq!(
        (&bought["same"], &bought["left"]),
        (&true.into(), &775.into())
    );
    assert_eq!(node.get("shop.acme", "/reflect").await.json(), true);
    let poor = node.get("shop.acme", "/buy/poor").await;
    assert_eq!(
        (poor.status, &poor.json()["error"]),
        (402, &"short-of".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_of_a_caller_that_died_are_gone() {
    let node = shop(&["acme"]);
    node.get("shop.acme", "/live").await;
    assert_eq!(node.get("shop.acme", "/abandon/50").await.status, 500);
    node.get("shop.acme", "/keep/50").await;
    // What a caller held is let go when it has ended, which may be after its answer has come.
    let gone = async {
        while node.get("shop.acme", "/live").await.json()[0] != 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(60), gone).await;
    assert!(gone.is_ok(), "accounts are still open in the driver");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drivers_trap_is_an_error_for_the_call_and_nobody_elses() {
    let node = shop(&["acme", "globex"]);
    let before = node.get("shop.globex", "/seen").await.json();
    let survived = node.get("shop.acme", "/survive/trap").await;
    assert_eq!(survived.status, 200, "{survived:?}");
    let survived = survived.json();
    assert!(
        survived["first"].to_string().contains("unavailable"),
        "{survived}"
    );
    assert!(
        survived["stale"].to_string().contains("unavailable"),
        "{survived}"
    );
    assert!(
        !survived["again"].to_string().contains("unavailable"),
        "{survived}"
    );

    let untyped = node.get("shop.acme", "/tax/trap").await;
    assert_eq!(
        (untyped.status, untyped.problem().as_str()),
        (502, "driver-failed")
    );
    assert_eq!(node.get("shop.acme", "/buy/4242").await.status, 200);
    assert_eq!(
        node.get("shop.globex", "/seen").await.json(),
        before,
        "its store went on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_is_left_alone_is_told_from_one_that_failed() {
    let node = shop(&["acme"]);
    for _ in 0..50 {
        let answer = node.get("shop.acme", "/tax/trap").await;
        if answer.status == 503 {
            assert_eq!(answer.problem(), "driver-unavailable");
            assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
            return;
        }
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (502, "driver-failed")
        );
    }
    panic!("it is asked for ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_never_ends_is_ended() {
    let node = shop(&["acme"]);
    for card in ["spin", "hang"] {
        let answer = node.get("shop.acme", &format!("/buy/{card}")).await;
        assert!(
            [402, 502, 503, 504].contains(&answer.status),
            "{card}: {answer:?}"
        );
        assert_eq!(
            node.get("shop.acme", "/buy/4242").await.status,
            200,
            "after {card}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_has_a_driver_store_of_its_own() {
    let node = shop(&["acme", "globex"]);
    node.get("shop.acme", "/buy/4242").await;
    let seen = node.get("shop.globex", "/seen").await.json();
    assert!(!seen.to_string().contains("acme"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_goes_on_when_another_application_is_bound_to_it() {
    let node = shop(&["acme"]);
    node.get("shop.acme", "/buy/4242").await;
    let before = node.get("shop.acme", "/seen").await.json();
    node.run("install guests/shop --tenant acme --name second --bind acme:payments=payments");
    assert_eq!(node.get("shop.acme", "/seen").await.json(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_in_use_is_not_removed_and_an_app_is_not_installed_without_one() {
    let node = shop(&["acme"]);
    let removal = node.cli(["driver", "remove", "payments", "--tenant", "acme", "--yes"]);
    assert_eq!(removal.code, 3);
    assert!(
        removal.stderr.contains("shop"),
        "names who uses it: {}",
        removal.stderr
    );
    let unbound = node.cli([
        "install",
        "guests/shop",
        "--tenant",
        "acme",
        "--name",
        "bare",
    ]);
    assert_eq!(unbound.code, 3);
    assert!(
        unbound.stderr.contains("acme:payments"),
        "{}",
        unbound.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn drivers_build_on_drivers_down_to_the_callers_own_storage() {
    let node = Node::start();
    node.publish(&guest("relay"));
    node.serve(&guest("kv-probe"), "guests/kv-probe", &["acme"]);
    node.run("install guests/kv-probe --tenant acme --name other");
    let unbound = node.cli(["driver", "add", "guests/relay", "--tenant", "acme"]);
    assert_eq!(unbound.code, 3);
    assert!(unbound.stderr.contains("platform"), "{}", unbound.stderr);
    node.run(
        "driver add guests/relay --name lower --set mark=lower --tenant acme --bind wasi:keyvalue=platform",
    );
    node.run(
        "driver add guests/relay --name upper --set mark=upper --tenant acme --bind wasi:keyvalue=lower",
    );
    let circle = node.cli([
        "driver",
        "bind",
        "lower",
        "wasi:keyvalue",
        "upper",
        "--tenant",
        "acme",
    ]);
    assert_eq!(circle.code, 3);
    assert!(circle.stderr.contains("circle"), "{}", circle.stderr);
    for app in ["kv-probe", "other"] {
        node.run(&format!("bind {app} wasi:keyvalue upper --tenant acme"));
    }
    let ask = async |app: &str, query: &str| node.get(&format!("{app}.acme"), query).await;
    assert_eq!(ask("kv-probe", "/?op=set&key=a&value=1").await.status, 200);
    assert_eq!(ask("kv-probe", "/?op=get&key=a").await.json(), "1");
    assert!(ask("other", "/?op=get&key=a").await.json().is_null());
    let removal = node.cli(["driver", "remove", "lower", "--tenant", "acme", "--yes"]);
    assert_eq!(removal.code, 3);
    assert!(removal.stderr.contains("upper"), "{}", removal.stderr);
    node.run("bind kv-probe wasi:keyvalue --platform --tenant acme");
    assert_eq!(
        ask("kv-probe", "/?op=get&key=a").await.json(),
        "lower:upper:1",
        "what went through both is the application's own"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_the_platform_cross_to_a_driver_and_back() {
    let node = Node::start();
    node.publish(&guest("pipes"));
    node.publish(&guest("plumber"));
    node.run("tenant create acme");
    node.run("driver add guests/pipes --tenant acme");
    node.run("install guests/plumber --tenant acme --bind acme:pipes=pipes");
    let send = async |path: &str, body: String| {
        let request = node.request(reqwest::Method::POST, "plumber.acme", path);
        answer(request.body(body)).await
    };
    let large = "x".repeat(1 << 20);
    assert_eq!(send("/count", large).await.body, "1048576", "given away");
    assert_eq!(
        send("/some", "abcdefgh".into()).await.body,
        "abcd|efgh",
        "lent"
    );
    assert_eq!(
        send("/keep", "kept".into()).await.body,
        "kept",
        "there and back"
    );
    assert_eq!(
        send("/line", String::new()).await.body,
        "by the driver\nby the application\n"
    );
    assert_eq!(
        send("/trap", "read on".into()).await.body,
        "true|read on",
        "a loan comes back from a driver that traps"
    );
    assert_eq!(send("/journal", String::new()).await.body, "written");
    let log = node.cli(["logs", "pipes", "--driver", "--tenant", "acme"]);
    assert!(
        log.stdout.contains("written by the application"),
        "{}",
        log.stdout
    );
    assert_eq!(send("/held", "held".into()).await.status, 500);
    let log = node.cli(["logs", "plumber", "--tenant", "acme"]);
    assert!(log.stdout.contains("drop that first"), "{}", log.stdout);
}
