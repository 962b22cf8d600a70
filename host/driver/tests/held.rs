//! What one caller may hold in a driver's store: who holds too much is refused, and nobody else.

mod support;

use canopy_driver::{DriverFailed, DriverSettings, FailureCause};
use support::{App, Handle, Seen, THINGS_APP, THINGS_DRIVER, spawn, things};

const BOXES: &str = "acme:boxes/boxes@1.0.0";

/// A driver whose boxes are made with so many cells of the host, and get more.
const BOXES_DRIVER: &str = r#"(component
    (import "acme:host/cells@1.0.0" (instance $cells
        (export "cell" (type $cell (sub resource)))
        (export "[constructor]cell" (func (param "value" u32) (result (own $cell))))))
    (core func $cell (canon lower (func $cells "[constructor]cell")))
    (type $box (resource (rep i32)))
    (core func $new (canon resource.new $box))
    (core module $main
        (import "" "cell" (func $cell (param i32) (result i32)))
        (import "" "new" (func $new (param i32) (result i32)))
        (func $cells (param $n i32)
            (loop $more (if (local.get $n) (then
                (drop (call $cell (i32.const 191)))
                (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                (br $more)))))
        (func (export "make") (param i32) (result i32)
            (call $cells (local.get 0))
            (call $new (i32.const 1)))
        (func (export "fill") (param i32 i32) (call $cells (local.get 1))))
    (core instance $main (instantiate $main (with "" (instance
        (export "cell" (func $cell)) (export "new" (func $new))))))
    (func $make (param "cells" u32) (result (own $box)) (canon lift (core func $main "make")))
    (func $fill (param "self" (borrow $box)) (param "n" u32)
        (canon lift (core func $main "fill")))
    (component $shim
        (import "box" (type $b (sub resource)))
        (import "make" (func $make (param "cells" u32) (result (own $b))))
        (import "fill" (func $fill (param "self" (borrow $b)) (param "n" u32)))
        (export $box "box" (type $b))
        (export "[constructor]box" (func $make) (func (param "cells" u32) (result (own $box))))
        (export "[method]box.fill" (func $fill)
            (func (param "self" (borrow $box)) (param "n" u32))))
    (instance $boxes (instantiate $shim
        (with "box" (type $box)) (with "make" (func $make)) (with "fill" (func $fill))))
    (export "acme:boxes/boxes@1.0.0" (instance $boxes)))"#;

const BOXES_APP: &str = r#"(component
    (import "acme:boxes/boxes@1.0.0" (instance $boxes
        (export "box" (type $box (sub resource)))
        (export "[constructor]box" (func (param "cells" u32) (result (own $box))))
        (export "[method]box.fill" (func (param "self" (borrow $box)) (param "n" u32)))))
    (alias export $boxes "box" (type $box))
    (core func $make (canon lower (func $boxes "[constructor]box")))
    (core func $fill (canon lower (func $boxes "[method]box.fill")))
    (core func $drop (canon resource.drop $box))
    (core module $main
        (import "" "make" (func $make (param i32) (result i32)))
        (import "" "fill" (func $fill (param i32 i32)))
        (import "" "drop" (func $drop (param i32)))
        (export "make" (func $make)) (export "fill" (func $fill)) (export "drop" (func $drop)))
    (core instance $main (instantiate $main (with "" (instance
        (export "make" (func $make)) (export "fill" (func $fill)) (export "drop" (func $drop))))))
    (func (export "make") (param "cells" u32) (result u32) (canon lift (core func $main "make")))
    (func (export "fill") (param "it" u32) (param "n" u32) (canon lift (core func $main "fill")))
    (func (export "drop") (param "it" u32) (canon lift (core func $main "drop"))))"#;

/// A driver of which one caller may hold so much.
fn driver(text: &str, held: usize) -> (Handle, Seen) {
    let settings = DriverSettings {
        held,
        ..DriverSettings::default()
    };
    spawn("things", text, settings)
}

async fn app_of(caller: u64, driver: &Handle) -> App {
    App::start_for(caller, THINGS_APP, &things(driver), 64).await
}

async fn boxes_of(caller: u64, driver: &Handle) -> App {
    App::start_for(caller, BOXES_APP, &[(BOXES, driver)], 64).await
}

#[track_caller]
fn is_full(failure: &DriverFailed, most: usize) {
    assert!(
        matches!(failure.cause, FailureCause::HeldFull { limit } if limit == most),
        "{failure}"
    );
}

#[tokio::test]
async fn all_instances_of_one_caller_hold_so_much_together_and_others_are_served() {
    let (driver, seen) = driver(THINGS_DRIVER, 3);
    let (mut one, mut two) = (app_of(1, &driver).await, app_of(1, &driver).await);
    let a = one.number("construct", &[1]).await.expect("construct");
    let b = one.number("construct", &[2]).await.expect("construct");
    two.number("construct", &[3]).await.expect("construct");
    is_full(
        &app_of(1, &driver).await.failure("construct", &[4]).await,
        3,
    );
    let mut other = app_of(2, &driver).await;
    for _ in 0..3 {
        other
            .number("construct", &[5])
            .await
            .expect("another caller");
    }
    one.number("add", &[a, 1])
        .await
        .expect("what it holds goes on");
    one.number("merge", &[a, b]).await.expect("two for one");
    two.number("construct", &[6]).await.expect("room for one");
    is_full(&app_of(1, &driver).await.failure("slow", &[0, 7]).await, 3);
    drop(two);
    seen.wait_dropped(4).await;
    one.number("construct", &[8]).await.expect("room again");
    assert_eq!((seen.stores(), seen.failures().len()), (1, 0));
}

#[tokio::test]
async fn what_would_be_too_much_in_one_answer_is_dropped() {
    let (driver, seen) = driver(THINGS_DRIVER, 4);
    let mut app = app_of(1, &driver).await;
    app.number("many", &[4]).await.expect("as many as it may");
    drop(app);
    assert_eq!(seen.wait_dropped(4).await.len(), 4);
    is_full(&app_of(1, &driver).await.failure("many", &[5]).await, 4);
    assert_eq!(seen.wait_dropped(9).await.len(), 9, "each, once");
    let mut app = app_of(1, &driver).await;
    app.number("many", &[4])
        .await
        .expect("nothing is left of it");
    assert_eq!((seen.stores(), seen.failures().len()), (1, 0));
}

#[tokio::test]
async fn a_resource_counts_for_what_the_store_has_for_it() {
    let (driver, seen) = driver(BOXES_DRIVER, 10);
    let mut app = boxes_of(1, &driver).await;
    let filled = app.number("make", &[4]).await.expect("four");
    app.number("make", &[0]).await.expect("one more");
    app.number("fill", &[filled, 5])
        .await
        .expect("as much as it may");
    is_full(&boxes_of(1, &driver).await.failure("make", &[0]).await, 10);
    app.number("fill", &[filled, 3])
        .await
        .expect("it asks for no box");
    is_full(&app.failure("fill", &[filled, 0]).await, 10);
    let mut other = boxes_of(2, &driver).await;
    other.number("make", &[9]).await.expect("another caller");
    drop(app);
    let mut app = boxes_of(1, &driver).await;
    let costly = app.number("make", &[10]).await.expect("alone");
    app.number("drop", &[costly]).await.expect("drop");
    app.number("make", &[10]).await.expect("its room is free");
    is_full(&boxes_of(3, &driver).await.failure("make", &[11]).await, 10);
    assert_eq!((seen.stores(), seen.failures().len()), (1, 0));
}
