//! Resources that a driver has from somebody else: from the host, or from another driver.

mod support;

use std::time::Duration;

use canopy_driver::{DriverSettings, FailureCause, HostResourceHeld, LinkError};
use canopy_ids::DriverInstanceId;
use support::shelf::{CELLS, SHELF, Source, THINGS, client, shelf};
use support::{
    App, Handle, Seen, THINGS_DRIVER, cells, component, host_linker, link, spawn, spawn_joined,
    spawn_pool,
};

/// A shelf of cells, and an application that has cells and the shelf.
async fn cells_app() -> (App, Seen) {
    let (driver, seen) = spawn("shelf", &shelf(CELLS), DriverSettings::default());
    let app = App::start(&client(CELLS), &[(SHELF, &driver)]).await;
    (app, seen)
}

/// A shelf of things that it has from `things`.
fn things_shelf(name: &str, things: &Handle) -> (Handle, Seen) {
    let middle = component(&shelf(THINGS));
    let mut linker = host_linker();
    let links = link(&mut linker, &middle, &[(THINGS.interface, things)]).expect("linked");
    let settings = DriverSettings::default();
    spawn_joined(
        DriverInstanceId::new(),
        name,
        &middle,
        linker,
        links,
        settings,
    )
}

async fn wait_until(mut holds: impl FnMut() -> bool, what: &str) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}");
}

#[tokio::test]
async fn objects_of_the_host_are_given_in_both_directions() {
    let (mut app, seen) = cells_app().await;
    let made = app.number("make", &[101]).await.expect("as a result");
    assert_eq!(app.number("add", &[made, 4]).await.expect("add"), 105);
    let own = app.number("construct", &[102]).await.expect("construct");
    let back = app.number("swap", &[own]).await.expect("there and back");
    assert_eq!(app.number("add", &[back, 1]).await.expect("add"), 103);
    assert_eq!(app.number("take", &[back]).await.expect("take"), 103);
    assert_eq!(cells::live(102), 0, "the driver dropped what it was given");
    app.number("keep", &[made]).await.expect("keep");
    assert_eq!(app.holds(), (false, 0), "what was given has left the table");
    let error = app.number("add", &[made, 1]).await.expect_err("given away");
    assert!(format!("{error:#}").contains("handle"), "{error:#}");
    assert_eq!(cells::live(101), 1, "the driver keeps it");
    assert_eq!(seen.stores(), 1);
}

#[tokio::test]
async fn what_the_driver_kept_comes_back_as_it_was_left() {
    let (mut app, seen) = cells_app().await;
    let cell = app.number("construct", &[111]).await.expect("construct");
    app.number("add", &[cell, 5]).await.expect("add");
    app.number("keep", &[cell]).await.expect("keep");
    assert_eq!(seen.holding.load(std::sync::atomic::Ordering::SeqCst), 1);
    let cell = app.number("give", &[0]).await.expect("give");
    assert_eq!(seen.holding.load(std::sync::atomic::Ordering::SeqCst), 0);
    assert_eq!(app.number("add", &[cell, 0]).await.expect("add"), 116);
    app.number("discard", &[cell]).await.expect("discard");
    assert_eq!((cells::live(111), app.holds()), (0, (false, 0)));
}

#[tokio::test]
async fn an_object_is_lent_for_the_length_of_a_call() {
    let (mut app, seen) = cells_app().await;
    let cell = app.number("construct", &[121]).await.expect("construct");
    for n in 1..=50 {
        assert_eq!(app.number("peek", &[cell]).await.expect("peek"), 121 + n);
    }
    assert_eq!(seen.holding.load(std::sync::atomic::Ordering::SeqCst), 0);
    assert_eq!(app.number("add", &[cell, 0]).await.expect("its own"), 171);
    let watch = app.number("watch", &[cell]).await.expect("watch");
    assert_ne!(watch, 0);
    app.number("peek", &[cell])
        .await
        .expect("a loan leaves what was made from it in its place");
    assert_eq!(seen.stores(), 1);
}

#[tokio::test]
async fn a_loan_comes_back_from_a_driver_that_fails() {
    let (mut app, seen) = cells_app().await;
    let cell = app.number("construct", &[131]).await.expect("construct");
    let failure = app.failure("crash", &[cell]).await;
    assert!(matches!(failure.cause, FailureCause::Trap(_)), "{failure}");
    assert_eq!(cells::live(131), 1, "it outlives the driver's store");
    // A trap ends an instance, but what it held is there for the host to look at.
    drop(app);
    assert_eq!(cells::live(131), 0);
    assert_eq!(seen.stores(), 1);
}

#[tokio::test]
async fn a_loan_that_never_arrives_comes_back() {
    let settings = DriverSettings {
        queue: 0,
        ..DriverSettings::default()
    };
    let (driver, seen) = spawn("shelf", &shelf(CELLS), settings);
    let mut app = App::start(&client(CELLS), &[(SHELF, &driver)]).await;
    let cell = app.number("construct", &[141]).await.expect("construct");
    let failure = app.failure("peek", &[cell]).await;
    assert!(
        matches!(failure.cause, FailureCause::QueueFull { limit: 0 }),
        "{failure}"
    );
    assert_eq!(app.holds(), (true, 0));
    assert_eq!((cells::live(141), seen.stores()), (1, 0));
}

