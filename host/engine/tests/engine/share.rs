//! CPU time between owners: who gets how much when cores are short, who need not wait, and what is
//! left behind.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use canopy_engine::{
    CallLengths, CpuAccount, CpuBudget, CpuRate, Engine, EngineSettings, LimitExceeded, StoreLimits,
};
use tokio::task::{JoinHandle, yield_now};
use wasmtime::component::{Component, Linker};

use crate::{component, engine, runs};

const LOOP: &str = r#"(func (export "run") (loop $l (br $l)))"#;
const SHORT: &str = r#"(func (export "run"))"#;

const LONG: Duration = Duration::from_secs(3600);
const PLENTY: CpuRate = CpuRate {
    per_second: LONG,
    burst: LONG,
};

/// Runs a guest that `account` pays for.
fn spawn(
    engine: &Engine,
    component: &Component,
    account: &Arc<CpuAccount>,
    limit: Duration,
) -> JoinHandle<Option<LimitExceeded>> {
    let cpu = CpuBudget::paid_by(account.clone(), limit);
    tokio::spawn(run(engine, component, cpu))
}

/// Runs a guest to its end within `cpu`; the limit that ended it.
fn run(
    engine: &Engine,
    component: &Component,
    cpu: CpuBudget,
) -> impl Future<Output = Option<LimitExceeded>> + Send + use<> {
    let (engine, component) = (engine.clone(), component.clone());
    async move {
        let limits = StoreLimits::new(1 << 20, engine.settings());
        let mut store = engine.new_store(limits, |limits| limits, &cpu);
        let linker = Linker::new(engine.raw());
        let work = async {
            let instance = linker.instantiate_async(&mut store, &component).await?;
            let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
            run.call_async(&mut store, ()).await
        };
        let outcome: wasmtime::Result<()> = cpu.meter(work).await;
        outcome
            .err()
            .map(|error| LimitExceeded::of(&error).expect("a limit"))
    }
}

/// An engine with room for many guests.
fn roomy(guests: u32) -> Engine {
    let mut settings = EngineSettings::default();
    settings.pool.instances = guests;
    settings.pool.memories = guests;
    settings.pool.tables = guests.max(64);
    settings.pool.stacks = guests;
    Engine::new(&settings).expect("an engine")
}

/// Lets others run until `done`.
async fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        yield_now().await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn two_owners_have_cpu_time_by_their_weights() {
    let engine = engine();
    let spins = component(&engine, &runs(LOOP));
    // The lighter one has more guests, which is to gain it nothing.
    let light = engine.cpu_account(100, PLENTY);
    let heavy = engine.cpu_account(300, PLENTY);
    let mut guests: Vec<_> = (0..6)
        .map(|_| spawn(&engine, &spins, &light, LONG))
        .collect();
    guests.extend((0..2).map(|_| spawn(&engine, &spins, &heavy, LONG)));
    until(|| engine.waiting_for_cpu() >= 6).await;
    let before = (light.used(), heavy.used());
    until(|| light.used() + heavy.used() >= before.0 + before.1 + Duration::from_millis(1200))
        .await;
    let light = (light.used() - before.0).as_secs_f64();
    let heavy = (heavy.used() - before.1).as_secs_f64();
    let ratio = heavy / light;
    assert!((2.4..=3.6).contains(&ratio), "{heavy} s to {light} s");
    for guest in guests {
        guest.abort();
        drop(guest.await);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_short_call_does_not_wait_for_hundreds_that_spin() {
    const SPINNERS: u32 = 200;
    let engine = roomy(SPINNERS + 8);
    let spins = component(&engine, &runs(LOOP));
    let short = component(&engine, &runs(SHORT));
    let greedy = engine.cpu_account(100, PLENTY);
    let quiet = engine.cpu_account(100, PLENTY);
    let guests: Vec<_> = (0..SPINNERS)
        .map(|_| spawn(&engine, &spins, &greedy, LONG))
        .collect();
    until(|| engine.waiting_for_cpu() + 8 >= SPINNERS as usize).await;
    const CALLS: u32 = 20;
    let before = greedy.used();
    for _ in 0..CALLS {
        let outcome = spawn(&engine, &short, &quiet, LONG).await;
        assert_eq!(outcome.expect("no panic"), None);
    }
    // What the others have run meanwhile, and not the time: this machine may be busy with others.
    let waited = (greedy.used() - before) / CALLS;
    assert!(
        waited < Duration::from_millis(60),
        "{waited:?} for one call"
    );

    // Nor do timers wait for all of them.
    let before = greedy.used();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let waited = greedy.used() - before;
    assert!(waited < Duration::from_millis(100), "{waited:?}");
    for guest in guests {
        guest.abort();
        drop(guest.await);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn where_calls_have_been_long_the_next_waits_for_its_turn_and_others_do_not() {
    const SPINNERS: u32 = 16;
    let engine = roomy(SPINNERS + 8);
    let spins = component(&engine, &runs(LOOP));
    let short = component(&engine, &runs(SHORT));
    let greedy = engine.cpu_account(100, PLENTY);
    let account = engine.cpu_account(100, PLENTY);
    let guests: Vec<_> = (0..SPINNERS)
        .map(|_| spawn(&engine, &spins, &greedy, LONG))
        .collect();
    until(|| engine.waiting_for_cpu() + 8 >= SPINNERS as usize).await;

    let lengths = Arc::new(CallLengths::default());
    let limit = Duration::from_millis(20);
    let within = |limit| CpuBudget::paid_by_with(account.clone(), limit, lengths.clone());
    let mut context = Context::from_waker(Waker::noop());
    let unknown = pin!(run(&engine, &short, within(LONG)));
    assert_eq!(unknown.poll(&mut context), Poll::Ready(None));

    let long = run(&engine, &spins, within(limit)).await;
    assert_eq!(long, Some(LimitExceeded::Cpu { limit }));
    let waiting = engine.waiting_for_cpu();
    let mut known = pin!(run(&engine, &short, within(LONG)));
    assert!(known.as_mut().poll(&mut context).is_pending());
    assert_eq!(engine.waiting_for_cpu(), waiting + 1);
    assert_eq!(known.await, None);
    for guest in guests {
        guest.abort();
        drop(guest.await);
    }
}

/// A guest that calls the import `step` until it returns true.
const STEPS: &str = r#"(component
    (import "step" (func $step (result bool)))
    (core func $lowered (canon lower (func $step)))
    (core module $m
      (import "host" "step" (func $step (result i32)))
      (func (export "run") (loop $l (br_if $l (i32.eqz (call $step))))))
    (core instance $host (export "step" (func $lowered)))
    (core instance $i (instantiate $m (with "host" (instance $host))))
    (func (export "run") (canon lift (core func $i "run"))))"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_slice_does_not_run_on_the_threads_of_others() {
    let engine = engine();
    let steps = component(&engine, STEPS);
    let account = engine.cpu_account(100, PLENTY);
    let cpu = CpuBudget::paid_by(account, LONG);
    let (inside, of_slice) = std::sync::mpsc::channel();
    let (go, gone) = std::sync::mpsc::channel();
    let gone = std::sync::Mutex::new(gone);
    let guest = {
        let (engine, cpu) = (engine.clone(), cpu.clone());
        tokio::spawn(async move {
            let limits = StoreLimits::new(1 << 20, engine.settings());
            let mut store = engine.new_store(limits, |limits| limits, &cpu);
            let mut linker = Linker::new(engine.raw());
            let used = cpu.clone();
            let step = move |_: wasmtime::StoreContextMut<'_, StoreLimits>, (): ()| {
                // It has given way after more than a few ticks: what runs now is a slice.
                if used.used() < Duration::from_millis(20) {
                    return Ok((false,));
                }
                inside.send(()).expect("somebody listens");
                let gone = gone.lock().expect("nobody else waits");
                gone.recv().expect("somebody says when");
                Ok((true,))
            };
            linker.root().func_wrap("step", step)?;
            let work = async {
                let instance = linker.instantiate_async(&mut store, &steps).await?;
                let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
                run.call_async(&mut store, ()).await
            };
            cpu.meter(work).await
        })
    };
    // The runtime's only thread would be the guest's until somebody says `go`.
    tokio::task::spawn_blocking(move || of_slice.recv())
        .await
        .expect("no panic")
        .expect("the guest comes to its slice");
    let other = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1)).await;
        go.send(()).expect("the guest waits");
    });
    other.await.expect("no panic");
    guest.await.expect("no panic").expect("no trap");
}

