//! Artifacts on disk: used again, shared, and never trusted without their seal.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use canopy_engine::{ArtifactError, Artifacts};
use canopy_ids::Digest;

use crate::{Bench, binary, compiler, counted, lines, runs, script, small};

fn simple() -> Vec<u8> {
    binary(&runs(
        r#"(memory 1) (data (i32.const 0) "hello") (func (export "run"))"#,
    ))
}

#[tokio::test]
async fn compiled_once_and_loaded_from_disk_after() {
    let bench = Bench::new();
    let (digest, path) = bench.store(&simple());
    let artifacts = bench.artifacts(counted(&bench.log()));
    artifacts.load(&digest, &path).await.expect("compiled");
    artifacts.load(&digest, &path).await.expect("in memory");
    assert_eq!(lines(&bench.log()), 1);
    // The component's file is not even needed any more.
    fs::remove_file(&path).expect("removed");
    let after_restart = bench.artifacts(counted(&bench.log()));
    after_restart.load(&digest, &path).await.expect("on disk");
    assert_eq!(lines(&bench.log()), 1);
}

#[tokio::test]
async fn many_who_ask_at_once_share_one_compilation() {
    let bench = Bench::new();
    let (digest, path) = bench.store(&simple());
    let artifacts = bench.artifacts(counted(&bench.log()));
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (artifacts, path) = (artifacts.clone(), path.clone());
        asking.spawn(async move { artifacts.load(&digest, &path).await.map(drop) });
    }
    for outcome in asking.join_all().await {
        outcome.expect("shared");
    }
    assert_eq!(lines(&bench.log()), 1);
}

#[tokio::test]
async fn many_who_ask_at_once_share_one_error() {
    let bench = Bench::new();
    let (digest, path) = bench.store(&simple());
    let failing = script(&format!(
        "echo run >> '{}'; sleep 0.3; exit 9",
        bench.log().display()
    ));
    let artifacts = bench.artifacts(failing);
    let asking = || async { artifacts.load(&digest, &path).await.is_err() };
    let all = tokio::join!(asking(), asking(), asking());
    assert_eq!(all, (true, true, true));
    assert_eq!(lines(&bench.log()), 1);
    // An error is not kept for those who ask later.
    artifacts
        .load(&digest, &path)
        .await
        .expect_err("still failing");
    assert_eq!(lines(&bench.log()), 2);
}

#[tokio::test]
async fn one_who_goes_away_does_not_take_the_others_with_him() {
    let bench = Bench::new();
    let (digest, path) = bench.store(&simple());
    let artifacts = bench.artifacts(counted(&bench.log()));
    let (leaving, path_of_leaving) = (artifacts.clone(), path.clone());
    let first =
        tokio::spawn(async move { leaving.load(&digest, &path_of_leaving).await.map(drop) });
    tokio::task::yield_now().await;
    let second = artifacts.load(&digest, &path);
    first.abort();
    second.await.expect("the second carries on");
}

