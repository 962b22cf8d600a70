//! Applications and the drivers that serve several of a tenant's.

use std::net::{Ipv4Addr, TcpStream};
use std::slice::from_ref;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::arena::Arena;
use crate::client::{Reply, get, request_from};
use crate::network::{balancer, listener};
use crate::support::version_of;

async fn ask(arena: &Arena, tenant: &str, path: &str) -> Reply {
    let request = get(&format!("shop.{tenant}.localhost"), path);
    request_from([127, 0, 0, 8].into(), arena.address(), request.as_bytes()).await
}

/// Whom the driver of a tenant has ever been called by, as it was told by the host.
async fn seen(arena: &Arena, tenant: &str) -> String {
    let reply = ask(arena, tenant, "/seen").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let body = reply.body();
    let (_, list) = body.split_once('[').expect("a list");
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

/// The driver `name` of the tenant may reach these hosts, until this is dropped.
struct Granted<'a> {
    arena: &'a Arena,
    name: &'a str,
    tenant: &'a str,
    hosts: String,
}

impl<'a> Granted<'a> {
    fn to(arena: &'a Arena, tenant: &'a str, name: &'a str, hosts: &[String]) -> Self {
        let hosts = hosts.join(" ");
        arena.node.run(&format!(
            "egress allow {name} --driver --tenant {tenant} {hosts}"
        ));
        Self {
            arena,
            name,
            tenant,
            hosts,
        }
    }
}

impl Drop for Granted<'_> {
    fn drop(&mut self) {
        let Self {
            name,
            tenant,
            hosts,
            ..
        } = self;
        let line = format!("egress revoke {name} --driver --tenant {tenant} {hosts}");
        self.arena.node.cli(line.split_whitespace());
    }
}

/// Two applications, each of which has a driver call the other: they end at the depth that the node allows.
/// One that has a driver call itself runs out of stores first, waits for itself, and ends by its time. Then
/// all stores are there again.
pub(crate) async fn d04_circle_through_drivers(arena: &Arena) {
    let one = balancer(arena.address(), "dispatcher.attacker.localhost").await;
    let two = balancer(arena.address(), "second.attacker.localhost").await;
    let hosts = [one.to_string(), two.to_string()];
    let _first = Granted::to(arena, "attacker", "errands", &hosts);
    let _second = Granted::to(arena, "attacker", "second-errands", &hosts);
    let to_and_fro = format!("/circle?at={two}&then={one}");
    let alone = format!("/circle?at={one}&then={one}");
    let reply = arena.get("dispatcher", &to_and_fro).await;
    is_ended_by_depth(&reply);
    for path in [&alone, &to_and_fro] {
        for reply in join_all((0..4).map(|_| arena.get("dispatcher", path))).await {
            let told = reply.status == 200 && reply.text.contains("called");
            assert!(told || reply.code() == "deadline-exceeded", "{reply:?}");
        }
    }
    // Stores whose callers are gone are there again when what they wait for has ended.
    let until = Instant::now() + Duration::from_secs(60);
    let again = loop {
        let reply = arena.get("dispatcher", &to_and_fro).await;
        if reply.text.contains("loop-detected") || Instant::now() > until {
            break reply;
        }
    };
    is_ended_by_depth(&again);
}

#[track_caller]
fn is_ended_by_depth(reply: &Reply) {
    assert_eq!(reply.status, 200, "{reply:?}");
    let calls = reply.text.matches("called").count();
    assert!(
        reply.text.contains("508 ") && reply.text.contains("loop-detected"),
        "{calls} calls: {reply:?}"
    );
    assert_eq!(calls, 17, "the first, and 16 deeper: {reply:?}");
}

