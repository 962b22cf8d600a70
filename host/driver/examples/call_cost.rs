//! What a call to a driver costs: `cargo run -p canopy-driver --example call_cost`.
//!
//! An application calls its driver in a loop; the time per call is printed for calls of numbers
//! and of byte lists, on one thread and on several.

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use canopy_driver::DriverSettings;
use support::text::{Function, Interface, driver};
use support::{App, spawn};

const NAME: &str = "acme:cost/cost@1.0.0";

const COST: Interface<'static> = Interface {
    name: NAME,
    types: &[],
    functions: &[
        Function {
            name: "number",
            signature: "(param \"x\" u32) (result u32)",
            parameters: "i32",
            result: Some("i32"),
            returned: false,
        },
        Function {
            name: "bytes",
            signature: "(param \"x\" (list u8)) (result u32)",
            parameters: "i32 i32",
            result: Some("i32"),
            returned: false,
        },
    ],
};

/// Makes as many calls as it is told to, within one call of its own.
const APP: &str = r#"(component
    (import "acme:cost/cost@1.0.0" (instance $cost
        (export "number" (func (param "x" u32) (result u32)))
        (export "bytes" (func (param "x" (list u8)) (result u32)))))
    (core module $libc (memory (export "memory") 20))
    (core instance $libc (instantiate $libc))
    (core func $number (canon lower (func $cost "number")))
    (core func $bytes (canon lower (func $cost "bytes") (memory (core memory $libc "memory"))))
    (core module $m
        (import "" "number" (func $number (param i32) (result i32)))
        (import "" "bytes" (func $bytes (param i32 i32) (result i32)))
        (func (export "numbers") (param $n i32)
            (loop $more
                (drop (call $number (local.get $n)))
                (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                (br_if $more (local.get $n))))
        (func (export "lists") (param $n i32) (param $size i32)
            (loop $more
                (drop (call $bytes (i32.const 0) (local.get $size)))
                (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                (br_if $more (local.get $n)))))
    (core instance $m (instantiate $m (with "" (instance
        (export "number" (func $number)) (export "bytes" (func $bytes))))))
    (func (export "numbers") (param "n" u32) (canon lift (core func $m "numbers")))
    (func (export "lists") (param "n" u32) (param "size" u32)
        (canon lift (core func $m "lists"))))"#;

async fn measure() {
    // Nothing is kept between calls, so that the memory of the driver need not grow.
    let text = driver(&COST, |_| "(i32.const 1)".to_owned())
        .replace(
            "(global.set $next (i32.add (global.get $next)",
            "(drop (i32.add (i32.const 0)",
        )
        .replace(
            "(memory (export \"memory\") 4)",
            "(memory (export \"memory\") 20)",
        );
    let (driver, _) = spawn("cost", &text, DriverSettings::default());
    let mut app = App::start(APP, &[(NAME, &driver)]).await;
    app.number("numbers", &[100]).await.expect("warm");
    for (function, arguments, what) in [
        ("numbers", vec![20_000], "a number"),
        ("lists", vec![20_000, 100], "100 bytes"),
        ("lists", vec![500, 65_536], "64 KiB"),
    ] {
        let begun = Instant::now();
        app.number(function, &arguments).await.expect(function);
        let each = begun.elapsed() / arguments[0];
        println!("  {what}: {:.1} µs a call", each.as_secs_f64() * 1e6);
    }
}

fn main() {
    println!("one thread");
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime
        .enable_all()
        .build()
        .expect("runtime")
        .block_on(measure());
    println!("several threads");
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime
        .enable_all()
        .build()
        .expect("runtime")
        .block_on(async {
            tokio::spawn(measure()).await.expect("measured");
        });
}
