//! Calls: isolation between instances, failures, deadlines, and who calls.

mod support;

use std::time::{Duration, Instant};

use canopy_driver::{DriverSettings, FailureCause};
use support::{App, THINGS_APP, THINGS_DRIVER, spawn, things};

#[tokio::test]
async fn a_trap_is_an_error_and_the_next_call_has_a_fresh_store() {
    let (driver, seen) = spawn("things", THINGS_DRIVER, DriverSettings::default());
    let mut app = App::things(&driver).await;
    assert_eq!(app.number("calls", &[]).await.expect("calls"), 1);
    assert_eq!(
        app.number("calls", &[]).await.expect("the store is kept"),
        2
    );
    let mut other = App::things(&driver).await;
    let failure = other.failure("crash", &[]).await;
    assert_eq!(&*failure.driver, "things");
    assert_eq!(&*failure.interface, "acme:things/store@1.1.0");
    assert_eq!(&*failure.function, "crash");
    assert!(failure.to_string().contains("unreachable"), "{failure}");
    assert_eq!(
        app.number("calls", &[])
            .await
            .expect("only that call failed"),
        1
    );
    assert_eq!(seen.stores(), 2);
    assert_eq!(seen.failures(), [failure.to_string()]);
}

#[tokio::test]
async fn a_panic_of_the_host_is_contained() {
    let (driver, seen) = spawn("things", THINGS_DRIVER, DriverSettings::default());
    let mut app = App::things(&driver).await;
    let failure = app.failure("panic", &[]).await;
    assert!(matches!(failure.cause, FailureCause::Trap(_)), "{failure}");
    let mut app = App::things(&driver).await;
    assert_eq!(app.number("calls", &[]).await.expect("a fresh store"), 1);
    assert_eq!(seen.stores(), 2);
}

#[tokio::test]
async fn two_instances_share_nothing() {
    let (acme, acme_seen) = spawn("things", THINGS_DRIVER, DriverSettings::default());
    let (globex, globex_seen) = spawn("things", THINGS_DRIVER, DriverSettings::default());
    let mut a = App::things(&acme).await;
    let mut b = App::things(&globex).await;
    assert_eq!(a.number("calls", &[]).await.expect("calls"), 1);
    assert_eq!(a.number("calls", &[]).await.expect("calls"), 2);
    assert_eq!(b.number("calls", &[]).await.expect("calls"), 1);
    a.failure("crash", &[]).await;
    assert_eq!(
        b.number("calls", &[]).await.expect("nobody else notices"),
        2
    );
    assert_eq!((acme_seen.stores(), globex_seen.stores()), (1, 1));
}

#[tokio::test]
async fn a_driver_knows_who_calls() {
    let (driver, _) = spawn("things", THINGS_DRIVER, DriverSettings::default());
    let mut seven = App::start_for(7, THINGS_APP, &things(&driver), 8).await;
    let mut nine = App::start_for(9, THINGS_APP, &things(&driver), 8).await;
    assert_eq!(seven.number("caller", &[]).await.expect("caller"), 7);
    assert_eq!(nine.number("caller", &[]).await.expect("caller"), 9);
    assert_eq!(seven.number("caller", &[]).await.expect("caller"), 7);
}

#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    let (driver, seen) = spawn("things", THINGS_DRIVER, DriverSettings::default());
    for (function, arguments) in [("spin", &[][..]), ("slow", &[60_000, 1][..])] {
        let mut app = App::things(&driver).await;
        app.set_deadline(Duration::from_millis(100));
        let begun = Instant::now();
        let failure = app.failure(function, arguments).await;
        assert!(matches!(failure.cause, FailureCause::Deadline), "{failure}");
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
    }
    let mut app = App::things(&driver).await;
    assert_eq!(
        app.number("calls", &[]).await.expect("the driver goes on"),
        1
    );
    assert_eq!(seen.stores(), 3);
}

#[tokio::test]
async fn a_call_waits_no_longer_than_its_deadline_for_others() {
    let (driver, seen) = spawn("things", THINGS_DRIVER, DriverSettings::default());
    let mut first = App::things(&driver).await;
    let mut second = App::things(&driver).await;
    let busy = tokio::spawn(async move { first.number("slow", &[300, 1]).await.map(|_| first) });
    tokio::time::sleep(Duration::from_millis(50)).await;
    second.set_deadline(Duration::from_millis(50));
    let failure = second.failure("calls", &[]).await;
    assert!(matches!(failure.cause, FailureCause::Deadline), "{failure}");
    busy.await
        .expect("join")
        .expect("the call under way is not disturbed");
    assert_eq!(seen.stores(), 1);
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let settings = DriverSettings {
        queue: 1,
        ..DriverSettings::default()
    };
    let (driver, _) = spawn("things", THINGS_DRIVER, settings);
    let mut first = App::things(&driver).await;
    let mut second = App::things(&driver).await;
    let busy = tokio::spawn(async move { first.number("slow", &[200, 1]).await.map(|_| first) });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let failure = second.failure("calls", &[]).await;
    assert!(
        matches!(failure.cause, FailureCause::QueueFull { limit: 1 }),
        "{failure}"
    );
    busy.await.expect("join").expect("slow");
    let mut third = App::things(&driver).await;
    assert_eq!(
        third
            .number("calls", &[])
            .await
            .expect("there is room again"),
        1
    );
}

#[tokio::test]
async fn an_idle_instance_is_dropped_unless_it_owns_something() {
    let settings = DriverSettings {
        idle_timeout: Duration::from_millis(50),
        ..DriverSettings::default()
    };
    let (driver, seen) = spawn("things", THINGS_DRIVER, settings);
    let mut app = App::things(&driver).await;
    assert_eq!(app.number("calls", &[]).await.expect("calls"), 1);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(app.number("calls", &[]).await.expect("a fresh store"), 1);
    let thing = app.number("construct", &[1]).await.expect("construct") as u32;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(
        app.number("add", &[thing, 1])
            .await
            .expect("kept for its resource"),
        2
    );
    assert_eq!(seen.stores(), 2);
}

#[tokio::test]
async fn a_driver_that_does_not_start_is_tried_again_later_and_later() {
    const BROKEN: &str = r#"(component
        (core module $m (func $start unreachable) (start $start) (func (export "f")))
        (core instance $m (instantiate $m))
        (component $c (import "f" (func $f)) (export "f" (func $f)))
        (func $f (canon lift (core func $m "f")))
        (instance $i (instantiate $c (with "f" (func $f))))
        (export "acme:broken/start" (instance $i)))"#;
    const APP: &str = r#"(component
        (import "acme:broken/start" (instance $i (export "f" (func))))
        (core func $f (canon lower (func $i "f")))
        (core module $m (import "" "f" (func $f)) (func (export "f") (call $f)))
        (core instance $m (instantiate $m (with "" (instance (export "f" (func $f))))))
        (func (export "f") (canon lift (core func $m "f"))))"#;
    let settings = DriverSettings {
        backoff_initial: Duration::from_millis(80),
        ..DriverSettings::default()
    };
    let (driver, seen) = spawn("broken", BROKEN, settings);
    let mut causes = Vec::new();
    for pause in [0, 0, 100, 0, 100, 100] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let mut app = App::start(APP, &[("acme:broken/start", &driver)]).await;
        causes.push(match app.failure("f", &[]).await.cause {
            FailureCause::Start(_) => "tried",
            FailureCause::Restarting { .. } => "paused",
            other => panic!("{other}"),
        });
    }
    assert_eq!(
        causes,
        ["tried", "paused", "tried", "paused", "paused", "tried"]
    );
    assert_eq!(seen.stores(), 3);
}