/// A driver reaches what its own package asks for and its tenant grants to it: not what was granted to
/// another driver, to an application or by another tenant, nor what its package does not ask for, though it
/// was granted while an older version did.
pub(crate) async fn d05_hosts_of_others(arena: &Arena) {
    let drivers = [
        ("attacker", "dispatcher", "errands"),
        ("attacker", "second", "second-errands"),
        ("bystander", "dispatcher", "errands"),
    ];
    let listeners = drivers.map(|_| listener());
    let hosts = listeners
        .each_ref()
        .map(|(port, _)| format!("127.0.0.1:{port}"));
    let mut granted = Vec::new();
    for ((tenant, _, driver), host) in drivers.into_iter().zip(&hosts) {
        granted.push(Granted::to(arena, tenant, driver, from_ref(host)));
    }
    // An application is granted all of them.
    for host in &hosts {
        let reply = arena.get("fetch", &format!("/?url=http://{host}/")).await;
        assert!(!reply.text.contains("denied"), "{reply:?}");
    }
    for (own, (tenant, app, _)) in drivers.into_iter().enumerate() {
        let other_names = [
            hosts[own].replace("127.0.0.1", "127.0.0.2"),
            hosts[own].replace("127.0.0.1", "localhost"),
        ];
        for (at, host) in hosts.iter().chain(&other_names).enumerate() {
            errand(arena, (tenant, app), host, at == own).await;
        }
    }

    // Its package asks for everything, then not for this any more.
    let (tenant, app, driver) = drivers[1];
    let elsewhere = hosts[1].replace("127.0.0.1", "127.0.0.2");
    let line = format!("egress allow {driver} --driver --tenant {tenant} {elsewhere}");
    let refused = arena.node.cli(line.split_whitespace());
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    let version = arena.next_version();
    publish_wide(arena, &version);
    let upgrade = format!("upgrade {driver} --driver --tenant {tenant}");
    arena.node.run(&format!("{upgrade} {version}"));
    errand(arena, (tenant, app), &elsewhere, false).await;
    granted.push(Granted::to(arena, tenant, driver, from_ref(&elsewhere)));
    errand(arena, (tenant, app), &elsewhere, true).await;
    errand(arena, (tenant, app), &hosts[0], false).await;
    arena.node.run(&format!("{upgrade} 0.1.0"));
    errand(arena, (tenant, app), &elsewhere, false).await;
    errand(arena, (tenant, app), &hosts[1], true).await;
    drop(granted);
    errand(arena, (tenant, app), &hosts[1], false).await;

    // Those who knocked are those who were let through, and the last is ours.
    for ((port, knocked), expected) in listeners.into_iter().zip([2, 4, 2]) {
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens"));
        while knocked.load(Ordering::SeqCst) <= expected {
            tokio::task::yield_now().await;
        }
        assert_eq!(knocked.load(Ordering::SeqCst), expected + 1);
    }
}

/// Has the driver of an application ask for a host, at which nobody answers.
#[track_caller]
fn errand<'a>(
    arena: &'a Arena,
    (tenant, app): (&'a str, &'a str),
    host: &'a str,
    is_reached: bool,
) -> impl Future<Output = ()> + 'a {
    let place = std::panic::Location::caller();
    async move {
        let name = format!("{app}.{tenant}.localhost");
        let request = get(&name, &format!("/?url=http://{host}/"));
        let address = [127, 0, 0, 8].into();
        let reply = request_from(address, arena.address(), request.as_bytes()).await;
        let told = match is_reached {
            true => format!("the connection failed: {host}"),
            false => format!("may not reach {host}"),
        };
        assert!(
            reply.status == 200 && reply.text.contains(&told),
            "{place}: {name} at {host}: {reply:?}"
        );
    }
}

/// Publishes the driver as a version that asks for every host.
fn publish_wide(arena: &Arena, version: &str) {
    let place = tempfile::tempdir().expect("a folder");
    let project = version_of("errands", version, place.path());
    let manifest = project.join("canopy.toml");
    let text = std::fs::read_to_string(&manifest).expect("a manifest");
    let wide = text.replace("[\"127.0.0.1:*\"]", "[\"*\"]");
    assert_ne!(text, wide, "it asks for one host");
    std::fs::write(manifest, wide).expect("a manifest");
    arena.node.publish(&project);
}
