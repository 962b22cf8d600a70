//! Drivers that call drivers, and functions that are asynchronous by their type.

mod support;

use canopy_driver::{Candidate, DriverFailed, DriverSettings, FailureCause, check_interfaces};
use canopy_ids::DriverInstanceId;
use support::text::{Function, Interface, driver, importer, relay};
use support::{
    App, Handle, Seen, THINGS_DRIVER, component, host_linker, link, spawn, spawn_as, spawn_linked,
    things,
};

const NAME: &str = "acme:chain/next@1.0.0";

const NEXT: Interface<'static> = Interface {
    name: NAME,
    types: &[],
    functions: &[Function {
        name: "next",
        signature: "(result u32)",
        parameters: "",
        result: Some("i32"),
        returned: false,
    }],
};

/// Counts how many drivers are behind it.
const LINK: &str = r#"(component
    (import "acme:chain/next@1.0.0" (instance $next (export "next" (func (result u32)))))
    (core func $next (canon lower (func $next "next")))
    (core module $m
        (import "" "next" (func $next (result i32)))
        (func (export "next") (result i32) (i32.add (call $next) (i32.const 1))))
    (core instance $m (instantiate $m (with "" (instance (export "next" (func $next))))))
    (func $f (result u32) (canon lift (core func $m "next")))
    (component $shim (import "f" (func $f (result u32))) (export "next" (func $f)))
    (instance $i (instantiate $shim (with "f" (func $f))))
    (export "acme:chain/next@1.0.0" (instance $i)))"#;

/// A chain of `length` drivers, each calling the one before; the first answers by itself.
fn chain(length: usize) -> Vec<(Handle, Seen)> {
    let last = driver(&NEXT, |_| "(i32.const 1)".to_owned());
    let mut drivers = vec![spawn("1", &last, DriverSettings::default())];
    let middle = component(LINK);
    for number in 2..=length {
        let mut linker = host_linker();
        link(&mut linker, &middle, &[(NAME, &drivers[number - 2].0)]).expect("linked");
        let name = number.to_string();
        drivers.push(spawn_linked(
            &name,
            &middle,
            linker,
            DriverSettings::default(),
        ));
    }
    drivers
}

#[tokio::test]
async fn a_chain_as_deep_as_the_limit_answers() {
    let drivers = chain(16);
    let mut app = App::start(&relay(&NEXT), &[(NAME, &drivers[15].0)]).await;
    assert_eq!(app.number("next", &[]).await.expect("sixteen drivers"), 16);
}

#[tokio::test]
async fn a_deeper_chain_is_refused() {
    let drivers = chain(17);
    let mut app = App::start(&relay(&NEXT), &[(NAME, &drivers[16].0)]).await;
    let failure = app.failure("next", &[]).await;
    assert_eq!(
        &*failure.driver, "17",
        "the outermost driver trapped on the refusal"
    );
    let innermost = drivers[1].1.failures();
    assert!(innermost[0].contains("16 drivers deep"), "{innermost:?}");
    assert_eq!(drivers[0].1.stores(), 0, "the seventeenth was not reached");
}

#[tokio::test]
async fn a_refusal_far_down_can_be_told_from_the_error() {
    let drivers = chain(17);
    let mut app = App::start(&relay(&NEXT), &[(NAME, &drivers[16].0)]).await;
    let (failure, depth) = innermost(app.failure("next", &[]).await);
    assert!(
        matches!(failure.cause, FailureCause::DepthLimit { limit: 16 }),
        "{failure}"
    );
    assert_eq!(depth, 16);
}

#[tokio::test]
async fn resources_pass_through_a_driver_that_holds_them() {
    // The middle driver keeps things of its own driver behind things that it hands out: it is an
    // application and a driver at once, and both sides end in order.
    let (things_driver, seen) = spawn("things", THINGS_DRIVER, DriverSettings::default());
    let middle = component(HOLDER);
    let mut linker = host_linker();
    link(&mut linker, &middle, &things(&things_driver)[..1]).expect("linked");
    let (holder, holder_seen) = spawn_linked("holder", &middle, linker, DriverSettings::default());
    drop(things_driver);
    let mut app = App::start(&relay(&HOLD), &[(HOLD.name, &holder)]).await;
    assert_eq!(app.number("keep", &[30]).await.expect("keep"), 30);
    assert_eq!(app.number("keep", &[12]).await.expect("keep"), 12);
    assert_eq!(holder_seen.stores(), 1);
    assert!(seen.dropped().is_empty());
    drop(app);
    drop(holder);
    let mut dropped = seen.wait_dropped(2).await;
    dropped.sort_unstable();
    assert_eq!(dropped, [12, 30], "the holder's end dropped what it held");
}

