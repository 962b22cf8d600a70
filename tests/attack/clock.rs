//! A clock that jumps, on a node of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::arena::{Arena, Footprint};
use crate::support::{Node, answer, guest};
use crate::victim::Victim;

const DAY: i64 = 24 * 3600;

/// Forward and back by a day: what was stored for longer is there, credentials hold, what is under way
/// ends in the time that it takes, schedules neither make up for a day nor wait for one, and neither do
/// messages that wait for their next attempt, or were held back.
pub(crate) async fn f07_clock_jumps(_: &Arena) {
    let place = tempfile::tempdir().expect("a folder");
    let (shim, file) = (place.path().join("clock.so"), place.path().join("ahead"));
    compile(&shim);
    set(&file, 0);
    let mut node = Node::start_with(
        "[schedules]\ninterval = \"1s\"\n[limits.default]\nwall = \"10 s\"\n\
                          [messages]\nretry_after = \"1 s\"\nretry_after_most = \"2 s\"\n",
    );
    node.serve(&guest("hello-p2-wstd"), "guests/hello-p2-wstd", &["victim"]);
    for name in ["sleep", "clockwork", "face-canopy", "courier"] {
        node.publish(&guest(name));
    }
    node.run("tenant create acme");
    for package in ["sleep", "clockwork", "faces", "courier"] {
        node.run(&format!("install guests/{package} --tenant acme"));
    }
    let token = node.run("token create robot --tenant acme");
    let token = token["secret"].as_str().expect("a secret").to_owned();
    assert!(node.terminate().success());
    node.start_again_with(|command| {
        command.env("LD_PRELOAD", &shim).env("CANOPY_CLOCK", &file);
    });
    let week = 7 * DAY * 1000;
    for set in [
        "op=set&key=for-ever&value=x".to_owned(),
        format!("op=set-for&key=a-week&value=x&delta={week}"),
    ] {
        let stored = node.get("faces.acme", &format!("/?{set}")).await;
        assert_eq!(stored.status, 200, "{stored:?}");
    }
    scheduled(&node, 0).await;
    let address = SocketAddr::from(([127, 0, 0, 1], node.apps_port()));
    let victim = Victim::start(address).await;
    let (began, before) = (today(&node, "clock").await, Footprint::of(node.pid()));
    for (number, ahead) in [DAY, 0, -DAY, 0, DAY, -DAY].into_iter().enumerate() {
        let calls = calls(&node).await;
        let (start, mark) = (Instant::now(), victim.mark());
        let under_way = async {
            let requests = (0..8).map(|_| node.get("sleep.acme", "/?ms=1500"));
            join_all(requests).await
        };
        let before_it = taken(&node).await;
        sent(&node, "orders", "twice").await;
        sent(&node, "events&delay=1500", "held").await;
        let jump = async { set(&file, ahead) };
        let (under_way, ()) = tokio::join!(under_way, jump);
        for reply in under_way {
            assert_eq!(reply.status, 200, "{reply:?}");
        }
        assert!(start.elapsed() >= Duration::from_millis(1500));
        let now = today(&node, &format!("clock-{number}")).await;
        let off = (now - began - ahead).abs();
        assert!(off < 600, "the clock did not jump: it is {off} s off");
        for key in ["for-ever", "a-week"] {
            let found = node.get("faces.acme", &format!("/?op=get&key={key}")).await;
            assert_eq!(found.json(), "x", "{key}, {ahead} s ahead: {found:?}");
        }
        let request = node.request(Method::GET, "hello-p2-wstd.victim", "/");
        let foreign = answer(request.bearer_auth(&token)).await;
        assert_eq!(foreign.status, 401, "{foreign:?}");
        let request = node.request(Method::GET, "sleep.acme", "/?ms=1");
        let own = answer(request.bearer_auth(&token)).await;
        assert_eq!(own.status, 200, "{own:?}");
        scheduled(&node, calls).await;
        all_taken(&node, before_it + 2).await;
        // One call a second, and one for all that passed at once.
        let most = usize::try_from(start.elapsed().as_secs()).expect("soon") + 3;
        let more = self::calls(&node).await - calls;
        assert!(more <= most, "{more} calls by schedule at once");
        victim.was_served(mark).await;
    }
    let after = Footprint::of(node.pid());
    assert!(
        after.has_come_back(&before, 24),
        "{before} before, {after} after"
    );
    // Set back while the node is away, with a message that waits for its next attempt.
    set(&file, DAY);
    let (before_it, failed) = (taken(&node).await, failures(&node));
    sent(&node, "orders", "twice").await;
    let until = Instant::now() + Duration::from_secs(60);
    while failures(&node) == failed {
        assert!(Instant::now() < until, "it did not fail");
    }
    assert!(node.terminate().success());
    set(&file, 0);
    node.start_again_with(|command| {
        command.env("LD_PRELOAD", &shim).env("CANOPY_CLOCK", &file);
    });
    sent(&node, "orders", "after").await;
    all_taken(&node, before_it + 2).await;
    assert!(node.terminate().success());
}

