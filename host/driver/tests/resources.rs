//! Resources: made, lent, given and dropped across stores, and never leaked.

mod support;

use std::time::Duration;

use canopy_driver::{DriverSettings, FailureCause, ProxiesFull};
use support::{App, THINGS_APP, THINGS_DRIVER, spawn, things};

#[tokio::test]
async fn constructor_method_static_and_drop() {
    let (driver, seen) = spawn("things", THINGS_DRIVER, DriverSettings::default());
    let mut app = App::things(&driver).await;
    let a = app.number("construct", &[5]).await.expect("construct");
    let b = app.number("construct", &[7]).await.expect("construct");
    assert_eq!(app.number("add", &[a, 10]).await.expect("add"), 15);
    assert_eq!(app.number("add", &[b, 1]).await.expect("add"), 8);
    let merged = app.number("merge", &[a, b]).await.expect("merge");
    assert_eq!(
        seen.dropped(),
        [15, 8],
        "the driver dropped what it was given"
    );
    assert_eq!(app.number("add", &[merged, 0]).await.expect("add"), 23);
    app.number("drop", &[merged]).await.expect("drop");
    assert_eq!(
        app.number("calls", &[]).await.expect("calls"),
        1,
        "drops come before later calls"
    );
    assert_eq!(seen.dropped(), [15, 8, 23]);
}

#[tokio::test]
async fn two_interfaces_share_a_resource_type() {
    let (driver, seen) = spawn("things", THINGS_DRIVER, DriverSettings::default());
    let mut app = App::things(&driver).await;
    let a = app.number("construct", &[5]).await.expect("construct");
    let b = app.number("construct", &[7]).await.expect("construct");
    assert_eq!(
        app.number("total", &[a, b])
            .await
            .expect("borrows in a list"),
        12
    );
    assert_eq!(
        app.number("take", &[a])
            .await
            .expect("own to the other interface"),
        5
    );
    assert_eq!(seen.dropped(), [5]);
    assert_eq!(
        app.number("total", &[b, b])
            .await
            .expect("the same thing lent twice"),
        14
    );
}

#[tokio::test]
async fn a_handle_given_away_is_gone() {
    let (driver, _) = spawn("things", THINGS_DRIVER, DriverSettings::default());
    let mut app = App::things(&driver).await;
    let a = app.number("construct", &[5]).await.expect("construct");
    app.number("take", &[a]).await.expect("take");
    let error = app
        .number("add", &[a, 1])
        .await
        .expect_err("the app has it no more");
    assert!(format!("{error:#}").contains("handle"), "{error:#}");
}

#[tokio::test]
async fn a_caller_that_dies_leaves_nothing_behind() {
    let (driver, seen) = spawn("things", THINGS_DRIVER, DriverSettings::default());
    let mut app = App::things(&driver).await;
    app.number("many", &[5]).await.expect("a list of things");
    app.number("construct", &[9]).await.expect("construct");
    assert!(seen.dropped().is_empty());
    drop(app);
    let mut dropped = seen.wait_dropped(6).await;
    dropped.sort_unstable();
    assert_eq!(dropped, [1, 2, 3, 4, 5, 9], "each destructor exactly once");
    assert_eq!(seen.stores(), 1, "in the one store");
}

#[tokio::test]
async fn a_caller_dropped_during_a_call_leaves_nothing_behind() {
    let (driver, seen) = spawn("things", THINGS_DRIVER, DriverSettings::default());
    let mut app = App::things(&driver).await;
    app.number("construct", &[3]).await.expect("construct");
    let call = app.number("slow", &[150, 42]);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), call)
            .await
            .is_err()
    );
    drop(app);
    let dropped = seen.wait_dropped(2).await;
    assert_eq!(dropped.len(), 2, "{dropped:?}");
    assert!(dropped.contains(&3) && dropped.contains(&42), "{dropped:?}");
    let mut other = App::things(&driver).await;
    assert_eq!(
        other
            .number("calls", &[])
            .await
            .expect("the driver goes on"),
        1
    );
    assert_eq!(
        seen.stores(),
        1,
        "the call was let end, so its store is still good"
    );
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_ends_soon() {
    let settings = DriverSettings {
        abandoned_grace: Duration::from_millis(50),
        ..DriverSettings::default()
    };
    let (driver, seen) = spawn("things", THINGS_DRIVER, settings);
    let mut app = App::things(&driver).await;
    let call = app.number("spin", &[]);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), call)
            .await
            .is_err()
    );
    drop(app);
    let mut other = App::things(&driver).await;
    other.set_deadline(Duration::from_secs(3));
    assert_eq!(
        other
            .number("calls", &[])
            .await
            .expect("the driver is free again"),
        1
    );
    assert_eq!(seen.stores(), 2);
    assert!(
        seen.failures()[0].contains("the caller is gone"),
        "{:?}",
        seen.failures()
    );
}

