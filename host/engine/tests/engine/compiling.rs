//! The compiling process: what it refuses, what ends it, and what is left of it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use canopy_engine::{ArtifactError, CompileError, CompilerCommand, EngineSettings};

use crate::{Bench, binary, compiler, runs, script, small};

/// A component that takes the compiler long and much memory: `functions` functions, each of four
/// times `length` instructions.
fn bomb(functions: usize, length: usize) -> Vec<u8> {
    let line = "(local.set 0 (i32.mul (local.get 0) (i32.const 7)))
                (br_if 0 (local.get 0))";
    let body = format!("(local i32) (block {})", line.repeat(length));
    let others = format!("(func {body})").repeat(functions - 1);
    binary(&runs(&format!(r#"(func (export "run") {body}) {others}"#)))
}

async fn refusal(settings: &EngineSettings, bytes: &[u8]) -> CompileError {
    refusal_by(settings, bytes, compiler()).await
}

async fn refusal_by(
    settings: &EngineSettings,
    bytes: &[u8],
    compiler: CompilerCommand,
) -> CompileError {
    let bench = Bench::with(settings);
    let (digest, path) = bench.store(bytes);
    let refused = bench.artifacts(compiler).load(&digest, &path).await.err();
    assert!(bench.files(".cwasm").is_empty(), "nothing is kept");
    let left: Vec<_> = fs::read_dir(bench.directory())
        .expect("a directory")
        .collect();
    assert_eq!(left.len(), 1, "nothing but the key is left: {left:?}");
    match refused {
        Some(ArtifactError::Compile(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_no_component_is_refused_by_the_child_too() {
    let whole = binary(&runs(r#"(func (export "run"))"#));
    let cases = [
        ("a core module", binary("(module)")),
        ("text", b"(component)".to_vec()),
        ("nothing", Vec::new()),
        ("a truncated component", whole[..whole.len() - 3].to_vec()),
        (
            "wrong types",
            binary("(component (core module (func (result i32) (i64.const 0))))"),
        ),
        (
            "64-bit memories",
            binary("(component (core module (memory i64 1)))"),
        ),
    ];
    for (what, bytes) in cases {
        let error = refusal(&small(), &bytes).await;
        assert!(
            matches!(error, CompileError::Invalid { .. }),
            "{what}: {error:?}"
        );
    }
}

#[tokio::test]
async fn bytes_that_are_not_those_of_the_digest_are_refused() {
    let bench = Bench::new();
    let (digest, path) = bench.store(&binary("(component)"));
    let other = binary("(component (core module))");
    fs::write(&path, &other).expect("replaced");
    let refused = bench.artifacts(compiler()).load(&digest, &path).await.err();
    assert!(
        matches!(
            refused,
            Some(ArtifactError::Compile(CompileError::OtherBytes { expected, found }))
                if expected == digest && found == canopy_ids::Digest::of(&other)
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn too_much_cpu_time_ends_it() {
    let mut settings = small();
    settings.compile.cpu_seconds = 1;
    let error = refusal(&settings, &bomb(20, 100_000)).await;
    assert_eq!(error, CompileError::Cpu { limit: 1 });
}

#[tokio::test]
async fn too_much_memory_ends_it() {
    let mut settings = small();
    settings.compile.memory_bytes = 256 << 20;
    let error = refusal(&settings, &bomb(1, 400_000)).await;
    assert_eq!(error, CompileError::Memory { limit: 256 << 20 });
}

#[tokio::test]
async fn too_long_a_time_ends_it() {
    let mut settings = small();
    settings.compile.wall_seconds = 1;
    let began = Instant::now();
    let error = refusal_by(&settings, b"any", script("exec sleep 60")).await;
    assert_eq!(error, CompileError::Wall { limit: 1 });
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn too_much_native_code_is_refused() {
    let mut settings = small();
    settings.compile.artifact_bytes = 1_000;
    let error = refusal(&settings, &binary(&runs(r#"(func (export "run"))"#))).await;
    assert_eq!(error, CompileError::Size { limit: 1_000 });
}

#[tokio::test]
async fn a_compiler_that_crashes_says_how() {
    match refusal_by(&small(), b"any", script("echo words >&2; kill -SEGV $$")).await {
        CompileError::Failed { status, detail } => {
            assert!(
                status.contains("SIGSEGV") && detail.contains("words"),
                "{status}: {detail}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_compiler_that_is_killed_is_told_from_one_that_fails() {
    let error = refusal_by(&small(), b"any", script("kill -KILL $$")).await;
    assert_eq!(error, CompileError::Killed);
}

#[tokio::test]
async fn a_compiler_that_is_not_there_says_so() {
    let nowhere = CompilerCommand {
        program: "/nowhere/canopy".into(),
        args: Vec::new(),
    };
    let error = refusal_by(&small(), b"any", nowhere).await;
    assert!(matches!(error, CompileError::Start { .. }), "{error:?}");
}

#[tokio::test]
async fn a_compiler_that_floods_its_output_is_not_in_the_way() {
    let flood = script("head -c 10000000 /dev/zero >&2; head -c 10000000 /dev/zero; exit 3");
    let error = refusal_by(&small(), b"any", flood).await;
    assert!(matches!(error, CompileError::Failed { .. }));
}

#[tokio::test]
async fn an_artifact_that_is_no_native_code_is_not_loaded() {
    let bench = Bench::new();
    let (digest, path) = bench.store(b"any");
    let refused = bench
        .artifacts(script("exit 0"))
        .load(&digest, &path)
        .await
        .err();
    assert!(
        matches!(refused, Some(ArtifactError::Unfit { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn more_than_may_wait_are_refused() {
    let mut settings = small();
    settings.compile.concurrency = 1;
    settings.compile.queue = 1;
    let bench = Bench::with(&settings);
    let artifacts = bench.artifacts(script("exec sleep 60"));
    let mut asking = tokio::task::JoinSet::new();
    for bytes in [b"first", b"other", b"third"] {
        let (digest, path) = bench.store(bytes);
        let artifacts = artifacts.clone();
        asking.spawn(async move { artifacts.load(&digest, &path).await.err() });
    }
    let first = asking
        .join_next()
        .await
        .expect("three ask")
        .expect("no panic");
    assert!(
        matches!(
            first,
            Some(ArtifactError::Compile(CompileError::Busy { queue: 1 }))
        ),
        "{first:?}"
    );
    asking.abort_all();
    while asking.join_next().await.is_some() {}
}

fn alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

async fn gone(pid: &str) -> bool {
    for _ in 0..500 {
        if !alive(pid) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

/// Waits until the child has written its number, with the end of the line, to `log`.
async fn started(log: &Path) {
    while !fs::read_to_string(log).is_ok_and(|text| text.ends_with('\n')) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_load_that_is_dropped_kills_its_child() {
    let bench = Bench::new();
    let (digest, path) = bench.store(b"any");
    let artifacts = bench.artifacts(script(&format!(
        "echo $$ > '{}'; exec sleep 60",
        bench.log().display()
    )));
    let log = bench.log();
    tokio::select! {
        loaded = artifacts.load(&digest, &path) => panic!("{loaded:?}"),
        () = started(&log) => {}
    }
    let pid = fs::read_to_string(log).expect("the child started");
    assert!(gone(pid.trim()).await, "the child is still alive");
}

/// The request that a compiler receives, and an empty artifact for it.
async fn request(bench: &Bench, bytes: &[u8]) -> String {
    let (digest, path) = bench.store(bytes);
    let note = script(&format!(
        "printf %s \"$1\" > '{}'; exit 1",
        bench.log().display()
    ));
    bench
        .artifacts(note)
        .load(&digest, &path)
        .await
        .expect_err("only noted");
    let request = fs::read_to_string(bench.log()).expect("noted");
    let value: serde_json::Value = serde_json::from_str(&request).expect("JSON");
    fs::write(value["artifact"].as_str().expect("a path"), b"").expect("made");
    request
}

#[tokio::test]
async fn the_child_ends_when_its_parent_has_died() {
    let bench = Bench::new();
    let request = request(&bench, &bomb(20, 100_000)).await;
    let compiler = compiler();
    let mut child = Command::new(compiler.program)
        .args(compiler.args)
        .arg(request)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("started");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(child.try_wait().expect("waited"), None, "it compiles");
    drop(child.stdin.take());
    let began = Instant::now();
    let status = child.wait().expect("waited");
    assert!(!status.success());
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn the_child_sees_no_environment() {
    let bench = Bench::new();
    let (digest, path) = bench.store(b"any");
    let env = script(&format!(
        "cat /proc/$$/environ > '{}'; exit 1",
        bench.log().display()
    ));
    bench
        .artifacts(env)
        .load(&digest, &path)
        .await
        .expect_err("only noted");
    let seen = fs::read_to_string(bench.log()).expect("noted");
    assert!(!seen.contains("PATH="), "{seen}");
}