#[tokio::test(flavor = "current_thread")]
async fn a_guest_that_is_cancelled_leaves_its_place() {
    let engine = engine();
    let spins = component(&engine, &runs(LOOP));
    let account = engine.cpu_account(100, PLENTY);
    for _ in 0..3 {
        let guests: Vec<_> = (0..8)
            .map(|_| spawn(&engine, &spins, &account, LONG))
            .collect();
        until(|| engine.waiting_for_cpu() >= 5).await;
        for guest in guests {
            guest.abort();
            assert!(guest.await.expect_err("aborted").is_cancelled());
        }
        assert_eq!(engine.waiting_for_cpu(), 0);
    }
    // Had a place been lost with each, nobody would come to the end of a long run now.
    let limit = Duration::from_millis(60);
    let outcome = spawn(&engine, &spins, &account, limit).await;
    assert_eq!(
        outcome.expect("no panic"),
        Some(LimitExceeded::Cpu { limit })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_guest_comes_to_its_end_on_several_threads() {
    let engine = engine();
    let spins = component(&engine, &runs(LOOP));
    let limit = Duration::from_millis(50);
    let guests: Vec<_> = [1, 100, 10_000]
        .into_iter()
        .flat_map(|weight| {
            let account = engine.cpu_account(weight, PLENTY);
            let guest = |_| spawn(&engine, &spins, &account, limit);
            (0..4).map(guest).collect::<Vec<_>>()
        })
        .collect();
    for guest in guests {
        let outcome = guest.await.expect("no panic");
        assert_eq!(outcome, Some(LimitExceeded::Cpu { limit }));
    }
    assert_eq!(engine.waiting_for_cpu(), 0);
}

#[tokio::test(flavor = "current_thread")]
async fn the_guests_of_one_owner_end_when_its_budget_is_used() {
    let engine = engine();
    let spins = component(&engine, &runs(LOOP));
    let rate = CpuRate {
        per_second: Duration::from_millis(1),
        burst: Duration::from_millis(100),
    };
    let account = engine.cpu_account(100, rate);
    let other = engine.cpu_account(100, PLENTY);
    let guests: Vec<_> = (0..3)
        .map(|_| spawn(&engine, &spins, &account, LONG))
        .collect();
    let limit = Duration::from_millis(200);
    let others = spawn(&engine, &spins, &other, limit);
    for guest in guests {
        let Some(LimitExceeded::SharedCpu { rate: of, .. }) = guest.await.expect("no panic") else {
            panic!("ended by another limit");
        };
        assert_eq!(of, rate);
    }
    let used = account.used();
    assert!(
        used >= rate.burst && used < rate.burst + Duration::from_millis(200),
        "{used:?}"
    );
    assert!(account.overdrawn().is_some());
    let outcome = others.await.expect("no panic");
    assert_eq!(
        outcome,
        Some(LimitExceeded::Cpu { limit }),
        "not its affair"
    );
}