#[tokio::test]
async fn queued_calls_of_dead_callers_are_not_made() {
    let (driver, seen) = spawn("things", THINGS_DRIVER, DriverSettings::default());
    let mut first = App::things(&driver).await;
    let mut second = App::things(&driver).await;
    let given = second.number("construct", &[4]).await.expect("construct");
    let busy = tokio::spawn(async move { first.number("slow", &[150, 1]).await.map(|_| first) });
    tokio::time::sleep(Duration::from_millis(30)).await;
    let arguments = [given];
    let call = second.number("take", &arguments);
    assert!(
        tokio::time::timeout(Duration::from_millis(30), call)
            .await
            .is_err()
    );
    drop(second);
    let first = busy.await.expect("join").expect("slow");
    assert_eq!(
        seen.wait_dropped(1).await,
        [4],
        "what it wanted to give is dropped, once"
    );
    drop(first);
    assert_eq!(seen.wait_dropped(2).await, [4, 1]);
}

#[tokio::test]
async fn resources_of_a_store_that_failed_are_lost() {
    let (driver, seen) = spawn("things", THINGS_DRIVER, DriverSettings::default());
    let mut app = App::things(&driver).await;
    let mut other = App::things(&driver).await;
    let thing = app.number("construct", &[5]).await.expect("construct");
    let fresh = other.failure("crash", &[]).await;
    assert!(matches!(fresh.cause, FailureCause::Trap(_)), "{fresh}");
    let mut third = App::things(&driver).await;
    third
        .number("construct", &[6])
        .await
        .expect("the next call has a fresh store");
    let lost = app.failure("add", &[thing, 1]).await;
    assert!(matches!(lost.cause, FailureCause::ResourceLost), "{lost}");
    drop(app);
    drop(third);
    assert_eq!(
        seen.wait_dropped(1).await,
        [6],
        "nothing of the old store reaches the new one"
    );
}

#[tokio::test]
async fn a_destructor_may_wait_and_may_fail() {
    let (driver, seen) = spawn("things", THINGS_DRIVER, DriverSettings::default());
    let mut app = App::things(&driver).await;
    let waits = app.number("construct", &[777]).await.expect("construct");
    app.number("drop", &[waits]).await.expect("drop");
    assert_eq!(seen.wait_dropped(1).await, [777]);
    let traps = app.number("construct", &[666]).await.expect("construct");
    app.number("drop", &[traps])
        .await
        .expect("the app does not notice");
    assert_eq!(app.number("calls", &[]).await.expect("a fresh store"), 1);
    assert_eq!(seen.stores(), 2);
    assert!(
        seen.failures()[0].contains("[resource-drop]"),
        "{:?}",
        seen.failures()
    );
}

#[tokio::test]
async fn an_app_holds_as_many_resources_as_it_may() {
    let (driver, seen) = spawn("things", THINGS_DRIVER, DriverSettings::default());
    let mut app = App::start_for(1, THINGS_APP, &things(&driver), 3).await;
    for _ in 0..20 {
        let thing = app
            .number("construct", &[1])
            .await
            .expect("within the limit");
        app.number("drop", &[thing]).await.expect("drop");
    }
    let error = app.number("many", &[4]).await.expect_err("one too many");
    assert_eq!(
        error.downcast_ref::<ProxiesFull>(),
        Some(&ProxiesFull { limit: 3 })
    );
    drop(app);
    assert_eq!(
        seen.wait_dropped(24).await.len(),
        24,
        "also those beyond the limit"
    );
}

