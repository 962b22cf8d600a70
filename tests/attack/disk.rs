//! A disk that fails or is full: each case has a node of its own.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt as _;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};

use crate::Random;
use crate::arena::{Arena, Footprint};
use crate::client::{connect_from, exchange};
use crate::components::{module, upload};
use crate::shim::{Call, Fault};
use crate::stage::{EVERYTHING, Kind, Stage};
use crate::{shim, support};

const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);

/// A synchronisation that fails once: what waited for it is not acknowledged, and the node ends or
/// refuses.
pub(crate) async fn f03_failed_synchronisation(arena: &Arena) {
    let mut stage = Stage::set().await;
    for (kind, folder) in [
        (Kind::Value, "storage"),
        (Kind::Object, "storage"),
        (Kind::Tenant, "control"),
    ] {
        let calls = calls_of(&mut stage, kind, folder, None).await;
        let mut indices: Vec<u32> = (1..)
            .zip(&calls)
            .filter(|(_, call)| call.syncs())
            .map(|(index, _)| index)
            .collect();
        assert!(
            !indices.is_empty(),
            "{kind:?} synchronises nothing: {calls:?}"
        );
        if !arena.full {
            let chosen = Random(arena.seed).below(indices.len());
            indices = vec![indices[chosen]];
        }
        for index in indices {
            let fault = Fault::at(shim::Kind::Eio, index);
            calls_of(&mut stage, kind, folder, Some(fault)).await;
        }
    }
}

/// Writes one thing with `fault`, and tells the calls that this took.
async fn calls_of(stage: &mut Stage, kind: Kind, folder: &str, fault: Option<Fault>) -> Vec<Call> {
    stage.start_with(&[folder], fault);
    let mut all = stage.write_all().await;
    stage.arm();
    let (written, answer) = stage.write(kind).await;
    stage.disarm();
    let calls = stage.calls();
    if fault.is_none() {
        assert!(written.acknowledged, "{answer:?}");
        return calls;
    }
    let hit = calls.iter().find(|call| call.hit).expect("it came so far");
    assert!(hit.syncs(), "{hit:?}");
    assert!(!written.acknowledged, "{written:?} after {hit:?}");
    match answer {
        Some(answer) => assert!(answer.status >= 500, "{answer:?}"),
        None => {
            let ended = stage.end().await;
            assert_eq!(ended.signal(), Some(Signal::ABORT.as_raw()), "{ended}");
        }
    }
    // It may end after its answer.
    if !stage.node.has_ended() {
        stage.node.kill();
    }
    stage.node.start_again();
    all.push(written);
    stage.is_sound(&all).await;
    calls
}

/// A disk without any space, from one call on and then from a later one: what needs some is refused
/// as that, the rest goes on, and everything does when there is space again.
pub(crate) async fn f04_full_disk(arena: &Arena) {
    let mut stage = Stage::set().await;
    stage.node.run("publisher create attacks");
    let last = if arena.full { 16 } else { 3 };
    for first in 1..=last {
        let full = Fault {
            kind: shim::Kind::Full,
            first,
            last: u32::MAX,
        };
        stage.start_with(EVERYTHING, Some(full));
        let mut written = stage.write_all().await;
        let pid = stage.node.pid();
        let (before, mark) = (Footprint::of(pid), stage.victim.mark());
        stage.arm();
        let mut refused = BTreeSet::new();
        for _ in 0..first + 2 {
            for kind in Kind::ALL {
                let (one, answer) = stage.write(kind).await;
                let answer = answer.expect("the node goes on");
                if !one.acknowledged {
                    must_be_full(kind, &answer);
                    refused.insert(kind);
                }
                written.push(one);
            }
        }
        assert_eq!(refused.len(), Kind::ALL.len(), "only {refused:?} refused");
        let answer = upload(&stage.node, "small", "1.0.0", module("(func)")).await;
        assert_eq!((answer.status, &*answer.problem()), (507, "disk-full"));
        stage.clients.keeps(&written).await;
        stage.victim.was_served(mark).await;
        stage.disarm();
        stage.clients.keeps(&written).await;
        let answer = upload(&stage.node, "small", "1.0.0", module("(func)")).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        let after = Footprint::of(pid);
        assert!(
            after.has_come_back(&before, 24),
            "{before} before, {after} after"
        );
        stage.victim.was_served(mark).await;
        stage.is_sound(&written).await;
    }
}

