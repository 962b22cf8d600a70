//! One limit for all memories and tables of a store.

use std::time::Duration;

use canopy_engine::{CpuBudget, LimitExceeded, MemoryAccount, StoreLimits};

use crate::{component, engine, run, runs, small};

const MIB: usize = 1 << 20;
const LIMIT: usize = 4 * MIB;

async fn outcome(text: &str) -> (wasmtime::Result<()>, StoreLimits) {
    let engine = engine();
    let component = component(&engine, text);
    let limits = StoreLimits::new(LIMIT, engine.settings());
    run(
        &engine,
        &component,
        limits,
        &CpuBudget::new(Duration::from_secs(10)),
    )
    .await
}

#[tokio::test]
async fn growth_beyond_the_limit_is_minus_one() {
    // 64 pages are the limit; traps unless 63 more fit and the next does not.
    let (outcome, limits) = outcome(&runs(
        r#"(memory 1)
           (func (export "run")
             (if (i32.ne (memory.grow (i32.const 63)) (i32.const 1)) (then unreachable))
             (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
             (if (i32.ne (memory.grow (i32.const 65535)) (i32.const -1)) (then unreachable))
             (if (i32.ne (memory.size) (i32.const 64)) (then unreachable)))"#,
    ))
    .await;
    outcome.expect("the guest sees its limit");
    assert_eq!(limits.used(), LIMIT);
}

#[tokio::test]
async fn memories_and_tables_count_together() {
    let (outcome, limits) = outcome(
        r#"(component
            (core module $a (memory (export "memory") 20))
            (core module $b (memory 20) (table 65536 funcref)
              (func (export "run")
                (if (i32.ne (memory.grow (i32.const 17)) (i32.const -1)) (then unreachable))
                (if (i32.ne (memory.grow (i32.const 16)) (i32.const 20)) (then unreachable))
                (if (i32.ne (table.grow 0 (ref.null func) (i32.const 1)) (i32.const -1))
                  (then unreachable))))
            (core instance (instantiate $a))
            (core instance $i (instantiate $b))
            (func (export "run") (canon lift (core func $i "run"))))"#,
    )
    .await;
    outcome.expect("the guest sees its limit");
    // 20 + 20 + 16 pages, and 65,536 entries of eight bytes.
    assert_eq!(limits.used(), 56 * (64 << 10) + 65_536 * 8);
}

#[tokio::test]
async fn a_guest_that_gives_up_for_lack_of_memory_has_memory_as_its_cause() {
    let (outcome, limits) = outcome(&runs(
        r#"(memory 1)
           (func (export "run")
             (if (i32.eq (memory.grow (i32.const 64)) (i32.const -1)) (then unreachable)))"#,
    ))
    .await;
    let error = outcome.expect_err("the guest gives up");
    assert_eq!(
        limits.cause(&error),
        Some(LimitExceeded::Memory {
            limit: LIMIT,
            wanted: LIMIT + (64 << 10)
        })
    );
}

#[tokio::test]
async fn another_trap_is_not_blamed_on_memory() {
    let (outcome, limits) = outcome(&runs(
        r#"(memory 1)
           (func (export "run")
             (drop (memory.grow (i32.const 64)))
             (drop (i32.div_u (i32.const 1) (i32.const 0))))"#,
    ))
    .await;
    assert_eq!(limits.cause(&outcome.expect_err("a trap")), None);
}

#[tokio::test]
async fn the_maximum_of_its_own_is_not_our_limit() {
    let (outcome, limits) = outcome(&runs(
        r#"(memory 1 2)
           (func (export "run")
             (if (i32.eq (memory.grow (i32.const 2)) (i32.const -1)) (then unreachable)))"#,
    ))
    .await;
    assert_eq!(limits.cause(&outcome.expect_err("a trap")), None);
    assert_eq!(limits.used(), 64 << 10);
}

#[tokio::test]
async fn failing_again_and_again_neither_costs_nor_frees() {
    let (outcome, limits) = outcome(&runs(
        r#"(memory 1)
           (func (export "run") (local $n i32)
             (drop (memory.grow (i32.const 1)))
             (loop $again
               (drop (memory.grow (i32.const 65535)))
               (local.set $n (i32.add (local.get $n) (i32.const 1)))
               (br_if $again (i32.lt_u (local.get $n) (i32.const 1000)))))"#,
    ))
    .await;
    outcome.expect("the guest goes on");
    assert_eq!(limits.used(), 2 * (64 << 10));
}