#[tokio::test]
async fn a_damaged_or_foreign_artifact_is_compiled_again() {
    let bench = Bench::new();
    let (digest, path) = bench.store(&simple());
    bench
        .artifacts(compiler())
        .load(&digest, &path)
        .await
        .expect("compiled");
    let artifact = bench.artifact();
    let good = fs::read(&artifact).expect("read");

    let elsewhere = Bench::new();
    elsewhere
        .artifacts(compiler())
        .load(&digest, &path)
        .await
        .expect("compiled elsewhere");
    let of_another_node = fs::read(elsewhere.artifact()).expect("read");

    let (other, other_path) = bench.store(&binary(&runs(r#"(func (export "run") nop)"#)));
    bench
        .artifacts(compiler())
        .load(&other, &other_path)
        .await
        .expect("compiled");
    let of_another_component = fs::read(
        bench
            .files(".cwasm")
            .into_iter()
            .find(|path| *path != artifact)
            .expect("another"),
    )
    .expect("read");

    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let cases = [
        ("a bit of the code flipped", flipped(good.len() / 2)),
        ("the first bit flipped", flipped(0)),
        ("a bit of the seal flipped", flipped(good.len() - 20)),
        ("the last bit flipped", flipped(good.len() - 1)),
        ("the end missing", good[..good.len() - 1].to_vec()),
        ("the seal missing", good[..good.len() - 48].to_vec()),
        ("something appended", [&good[..], b"x"].concat()),
        ("nothing", Vec::new()),
        ("another node's", of_another_node),
        ("another component's", of_another_component),
    ];
    for (number, (what, bytes)) in cases.into_iter().enumerate() {
        fs::write(&artifact, bytes).expect(what);
        let artifacts = bench.artifacts(counted(&bench.log()));
        artifacts.load(&digest, &path).await.expect(what);
        assert_eq!(lines(&bench.log()), number + 1, "{what}: compiled again");
        bench
            .artifacts(script("exit 1"))
            .load(&digest, &path)
            .await
            .expect("whole again");
    }
}

#[tokio::test]
async fn a_lost_damaged_or_open_key_is_replaced_and_all_is_compiled_again() {
    let bench = Bench::new();
    let (digest, path) = bench.store(&simple());
    bench
        .artifacts(compiler())
        .load(&digest, &path)
        .await
        .expect("compiled");
    let key = bench.directory().join("seal.key");
    assert_eq!(
        fs::metadata(&key).expect("a key").permissions().mode() & 0o777,
        0o600
    );
    let before = fs::read(&key).expect("read");

    let damages: [&dyn Fn(); 3] = [
        &|| fs::remove_file(&key).expect("removed"),
        &|| fs::write(&key, b"short").expect("written"),
        &|| fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("opened"),
    ];
    for (number, damage) in damages.iter().enumerate() {
        damage();
        let artifacts = bench.artifacts(counted(&bench.log()));
        artifacts
            .load(&digest, &path)
            .await
            .expect("compiled again");
        assert_eq!(lines(&bench.log()), number + 1);
        assert_eq!(
            fs::metadata(&key).expect("a key").permissions().mode() & 0o777,
            0o600
        );
        assert_ne!(fs::read(&key).expect("read"), before);
    }
}

#[test]
fn a_directory_that_others_can_write_to_is_refused() {
    let bench = Bench::new();
    fs::create_dir(bench.directory()).expect("made");
    fs::set_permissions(bench.directory(), fs::Permissions::from_mode(0o770)).expect("opened");
    let refused = Artifacts::open(&bench.engine, bench.directory(), compiler()).err();
    assert!(
        matches!(refused, Some(ArtifactError::Exposed { mode: 0o770, .. })),
        "{refused:?}"
    );
}

#[test]
fn what_a_dead_process_left_unfinished_is_removed() {
    let bench = Bench::new();
    fs::create_dir(bench.directory()).expect("made");
    fs::write(bench.directory().join(".compiling-abc"), b"half").expect("written");
    bench.artifacts(compiler());
    assert!(bench.files("abc").is_empty());
}

#[tokio::test]
async fn removing_and_retaining() {
    let bench = Bench::new();
    let (kept, kept_path) = bench.store(&simple());
    let (gone, gone_path) = bench.store(&binary("(component)"));
    let artifacts = bench.artifacts(compiler());
    artifacts.load(&kept, &kept_path).await.expect("compiled");
    artifacts.load(&gone, &gone_path).await.expect("compiled");
    fs::write(
        bench
            .directory()
            .join(format!("{}-otherengine.cwasm", kept.hex())),
        b"",
    )
    .expect("written");

    artifacts
        .retain(|digest: &Digest| *digest == kept)
        .expect("retained");
    assert!(bench.artifact().to_string_lossy().contains(&kept.hex()));
    artifacts.remove(&kept).expect("removed");
    assert!(bench.files(".cwasm").is_empty());
    assert_eq!(bench.files("seal.key").len(), 1);
}

#[tokio::test]
async fn a_component_that_was_evicted_comes_back_from_disk() {
    let mut settings = small();
    settings.pool.resident_components = 1;
    let bench = Bench::with(&settings);
    let (a, a_path) = bench.store(&simple());
    let (b, b_path) = bench.store(&binary("(component)"));
    let artifacts = bench.artifacts(counted(&bench.log()));
    for _ in 0..3 {
        artifacts.load(&a, &a_path).await.expect("loaded");
        artifacts.load(&b, &b_path).await.expect("loaded");
    }
    assert_eq!(lines(&bench.log()), 2);
}

#[tokio::test]
async fn a_component_larger_than_the_pool_is_unfit() {
    let mut settings = small();
    settings.pool.memory_bytes = 1 << 20;
    let bench = Bench::with(&settings);
    let (digest, path) = bench.store(&binary(&runs(r#"(memory 17) (func (export "run"))"#)));
    let refused = bench.artifacts(compiler()).load(&digest, &path).await.err();
    match refused {
        Some(ArtifactError::Unfit { message }) => assert!(message.contains("memory"), "{message}"),
        other => panic!("{other:?}"),
    }
}
