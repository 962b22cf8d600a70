//! Hostile uploads: each is refused with a cause, alone, and soon.

use std::time::{Duration, Instant};

use crate::Random;
use crate::arena::Arena;
use crate::components::{http, module, publish, publish_as};
use crate::support::Answer;

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

/// A bomb ends in its own process, and others publish meanwhile.
pub(crate) async fn u03_compile_bomb(arena: &Arena) {
    let one_function = format!(
        "(func (export \"f\") (param i32) (result i32) local.get 0 {})",
        "local.get 0 i32.add ".repeat(600_000)
    );
    let tables = format!(
        "(func (export \"g\") (param i32) {})",
        format!("(block (br_table {} (local.get 0)))", "0 ".repeat(2_000)).repeat(60)
    );
    let many: String = (0..100_000).map(|_| "(func)").collect();
    for (name, inside) in [
        ("one-function", one_function),
        ("br-tables", tables),
        ("functions", many),
    ] {
        let began = Instant::now();
        let small = module("(func)");
        let (bomb, other) = tokio::join!(
            publish(arena, name, module(&inside)),
            publish(arena, "meanwhile", small),
        );
        assert!(matches!(other.status, 201), "{name}: {other:?}");
        let ended = bomb.status == 201 || (400..500).contains(&bomb.status);
        assert!(ended, "{name}: {bomb:?}");
        assert!(began.elapsed() < Duration::from_secs(60), "{name}");
    }
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

pub(crate) async fn u08_same_version(arena: &Arena) {
    let version = arena.next_version();
    let uploads = (0..24).map(|number| {
        let bytes = module(&format!("(func (result i32) (i32.const {number}))"));
        publish_as(arena, "race", &version, bytes)
    });
    let answers = futures::future::join_all(uploads).await;
    let won = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(
        won,
        1,
        "{:?}",
        answers.iter().map(|a| a.status).collect::<Vec<_>>()
    );
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer.status, 201 | 409 | 429 | 503))
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

/// A compiler that is stopped is ended at its time, and the publisher is told.
pub(crate) async fn f09_stopped_compiler(arena: &Arena) {
    let bytes = slow_to_compile();
    let began = Instant::now();
    let publishing = publish(arena, "stopped", bytes);
    let stopping = async {
        for _ in 0..500 {
            if let Some(child) = compiler_of(arena.pid()) {
                let child = rustix::process::Pid::from_raw(child).expect("a process");
                return rustix::process::kill_process(child, rustix::process::Signal::STOP).is_ok();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    };
    let (answer, stopped) = tokio::join!(publishing, stopping);
    if stopped {
        refused(&answer);
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{answer:?}");
}

/// A component whose compilation takes seconds.
pub(crate) fn slow_to_compile() -> Vec<u8> {
    let long = "local.get 0 i32.mul local.get 0 i32.rotl ".repeat(150_000);
    module(&format!(
        "(func (export \"f\") (param i32) (result i32) local.get 0 {long})"
    ))
}

/// A child process of the node; it has no others than compilers.
pub(crate) fn compiler_of(node: u32) -> Option<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{node}/task")).ok()?;
    tasks.flatten().find_map(|task| {
        let children = std::fs::read_to_string(task.path().join("children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    })
}
