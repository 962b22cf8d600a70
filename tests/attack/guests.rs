//! Hostile applications: what a guest does, and the one cause by which it ends.

use std::net::Ipv4Addr;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::time::sleep;

use crate::arena::{Arena, GIVEN_BACK, MIB, SLOTS};
use crate::components::{composed, http, install, module, publish};

/// So many frames of the guest that sleeps take a quarter of a MiB, half of the stack it may have.
const DEPTH: u32 = 5_000;

/// Imports the clock and the random source, for guests that need something of the host.
const HOST: &str = r#"
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (export "now" (func (result u64)))))
  (import "wasi:random/random@0.2.0" (instance $random
    (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
"#;

pub(crate) async fn a01_endless_loop(arena: &Arena) {
    arena.exhausted("spin", 1).await[0].must_be(503, "cpu-limit");
    let many = join_all((0..8).map(|_| arena.get("spin", "/"))).await;
    for reply in many {
        assert!(
            matches!(reply.code(), "cpu-limit" | "deadline-exceeded"),
            "{reply:?}"
        );
    }
    assert_eq!(arena.get("spin", "/alive").await.status, 200);
}

pub(crate) async fn a02_endless_start(arena: &Arena) {
    let bytes = module("(func $start (loop (br 0))) (start $start)");
    let refused = publish(arena, "endless-start", bytes).await;
    assert_eq!(
        (refused.status, &*refused.problem()),
        (422, "unfit"),
        "{refused:?}"
    );
    assert!(refused.body.contains("CPU time"), "{refused:?}");
}

/// The quarantine at publish ends at the call of an import; the first request finds the loop.
pub(crate) async fn a02_endless_start_behind_an_import(arena: &Arena) {
    let bytes = http(&format!(
        r#"{HOST}
        (core func $now (canon lower (func $clock "now")))
        (core module $m
          (import "host" "now" (func $now (result i64)))
          (func $start (drop (call $now)) (loop (br 0)))
          (start $start)
          (func (export "handle") (param i32 i32)))
        (core instance $i (instantiate $m (with "host" (instance (export "now" (func $now))))))"#
    ));
    install(arena, "late-start", bytes).await;
    arena.exhausted("late-start", 1).await[0].must_be(503, "cpu-limit");
}

pub(crate) async fn a02_endless_realloc(arena: &Arena) {
    let bytes = http(&format!(
        r#"{HOST}
        (core module $libc
          (memory (export "memory") 1)
          (func (export "realloc") (param i32 i32 i32 i32) (result i32) (loop (br 0)) (unreachable)))
        (core instance $libc (instantiate $libc))
        (alias core export $libc "memory" (core memory $memory))
        (alias core export $libc "realloc" (core func $realloc))
        (core func $bytes (canon lower (func $random "get-random-bytes")
          (memory $memory) (realloc $realloc)))
        (core module $m
          (import "host" "bytes" (func $bytes (param i64 i32)))
          (func (export "handle") (param i32 i32) (call $bytes (i64.const 64) (i32.const 0))))
        (core instance $i (instantiate $m (with "host" (instance (export "bytes" (func $bytes))))))"#
    ));
    install(arena, "realloc", bytes).await;
    arena.exhausted("realloc", 1).await[0].must_be(503, "cpu-limit");
}

/// Once by itself, and once with a call of the host in every frame, so also in the deepest.
pub(crate) async fn a03_recursion(arena: &Arena) {
    for (name, each_time) in [("recursion", ""), ("host-recursion", "(drop (call $now))")] {
        let bytes = http(&format!(
            r#"{HOST}
            (core func $now (canon lower (func $clock "now")))
            (core module $m
              (import "host" "now" (func $now (result i64)))
              (func $deeper (param i64 i64) (result i64)
                {each_time}
                (i64.add (local.get 0)
                  (call $deeper (i64.add (local.get 0) (i64.const 1)) (local.get 1))))
              (func (export "handle") (param i32 i32)
                (drop (call $deeper (i64.const 1) (i64.const 2)))))
            (core instance $i (instantiate $m (with "host" (instance (export "now" (func $now))))))"#
        ));
        install(arena, name, bytes).await;
        for _ in 0..4 {
            arena.get(name, "/").await.must_be(500, "stack-overflow");
        }
    }
    // What Rust compiles to overflows its own stack in memory first.
    for (app, path) in [("trap", "/recurse"), ("hostile", "/deep")] {
        let reply = arena.get(app, path).await;
        assert!(
            matches!(reply.code(), "trap" | "stack-overflow" | "cpu-limit"),
            "{reply:?}"
        );
        assert_eq!(arena.get(app, "/alive").await.status, 200);
    }
    deep_stacks_are_given_back(arena).await;
}

/// Calls that wait at the depth of their stacks, in all slots at once.
async fn deep_stacks_are_given_back(arena: &Arena) {
    let waiting = |depth: u32| {
        let path = format!("/?ms=500&depth={depth}");
        join_all((0..SLOTS).map(move |_| {
            let path = path.clone();
            async move { arena.get("sleep", &path).await }
        }))
    };
    waiting(0).await;
    let before = arena.own_memory();
    for reply in waiting(DEPTH).await {
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let until = Instant::now() + GIVEN_BACK;
    while arena.own_memory() > before + 8 * MIB {
        let now = arena.own_memory();
        assert!(Instant::now() < until, "{before} bytes before, {now} now");
        sleep(Duration::from_millis(25)).await;
    }
}

pub(crate) async fn a04_sleep_and_poll(arena: &Arena) {
    let sleeping = join_all((0..16).map(|_| arena.get("sleep", "/?ms=3600000")));
    let polling = arena.get("hostile", "/poll-million");
    let (sleeping, polling) = futures::join!(sleeping, polling);
    for reply in sleeping {
        reply.must_be(504, "deadline-exceeded");
    }
    let ends = [
        "hostcall-limit",
        "handle-limit",
        "cpu-limit",
        "host-time-limit",
        "deadline-exceeded",
        "trap",
    ];
    assert!(ends.contains(&polling.code()), "{polling:?}");
}

/// Calls that cost next to nothing, without end: none of it is the guest's own time.
pub(crate) async fn a05_calls_without_end(arena: &Arena) {
    let bytes = http(&format!(
        r#"{HOST}
        (core func $now (canon lower (func $clock "now")))
        (core module $m
          (import "host" "now" (func $now (result i64)))
          (func (export "handle") (param i32 i32) (loop (drop (call $now)) (br 0))))
        (core instance $i (instantiate $m (with "host" (instance (export "now" (func $now))))))"#
    ));
    install(arena, "calls", bytes).await;
    arena.exhausted("calls", 1).await[0].must_be(503, "host-time-limit");
    // The record is written a moment after the answer.
    arena.node.logs("code=\"host-time-limit\"");
    let log = arena.node.log();
    let record = log
        .lines()
        .find(|line| line.contains("canopy::request") && line.contains("code=\"host-time-limit\""));
    let record = record.unwrap_or_else(|| panic!("no record of it:\n{log}"));
    let spent = |name: &str| -> u64 {
        let (_, after) = record.split_once(name).expect(name);
        let end = after.find(' ').unwrap_or(after.len());
        after[..end].parse().expect("a number")
    };
    let (guest, host) = (spent(" cpu_us="), spent(" host_cpu_us="));
    assert!(host >= 400_000 && guest < 300_000, "{guest} and {host}");
    for reply in join_all((0..8).map(|_| arena.get("calls", "/"))).await {
        assert!(
            matches!(reply.code(), "host-time-limit" | "deadline-exceeded"),
            "{reply:?}"
        );
    }
}

pub(crate) async fn a06_memory_fill(arena: &Arena) {
    let replies = join_all((0..8).map(|_| arena.get("hostile", "/fill?48"))).await;
    for reply in replies {
        assert!(
            matches!(reply.code(), "cpu-limit" | "deadline-exceeded"),
            "{reply:?}"
        );
    }
}

pub(crate) async fn a07_memory_growth(arena: &Arena) {
    let reply = arena.get("hog", "/grow?mib=4096").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    arena
        .get("hog", "/allocate?mib=1000")
        .await
        .must_be(507, "memory-limit");
    let many = join_all((0..32).map(|_| arena.get("hog", "/grow?mib=4096"))).await;
    for reply in many {
        let ends = [
            "",
            "cpu-limit",
            "deadline-exceeded",
            "memory-limit",
            "tenant-memory-limit",
        ];
        assert!(
            ends.contains(&reply.code()) && reply.status != 0,
            "{reply:?}"
        );
    }
}

/// A tenant that wants more slots than it may have waits or is refused; the victim never is.
pub(crate) async fn a10_all_slots(arena: &Arena) {
    let count = if arena.full { 1200 } else { 400 };
    // One address may not have as many connections.
    let sources = [3, 4].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let asked = (0..count)
        .map(|number| arena.get_from(sources[number % sources.len()], "sleep", "/?ms=1500"));
    let replies = join_all(asked).await;
    let mut refused = 0;
    for reply in &replies {
        match reply.status {
            200 => {}
            429 => refused += 1,
            _ => panic!("{reply:?}"),
        }
    }
    assert!(refused > 0, "{count} at once were all let in");
    let busy = replies
        .iter()
        .find(|reply| reply.status == 429)
        .expect("one");
    assert!(busy.text.contains("retry-after: "), "{busy:?}");
}

/// Ten times what an installation can answer, for some seconds: it answers what it can, and refuses the
/// others soon, most of them as soon as they come by its own records. As everything here, on a machine that
/// may be loaded: `tests/bench` has the goal.
pub(crate) async fn a11_overload(arena: &Arena) {
    // 64 slots, a second each.
    const SERVED: usize = 64;
    const SECONDS: usize = 4;
    let before = arena.node.log().len();
    let began = Instant::now();
    let asked = (0..10 * SERVED * SECONDS).map(|number| async move {
        let due = Duration::from_secs(1) * u32::try_from(number).expect("few") / 10;
        tokio::time::sleep_until((began + due / u32::try_from(SERVED).expect("few")).into()).await;
        let sent = Instant::now();
        let status = arena.get("sleep", "/?ms=1000").await.status;
        (status, sent.elapsed())
    });
    let replies = join_all(asked).await;
    let took = began.elapsed();
    let of = |wanted: u16| replies.iter().filter(move |(status, _)| *status == wanted);
    let served = of(200).count();
    let mut refused: Vec<Duration> = of(429).map(|(_, after)| *after).collect();
    refused.sort_unstable();
    assert_eq!(
        served + refused.len(),
        replies.len(),
        "{:?}",
        replies.last()
    );
    // In the time that it took altogether, were it less than that.
    let could = SERVED as f64 * (SECONDS as f64).min(took.as_secs_f64());
    assert!(served as f64 >= 0.7 * could, "{served} in {took:?}");
    // A second is what each would have waited for.
    let after = refused[refused.len() * 9 / 10];
    assert!(
        after < Duration::from_millis(900),
        "refusals take {after:?}"
    );
    // Some wait until nobody has been served for `admission.shed_after`; those who come then do not.
    let by_node = refusals(arena, before, refused.len()).await;
    let soon = by_node.iter().filter(|ms| **ms < 5.0).count();
    assert!(
        soon >= by_node.len() * 3 / 4,
        "{soon} of {} refusals in less than 5 ms",
        by_node.len()
    );
}

/// How many milliseconds each refusal took the node by its own records, the first after so many bytes of
/// its log. They are written a moment after the answers.
async fn refusals(arena: &Arena, before: usize, count: usize) -> Vec<f64> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let log = arena.node.log();
        let records = log[before..]
            .lines()
            .filter(|line| line.contains("canopy::request") && line.contains(" status=429 "));
        let took = records.filter_map(|line| line.split_once(" duration_ms="));
        let took = took.filter_map(|(_, rest)| rest.split(' ').next()?.parse().ok());
        let took: Vec<f64> = took.collect();
        if took.len() >= count {
            break took;
        }
        assert!(Instant::now() < until, "{} of {count} records", took.len());
        sleep(Duration::from_millis(50)).await;
    }
}

/// Slots that are all taken for seconds: of those who come then only the first waits, though for nothing.
pub(crate) async fn a11_slots_that_do_not_move(arena: &Arena) {
    const COUNT: usize = 100;
    let held = join_all((0..64).map(|_| arena.get("sleep", "/?ms=3500")));
    let others = async {
        while arena.get("sleep", "/").await.status != 429 {}
        let asked = (0..COUNT).map(|_| async {
            let sent = Instant::now();
            let reply = arena.get("sleep", "/").await;
            (reply.status, sent.elapsed())
        });
        join_all(asked).await
    };
    let (held, others) = tokio::join!(held, others);
    assert!(held.iter().all(|reply| reply.status == 200));
    let soon =
        |(status, after): &&(u16, Duration)| *status == 429 && *after < Duration::from_millis(700);
    let refused = others.iter().filter(soon).count();
    assert!(refused >= COUNT - 1, "{refused} of {COUNT}: {others:?}");
}

/// What a guest holds of the host is counted, and so is what that takes of the host's memory.
pub(crate) async fn a12_resources(arena: &Arena) {
    let before = arena.footprint().memory;
    for (path, code) in [
        ("/pollables", "handle-limit"),
        ("/fields", "host-memory-limit"),
        ("/pollables", "handle-limit"),
    ] {
        arena.get("hostile", path).await.must_be(507, code);
    }
    let grown = arena.footprint().memory.saturating_sub(before);
    assert!(grown < 256 << 20, "{} MiB", grown >> 20);
}

/// What one request can have the host keep outside of its linear memory, of each kind and of all of them:
/// as much as it may, held by several at once.
pub(crate) async fn a13_pinned_memory(arena: &Arena) {
    const AT_ONCE: u64 = 8;
    let grown = async |app: &str, path: &str| {
        let before = arena.own_memory();
        let mut highest = before;
        let mut asked = pin!(join_all((0..AT_ONCE).map(|_| arena.get(app, path))));
        loop {
            let a_while = sleep(Duration::from_millis(10));
            tokio::select! {
                replies = &mut asked => break (highest.saturating_sub(before), replies),
                () = a_while => highest = highest.max(arena.own_memory()),
            }
        }
    };
    let mut found = Vec::new();
    for (app, kinds) in [
        (
            "hostile",
            &[
                "fields?120",
                "names?25",
                "copies?235",
                "bodies?115",
                "requests?31",
                "pollables?115",
                "mix?80",
            ][..],
        ),
        (
            "hostile-p3",
            &[
                "fields?235",
                "waits?600",
                "streams?110",
                "values?40",
                "reads?64",
                "mix?300",
            ][..],
        ),
    ] {
        let (nothing, _) = grown(app, "/pin-nothing?0&1000").await;
        for kind in kinds {
            let (bytes, replies) = grown(app, &format!("/pin-{kind}&1000")).await;
            let held = replies.iter().filter(|reply| reply.status == 200).count();
            let code = replies.first().map(|reply| reply.code().to_owned());
            found.push((
                app,
                kind,
                bytes.saturating_sub(nothing) / AT_ONCE,
                held,
                code,
            ));
        }
    }
    // A sixth of what the whole may be is for what the node does beside.
    let bound = 8 * MIB + 4 * MIB / 3;
    assert!(
        found
            .iter()
            .all(|(_, _, bytes, held, _)| *bytes < bound && *held > 0),
        "{found:?}"
    );
}

/// Takes what it borrows and gives it back, or keeps it.
const BORROWER: &str = r#"
  (core func $drop (canon resource.drop $request))
  (core module $m
    (import "host" "drop" (func $drop (param i32)))
    (memory (export "memory") 64)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "one") (param $it i32) DROP)
    (func (export "many") (param $them i32) (param $count i32)
      (loop $next
        (call $drop (i32.load (local.get $them)))
        (local.set $them (i32.add (local.get $them) (i32.const 4)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br_if $next (local.get $count)))))
  (core instance $i (instantiate $m (with "host" (instance (export "drop" (func $drop))))))
  (func (export "one") (param "it" (borrow $request)) (canon lift (core func $i "one")))
  (func (export "many") (param "them" (list (borrow $request)))
    (canon lift (core func $i "many") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
"#;

/// Lends its request `calls` times by one function, of which each gets `count` borrows.
fn lender(function: &str, count: u32, calls: u32) -> String {
    let arguments = match function {
        "one" => "(local.get $it)",
        _ => &format!("(i32.const 1024) (i32.const {count})"),
    };
    format!(
        r#"(core module $libc (memory (export "memory") 64))
        (core instance $libc (instantiate $libc))
        (core func $one (canon lower (func $one)))
        (core func $many (canon lower (func $many) (memory (core memory $libc "memory"))))
        (core module $m
          (import "host" "one" (func $one (param i32)))
          (import "host" "many" (func $many (param i32 i32)))
          (import "libc" "memory" (memory 64))
          (func (export "handle") (param $it i32) (param i32) (local $n i32)
            (loop $fill
              (i32.store (i32.add (i32.const 1024) (i32.shl (local.get $n) (i32.const 2))) (local.get $it))
              (local.set $n (i32.add (local.get $n) (i32.const 1)))
              (br_if $fill (i32.lt_u (local.get $n) (i32.const {count}))))
            (local.set $n (i32.const {calls}))
            (loop $next
              (call ${function} {arguments})
              (local.set $n (i32.sub (local.get $n) (i32.const 1)))
              (br_if $next (local.get $n)))))
        (core instance $i (instantiate $m
          (with "libc" (instance $libc))
          (with "host" (instance (export "one" (func $one)) (export "many" (func $many))))))"#
    )
}

/// Two components of one application lend each other a resource a million times: one after the other,
/// four thousand in a call, all in one call, and without giving it back.
pub(crate) async fn a14_borrows_between_components(arena: &Arena) {
    let gives_back = BORROWER.replace("DROP", "(call $drop (local.get $it))");
    let keeps = BORROWER.replace("DROP", "");
    let before = arena.footprint().memory;
    // Done, it has given no answer.
    let bounded = [
        (502, "no-response"),
        (503, "cpu-limit"),
        (503, "host-time-limit"),
    ];
    for (name, borrower, lender, ends) in [
        (
            "borrow-one",
            &gives_back,
            lender("one", 1, 1_000_000),
            &bounded[..],
        ),
        (
            "borrow-some",
            &gives_back,
            lender("many", 4_000, 250),
            &bounded[..],
        ),
        (
            "borrow-all",
            &gives_back,
            lender("many", 1_000_000, 1),
            &[(507, "handle-limit")][..],
        ),
        (
            "borrow-keep",
            &keeps,
            lender("one", 1, 1_000_000),
            &[(500, "trap")][..],
        ),
    ] {
        install(arena, name, composed(borrower, &lender)).await;
        for reply in arena.exhausted(name, 4).await {
            assert!(
                ends.contains(&(reply.status, reply.code())),
                "{name}: {reply:?}"
            );
        }
    }
    let grown = arena.footprint().memory.saturating_sub(before);
    assert!(grown < 256 << 20, "{} MiB", grown >> 20);
}

/// There is no file system: nothing is opened before, and no form of a path leads anywhere.
pub(crate) async fn a32_no_file_system(arena: &Arena) {
    let reply = arena.get("prowler", "/").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let body = reply.body();
    let mut lines = body.lines().filter(|line| line.contains(' '));
    let tried = lines.next_back().expect("what it did");
    let tried: u32 = (tried.strip_suffix(" ways tried"))
        .and_then(|count| count.parse().ok())
        .unwrap_or_else(|| panic!("{reply:?}"));
    assert!(tried > 500, "{reply:?}");
    assert_eq!(lines.next(), None, "ways in: {reply:?}");
    let found = ["made-by-prowler", "tmp/made-by-prowler"];
    for root in [arena.node.data_dir(), "/".into()] {
        for name in found {
            assert!(!root.join(name).exists(), "{name} in {}", root.display());
        }
    }
}

pub(crate) async fn a33_wrong_answers(arena: &Arena) {
    arena
        .get("hostile", "/never")
        .await
        .must_be(502, "no-response");
    let twice = arena.get("hostile", "/twice").await;
    assert!(matches!(twice.status, 200 | 500 | 502), "{twice:?}");
    for path in ["/set-twice", "/head-then-trap", "/tiny", "/endless"] {
        let reply = arena.get("hostile", path).await;
        let broken = !reply.is_whole();
        assert!(
            broken || reply.status >= 500,
            "{path}: a part must not pass for the whole: {reply:?}"
        );
    }
}

/// What one tenant left in memory is not what another finds there.
pub(crate) async fn a40_leftover_memory(arena: &Arena) {
    let rounds = if arena.full { 200 } else { 12 };
    for _ in 0..rounds {
        let stains = (0..4).map(|_| arena.get("hostile", "/stain"));
        for reply in join_all(stains).await {
            assert_eq!(reply.status, 200, "{reply:?}");
        }
        let request = crate::client::get("hostile.bystander.localhost", "/scan");
        let scans = (0..4).map(|_| {
            crate::client::request_from([127, 0, 0, 4].into(), arena.address(), request.as_bytes())
        });
        for reply in join_all(scans).await {
            assert_eq!(reply.status, 200, "{reply:?}");
            let body = reply.body();
            let found = body.lines().nth(1).unwrap_or(&body);
            assert_eq!(found, "0", "words that somebody else wrote: {reply:?}");
        }
    }
}