/// Sends a message to the courier.
async fn sent(node: &Node, topic: &str, body: &str) {
    let request = node.request(
        Method::POST,
        "courier.acme",
        &format!("/send?topic={topic}"),
    );
    let sent = answer(request.body(body.to_owned())).await;
    assert_eq!(sent.status, 202, "{sent:?}");
}

/// Messages that the courier has taken.
async fn taken(node: &Node) -> usize {
    let taken = node.get("courier.acme", "/got").await.json();
    taken.as_array().expect("a list").len()
}

/// Waits until it has taken so many.
async fn all_taken(node: &Node, count: usize) {
    let until = Instant::now() + Duration::from_secs(60);
    while taken(node).await < count {
        assert!(Instant::now() < until, "messages wait for a day");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// First attempts of the courier that failed.
fn failures(node: &Node) -> usize {
    let log = node.cli(["logs", "courier", "--tenant", "acme", "--tail", "1000"]);
    let lines = log.stdout.lines();
    lines.filter(|line| line.contains("attempt 1 of")).count()
}

fn compile(library: &Path) {
    let status = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
        .args(["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC"])
        .args(["-shared", "-o"])
        .arg(library)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/attack/clock.c"))
        .status()
        .expect("a C compiler runs");
    assert!(status.success(), "the clock does not compile");
}

/// Sets the clock of the node so many seconds ahead of the machine's.
fn set(file: &Path, ahead: i64) {
    use std::os::unix::fs::FileExt as _;
    let open = std::fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(file);
    let open = open.expect("the clock");
    open.write_all_at(&ahead.to_ne_bytes(), 0).expect("set");
}

/// What time the node believes it is, in seconds since 1970: the moment at which a tenant is made.
async fn today(node: &Node, tenant: &str) -> i64 {
    let request = node.api(Method::PUT, &format!("/api/v1/tenants/{tenant}"));
    let made = answer(request.json(&json!({ "display_name": tenant }))).await;
    let text = made.json()["created_at"]
        .as_str()
        .expect("a time")
        .to_owned();
    let format = &time::format_description::well_known::Rfc3339;
    let time = time::OffsetDateTime::parse(&text, format).expect("a time");
    time.unix_timestamp()
}

/// Calls by the schedule that comes each second.
async fn calls(node: &Node) -> usize {
    let calls = node.get("clockwork.acme", "/calls").await;
    let calls = calls.json();
    let calls = calls.as_array().expect("a list").iter();
    calls
        .filter(|call| call["schedule"] == "each-second")
        .count()
}

/// Waits for two more calls than there were.
async fn scheduled(node: &Node, before: usize) {
    let until = Instant::now() + Duration::from_secs(60);
    while calls(node).await < before + 2 {
        assert!(Instant::now() < until, "schedules wait for a day");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
