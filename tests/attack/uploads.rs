//! Hostile uploads: each is refused with a cause, alone, and soon.

use std::path::Path;
use std::time::{Duration, Instant};

use canopy_ids::Digest;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::arena::{Arena, MIB};
use crate::components::{http, manifest, module, publish, publish_as};
use crate::support::Answer;
use crate::{Random, support};

#[track_caller]
fn refused(answer: &Answer) {
    assert!((400..500).contains(&answer.status), "{answer:?}");
    answer.problem();
}

pub(crate) async fn a08_many_memories(arena: &Arena) {
    let mut text = String::new();
    for number in 0..100 {
        text += &format!(
            "(core module $m{number} (memory 1024))\n\
             (core instance $i{number} (instantiate $m{number}))\n"
        );
    }
    text += "(core module $m (func (export \"handle\") (param i32 i32)))
             (core instance $i (instantiate $m))";
    let answer = publish(arena, "memories", http(&text)).await;
    assert_eq!(
        (answer.status, &*answer.problem()),
        (422, "unfit"),
        "{answer:?}"
    );
}

pub(crate) async fn a09_large_tables(arena: &Arena) {
    let answer = publish(arena, "table", module("(table 10000000 funcref)")).await;
    refused(&answer);
    let many: String = (0..90).map(|_| "(table 1 funcref)").collect();
    let answer = publish(arena, "tables", module(&many)).await;
    refused(&answer);
}

pub(crate) async fn u01_mutants(arena: &Arena) {
    let whole =
        module("(memory 1) (data (i32.const 0) \"some data\") (func (result i32) (i32.const 7))");
    let mut random = Random(arena.seed);
    let count = if arena.full { 10_000 } else { 150 };
    for number in 0..count {
        let mut mutant = whole.clone();
        match number % 4 {
            0 => mutant.truncate(random.below(mutant.len())),
            1 => mutant.extend(vec![0; 1 + random.below(64)]),
            _ => {}
        }
        for _ in 0..random.below(4) {
            let place = random.below(mutant.len());
            if let Some(byte) = mutant.get_mut(place) {
                *byte ^= 1 << random.below(8);
            }
        }
        let began = Instant::now();
        let answer = publish(arena, "mutant", mutant).await;
        // A mutation may leave a valid component, or the very same.
        let typed = matches!(answer.status, 201) || (400..500).contains(&answer.status);
        assert!(typed, "mutant {number} of seed {}: {answer:?}", arena.seed);
        assert!(began.elapsed() < Duration::from_secs(20), "mutant {number}");
    }
}

/// What is no component is refused by what it is, and at once.
pub(crate) async fn u01_no_components(arena: &Arena) {
    let component = module("(func)");
    for (name, bytes) in [
        ("nothing", Vec::new()),
        ("zeros", vec![0; 1 << 20]),
        (
            "core-module",
            wat::parse_str("(module)").expect("valid text"),
        ),
        ("text", b"(component)".to_vec()),
        ("half", component[..component.len() / 2].to_vec()),
        ("twice", component.repeat(2)),
    ] {
        let began = Instant::now();
        let answer = publish(arena, name, bytes).await;
        let took = began.elapsed();
        assert_eq!(answer.status, 422, "{name}: {answer:?}");
        answer.problem();
        assert!(took <= Duration::from_secs(1), "{name} took {took:?}");
    }
}