#[tokio::test]
async fn an_object_from_which_something_was_made_stays() {
    let held = HostResourceHeld {
        interface: CELLS.interface,
        resource: CELLS.resource,
    };
    let (mut app, seen) = cells_app().await;
    let cell = app.number("construct", &[151]).await.expect("construct");
    app.number("watch", &[cell]).await.expect("watch");
    let error = app
        .number("take", &[cell])
        .await
        .expect_err("it is watched");
    assert_eq!(error.downcast_ref::<HostResourceHeld>(), Some(&held));
    assert_eq!(seen.stores(), 0, "the driver was not called");

    let (mut app, seen) = cells_app().await;
    let failure = app.failure("make-watched", &[152]).await;
    let FailureCause::Trap(cause) = &failure.cause else {
        panic!("{failure}");
    };
    assert_eq!(
        cause.error().downcast_ref::<HostResourceHeld>(),
        Some(&held)
    );
    wait_until(|| cells::live(152) == 0, "the driver's store is gone").await;
    assert_eq!(seen.failures().len(), 1);
}

#[tokio::test]
async fn a_driver_that_holds_on_to_a_loan_is_replaced() {
    let (mut app, seen) = cells_app().await;
    let cell = app.number("construct", &[161]).await.expect("construct");
    let failure = app.failure("watch-lent", &[cell]).await;
    let FailureCause::Trap(cause) = &failure.cause else {
        panic!("{failure}");
    };
    assert!(cause.error().downcast_ref::<HostResourceHeld>().is_some());
    assert_eq!(cells::live(161), 1, "the object itself came back");
    assert_eq!(seen.failures().len(), 1);
    drop(app);
    assert_eq!(cells::live(161), 0);
}

#[tokio::test]
async fn the_death_of_either_end_ends_what_it_has() {
    let (driver, _) = spawn("shelf", &shelf(CELLS), DriverSettings::default());
    let mut app = App::start(&client(CELLS), &[(SHELF, &driver)]).await;
    app.number("make", &[171]).await.expect("make");
    let kept = app.number("construct", &[172]).await.expect("construct");
    app.number("keep", &[kept]).await.expect("keep");
    drop(app);
    assert_eq!(cells::live(171), 0, "the application's");
    assert_eq!(cells::live(172), 1, "the driver's");
    drop(driver);
    wait_until(|| cells::live(172) == 0, "the driver's").await;
}

#[tokio::test]
async fn a_chain_hands_on_what_another_driver_made() {
    let (things, made) = spawn("things", THINGS_DRIVER, DriverSettings::default());
    let (shelf, seen) = things_shelf("shelf", &things);
    let imports = [(THINGS.interface, &things), (SHELF, &shelf)];
    let mut app = App::start(&client(THINGS), &imports).await;
    let thing = app.number("make", &[20]).await.expect("made for the shelf");
    assert_eq!(
        app.number("add", &[thing, 2])
            .await
            .expect("the app calls the driver that made it"),
        22
    );
    assert_eq!(app.number("peek", &[thing]).await.expect("lent"), 23);
    assert_eq!(seen.holding.load(std::sync::atomic::Ordering::SeqCst), 0);
    let own = app.number("construct", &[40]).await.expect("construct");
    let own = app.number("swap", &[own]).await.expect("there and back");
    assert_eq!(app.number("add", &[own, 1]).await.expect("add"), 41);
    assert_eq!(app.number("take", &[own]).await.expect("given"), 41);
    assert_eq!(made.wait_dropped(1).await, [41]);
    app.number("keep", &[thing]).await.expect("keep");
    assert_eq!(app.holds(), (false, 0));
    let thing = app.number("give", &[0]).await.expect("give");
    assert_eq!(app.number("add", &[thing, 0]).await.expect("add"), 23);
    drop(app);
    assert_eq!(made.wait_dropped(2).await, [41, 23], "each once");
    assert_eq!((made.stores(), seen.stores()), (1, 1));
}

#[tokio::test]
async fn the_death_of_the_driver_in_the_middle_ends_what_it_kept() {
    let (things, made) = spawn("things", THINGS_DRIVER, DriverSettings::default());
    let (shelf, seen) = things_shelf("shelf", &things);
    let imports = [(THINGS.interface, &things), (SHELF, &shelf)];
    let mut app = App::start(&client(THINGS), &imports).await;
    let kept = app.number("construct", &[1]).await.expect("construct");
    app.number("keep", &[kept]).await.expect("keep");
    let mine = app.number("construct", &[2]).await.expect("construct");
    app.failure("crash", &[mine]).await;
    assert_eq!(made.wait_dropped(1).await, [1], "what the store had");
    assert_eq!(seen.failures().len(), 1);
    drop(app);
    assert_eq!(made.wait_dropped(2).await, [1, 12], "what was only lent");
}

