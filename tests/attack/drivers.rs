//! Applications and the drivers that serve several of a tenant's.

use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::arena::Arena;
use crate::client::{Reply, get, request_from};

async fn ask(arena: &Arena, tenant: &str, path: &str) -> Reply {
    let request = get(&format!("shop.{tenant}.localhost"), path);
    request_from([127, 0, 0, 8].into(), arena.address(), request.as_bytes()).await
}

/// Whom the driver of a tenant has ever been called by, as it was told by the host.
async fn seen(arena: &Arena, tenant: &str) -> String {
    let reply = ask(arena, tenant, "/seen").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let (_, list) = reply.body().split_once('[').expect("a list");
    let (list, _) = list.split_once(']').expect("a list");
    list.to_owned()
}

/// What a driver keeps in globals of one tenant, another never gets from it, though both call it at once
/// and the package is the same.
pub(crate) async fn d01_nothing_of_others(arena: &Arena) {
    let rounds = if arena.full { 50 } else { 5 };
    for _ in 0..rounds {
        let purchases = (0..8).map(|number| {
            let tenant = ["attacker", "bystander"][number % 2];
            ask(arena, tenant, "/buy/4242")
        });
        for reply in join_all(purchases).await {
            assert_eq!(reply.status, 200, "{reply:?}");
        }
        let (ours, theirs) = tokio::join!(seen(arena, "attacker"), seen(arena, "bystander"));
        for seen in [&ours, &theirs] {
            assert_eq!(seen.matches('"').count(), 2, "one caller: {seen}");
        }
        assert_ne!(ours, theirs);
    }
}

/// Who calls is what the host tells the driver, whatever the application and its client say.
pub(crate) async fn d02_forged_caller(arena: &Arena) {
    let theirs = seen(arena, "bystander").await.replace('"', "");
    let ours = seen(arena, "attacker").await;
    let request = get("shop.attacker.localhost", &format!("/account/{theirs}"));
    let lines = format!(
        "X-Canopy-Tenant: bystander\r\nX-Canopy-Installation: {theirs}\r\nConnection: close"
    );
    let request = request.replace("Connection: close", &lines);
    let reply = request_from([127, 0, 0, 8].into(), arena.address(), request.as_bytes()).await;
    assert!(
        reply.status == 200 && reply.text.contains(&theirs),
        "{reply:?}"
    );
    assert_eq!(seen(arena, "attacker").await, ours);
    assert!(!ours.contains(&theirs), "{ours}");
}

/// A driver that traps, ends, loops or hangs: the application is told by its type and can still answer,
/// and goes on when the driver does. The same driver of another tenant is not touched.
pub(crate) async fn d03_failing_driver(arena: &Arena) {
    // What has no error in its type ends the application, as does its own time.
    let ends = ["driver-failed", "driver-unavailable", "deadline-exceeded"];
    for (card, path) in [
        ("trap", "/survive/trap"),
        ("exit", "/survive/exit"),
        ("spin", "/survive/spin"),
        ("hang", "/buy/hang"),
    ] {
        let is_told = |reply: &Reply| match card {
            "hang" => reply.status == 402 && reply.text.contains("unavailable"),
            _ => reply.status == 200 && reply.text.contains("\"first\":\"unavailable"),
        };
        goes_on(arena).await;
        let first = ask(arena, "attacker", path).await;
        let told = is_told(&first) || (card == "hang" && first.code() == "deadline-exceeded");
        assert!(told, "{card}: {first:?}");
        for reply in join_all((0..4).map(|_| ask(arena, "attacker", path))).await {
            let told = is_told(&reply) || ends.contains(&reply.code());
            assert!(told, "{card}: {reply:?}");
        }
        let other = ask(arena, "bystander", "/buy/4242").await;
        assert_eq!(other.status, 200, "after {card}: {other:?}");
    }
    goes_on(arena).await;
}

/// Waits until the driver serves again, which it may pause with after failures.
async fn goes_on(arena: &Arena) {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let reply = ask(arena, "attacker", "/buy/4242").await;
        if reply.status == 200 {
            break;
        }
        assert!(Instant::now() < until, "it does not go on: {reply:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