/// One GiB is refused when it has been found to be too much, whether or not it says how much will come, and none
/// of it stays.
pub(crate) async fn u01_too_large(arena: &Arena) {
    const ALL: u64 = 1 << 30;
    let stored = || folder_size(&arena.node.data_dir().join("components"));
    let (before, memory) = (stored(), arena.own_memory());
    let (version, bytes) = (arena.next_version(), vec![0; 1 << 20]);
    let part = format!(
        "--part\r\nContent-Disposition: form-data; name=\"manifest\"\r\n\r\n{}\r\n--part\r\n\
         Content-Disposition: form-data; name=\"component\"\r\n\r\n",
        manifest("large", &version)
    );
    let url = arena.node.api_url("");
    let host = url.strip_prefix("http://").expect("an address");
    let declared = format!("Content-Length: {ALL}");
    for (length, chunk) in [
        (&*declared, ""),
        ("Transfer-Encoding: chunked", "100000\r\n"),
    ] {
        let mut stream = TcpStream::connect(host).await.expect("connected");
        let head = format!(
            "PUT /api/v1/packages/attacks/large/versions/{version} HTTP/1.1\r\nHost: {host}\r\n\
             Authorization: Bearer {}\r\nContent-Type: multipart/form-data; boundary=part\r\n{length}\r\n\r\n",
            arena.node.token()
        );
        let (mut from, mut to) = stream.split();
        let writing = async {
            to.write_all(head.as_bytes()).await?;
            if chunk.is_empty() {
                to.write_all(part.as_bytes()).await?;
            } else {
                let first = format!("{:x}\r\n{part}\r\n", part.len());
                to.write_all(first.as_bytes()).await?;
            }
            for _ in 0..ALL >> 20 {
                to.write_all(chunk.as_bytes()).await?;
                to.write_all(&bytes).await?;
                if !chunk.is_empty() {
                    to.write_all(b"\r\n").await?;
                }
            }
            std::io::Result::Ok(())
        };
        let mut answer = Vec::new();
        let reading = async { while matches!(from.read_buf(&mut answer).await, Ok(1..)) {} };
        let writing = tokio::time::timeout(Duration::from_secs(60), writing);
        let (written, ()) = tokio::join!(writing, reading);
        assert!(matches!(written, Ok(Err(_))), "all of it was taken");
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.starts_with("HTTP/1.1 413 ") && answer.contains("component-too-large"),
            "{length}: {answer}"
        );
    }
    let until = Instant::now() + Duration::from_secs(20);
    while stored() != before {
        assert!(Instant::now() < until, "a part of it stays");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let grown = arena.own_memory().saturating_sub(memory);
    assert!(grown < 32 * MIB, "{} MiB", grown / MIB);
}

fn folder_size(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).expect("a folder").flatten();
    files
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum()
}

/// Native code of this very engine, as the node keeps it and without the seal, is no component.
pub(crate) async fn u02_native_code(arena: &Arena) {
    let folder = std::fs::read_dir(arena.node.data_dir().join("artifacts")).expect("artifacts");
    let files = folder.flatten().map(|file| file.path());
    let mut files = files.filter(|file| file.extension().is_some_and(|kind| kind == "cwasm"));
    let sealed = std::fs::read(files.next().expect("an artifact")).expect("its bytes");
    // The seal is a MAC and the mark that ends the file.
    assert!(sealed.ends_with(b"canopy-artifact1"));
    let native = sealed[..sealed.len() - 48].to_vec();
    // The engine would take it, if anybody let it.
    let detected = wasmtime::Engine::detect_precompiled(&native);
    assert_eq!(detected, Some(wasmtime::Precompiled::Component));
    let mut behind = b"\0asm\r\0\x01\0".to_vec();
    behind.extend(&native);
    for (name, bytes, what) in [
        ("sealed", sealed, "compiled by wasmtime"),
        ("native", native, "compiled by wasmtime"),
        ("behind-a-head", behind, ""),
    ] {
        let version = arena.next_version();
        let answer = publish_as(arena, name, &version, bytes).await;
        assert_eq!(answer.status, 422, "{name}: {answer:?}");
        assert!(answer.body.contains(what), "{name}: {answer:?}");
        must_not_be_there(arena, name, &version).await;
    }
}

async fn must_not_be_there(arena: &Arena, name: &str, version: &str) {
    let path = format!("/api/v1/packages/attacks/{name}/versions/{version}");
    let answer = support::answer(arena.node.api(Method::GET, &path)).await;
    assert_eq!(answer.status, 404, "{name}: {answer:?}");
}