#[tokio::test]
async fn an_initial_memory_beyond_the_limit_is_not_instantiated() {
    let (outcome, limits) = outcome(&runs(r#"(memory 65) (func (export "run"))"#)).await;
    let error = outcome.expect_err("refused");
    assert_eq!(
        limits.cause(&error),
        Some(LimitExceeded::Memory {
            limit: LIMIT,
            wanted: 65 * (64 << 10)
        })
    );
}

#[tokio::test]
async fn a_node_without_a_free_slot_says_so() {
    let mut settings = small();
    settings.pool.instances = 1;
    let engine = canopy_engine::Engine::new(&settings).expect("an engine");
    let component = component(&engine, &runs(r#"(memory 1) (func (export "run"))"#));
    let linker = wasmtime::component::Linker::new(engine.raw());
    let cpu = CpuBudget::new(Duration::from_secs(10));
    let limits = || StoreLimits::new(LIMIT, engine.settings());
    let mut first = engine.new_store(limits(), |limits| limits, &cpu);
    linker
        .instantiate_async(&mut first, &component)
        .await
        .expect("the first has the slot");
    let mut second = engine.new_store(limits(), |limits| limits, &cpu);
    let error = linker
        .instantiate_async(&mut second, &component)
        .await
        .expect_err("the second has none");
    assert!(
        matches!(LimitExceeded::of(&error), Some(LimitExceeded::Pool(_))),
        "{error:?}"
    );
    drop(first);
    linker
        .instantiate_async(&mut second, &component)
        .await
        .expect("the slot is free again");
}

/// Traps unless all of its memory is zero, then fills it.
const SCAN_AND_FILL: &str = r#"(memory 1)
    (func (export "run") (local $at i32)
      (if (i32.eq (memory.grow (i32.const 39)) (i32.const -1)) (then unreachable))
      (loop $next
        (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then unreachable))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br_if $next (i32.lt_u (local.get $at) (i32.const 2621440))))
      (memory.fill (i32.const 0) (i32.const 0xa5) (i32.const 2621440)))"#;

#[tokio::test]
async fn an_instance_never_sees_what_another_left() {
    let mut settings = small();
    // More than stays resident, and a pool of one slot, so that every instance gets the last one's.
    settings.pool.instances = 1;
    settings.pool.memories_per_component = 1;
    settings.pool.memories = 1;
    let engine = canopy_engine::Engine::new(&settings).expect("an engine");
    let component = component(&engine, &runs(SCAN_AND_FILL));
    for _ in 0..50 {
        let limits = StoreLimits::new(LIMIT, engine.settings());
        let cpu = CpuBudget::new(Duration::from_secs(10));
        run(&engine, &component, limits, &cpu)
            .await
            .0
            .expect("all zero");
    }
}

/// Hands the host a list of `bytes` bytes.
fn handing(bytes: usize) -> String {
    format!(
        r#"(component
            (import "take" (func $take (param "bytes" (list u8))))
            (core module $memory (memory (export "memory") 60))
            (core instance $memory (instantiate $memory))
            (core func $lowered (canon lower (func $take) (memory (core memory $memory "memory"))))
            (core module $m
              (import "host" "take" (func $take (param i32 i32)))
              (func (export "run") (call $take (i32.const 0) (i32.const {bytes}))))
            (core instance $host (export "take" (func $lowered)))
            (core instance $i (instantiate $m (with "host" (instance $host))))
            (func (export "run") (canon lift (core func $i "run"))))"#
    )
}

#[tokio::test]
async fn what_one_call_hands_to_the_host_is_bounded() {
    let mut settings = small();
    settings.hostcall_bytes = MIB;
    let engine = canopy_engine::Engine::new(&settings).expect("an engine");
    for (bytes, fits) in [(MIB - 1024, true), (MIB + 1, false), (3 * MIB, false)] {
        let component = component(&engine, &handing(bytes));
        let mut linker = wasmtime::component::Linker::<StoreLimits>::new(engine.raw());
        linker
            .root()
            .func_wrap("take", |_, (_bytes,): (Vec<u8>,)| Ok(()))
            .expect("a host function");
        let cpu = CpuBudget::new(Duration::from_secs(10));
        let limits = StoreLimits::new(LIMIT, engine.settings());
        let mut store = engine.new_store(limits, |limits| limits, &cpu);
        let outcome = async {
            let instance = linker.instantiate_async(&mut store, &component).await?;
            let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
            run.call_async(&mut store, ()).await
        };
        assert_eq!(outcome.await.is_ok(), fits, "{bytes} bytes");
    }
}

#[tokio::test]
async fn handles_are_bounded() {
    let mut settings = small();
    settings.handles = 100;
    let engine = canopy_engine::Engine::new(&settings).expect("an engine");
    let making = |count: usize| {
        format!(
            r#"(component
                (type $r (resource (rep i32)))
                (core func $new (canon resource.new $r))
                (core module $m
                  (import "host" "new" (func $new (param i32) (result i32)))
                  (func (export "run") (local $n i32)
                    (loop $more
                      (drop (call $new (i32.const 7)))
                      (local.set $n (i32.add (local.get $n) (i32.const 1)))
                      (br_if $more (i32.lt_u (local.get $n) (i32.const {count}))))))
                (core instance $host (export "new" (func $new)))
                (core instance $i (instantiate $m (with "host" (instance $host))))
                (func (export "run") (canon lift (core func $i "run"))))"#
        )
    };
    for (count, fits) in [(90, true), (110, false)] {
        let component = component(&engine, &making(count));
        let limits = StoreLimits::new(LIMIT, engine.settings());
        let cpu = CpuBudget::new(Duration::from_secs(10));
        let (outcome, _) = run(&engine, &component, limits, &cpu).await;
        assert_eq!(outcome.is_ok(), fits, "{count} handles");
    }
}

