//! A node that is killed or crashes: each case has a node of its own.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use canopy_ids::Digest;
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::Random;
use crate::arena::Arena;
use crate::components::{form, manifest, module, upload};
use crate::shim::{Fault, Kind as Done};
use crate::stage::{EVERYTHING, Kind, Stage, Written};
use crate::support::{Node, answer};
use crate::uploads::{child_of, slow_to_compile};

const PACKAGE: &str = "/api/v1/packages/attacks/upload/versions";

/// Killed while a component comes in, while it is compiled, and at calls of its publication: no version
/// is visible by half, nothing of it stays, and the version before it is there as it was.
pub(crate) async fn u09_killed_in_an_upload(arena: &Arena) {
    let mut stage = Stage::set().await;
    stage.node.run("publisher create attacks");
    let first = upload(&stage.node, "upload", "1.0.0", component(0)).await;
    assert_eq!(first.status, 201, "{first:?}");
    stage.node.run("tenant create another");
    stage.node.run("install attacks/upload --tenant another");
    let (before, answers) = (components(&stage.node), old_version(&stage.node).await);

    let stream = half_an_upload(&stage.node).await;
    stage.node.kill_and_restart();
    drop(stream);
    must_be_as_before(&stage.node, &before, &answers).await;

    let (node, compiler) = (&stage.node, tokio::sync::OnceCell::new());
    let slow = slow_to_compile("half");
    let digest = Digest::of(&slow);
    let publishing = upload_until_killed(node, "1.1.0", slow);
    let compiling = async {
        let found = child_of(node.pid(), &digest).await;
        compiler.set(found).expect("once");
        let node = Pid::from_raw(node.pid().cast_signed()).expect("a process");
        kill_process(node, Signal::KILL).expect("killed");
    };
    let (acknowledged, ()) = tokio::join!(publishing, compiling);
    assert!(!acknowledged);
    let ended = stage.end().await;
    assert_eq!(ended.signal(), Some(Signal::KILL.as_raw()), "{ended}");
    let compiler = compiler.get().expect("found");
    ends(*compiler).await;
    stage.node.start_again();
    must_be_as_before(&stage.node, &before, &answers).await;

    stage.start_with(EVERYTHING, None);
    stage.arm();
    let whole = upload(&stage.node, "upload", "1.2.0", component(1)).await;
    assert_eq!(whole.status, 201, "{whole:?}");
    stage.disarm();
    let calls = u32::try_from(stage.calls().len()).expect("few");
    let mut random = Random(arena.seed);
    for index in chosen(arena, calls, &mut random) {
        let (version, bytes) = (format!("2.0.{index}"), component(index + 1));
        stage.start_with(EVERYTHING, Some(Fault::at(Done::KillBefore, index)));
        stage.arm();
        let acknowledged = upload_until_killed(&stage.node, &version, bytes.clone()).await;
        stage.disarm();
        let call = stage.calls().into_iter().find(|call| call.hit);
        if call.is_some() {
            stage.end().await;
        } else {
            assert!(stage.node.terminate().success());
        }
        stage.node.start_again();
        let there = is_whole(&stage.node, &version, &bytes).await;
        assert!(there || !acknowledged, "{version} is lost: {call:?}");
        nothing_is_left(&stage.node).await;
        assert_eq!(old_version(&stage.node).await, answers, "{call:?}");
        let again = upload(&stage.node, "upload", &version, bytes.clone()).await;
        let status = if there { 200 } else { 201 };
        assert_eq!(again.status, status, "{again:?} after {call:?}");
        assert!(is_whole(&stage.node, &version, &bytes).await);
    }
    stage.is_sound(&[]).await;
}

/// A few of so many calls, spread over all of them; every one in full size.
fn chosen(arena: &Arena, calls: u32, random: &mut Random) -> Vec<u32> {
    assert!(calls > 0, "nothing was counted");
    if arena.full {
        return (1..=calls).collect();
    }
    let part = calls.div_ceil(4) as usize;
    let starts = (1..=calls).step_by(part);
    let draw = |start| {
        let offset = u32::try_from(random.below(part)).expect("small");
        calls.min(start + offset)
    };
    starts.map(draw).collect()
}

/// An application that answers nothing, with a note that makes it another one. It is longer than what
/// any part of the node keeps in memory of an upload.
fn component(note: u32) -> Vec<u8> {
    let data = format!("{note}:").repeat(100_000);
    module(&format!("(memory 16) (data (i32.const 0) \"{data}\")"))
}

