//! CPU budgets: what ends, what does not, and who else runs meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use canopy_engine::{
    CallLengths, CpuBudget, CpuRate, CpuSpent, Engine, LimitExceeded, StoreLimits,
};
use wasmtime::component::{Component, Linker};

use crate::{component, engine, run, runs, small};

const LOOP: &str = r#"(func (export "run") (loop $l (br $l)))"#;
const LOOP_IN_START: &str =
    r#"(func $start (loop $l (br $l))) (start $start) (func (export "run"))"#;

/// A guest that calls the import `pause` as often as the core function's body says.
fn pausing(body: &str) -> String {
    format!(
        r#"(component
            (import "pause" (func $pause))
            (core func $lowered (canon lower (func $pause)))
            (core module $m
              (import "host" "pause" (func $pause))
              (func (export "run") {body}))
            (core instance $host (export "pause" (func $lowered)))
            (core instance $i (instantiate $m (with "host" (instance $host))))
            (func (export "run") (canon lift (core func $i "run"))))"#
    )
}

fn limits(engine: &Engine) -> StoreLimits {
    StoreLimits::new(16 << 20, engine.settings())
}

async fn ended(text: &str, budget: Duration) -> (Option<LimitExceeded>, Duration) {
    let engine = engine();
    let component = component(&engine, text);
    let cpu = CpuBudget::new(budget);
    let (outcome, _) = run(&engine, &component, limits(&engine), &cpu).await;
    (
        LimitExceeded::of(&outcome.expect_err("the guest is ended")),
        cpu.used(),
    )
}

#[tokio::test]
async fn an_endless_loop_ends_within_two_ticks_of_its_budget() {
    let budget = Duration::from_millis(100);
    let (cause, used) = ended(&runs(LOOP), budget).await;
    assert_eq!(cause, Some(LimitExceeded::Cpu { limit: budget }));
    // The bound is generous because a loaded machine may be late to tick.
    assert!(
        used >= budget && used < budget + Duration::from_secs(1),
        "{used:?}"
    );
}

#[tokio::test]
async fn an_endless_loop_in_a_start_function_ends_too() {
    let budget = Duration::from_millis(50);
    let (cause, _) = ended(&runs(LOOP_IN_START), budget).await;
    assert_eq!(cause, Some(LimitExceeded::Cpu { limit: budget }));
}