#[tokio::test]
async fn stores_of_one_owner_have_a_sum_too_and_give_it_back() {
    let engine = engine();
    let takes_ten_pages = component(
        &engine,
        &runs(
            r#"(memory 1)
               (func (export "run")
                 (if (i32.eq (memory.grow (i32.const 9)) (i32.const -1)) (then unreachable)))"#,
        ),
    );
    let page = 64 << 10;
    let account = MemoryAccount::new(25 * page);
    let store = async || {
        let limits = StoreLimits::new(LIMIT, engine.settings()).within(account.clone());
        let cpu = CpuBudget::new(Duration::from_secs(10));
        run(&engine, &takes_ten_pages, limits, &cpu).await
    };
    let (first, held) = store().await;
    first.expect("ten of 25 pages");
    let (second, also_held) = store().await;
    second.expect("twenty of 25 pages");
    let (third, refused) = store().await;
    let limit = 25 * page;
    assert_eq!(
        refused.cause(&third.expect_err("only five are left")),
        Some(LimitExceeded::SharedMemory { limit })
    );
    drop((held, refused));
    assert_eq!(account.used(), 10 * page);
    store().await.0.expect("there is room again");
    drop(also_held);
    assert_eq!(account.used(), 0);
}

#[tokio::test]
async fn owners_have_a_sum_together_and_what_one_is_refused_is_not_counted() {
    let engine = engine();
    let takes_ten_pages = component(
        &engine,
        &runs(
            r#"(memory 1)
               (func (export "run")
                 (if (i32.eq (memory.grow (i32.const 9)) (i32.const -1)) (then unreachable)))"#,
        ),
    );
    let page = 64 << 10;
    let node = MemoryAccount::new(25 * page);
    let owners = [(); 3].map(|()| MemoryAccount::part_of(node.clone(), 15 * page));
    let store = async |owner: &std::sync::Arc<MemoryAccount>| {
        let limits = StoreLimits::new(LIMIT, engine.settings()).within(owner.clone());
        let cpu = CpuBudget::new(Duration::from_secs(10));
        run(&engine, &takes_ten_pages, limits, &cpu).await
    };
    let (first, held) = store(&owners[0]).await;
    first.expect("ten of 15 pages, and of 25");
    let (again, over_its_own) = store(&owners[0]).await;
    assert_eq!(
        over_its_own.cause(&again.expect_err("only five are left to it")),
        Some(LimitExceeded::SharedMemory { limit: 15 * page })
    );
    drop(over_its_own);
    let (second, also_held) = store(&owners[1]).await;
    second.expect("twenty of 25 pages");
    let (third, refused) = store(&owners[2]).await;
    assert_eq!(
        refused.cause(&third.expect_err("only five are left to all")),
        Some(LimitExceeded::NodeMemory { limit: 25 * page })
    );
    assert_eq!((owners[2].used(), node.used()), (page, 21 * page));
    drop((held, also_held, refused));
    assert_eq!(node.used(), 0);
    owners[2].set(9 * page);
    let (lowered, _) = store(&owners[2]).await;
    lowered.expect_err("its own limit is less now");
}

#[tokio::test]
async fn a_table_that_may_not_grow_and_a_stack_that_ends_are_causes() {
    let (ended, limits) = outcome(&runs(
        r#"(table 1 funcref)
           (func (export "run")
             (if (i32.eq (table.grow 0 (ref.null func) (i32.const 200000)) (i32.const -1))
               (then unreachable)))"#,
    ))
    .await;
    let cause = limits.cause(&ended.expect_err("the guest gives up"));
    assert!(
        matches!(
            cause,
            Some(LimitExceeded::Table {
                wanted: 200_001,
                ..
            })
        ),
        "{cause:?}"
    );
    let (ended, limits) = outcome(&runs(
        r#"(func $deeper (param i64) (result i64)
             (i64.add (local.get 0) (call $deeper (local.get 0))))
           (func (export "run") (drop (call $deeper (i64.const 1))))"#,
    ))
    .await;
    let cause = limits.cause(&ended.expect_err("the stack ends"));
    assert_eq!(cause, Some(LimitExceeded::Stack));
}
