//! Several stores of one driver, and what becomes of a driver that fails again and again.

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use canopy_driver::{DriverFailed, DriverHealth, DriverSettings, DriverState, FailureCause};
use support::{App, Handle, Seen, THINGS_APP, THINGS_DRIVER, spawn, spawn_pool, things};

async fn wait_until(driver: &Handle, holds: impl Fn(&DriverHealth) -> bool) -> DriverHealth {
    for _ in 0..1000 {
        let health = driver.health();
        if holds(&health) {
            return health;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{:?}", driver.health());
}

async fn apps(count: u64, driver: &Handle) -> Vec<App> {
    let mut apps = Vec::new();
    for caller in 1..=count {
        apps.push(App::start_for(caller, THINGS_APP, &things(driver), 64).await);
    }
    apps
}

/// Has every application make a slow call at once.
async fn load(apps: &mut [App]) {
    let calls = apps.iter_mut().map(|app| app.number("slow", &[100, 7]));
    for outcome in futures::future::join_all(calls).await {
        outcome.expect("slow");
    }
}

#[tokio::test]
async fn stores_are_added_under_load_up_to_the_limit() {
    let (driver, seen) = spawn_pool(3, "things", THINGS_DRIVER, DriverSettings::default());
    let mut apps = apps(8, &driver).await;
    for app in &mut apps {
        let thing = app.number("construct", &[1]).await.expect("construct");
        app.number("drop", &[thing]).await.expect("drop");
    }
    assert_eq!(seen.stores(), 1, "one call after the other needs one store");
    load(&mut apps).await;
    assert_eq!(seen.stores(), 3);
    let health = driver.health();
    assert_eq!((health.stores, health.max_stores), (3, 3));
    assert_eq!((health.state, health.calls), (DriverState::Ready, 0));
}

#[tokio::test]
async fn stores_that_nobody_needs_are_dropped() {
    let settings = DriverSettings {
        idle_timeout: Duration::from_millis(50),
        ..DriverSettings::default()
    };
    let (driver, seen) = spawn_pool(3, "things", THINGS_DRIVER, settings);
    let mut apps = apps(3, &driver).await;
    load(&mut apps).await;
    assert_eq!(driver.health().stores, 3, "each owns a thing that lives");
    drop(apps);
    let health = wait_until(&driver, |health| health.stores == 0).await;
    assert_eq!((health.state, health.restarts), (DriverState::Idle, 0));
    let mut app = App::things(&driver).await;
    app.number("calls", &[]).await.expect("it starts again");
    assert_eq!(seen.stores(), 4);
}

#[tokio::test]
async fn a_store_that_waits_is_ended_for_somebody_who_needs_room() {
    let (driver, seen) = spawn_pool(3, "things", THINGS_DRIVER, DriverSettings::default());
    let mut apps = apps(3, &driver).await;
    load(&mut apps).await;
    assert!(!driver.end_idle(), "each owns a thing that lives");
    drop(apps);
    for left in (0..3).rev() {
        while driver.idle_since().is_none() {
            tokio::task::yield_now().await;
        }
        assert!(driver.end_idle());
        assert_eq!(driver.health().stores, left);
    }
    assert!(!driver.end_idle() && driver.idle_since().is_none());
    assert_eq!(driver.health().restarts, 0);
    let mut app = App::things(&driver).await;
    app.number("calls", &[]).await.expect("it starts again");
    assert_eq!(seen.stores(), 4);
}

#[tokio::test]
async fn want_of_room_is_no_failure_of_the_driver() {
    let settings = DriverSettings {
        backoff_initial: Duration::from_secs(60),
        ..DriverSettings::default()
    };
    let (driver, seen) = spawn_pool(1, "things", THINGS_DRIVER, settings);
    let mut app = App::things(&driver).await;
    seen.crowded.store(1, Ordering::SeqCst);
    let refused = app.number("calls", &[]).await.expect_err("no room");
    let cause = refused
        .downcast_ref::<DriverFailed>()
        .map(|failed| &failed.cause);
    assert!(
        matches!(cause, Some(FailureCause::NoRoom(_))),
        "{refused:?}"
    );
    assert_eq!(driver.health().failures, 0);
    // At once, since there is no pause, and after room has been made twice.
    seen.crowded.store(2, Ordering::SeqCst);
    seen.makes_room.store(2, Ordering::SeqCst);
    let mut app = App::things(&driver).await;
    app.number("calls", &[]).await.expect("there is room");
    assert_eq!((seen.stores(), driver.health().stores), (1, 1));
}

#[tokio::test]
async fn a_driver_that_was_replaced_keeps_no_store_for_calls_to_come() {
    let (driver, seen) = spawn_pool(3, "things", THINGS_DRIVER, DriverSettings::default());
    let mut apps = apps(3, &driver).await;
    load(&mut apps).await;
    let mut holder = App::things(&driver).await;
    let thing = holder.number("construct", &[1]).await.expect("construct");
    drop(apps);
    driver.set_replaced();
    wait_until(&driver, |health| health.stores == 1).await;
    holder.number("drop", &[thing]).await.expect("it was there");
    let health = wait_until(&driver, |health| health.stores == 0).await;
    assert_eq!((health.state, health.restarts), (DriverState::Idle, 0));
    let before = seen.stores();
    holder.number("calls", &[]).await.expect("it is answered");
    assert_eq!(seen.stores(), before + 1);
    wait_until(&driver, |health| health.stores == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn resources_are_answered_by_the_store_that_owns_them() {
    let (driver, seen) = spawn_pool(4, "things", THINGS_DRIVER, DriverSettings::default());
    let mut tasks = Vec::new();
    for mut app in apps(6, &driver).await {
        tasks.push(tokio::spawn(async move {
            for n in 1..100 {
                let a = app.number("construct", &[n]).await.expect("construct");
                let b = app.number("slow", &[1, 1]).await.expect("slow");
                let sum = app.number("merge", &[a, b]).await.expect("in one store");
                assert_eq!(app.number("add", &[sum, 1]).await.expect("add"), n + 2);
                app.number("take", &[sum]).await.expect("take");
            }
        }));
    }
    for task in tasks {
        task.await.expect("no call failed");
    }
    assert!((2..=4).contains(&seen.stores()), "{}", seen.stores());
    assert_eq!(seen.dropped().len(), 6 * 99 * 3);
    assert_eq!(seen.failures(), [""; 0]);
}

#[tokio::test]
async fn a_store_that_fails_takes_no_other_with_it() {
    let (driver, seen) = spawn_pool(2, "things", THINGS_DRIVER, DriverSettings::default());
    let mut apps = apps(2, &driver).await;
    load(&mut apps).await;
    let [one, other] = apps.as_mut_slice() else {
        panic!("two");
    };
    let thing = one.number("construct", &[5]).await.expect("construct");
    let failure = other.failure("crash", &[]).await;
    assert!(matches!(failure.cause, FailureCause::Trap(_)), "{failure}");
    assert_eq!(one.number("add", &[thing, 1]).await.expect("it lives"), 6);
    let health = driver.health();
    assert_eq!((health.stores, health.restarts), (1, 1));
    assert_eq!(
        *seen.blamed.lock().expect("lock"),
        [2],
        "who called is told"
    );
}

/// A driver that has trapped twice in a row.
async fn trapped_twice(backoff_initial: Duration, breaker: u32) -> (Handle, Seen) {
    let settings = DriverSettings {
        backoff_initial,
        breaker,
        ..DriverSettings::default()
    };
    let (driver, seen) = spawn("things", THINGS_DRIVER, settings);
    assert_eq!(driver.health().state, DriverState::Idle);
    for _ in 0..2 {
        let failure = App::things(&driver).await.failure("crash", &[]).await;
        assert!(matches!(failure.cause, FailureCause::Trap(_)), "{failure}");
    }
    (driver, seen)
}

#[tokio::test]
async fn a_driver_that_traps_again_is_not_started_at_once() {
    let (driver, seen) = trapped_twice(Duration::from_secs(600), 3).await;
    let failure = App::things(&driver).await.failure("calls", &[]).await;
    assert!(
        matches!(failure.cause, FailureCause::Restarting { .. }),
        "{failure}"
    );
    let health = driver.health();
    assert_eq!(health.state, DriverState::BackingOff);
    assert_eq!((health.failures, health.restarts), (2, 2));
    assert!(health.retry_at.is_some());
    let last = health.last_failure.expect("a failure").1;
    assert!(last.contains("unreachable"), "{last}");
    assert_eq!(seen.stores(), 2, "nothing was started for it");
}

#[tokio::test]
async fn a_driver_that_traps_too_often_is_not_asked() {
    let (driver, seen) = trapped_twice(Duration::from_secs(600), 2).await;
    let failure = App::things(&driver).await.failure("calls", &[]).await;
    assert!(
        matches!(failure.cause, FailureCause::Unavailable { failures: 2, .. }),
        "{failure}"
    );
    assert_eq!(driver.health().state, DriverState::Broken);
    assert_eq!(seen.stores(), 2);
}

#[tokio::test]
async fn the_call_that_tries_closes_the_circuit() {
    let (driver, _) = trapped_twice(Duration::from_millis(10), 2).await;
    let answered = async {
        while App::things(&driver)
            .await
            .number("calls", &[])
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let answered = tokio::time::timeout(Duration::from_secs(60), answered).await;
    answered.expect("it is let through");
    let health = driver.health();
    assert_eq!((health.state, health.failures), (DriverState::Ready, 0));
    assert_eq!((health.restarts, health.retry_at), (2, None));
}

#[tokio::test]
async fn calls_that_run_out_of_time_do_not_open_the_circuit() {
    let settings = DriverSettings {
        breaker: 2,
        ..DriverSettings::default()
    };
    let (driver, seen) = spawn("things", THINGS_DRIVER, settings);
    for _ in 0..4 {
        let mut app = App::things(&driver).await;
        app.set_deadline(Duration::from_millis(20));
        let failure = app.failure("spin", &[]).await;
        assert!(matches!(failure.cause, FailureCause::Deadline), "{failure}");
        wait_until(&driver, |health| health.calls == 0).await;
    }
    let mut app = App::things(&driver).await;
    assert_eq!(app.number("calls", &[]).await.expect("it is asked"), 1);
    assert_eq!(seen.stores(), 5);
}