/// The text of a component of things with some of its functions asynchronous by type.
fn asynchronous(text: &str) -> String {
    let mut text = text.to_owned();
    for function in ["add", "take", "slow"] {
        for opening in [
            format!("(func ${function}"),
            format!("(func (export \"{function}\")"),
        ] {
            text = text.replace(
                &format!("{opening} (param \""),
                &format!("{opening} async (param \""),
            );
        }
    }
    for parameters in ["self\" (borrow", "thing\" (own", "ms\" u32) (param \"value"] {
        let opening = format!("(param \"{parameters}");
        text = text.replace(
            &format!("(func {opening}"),
            &format!("(func async {opening}"),
        );
    }
    text
}

#[tokio::test]
async fn functions_that_are_asynchronous_by_type_carry_resources() {
    let (driver, seen) = spawn(
        "things",
        &asynchronous(THINGS_DRIVER),
        DriverSettings::default(),
    );
    let mut app = App::start(&asynchronous(THINGS_APP), &things(&driver)).await;
    let a = app.number("slow", &[1, 5]).await.expect("own as a result");
    for n in 1..=50 {
        assert_eq!(app.number("add", &[a, 1]).await.expect("borrow"), 5 + n);
    }
    assert_eq!(
        app.number("take", &[a]).await.expect("own as a parameter"),
        55
    );
    assert_eq!(seen.dropped(), [55]);
    app.number("construct", &[3]).await.expect("construct");
    let call = app.number("slow", &[150, 42]);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), call)
            .await
            .is_err()
    );
    drop(app);
    let dropped = seen.wait_dropped(3).await;
    assert_eq!(dropped.len(), 3, "{dropped:?}");
    assert_eq!(seen.stores(), 1);
}

#[tokio::test]
async fn many_calls_leave_nothing_behind() {
    let (driver, seen) = spawn("things", THINGS_DRIVER, DriverSettings::default());
    let mut app = App::start_for(1, THINGS_APP, &things(&driver), 2).await;
    app.store.set_max_component_handles(8);
    for n in 1000..4000 {
        let thing = app.number("construct", &[n]).await.expect("construct");
        app.number("add", &[thing, 1]).await.expect("add");
        app.number("total", &[thing, thing]).await.expect("total");
        app.number(if n % 2 == 0 { "take" } else { "drop" }, &[thing])
            .await
            .expect("end");
    }
    assert_eq!(app.number("calls", &[]).await.expect("calls"), 1);
    assert_eq!(seen.dropped().len(), 3000);
    assert_eq!(seen.stores(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_that_die_at_any_moment_leave_nothing_behind() {
    let settings = DriverSettings {
        idle_timeout: Duration::from_millis(200),
        ..DriverSettings::default()
    };
    let (driver, seen) = spawn("things", THINGS_DRIVER, settings);
    for round in 0..30 {
        let mut app = App::things(&driver).await;
        let busy = tokio::spawn(async move {
            for n in 1.. {
                let a = app
                    .number("construct", &[n % 600])
                    .await
                    .expect("construct");
                let b = app.number("slow", &[0, 1]).await.expect("slow");
                let c = app.number("merge", &[a, b]).await.expect("merge");
                app.number("many", &[2]).await.expect("many");
                app.number(if n % 2 == 0 { "take" } else { "drop" }, &[c])
                    .await
                    .expect("end");
            }
        });
        tokio::time::sleep(Duration::from_micros(500 * round)).await;
        busy.abort();
        assert!(
            busy.await.is_err_and(|error| error.is_cancelled()),
            "no call failed"
        );
    }
    assert_eq!(seen.stores(), 1);
    tokio::time::sleep(Duration::from_millis(600)).await;
    let mut app = App::things(&driver).await;
    assert_eq!(app.number("calls", &[]).await.expect("calls"), 1);
    assert_eq!(
        seen.stores(),
        2,
        "the store was dropped as idle, so it had nothing given out"
    );
}