#[tokio::test]
async fn endless_recursion_is_a_trap() {
    let engine = engine();
    let component = component(&engine, &runs(r#"(func $f (export "run") (call $f))"#));
    let cpu = CpuBudget::new(Duration::from_secs(10));
    let (outcome, _) = run(&engine, &component, limits(&engine), &cpu).await;
    let error = outcome.expect_err("a trap");
    assert_eq!(
        error.downcast_ref(),
        Some(&wasmtime::Trap::StackOverflow),
        "{error:?}"
    );
}

#[tokio::test(flavor = "current_thread")]
async fn others_on_the_same_thread_run_meanwhile() {
    let turns = Arc::new(AtomicUsize::new(0));
    let counted = turns.clone();
    let other = tokio::spawn(async move {
        loop {
            counted.fetch_add(1, Relaxed);
            tokio::task::yield_now().await;
        }
    });
    let (cause, _) = ended(&runs(LOOP), Duration::from_millis(200)).await;
    other.abort();
    assert!(matches!(cause, Some(LimitExceeded::Cpu { .. })));
    assert!(turns.load(Relaxed) >= 3, "{turns:?} turns");
}

async fn with_pause(
    component: &Component,
    engine: &Engine,
    cpu: &CpuBudget,
    metered: bool,
    pause: Duration,
) -> wasmtime::Result<()> {
    let mut linker = Linker::<StoreLimits>::new(engine.raw());
    linker.root().func_wrap_async("pause", move |_, ()| {
        Box::new(async move {
            tokio::time::sleep(pause).await;
            Ok(())
        })
    })?;
    let mut store = engine.new_store(limits(engine), |limits| limits, cpu);
    let work = async {
        let instance = linker.instantiate_async(&mut store, component).await?;
        let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
        run.call_async(&mut store, ()).await
    };
    if metered {
        cpu.meter(work).await
    } else {
        work.await
    }
}

#[tokio::test]
async fn waiting_in_the_host_costs_nothing() {
    let engine = engine();
    // Running code looks at the epoch where a loop begins again.
    let component = component(
        &engine,
        &pausing(
            r#"(local $n i32)
               (loop $again
                 (call $pause)
                 (local.set $n (i32.add (local.get $n) (i32.const 1)))
                 (br_if $again (i32.lt_u (local.get $n) (i32.const 40))))"#,
        ),
    );
    let cpu = CpuBudget::new(Duration::from_millis(400));
    let began = Instant::now();
    with_pause(&component, &engine, &cpu, true, Duration::from_millis(25))
        .await
        .expect("40 pauses of 25 ms fit into 400 ms of CPU time");
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert!(cpu.used() < Duration::from_millis(400), "{:?}", cpu.used());
}

#[tokio::test]
async fn working_between_waits_is_added_up() {
    let engine = engine();
    let component = component(
        &engine,
        &pausing(
            r#"(local $n i32)
               (loop $forever
                 (call $pause)
                 (local.set $n (i32.const 20000000))
                 (loop $work
                   (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                   (br_if $work (local.get $n)))
                 (br $forever))"#,
        ),
    );
    let budget = Duration::from_millis(100);
    let cpu = CpuBudget::new(budget);
    let error = with_pause(&component, &engine, &cpu, true, Duration::from_millis(1))
        .await
        .expect_err("the parts add up");
    assert_eq!(
        LimitExceeded::of(&error),
        Some(LimitExceeded::Cpu { limit: budget })
    );
}

#[tokio::test]
async fn a_guest_that_nobody_measures_is_charged_by_ticks() {
    let engine = engine();
    let component = component(&engine, &pausing("(loop $l (br $l))"));
    let cpu = CpuBudget::new(Duration::from_millis(100));
    let error = with_pause(&component, &engine, &cpu, false, Duration::ZERO)
        .await
        .expect_err("the loop ends");
    assert!(matches!(
        LimitExceeded::of(&error),
        Some(LimitExceeded::Cpu { .. })
    ));
}

#[tokio::test]
async fn a_renewed_budget_is_whole_again_and_no_more() {
    let engine = engine();
    let component = component(&engine, &runs(LOOP));
    let budget = Duration::from_millis(500);
    let cpu = CpuBudget::new(budget);
    let (first, _) = run(&engine, &component, limits(&engine), &cpu).await;
    first.expect_err("ended");
    let after_first = cpu.used();
    cpu.renew();
    cpu.renew();
    let (second, _) = run(&engine, &component, limits(&engine), &cpu).await;
    second.expect_err("ended");
    let second_used = cpu.used() - after_first;
    assert!(
        second_used >= budget && second_used < 2 * budget,
        "{second_used:?}"
    );
}

#[tokio::test]
async fn a_call_that_is_dropped_frees_its_slot() {
    let engine = engine();
    let component = component(&engine, &pausing("(call $pause)"));
    for _ in 0..200 {
        let cpu = CpuBudget::new(Duration::from_secs(1));
        let call = with_pause(&component, &engine, &cpu, true, Duration::from_secs(3600));
        let dropped = tokio::time::timeout(Duration::from_millis(1), call).await;
        assert!(dropped.is_err(), "the guest waits in the host");
    }
}

const FOREVER: Duration = Duration::from_secs(3600);

/// An engine whose guests may have the host work for so long.
fn engine_with(host_time: Duration) -> Engine {
    let mut settings = small();
    settings.host_time = host_time;
    Engine::new(&settings).expect("an engine")
}

/// Keeps this thread computing for so much of its CPU time.
fn compute(time: Duration) {
    let until = thread_time() + time;
    while std::hint::black_box(thread_time()) < until {}
}

fn thread_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(now).expect("a time")
}

/// Runs a guest whose import `pause` has the host compute for so long, on this thread.
async fn with_work(
    engine: &Engine,
    component: &Component,
    cpu: &CpuBudget,
    work: Duration,
) -> wasmtime::Result<()> {
    let mut linker = Linker::<StoreLimits>::new(engine.raw());
    linker.root().func_wrap("pause", move |_, ()| {
        if !work.is_zero() {
            compute(work);
        }
        Ok(())
    })?;
    let mut store = engine.new_store(limits(engine), |limits| limits, cpu);
    cpu.meter(async {
        let instance = linker.instantiate_async(&mut store, component).await?;
        let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
        run.call_async(&mut store, ()).await
    })
    .await
}

/// Calls the host `count` times.
fn calling(count: u32) -> String {
    pausing(&format!(
        r#"(local $n i32)
           (loop $again
             (call $pause)
             (local.set $n (i32.add (local.get $n) (i32.const 1)))
             (br_if $again (i32.lt_u (local.get $n) (i32.const {count}))))"#
    ))
}

#[tokio::test]
async fn what_the_host_does_in_a_call_is_not_the_guests() {
    let engine = engine_with(FOREVER);
    let component = component(&engine, &calling(20));
    let budget = Duration::from_millis(100);
    let cpu = CpuBudget::new(budget);
    with_work(&engine, &component, &cpu, Duration::from_millis(20))
        .await
        .expect("400 ms of the host's work fit into 100 ms of the guest's");
    let spent = cpu.of_call();
    assert!(spent.guest < budget, "{spent:?}");
    // But for the first call: what is measured roughly counts for a tick.
    assert!(spent.host >= Duration::from_millis(370), "{spent:?}");
    assert_eq!(cpu.used(), spent.guest);
    cpu.renew();
    assert_eq!(cpu.of_call(), CpuSpent::default());
}

#[tokio::test]
async fn a_guest_that_only_calls_the_host_is_ended_by_what_the_host_may_take() {
    let limit = Duration::from_millis(100);
    let engine = engine_with(limit);
    let component = component(&engine, &calling(u32::MAX));
    let cpu = CpuBudget::new(FOREVER);
    for work in [Duration::ZERO, Duration::from_millis(3)] {
        cpu.renew();
        let ended = with_work(&engine, &component, &cpu, work).await;
        let cause = LimitExceeded::of(&ended.expect_err("the guest is ended"));
        assert_eq!(cause, Some(LimitExceeded::HostTime { limit }));
        let spent = cpu.of_call();
        assert!(
            spent.host >= limit && spent.host < limit + Duration::from_millis(100),
            "{spent:?}"
        );
    }
}

#[tokio::test]
async fn calls_of_the_host_in_between_gain_a_guest_nothing() {
    let engine = engine_with(FOREVER);
    // Some ten microseconds of its own between two calls, so that ticks meet both.
    let text = pausing(
        r#"(local $n i32)
           (loop $forever
             (call $pause)
             (local.set $n (i32.const 20000))
             (loop $work
               (local.set $n (i32.sub (local.get $n) (i32.const 1)))
               (br_if $work (local.get $n)))
             (br $forever))"#,
    );
    let component = component(&engine, &text);
    let budget = Duration::from_millis(100);
    let cpu = CpuBudget::new(budget);
    let before = thread_time();
    let ended = with_work(&engine, &component, &cpu, Duration::ZERO).await;
    let all = thread_time() - before;
    let cause = LimitExceeded::of(&ended.expect_err("the guest is ended"));
    assert_eq!(cause, Some(LimitExceeded::Cpu { limit: budget }));
    // Compiling was before; what is not counted is what made the store and the instance.
    let spent = cpu.of_call();
    assert!(spent.guest >= budget, "{spent:?}");
    assert!(
        all < budget + spent.host + Duration::from_millis(100),
        "{all:?} and {spent:?}"
    );
}

/// A guest whose `realloc`, which the host calls to hand over a list, is of this body.
fn receiving(realloc: &str) -> String {
    format!(
        r#"(component
            (import "bytes" (func $bytes (result (list u8))))
            (core module $libc
              (memory (export "memory") 1)
              (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $n i32)
                {realloc}
                (i32.const 1024)))
            (core instance $libc (instantiate $libc))
            (core func $lowered (canon lower (func $bytes)
              (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
            (core module $m
              (import "host" "bytes" (func $bytes (param i32)))
              (func (export "run") (loop $again (call $bytes (i32.const 0)) (br $again))))
            (core instance $i (instantiate $m
              (with "host" (instance (export "bytes" (func $lowered))))))
            (func (export "run") (canon lift (core func $i "run"))))"#
    )
}

#[tokio::test]
async fn code_of_the_guest_that_the_host_calls_is_the_guests() {
    let engine = engine_with(FOREVER);
    let budget = Duration::from_millis(100);
    for realloc in [
        "(loop $for_ever (br $for_ever))",
        r#"(local.set $n (i32.const 20000000))
           (loop $work
             (local.set $n (i32.sub (local.get $n) (i32.const 1)))
             (br_if $work (local.get $n)))"#,
    ] {
        let component = component(&engine, &receiving(realloc));
        let mut linker = Linker::<StoreLimits>::new(engine.raw());
        linker
            .root()
            .func_wrap("bytes", |_, ()| Ok((vec![1_u8; 16],)))
            .expect("an import");
        let cpu = CpuBudget::new(budget);
        let mut store = engine.new_store(limits(&engine), |limits| limits, &cpu);
        let work = async {
            let instance = linker.instantiate_async(&mut store, &component).await?;
            let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
            run.call_async(&mut store, ()).await
        };
        let ended: wasmtime::Result<()> = cpu.meter(work).await;
        let cause = LimitExceeded::of(&ended.expect_err("the guest is ended"));
        assert_eq!(cause, Some(LimitExceeded::Cpu { limit: budget }));
        let spent = cpu.of_call();
        assert!(spent.host < budget, "{spent:?}");
    }
}

#[tokio::test]
async fn of_a_component_whose_calls_are_short_all_is_the_guests_until_one_is_long() {
    let engine = engine_with(FOREVER);
    let plenty = CpuRate {
        per_second: FOREVER,
        burst: FOREVER,
    };
    let account = engine.cpu_account(100, plenty);
    let lengths = Arc::new(CallLengths::default());
    let short = component(&engine, &calling(1));
    let long = component(&engine, &calling(10));
    let budget = || CpuBudget::paid_by_with(account.clone(), FOREVER, lengths.clone());
    let work = Duration::from_millis(20);
    let mut spent = Vec::new();
    for component in [&long, &short, &long, &long] {
        let is_short = std::ptr::eq(component, &short);
        for _ in 0..if is_short { 100 } else { 1 } {
            let cpu = budget();
            let work = if is_short { Duration::ZERO } else { work };
            with_work(&engine, component, &cpu, work)
                .await
                .expect("it ends");
            cpu.call_ends();
            if !is_short {
                spent.push(cpu.of_call());
            }
        }
    }
    let all = Duration::from_millis(170);
    assert!(spent[0].host >= all, "{spent:?}");
    assert!(
        spent[1].host.is_zero() && spent[1].guest >= all,
        "{spent:?}"
    );
    assert!(spent[2].host >= all, "{spent:?}");
    assert!(account.host_used() >= 2 * all);
}
