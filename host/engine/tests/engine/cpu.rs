//! CPU budgets: what ends, what does not, and who else runs meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use canopy_engine::{CpuBudget, Engine, LimitExceeded, StoreLimits};
use wasmtime::component::{Component, Linker};

use crate::{component, engine, run, runs};

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