#[tokio::test]
async fn a_resource_of_a_driver_that_restarted_is_lost_for_all() {
    let (things, _) = spawn("things", THINGS_DRIVER, DriverSettings::default());
    let (shelf, seen) = things_shelf("shelf", &things);
    let imports = [(THINGS.interface, &things), (SHELF, &shelf)];
    let mut app = App::start(&client(THINGS), &imports).await;
    let thing = app.number("make", &[5]).await.expect("make");
    let mut other = App::things(&things).await;
    other.failure("crash", &[]).await;
    let failure = app.failure("peek", &[thing]).await;
    assert!(
        failure.to_string().contains("the resource is gone"),
        "{failure}"
    );
    assert_eq!(seen.failures().len(), 1, "the shelf trapped on it");
}

fn refusal(source: Source, imports: &[(&str, &Handle)]) -> String {
    let component = component(&client(source));
    let refused = link(&mut host_linker(), &component, imports);
    let refused: LinkError = refused.err().expect("refused");
    refused.to_string()
}

#[tokio::test]
async fn a_resource_has_to_be_from_the_same_driver_for_both() {
    let (one, _) = spawn("one", THINGS_DRIVER, DriverSettings::default());
    let (two, _) = spawn("two", THINGS_DRIVER, DriverSettings::default());
    let (shelf_of_one, _) = things_shelf("shelf", &one);
    let refused = refusal(THINGS, &[(THINGS.interface, &two), (SHELF, &shelf_of_one)]);
    assert!(
        refused.contains(
            "the component has `thing` of `acme:things/store@1.0.0` from driver `two` and driver \
             `shelf` has it from driver `one`: bind both to the same"
        ),
        "{refused}"
    );
    let refused = refusal(THINGS, &[(SHELF, &shelf_of_one)]);
    assert!(
        refused.contains(
            "driver `shelf` has `thing` of `acme:things/store@1.0.0` from driver `one`, and the \
             component does not: bind it to the same"
        ),
        "{refused}"
    );
}

#[tokio::test]
async fn many_passings_leave_nothing_behind() {
    let (things, made) = spawn("things", THINGS_DRIVER, DriverSettings::default());
    let (shelf, seen) = things_shelf("shelf", &things);
    let imports = [(THINGS.interface, &things), (SHELF, &shelf)];
    let mut app = App::start_for(1, &client(THINGS), &imports, 2).await;
    app.store.set_max_component_handles(8);
    for n in 1000..2000 {
        let thing = app.number("make", &[n]).await.expect("make");
        let thing = app.number("swap", &[thing]).await.expect("swap");
        app.number("peek", &[thing]).await.expect("peek");
        let end = if n % 2 == 0 { "take" } else { "discard" };
        app.number(end, &[thing]).await.expect("end");
    }
    assert_eq!(made.wait_dropped(1000).await.len(), 1000);
    assert_eq!(app.holds(), (false, 0));
    assert_eq!((made.stores(), seen.stores()), (1, 1));

    let (mut app, seen) = cells_app().await;
    for _ in 0..1000 {
        let cell = app.number("make", &[181]).await.expect("make");
        let cell = app.number("swap", &[cell]).await.expect("swap");
        app.number("peek", &[cell]).await.expect("peek");
        app.number("take", &[cell]).await.expect("take");
    }
    assert_eq!((cells::live(181), app.holds()), (0, (false, 0)));
    assert_eq!(seen.stores(), 1);
}

#[tokio::test]
async fn resources_meet_in_one_call_where_they_are_in_one_store() {
    let (things, _) = spawn_pool(2, "things", THINGS_DRIVER, DriverSettings::default());
    let (shelf, _) = things_shelf("shelf", &things);
    let imports = [(THINGS.interface, &things), (SHELF, &shelf)];
    let mut app = App::start(&client(THINGS), &imports).await;
    let mut other = App::things(&things).await;
    let shelved = app.number("make", &[1]).await.expect("in the first store");
    let own = app.number("construct", &[2]).await.expect("beside it");
    let both = app.number("merge", &[shelved, own]).await.expect("merge");
    assert_eq!(app.number("add", &[both, 0]).await.expect("add"), 3);
    app.number("take", &[both]).await.expect("take");

    let slow = tokio::spawn(async move { other.number("slow", &[500, 1]).await.map(|_| other) });
    wait_until(|| things.health().calls == 1, "the first store is busy").await;
    let own = app.number("construct", &[2]).await.expect("in the second");
    assert_eq!(things.health().stores, 2);
    slow.await.expect("join").expect("slow");
    let shelved = app.number("make", &[1]).await.expect("in the first store");
    let failure = app.failure("merge", &[shelved, own]).await;
    assert!(matches!(failure.cause, FailureCause::Apart), "{failure}");
}