/// Imports that nobody serves, of versions that there are not, twice, or of no interface: each is named.
pub(crate) async fn u05_imports(arena: &Arena) {
    let plain = "(core module $m (func (export \"handle\") (param i32 i32)))
                 (core instance $i (instantiate $m))";
    let instance = |name: &str| format!("(import \"{name}\" (instance (export \"f\" (func))))");
    for (name, imports, told) in [
        (
            "nowhere",
            instance("acme:nowhere/things@1.0.0") + &instance("acme:nowhere/others@1.0.0"),
            &["acme:nowhere/things@1.0.0", "acme:nowhere/others@1.0.0"][..],
        ),
        (
            "skewed",
            instance("wasi:clocks/monotonic-clock@0.9.0"),
            &["wasi:clocks/monotonic-clock@0.9.0"],
        ),
        (
            "newer",
            instance("wasi:io/streams@1.0.0"),
            &["wasi:io/streams@1.0.0"],
        ),
        ("bare", "(import \"f\" (func))".to_owned(), &["f"]),
        (
            "twice",
            instance("wasi:random/random@0.2.0").repeat(2),
            &["wasi:random/random@0.2.0"],
        ),
    ] {
        let version = arena.next_version();
        let bytes = http(&format!("{imports} {plain}"));
        let answer = publish_as(arena, name, &version, bytes).await;
        assert_eq!(answer.status, 422, "{name}: {answer:?}");
        for told in told {
            assert!(answer.body.contains(told), "{name}: {answer:?}");
        }
        must_not_be_there(arena, name, &version).await;
    }
}

/// A digest that is not that of the bytes: nothing of them is stored.
pub(crate) async fn u06_other_digest(arena: &Arena) {
    let stored = || folder_size(&arena.node.data_dir().join("components"));
    let (before, version) = (stored(), arena.next_version());
    let bytes = module(&format!("(memory 1) (data (i32.const 0) \"{version}\")"));
    let path = format!("/api/v1/packages/attacks/digest/versions/{version}");
    for digest in [
        format!("sha256:{}", "0".repeat(64)),
        Digest::of(b"other bytes").to_string(),
    ] {
        let form = Form::new()
            .text("digest", digest)
            .text("manifest", manifest("digest", &version))
            .part("component", Part::bytes(bytes.clone()));
        let request = arena.node.api(Method::PUT, &path).multipart(form);
        let answer = support::answer(request).await;
        assert_eq!(
            (answer.status, &*answer.problem()),
            (400, "digest-mismatch"),
            "{answer:?}"
        );
    }
    must_not_be_there(arena, "digest", &version).await;
    assert_eq!(stored(), before);
    let form = Form::new()
        .text("digest", Digest::of(&bytes).to_string())
        .text("manifest", manifest("digest", &version))
        .part("component", Part::bytes(bytes));
    let request = arena.node.api(Method::PUT, &path).multipart(form);
    assert_eq!(support::answer(request).await.status, 201);
}

/// A bomb ends in its own process, at what that may have of memory and of the processor, and others publish
/// meanwhile. What is large and no bomb may be accepted.
pub(crate) async fn u03_compile_bomb(arena: &Arena) {
    let table = format!("(block (br_table {} (local.get 0)))", "0 ".repeat(2_000));
    let tables = format!("(func (param i32) {})", table.repeat(60));
    for (name, bytes, is_bomb) in [
        ("one-function", functions(1, 1_200_000), true),
        ("functions", functions(120, 60_000), true),
        ("br-tables", module(&tables), false),
        ("small-functions", module(&"(func)".repeat(100_000)), false),
    ] {
        let (began, digest) = (Instant::now(), Digest::of(&bytes));
        let bomb = async {
            let answer = publish(arena, name, bytes).await;
            (answer, began.elapsed())
        };
        let other = async {
            // It waits for no compiler but its own.
            let child = is_bomb.then(|| child_of(arena.pid(), &digest));
            futures::future::OptionFuture::from(child).await;
            let other = publish(arena, "meanwhile", module("(func)")).await;
            assert_eq!(other.status, 201, "{name}: {other:?}");
            began.elapsed()
        };
        let ((bomb, ended), other) = tokio::join!(bomb, other);
        let took = format!("{name} took {ended:?}, another {other:?}");
        if is_bomb {
            let end = (bomb.status, &*bomb.problem());
            assert_eq!(end, (422, "compile-limit"), "{took}: {bomb:?}");
        } else {
            let typed = bomb.status == 201 || (400..500).contains(&bomb.status);
            assert!(typed, "{took}: {bomb:?}");
        }
        let most = Duration::from_secs(60);
        assert!(ended < most && other < most, "{took}");
        if name == "functions" {
            assert!(other < ended, "{took}");
        }
    }
}