fn components(node: &Node) -> BTreeSet<String> {
    let folder = std::fs::read_dir(node.data_dir().join("components")).expect("components");
    folder
        .flatten()
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .collect()
}

/// What the version before answers, which says that it was called.
async fn old_version(node: &Node) -> (u16, String) {
    let reply = node.get("upload.another", "/").await;
    let victim = node.get("hello-p2-wstd.victim", "/").await;
    assert_eq!(victim.status, 200, "{victim:?}");
    (reply.status, reply.problem())
}

/// Sends one half of an upload, and waits until some of it is on the disk.
async fn half_an_upload(node: &Node) -> TcpStream {
    let (manifest, bytes) = (manifest("upload", "1.0.1"), component(u32::MAX));
    let head = format!(
        "--half\r\nContent-Disposition: form-data; name=\"manifest\"\r\n\r\n{manifest}\r\n--half\r\n\
         Content-Disposition: form-data; name=\"component\"\r\n\r\n"
    );
    let url = node.api_url("");
    let host = url.strip_prefix("http://").expect("an address");
    let mut stream = TcpStream::connect(host).await.expect("connected");
    let request = format!(
        "PUT {PACKAGE}/1.0.1 HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: multipart/form-data; boundary=half\r\nContent-Length: {}\r\n\r\n{head}",
        node.token(),
        head.len() + bytes.len() + "\r\n--half--\r\n".len()
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let half = &bytes[..bytes.len() / 2];
    stream.write_all(half).await.expect("sent");
    let until = Instant::now() + Duration::from_secs(30);
    while !components(node).iter().any(|name| {
        let file = node.data_dir().join("components").join(name);
        !is_stored(name) && std::fs::metadata(file).is_ok_and(|file| file.len() > 0)
    }) {
        assert!(Instant::now() < until, "nothing arrives");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stream
}

fn is_stored(name: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|kind| kind == "wasm")
}

/// Whether the upload was acknowledged before the node was gone.
async fn upload_until_killed(node: &Node, version: &str, bytes: Vec<u8>) -> bool {
    let request = node.api(Method::PUT, &format!("{PACKAGE}/{version}"));
    let sent = request
        .multipart(form("upload", version, bytes))
        .send()
        .await;
    sent.is_ok_and(|answer| answer.status().is_success())
}

/// Waits until a process is gone that nobody of this program may wait for.
async fn ends(process: i32) {
    let until = Instant::now() + Duration::from_secs(20);
    let stat = format!("/proc/{process}/stat");
    let runs = || {
        let stat = std::fs::read_to_string(&stat).unwrap_or_default();
        let state = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next());
        !matches!(state, None | Some('Z'))
    };
    while runs() {
        assert!(Instant::now() < until, "a compiler outlives its node");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn versions(node: &Node) -> Vec<String> {
    let answer = answer(node.api(Method::GET, PACKAGE)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let page = answer.json();
    let items = page["items"].as_array().expect("a list").iter();
    items
        .map(|item| item["version"].as_str().expect("a version").to_owned())
        .collect()
}

/// Whether there is such a version; if there is, it has to be whole.
async fn is_whole(node: &Node, version: &str, bytes: &[u8]) -> bool {
    let request = node.api(Method::GET, &format!("{PACKAGE}/{version}/component"));
    let response = request.send().await.expect("an answer");
    let listed = versions(node).await.iter().any(|known| known == version);
    match response.status().as_u16() {
        200 => {
            let found = response.bytes().await.expect("a whole body");
            assert!(found == bytes, "{version} is not what was uploaded");
            assert!(listed, "{version} is not listed");
            true
        }
        status => {
            assert_eq!(status, 404);
            assert!(!listed, "{version} is listed and not there");
            false
        }
    }
}

/// Every file of a component is one that a version names.
async fn nothing_is_left(node: &Node) {
    let mut named = BTreeSet::new();
    let packages = [
        "attacks/upload",
        "guests/hello-p2-wstd",
        "guests/kv-probe",
        "guests/objects",
    ];
    for package in packages {
        let path = format!("/api/v1/packages/{package}/versions?limit=100");
        let page = answer(node.api(Method::GET, &path)).await.json();
        for item in page["items"].as_array().expect("a list") {
            let digest = item["digest"].as_str().expect("a digest");
            let hex = digest.strip_prefix("sha256:").expect("a digest");
            named.insert(format!("{hex}.wasm"));
        }
    }
    assert_eq!(components(node), named);
    let artifacts = std::fs::read_dir(node.data_dir().join("artifacts")).expect("artifacts");
    for file in artifacts.flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        let of_a_version = named.iter().any(|named| {
            named
                .strip_suffix(".wasm")
                .is_some_and(|hex| name.contains(hex))
        });
        let is_artifact = Path::new(&name)
            .extension()
            .is_some_and(|kind| kind == "cwasm");
        assert!(of_a_version || !is_artifact, "{name} is of nothing");
    }
}

async fn must_be_as_before(node: &Node, before: &BTreeSet<String>, answers: &(u16, String)) {
    assert_eq!(&components(node), before);
    assert_eq!(versions(node).await, ["1.0.0"]);
    assert_eq!(&old_version(node).await, answers);
    nothing_is_left(node).await;
}

/// Killed before, after and in the middle of calls that change a file, while everything is written to.
pub(crate) async fn f02_killed_at_a_call(arena: &Arena) {
    let mut stage = Stage::set().await;
    let written = until_killed(&mut stage, None).await;
    assert!(written.iter().all(|one| one.acknowledged), "{written:?}");
    let calls = stage.calls();
    let writes = calls.iter().filter(|call| call.name == "write").count();
    let mut random = Random(arena.seed);
    let mut all = written;
    for kind in [Done::KillBefore, Done::KillAfter, Done::Torn] {
        let count = match kind {
            Done::Torn => writes,
            _ => calls.len(),
        };
        let count = u32::try_from(count).expect("few");
        let mut indices = chosen(arena, count, &mut random);
        if !arena.full {
            indices = vec![indices[random.below(indices.len())]];
        }
        for index in indices {
            all.extend(until_killed(&mut stage, Some(Fault::at(kind, index))).await);
            let hit = stage.calls().into_iter().find(|call| call.hit);
            if hit.is_some() {
                let ended = stage.end().await;
                assert_eq!(ended.signal(), Some(Signal::KILL.as_raw()), "{ended}");
                stage.node.start_again();
            }
            stage.clients.keeps(&all).await;
        }
    }
    stage.is_sound(&all).await;
}

/// Writes something of each kind, with `fault`.
async fn until_killed(stage: &mut Stage, fault: Option<Fault>) -> Vec<Written> {
    stage.start_with(EVERYTHING, fault);
    stage.arm();
    let mut all = Vec::new();
    for kind in Kind::ALL {
        all.push(stage.write(kind).await.0);
    }
    stage.disarm();
    all
}

/// A crash of the process under load: who supervises it starts it again, and everything acknowledged
/// is there.
pub(crate) async fn f10_crashes(_: &Arena) {
    let mut stage = Stage::set().await;
    for signal in [Signal::SEGV, Signal::ABORT, Signal::BUS, Signal::ILL] {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let mut writers = tokio::task::JoinSet::new();
        for kind in Kind::ALL {
            let (clients, prefix) = (stage.clients.clone(), stage.name());
            let acknowledged = Arc::clone(&acknowledged);
            writers.spawn(async move {
                let mut all = Vec::new();
                for number in 0.. {
                    let name = format!("{prefix}-{number}");
                    let (written, answer) = clients.write(kind, &name).await;
                    acknowledged.fetch_add(usize::from(written.acknowledged), Ordering::Relaxed);
                    all.push(written);
                    if answer.is_none() {
                        break;
                    }
                }
                all
            });
        }
        let until = Instant::now() + Duration::from_secs(30);
        while acknowledged.load(Ordering::Relaxed) < 30 {
            assert!(Instant::now() < until, "hardly anything is written");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // A faulty instruction faults again after a handler that only resets the signal, as that of Rust
        // does; a signal from outside comes once.
        let node = Pid::from_raw(stage.node.pid().cast_signed()).expect("a process");
        while !stage.node.has_ended() {
            assert!(Instant::now() < until, "the node does not end");
            kill_process(node, signal).expect("its process is there");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let ended = stage.node.wait();
        assert_eq!(ended.signal(), Some(signal.as_raw()), "{ended}");
        stage.node.start_again();
        let written: Vec<Written> = writers.join_all().await.into_iter().flatten().collect();
        stage.is_sound(&written).await;
    }
}