#[track_caller]
fn must_be_full(kind: Kind, answer: &support::Answer) {
    match kind {
        // Applications are told, and make of it what they like.
        Kind::Value => assert!(
            answer.status == 500 && answer.body.contains("disk"),
            "{answer:?}"
        ),
        Kind::Object => assert!(matches!(answer.status, 503 | 507), "{answer:?}"),
        Kind::Tenant => assert_eq!(
            (answer.status, &*answer.problem()),
            (507, "disk-full"),
            "{answer:?}"
        ),
    }
}

/// Not one descriptor is left: what has its files open goes on, what would open some is refused, and
/// who waits to be let in is served when there are descriptors again.
pub(crate) async fn f04_no_descriptors_for_files(_: &Arena) {
    let mut stage = Stage::set().await;
    assert!(stage.node.terminate().success());
    stage.node.start_again();
    let address = SocketAddr::from(([127, 0, 0, 1], stage.node.apps_port()));
    let request =
        |app: &str, path: &str| format!("GET {path} HTTP/1.1\r\nHost: {app}.localhost\r\n\r\n");
    let mut stream = connect_from(CLIENT, address).await.expect("connected");
    let hello = request("hello-p2-wstd.victim", "/");
    let read = request("kv-probe.acme", "/?op=get&key=n1");
    for request in [&hello, &read, &request("objects.acme", "/nothing")] {
        let reply = exchange(&mut stream, request.as_bytes()).await;
        assert!(matches!(reply.status, 200 | 404), "{reply:?}");
    }
    let pid = stage.node.pid();
    let before = Footprint::of(pid);
    let process = Pid::from_raw(pid.cast_signed());
    let ours = getrlimit(Resource::Nofile);
    let limit = |current| Rlimit {
        current,
        maximum: ours.maximum,
    };
    let none = limit(Some(before.descriptors as u64));
    let had = prlimit(process, Resource::Nofile, none).expect("limited");
    // The system takes the connection; the node cannot, yet.
    let mut waiting = connect_from(CLIENT, address).await.expect("connected");
    let unopened = request("objects.acme", "/o/n2");
    for _ in 0..10 {
        for request in [&hello, &read] {
            let reply = exchange(&mut stream, request.as_bytes()).await;
            assert_eq!(reply.status, 200, "{reply:?}");
        }
        let reply = exchange(&mut stream, unopened.as_bytes()).await;
        assert!(matches!(reply.status, 500 | 503 | 507), "{reply:?}");
    }
    assert!(!stage.node.has_ended());
    prlimit(process, Resource::Nofile, had).expect("freed");
    for stream in [&mut waiting, &mut stream] {
        for request in [&hello, &unopened] {
            let reply = exchange(stream, request.as_bytes()).await;
            assert_eq!(reply.status, 200, "{reply:?}");
        }
    }
    drop(waiting);
    drop(stream);
    // Whoever comes is let in again.
    let mark = stage.victim.mark() + 1;
    stage.victim.was_served(mark).await;
    let after = Footprint::of(pid);
    assert!(
        after.has_come_back(&before, 24),
        "{before} before, {after} after"
    );
    stage.is_sound(&[]).await;
}

/// A node whose disk has less space than it needs says so in one line, and touches nothing.
pub(crate) async fn o04_full_disk_at_start(_: &Arena) {
    let mut stage = Stage::set().await;
    let written = stage.write_all().await;
    assert!(stage.node.terminate().success());
    let data = stage.node.data_dir();
    let disk = rustix::fs::statvfs(&data).expect("the disk");
    let needed = disk.f_bavail * disk.f_frsize + (1 << 30);
    let config = data.join("../canopy.toml");
    let refused = stage.node.cli_with(
        ["serve".as_ref(), "--config".as_ref(), config.as_os_str()],
        &[("CANOPY_MIN_FREE_BYTES", &needed.to_string())],
    );
    assert_ne!(refused.code, 0);
    let said: Vec<&str> = refused.stderr.lines().collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("bytes are free on its disk") && said[0].contains("min_free_bytes"),
        "{said:?}"
    );
    stage.node.start_again();
    stage.is_sound(&written).await;
}