/// A component of so many functions, each of so many steps that need one another's result. Text of that size
/// would take longer to be read than what comes of it.
fn functions(count: u32, steps: usize) -> Vec<u8> {
    fn number(mut number: usize, to: &mut Vec<u8>) {
        while number > 0x7f {
            to.push(0x80 | u8::try_from(number & 0x7f).expect("seven bits"));
            number >>= 7;
        }
        to.push(u8::try_from(number).expect("seven bits"));
    }
    fn section(id: u8, content: &[u8], to: &mut Vec<u8>) {
        to.push(id);
        number(content.len(), to);
        to.extend(content);
    }
    let count = count as usize;
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    // One number in and one out; and `handle`, which takes two.
    section(
        1,
        b"\x02\x60\x01\x7f\x01\x7f\x60\x02\x7f\x7f\x00",
        &mut module,
    );
    let mut types = Vec::new();
    number(count + 1, &mut types);
    types.resize(types.len() + count, 0);
    types.push(1);
    section(3, &types, &mut module);
    let mut exports = b"\x01\x06handle\x00".to_vec();
    number(count, &mut exports);
    section(7, &exports, &mut module);
    let mut body = b"\x00\x20\x00".to_vec();
    body.extend(b"\x20\x00\x6c\x20\x00\x77".repeat(steps));
    body.push(0x0b);
    let mut code = Vec::new();
    number(count + 1, &mut code);
    for _ in 0..count {
        number(body.len(), &mut code);
        code.extend(&body);
    }
    code.extend(b"\x02\x00\x0b");
    section(10, &code, &mut module);
    // In the place of the module of a component that has none of them.
    let mut component = self::module("");
    let inner = component.windows(4).rposition(|bytes| bytes == b"\0asm");
    let inner = inner.expect("a module");
    let end = inner + usize::from(component[inner - 1]);
    let mut sized = Vec::new();
    number(module.len(), &mut sized);
    sized.extend(module);
    component.splice(inner - 1..end, sized);
    component
}

pub(crate) async fn u04_type_bombs(arena: &Arena) {
    let plain = "(core module $m (func (export \"handle\") (param i32 i32)))
                 (core instance $i (instantiate $m))";
    let mut doubling = String::from("(type $t0 (tuple u8 u8))");
    for depth in 1..60 {
        let below = depth - 1;
        doubling += &format!("(type $t{depth} (tuple $t{below} $t{below}))");
    }
    doubling +=
        "(import \"acme:bomb/types@1.0.0\" (instance (export \"f\" (func (param \"x\" $t59)))))";
    let mut nested = String::from("(type $l0 (list u8))");
    for depth in 1..200 {
        nested += &format!("(type $l{depth} (list $l{}))", depth - 1);
    }
    nested +=
        "(import \"acme:bomb/types@1.0.0\" (instance (export \"f\" (func (param \"x\" $l199)))))";
    let many: String = (0..200_000).map(|_| "(type (tuple u8 u16))").collect();
    for (name, types) in [("doubling", doubling), ("nested", nested), ("many", many)] {
        let began = Instant::now();
        let answer = publish(arena, "types", http(&format!("{types} {plain}"))).await;
        // Many small types cost little, and may be accepted.
        if answer.status != 201 || name != "many" {
            refused(&answer);
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{name}");
    }
}

/// One version, with other bytes each time and all at once: one wins, and all others are told that it is
/// there. Who finds the node busy tries again.
pub(crate) async fn u08_same_version(arena: &Arena) {
    let version = arena.next_version();
    let uploads = (0..50).map(|number| {
        let bytes = module(&format!("(func (result i32) (i32.const {number}))"));
        let version = &version;
        async move {
            let until = Instant::now() + Duration::from_secs(60);
            loop {
                let answer = publish_as(arena, "race", version, bytes.clone()).await;
                if !matches!(answer.status, 429 | 503) || Instant::now() > until {
                    break answer.status;
                }
            }
        }
    });
    let mut statuses = futures::future::join_all(uploads).await;
    statuses.sort_unstable();
    assert_eq!(statuses[0], 201, "{statuses:?}");
    assert!(
        statuses[1..].iter().all(|status| *status == 409),
        "{statuses:?}"
    );
}

pub(crate) async fn u10_more_than_the_limits(arena: &Arena) {
    for (name, inside, said) in [
        ("memory", "(memory 1025)", "67108864"),
        ("data", "(memory 65536)", "memory"),
    ] {
        let answer = publish(arena, name, module(inside)).await;
        assert_eq!(
            (answer.status, &*answer.problem()),
            (422, "unfit"),
            "{answer:?}"
        );
        assert!(answer.body.contains(said), "{answer:?}");
    }
    // What is made after a call that the quarantine does not answer.
    for (name, inside, said) in [
        ("late-memory", "(memory 512) (memory 513)", "67108864"),
        ("late-table", "(table 100001 funcref)", "100001"),
    ] {
        let answer = publish(arena, name, after_an_import(inside)).await;
        assert_eq!(
            (answer.status, &*answer.problem()),
            (422, "unfit"),
            "{answer:?}"
        );
        assert!(answer.body.contains(said), "{answer:?}");
    }
}

/// A component that calls its host while it is instantiated, and then has a module of `inside`.
fn after_an_import(inside: &str) -> Vec<u8> {
    http(&format!(
        r#"(import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
          (export "now" (func (result u64)))))
        (core func $now (canon lower (func $clock "now")))
        (core module $first
          (import "host" "now" (func $now (result i64)))
          (func $start (drop (call $now)))
          (start $start))
        (core instance (instantiate $first (with "host" (instance (export "now" (func $now))))))
        (core module $m {inside} (func (export "handle") (param i32 i32)))
        (core instance $i (instantiate $m))"#
    ))
}

