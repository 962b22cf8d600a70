//! What is found out about a component before anyone calls it.

use std::time::Duration;

use canopy_engine::{LimitExceeded, Unfit};

use crate::{component, engine, runs};

const MEMORY: usize = 4 << 20;
const CPU: Duration = Duration::from_millis(100);

async fn check(text: &str) -> Result<(), Unfit> {
    let engine = engine();
    engine.check(&component(&engine, text), MEMORY, CPU).await
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
        Err(Unfit::InitialMemory {
            initial: 65 << 16,
            limit: MEMORY as u64
        })
    );
    assert_eq!(
        check(r#"(component (import "m" (core module $m)) (core instance (instantiate $m)))"#)
            .await,
        Err(Unfit::ImportsModule)
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
        Err(Unfit::Limit(LimitExceeded::Memory {
            limit: MEMORY,
            wanted: 90 << 16
        }))
    );
}

#[tokio::test]
async fn a_start_function_that_never_ends_is_refused() {
    let text = runs(r#"(func $s (loop $l (br $l))) (start $s) (func (export "run"))"#);
    assert_eq!(
        check(&text).await,
        Err(Unfit::Limit(LimitExceeded::Cpu { limit: CPU }))
    );
}

#[tokio::test]
async fn a_start_function_that_traps_is_refused() {
    let text = runs(r#"(func $s unreachable) (start $s) (func (export "run"))"#);
    assert!(matches!(check(&text).await, Err(Unfit::Instantiation(_))));
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
