//! What is found out about a component before anyone calls it.

use std::time::Duration;

use canopy_engine::{
    CheckError, CpuBudget, CpuRate, Engine, LimitExceeded, StoreLimits, Unfit, inspect,
};

use crate::{binary, component, engine, runs};

const MEMORY: usize = 4 << 20;
const CPU: Duration = Duration::from_millis(100);

async fn check(text: &str) -> Result<(), CheckError> {
    check_on(&engine(), text).await
}

async fn check_on(engine: &Engine, text: &str) -> Result<(), CheckError> {
    let inspection = inspect(&binary(text)).expect("a component");
    engine.check_declared(inspection.footprint.as_ref(), MEMORY)?;
    let rate = CpuRate {
        per_second: Duration::from_secs(1),
        burst: Duration::from_secs(10),
    };
    let budget = CpuBudget::paid_by(engine.cpu_account(100, rate), CPU);
    let component = component(engine, text);
    engine.check(&component, MEMORY, &budget).await
}

fn unfit(unfit: Unfit) -> Result<(), CheckError> {
    Err(CheckError::Unfit(unfit))
}

#[tokio::test]
async fn an_ordinary_component_fits() {
    check(&runs(r#"(memory 1) (func (export "run"))"#))
        .await
        .expect("fits");
    check(r#"(component (import "a:b/c@1.0.0" (instance (export "f" (func)))))"#)
        .await
        .expect("imports are of no concern here");
}

#[tokio::test]
async fn what_it_declares_is_compared() {
    assert_eq!(
        check(&runs(r#"(memory 65) (func (export "run"))"#)).await,
        unfit(Unfit::InitialMemory {
            initial: 65 << 16,
            limit: MEMORY as u64
        })
    );
    assert_eq!(
        check(r#"(component (import "m" (core module $m)) (core instance (instantiate $m)))"#)
            .await,
        unfit(Unfit::ImportsModule)
    );
}

#[tokio::test]
async fn memories_are_added_up() {
    let nested = r#"(component
        (core module $m (memory 30))
        (core instance (instantiate $m))
        (core instance (instantiate $m))
        (core instance (instantiate $m)))"#;
    assert_eq!(
        check(nested).await,
        unfit(Unfit::InitialMemory {
            initial: 90 << 16,
            limit: MEMORY as u64
        })
    );
}

#[tokio::test]
async fn what_comes_behind_the_call_of_an_import_is_added_up_too() {
    let text = |more: &str| {
        format!(
            r#"(component
            (import "pause" (func $pause))
            (core func $lowered (canon lower (func $pause)))
            (core module $m (import "host" "pause" (func $pause)) (start $pause))
            (core instance $host (export "pause" (func $lowered)))
            (core instance (instantiate $m (with "host" (instance $host))))
            (core module $large {more})
            (core instance (instantiate $large)))"#
        )
    };
    assert_eq!(
        check(&text("(memory 33) (memory 32)")).await,
        unfit(Unfit::InitialMemory {
            initial: 65 << 16,
            limit: MEMORY as u64
        })
    );
    assert_eq!(
        check(&text("(table 100001 funcref)")).await,
        unfit(Unfit::Table {
            elements: 100_001,
            limit: 100_000
        })
    );
    let many = "(memory 0)".repeat(9);
    assert_eq!(
        check(&text(&many)).await,
        unfit(Unfit::Memories { count: 9, limit: 8 })
    );
    check(&text("(memory 64)")).await.expect("that fits");
}

#[tokio::test]
async fn without_room_nothing_is_said_of_the_component() {
    let mut settings = crate::small();
    settings.pool.instances = 1;
    let engine = Engine::new(&settings).expect("an engine");
    let ordinary = runs(r#"(memory 1) (func (export "run"))"#);
    let budget = CpuBudget::new(CPU);
    let limits = StoreLimits::new(MEMORY, engine.settings());
    let mut store = engine.new_store(limits, |limits| limits, &budget);
    let linker = wasmtime::component::Linker::new(engine.raw());
    let only = component(&engine, &ordinary);
    linker
        .instantiate_async(&mut store, &only)
        .await
        .expect("room for one");
    let tried = check_on(&engine, &ordinary).await;
    assert!(
        matches!(tried, Err(CheckError::NoRoom(LimitExceeded::Pool(_)))),
        "{tried:?}"
    );
    drop(store);
    check_on(&engine, &ordinary).await.expect("there is room");
}

#[tokio::test]
async fn a_start_function_that_never_ends_is_refused() {
    let text = runs(r#"(func $s (loop $l (br $l))) (start $s) (func (export "run"))"#);
    assert_eq!(
        check(&text).await,
        unfit(Unfit::Limit(LimitExceeded::Cpu { limit: CPU }))
    );
}

#[tokio::test]
async fn a_start_function_that_traps_is_refused() {
    let text = runs(r#"(func $s unreachable) (start $s) (func (export "run"))"#);
    assert!(matches!(
        check(&text).await,
        Err(CheckError::Unfit(Unfit::Instantiation(_)))
    ));
}

#[tokio::test]
async fn a_start_function_that_calls_an_import_is_not_judged() {
    check(
        r#"(component
            (import "pause" (func $pause))
            (core func $lowered (canon lower (func $pause)))
            (core module $m (import "host" "pause" (func $pause)) (start $pause))
            (core instance $host (export "pause" (func $lowered)))
            (core instance (instantiate $m (with "host" (instance $host)))))"#,
    )
    .await
    .expect("the import might return");
}