/// A compiler that is stopped is ended at its time, and one that is killed, as by a machine without
/// memory, at once: the publisher is told which it was, others publish meanwhile, and what was killed
/// can be published again.
pub(crate) async fn f09_stopped_compiler(arena: &Arena) {
    for (signal, end) in [
        (Signal::STOP, (422, "compile-limit")),
        (Signal::KILL, (503, "compiler-killed")),
    ] {
        let began = Instant::now();
        let (name, version) = ("stopped", arena.next_version());
        let bytes = slow_to_compile(&version);
        let publishing = publish_as(arena, name, &version, bytes.clone());
        let stopping = async {
            let child = child_of(arena.pid(), &Digest::of(&bytes)).await;
            let child = Pid::from_raw(child).expect("a process");
            kill_process(child, signal).expect("it compiles");
            let other = publish(arena, "meanwhile", module("(func)")).await;
            assert_eq!(other.status, 201, "{other:?}");
        };
        let (answer, ()) = tokio::join!(publishing, stopping);
        assert_eq!((answer.status, &*answer.problem()), end, "{answer:?}");
        assert!(began.elapsed() < Duration::from_secs(60), "{answer:?}");
        let path = format!("/api/v1/packages/attacks/{name}/versions/{version}");
        let stored = support::answer(arena.node.api(Method::GET, &path)).await;
        assert_eq!(stored.status, 404, "{stored:?}");
        if signal == Signal::KILL {
            let again = publish_as(arena, name, &version, bytes).await;
            assert_eq!(again.status, 201, "{again:?}");
        }
    }
}

/// A component whose compilation takes seconds, with a note that makes it another one.
pub(crate) fn slow_to_compile(note: &str) -> Vec<u8> {
    let long = "local.get 0 i32.mul local.get 0 i32.rotl ".repeat(80_000);
    module(&format!(
        "(memory 1) (data (i32.const 0) \"{note}\")
         (func (export \"f\") (param i32) (result i32) local.get 0 {long})"
    ))
}

/// Waits for the process that compiles a component for a node.
pub(crate) async fn child_of(node: u32, component: &Digest) -> i32 {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(child) = compiler_of(node, component) {
            return child;
        }
        assert!(Instant::now() < until, "nothing is compiled");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The child process of a node that was told to compile this component.
fn compiler_of(node: u32, component: &Digest) -> Option<i32> {
    let digest = component.to_string();
    let tasks = std::fs::read_dir(format!("/proc/{node}/task")).ok()?;
    let children = tasks.flatten().filter_map(|task| {
        let children = std::fs::read_to_string(task.path().join("children")).ok()?;
        Some(children.split_whitespace().map(str::to_owned).collect())
    });
    let mut children = children.flat_map(|children: Vec<String>| children);
    let child = children.find(|child| {
        let told = std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&told).contains(&digest)
    });
    child?.parse().ok()
}