const HOLD: Interface<'static> = Interface {
    name: "acme:chain/hold@1.0.0",
    types: &[],
    functions: &[Function {
        name: "keep",
        signature: "(param \"value\" u32) (result u32)",
        parameters: "i32",
        result: Some("i32"),
        returned: false,
    }],
};

const HOLDER: &str = r#"(component
    (import "acme:things/store@1.0.0" (instance $store
        (export "thing" (type $thing (sub resource)))
        (export "[constructor]thing" (func (param "value" u32) (result (own $thing))))
        (export "[method]thing.add"
            (func (param "self" (borrow $thing)) (param "n" u32) (result u32)))))
    (core func $construct (canon lower (func $store "[constructor]thing")))
    (core func $add (canon lower (func $store "[method]thing.add")))
    (core module $m
        (import "" "construct" (func $construct (param i32) (result i32)))
        (import "" "add" (func $add (param i32 i32) (result i32)))
        (func (export "keep") (param i32) (result i32)
            (call $add (call $construct (local.get 0)) (i32.const 0))))
    (core instance $m (instantiate $m (with "" (instance
        (export "construct" (func $construct)) (export "add" (func $add))))))
    (func $f (param "value" u32) (result u32) (canon lift (core func $m "keep")))
    (component $shim
        (import "f" (func $f (param "value" u32) (result u32))) (export "keep" (func $f)))
    (instance $i (instantiate $shim (with "f" (func $f))))
    (export "acme:chain/hold@1.0.0" (instance $i)))"#;

#[tokio::test]
async fn a_driver_is_not_called_by_its_own_call() {
    let [first, second] = [DriverInstanceId::new(), DriverInstanceId::new()];
    let last = component(&driver(&NEXT, |_| "(i32.const 1)".to_owned()));
    let (end, end_seen) = spawn_as(first, "a", &last, host_linker(), DriverSettings::default());
    let middle = component(LINK);
    let mut linker = host_linker();
    link(&mut linker, &middle, &[(NAME, &end)]).expect("linked");
    let (back, _) = spawn_as(second, "b", &middle, linker, DriverSettings::default());
    let mut linker = host_linker();
    link(&mut linker, &middle, &[(NAME, &back)]).expect("linked");
    let (start, _) = spawn_as(first, "a", &middle, linker, DriverSettings::default());
    let mut app = App::start(&relay(&NEXT), &[(NAME, &start)]).await;
    let (innermost, _) = innermost(app.failure("next", &[]).await);
    assert!(
        matches!(innermost.cause, FailureCause::Recursion),
        "{innermost}"
    );
    assert_eq!(end_seen.stores(), 0);
}

#[tokio::test]
async fn functions_that_are_asynchronous_by_type() {
    let interface = Interface {
        functions: &[Function {
            signature: "async (result u32)",
            ..NEXT.functions[0]
        }],
        ..NEXT
    };
    let text = driver(&interface, |_| "(i32.const 5)".to_owned());
    let (driver, _) = spawn("async", &text, DriverSettings::default());
    let mut app = App::start(&relay(&interface), &[(NAME, &driver)]).await;
    assert_eq!(app.number("next", &[]).await.expect("next"), 5);
    let app = component(&importer(&NEXT));
    let candidate = Candidate {
        import: NAME,
        driver: "async",
        component: driver.component(),
    };
    let refusal =
        check_interfaces::<support::Host>(&app, &[candidate]).expect_err("another function type");
    assert_eq!(
        refusal.to_string(),
        format!(
            "`next` of `{NAME}` differs in driver `async`: the component imports a function, the \
             driver exports an async function"
        )
    );
}

/// The failure at the bottom of a chain of drivers that trapped because of it, and how far down.
fn innermost(mut failure: DriverFailed) -> (DriverFailed, usize) {
    let mut depth = 0;
    while let FailureCause::Trap(cause) = &failure.cause {
        let Some(inner) = cause.error().downcast_ref::<DriverFailed>() else {
            break;
        };
        failure = inner.clone();
        depth += 1;
    }
    (failure, depth)
}
