//! A call of a driver, in a store of its own, and the same two components composed in one store.

use std::time::Instant;

use canopy_driver::DriverSettings;
use serde_json::{Value, json};

use crate::support::{App, Handle, spawn};

const NAME: &str = "acme:cost/cost@1.0.0";
/// What an app does as often as it is told, and what the one call is.
pub(crate) const FUNCTIONS: [(&str, &str); 3] = [
    ("numbers", "number"),
    ("lists", "1 KiB list"),
    ("methods", "resource method"),
];
const CALLS: u32 = 5_000;

const DRIVER: &str = r#"
  (core module $m
    (import "" "new" (func $new (param i32) (result i32)))
    (memory (export "memory") 2)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "number") (param i32) (result i32) (local.get 0))
    (func (export "bytes") (param i32 i32) (result i32) (local.get 1))
    (func (export "construct") (param i32) (result i32) (call $new (local.get 0)))
    (func (export "add") (param i32 i32) (result i32)
      (i32.add (local.get 0) (local.get 1))))
  (type $thing (resource (rep i32)))
  (core func $new (canon resource.new $thing))
  (core instance $m (instantiate $m (with "" (instance (export "new" (func $new))))))
  (func $number (param "x" u32) (result u32) (canon lift (core func $m "number")))
  (func $bytes (param "x" (list u8)) (result u32) (canon lift (core func $m "bytes")
    (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
  (func $construct (param "value" u32) (result (own $thing))
    (canon lift (core func $m "construct")))
  (func $add (param "self" (borrow $thing)) (param "n" u32) (result u32)
    (canon lift (core func $m "add")))
  (component $shim
    (import "thing" (type $t (sub resource)))
    (import "number" (func $number (param "x" u32) (result u32)))
    (import "bytes" (func $bytes (param "x" (list u8)) (result u32)))
    (import "construct" (func $construct (param "value" u32) (result (own $t))))
    (import "add" (func $add (param "self" (borrow $t)) (param "n" u32) (result u32)))
    (export $thing "thing" (type $t))
    (export "number" (func $number))
    (export "bytes" (func $bytes))
    (export "[constructor]thing" (func $construct)
      (func (param "value" u32) (result (own $thing))))
    (export "[method]thing.add" (func $add)
      (func (param "self" (borrow $thing)) (param "n" u32) (result u32))))
  (instance $cost (instantiate $shim
    (with "thing" (type $thing))
    (with "number" (func $number))
    (with "bytes" (func $bytes))
    (with "construct" (func $construct))
    (with "add" (func $add))))
  (export "acme:cost/cost@1.0.0" (instance $cost)))"#;

/// Makes as many calls as it is told to, within one call of its own.
const APP: &str = r#"
  (import "acme:cost/cost@1.0.0" (instance $cost
    (export "thing" (type $thing (sub resource)))
    (export "number" (func (param "x" u32) (result u32)))
    (export "bytes" (func (param "x" (list u8)) (result u32)))
    (export "[constructor]thing" (func (param "value" u32) (result (own $thing))))
    (export "[method]thing.add"
      (func (param "self" (borrow $thing)) (param "n" u32) (result u32)))))
  (alias export $cost "thing" (type $thing))
  (core module $libc (memory (export "memory") 1))
  (core instance $libc (instantiate $libc))
  (core func $number (canon lower (func $cost "number")))
  (core func $bytes (canon lower (func $cost "bytes") (memory (core memory $libc "memory"))))
  (core func $construct (canon lower (func $cost "[constructor]thing")))
  (core func $add (canon lower (func $cost "[method]thing.add")))
  (core func $drop (canon resource.drop $thing))
  (core module $m
    (import "" "number" (func $number (param i32) (result i32)))
    (import "" "bytes" (func $bytes (param i32 i32) (result i32)))
    (import "" "construct" (func $construct (param i32) (result i32)))
    (import "" "add" (func $add (param i32 i32) (result i32)))
    (import "" "drop" (func $drop (param i32)))
    (func (export "numbers") (param $n i32)
      (loop $more
        (drop (call $number (local.get $n)))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br_if $more (local.get $n))))
    (func (export "lists") (param $n i32)
      (loop $more
        (drop (call $bytes (i32.const 0) (i32.const 1024)))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br_if $more (local.get $n))))
    (func (export "methods") (param $n i32) (local $thing i32)
      (local.set $thing (call $construct (i32.const 1)))
      (loop $more
        (drop (call $add (local.get $thing) (i32.const 1)))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br_if $more (local.get $n)))
      (call $drop (local.get $thing))))
  (core instance $m (instantiate $m (with "" (instance
    (export "number" (func $number))
    (export "bytes" (func $bytes))
    (export "construct" (func $construct))
    (export "add" (func $add))
    (export "drop" (func $drop))))))
  (func (export "numbers") (param "n" u32) (canon lift (core func $m "numbers")))
  (func (export "lists") (param "n" u32) (canon lift (core func $m "lists")))
  (func (export "methods") (param "n" u32) (canon lift (core func $m "methods"))))"#;

const COMPOSED: &str = r#"
  (instance $d (instantiate $driver))
  (alias export $d "acme:cost/cost@1.0.0" (instance $cost))
  (instance $a (instantiate $app (with "acme:cost/cost@1.0.0" (instance $cost))))
  (alias export $a "numbers" (func $numbers))
  (alias export $a "lists" (func $lists))
  (alias export $a "methods" (func $methods))
  (export "numbers" (func $numbers))
  (export "lists" (func $lists))
  (export "methods" (func $methods)))"#;

/// An application and what it calls.
pub(crate) struct Pair {
    app: App,
    /// The driver lives as long as this.
    _driver: Option<Handle>,
}

impl Pair {
    /// Each in a store of its own, as the platform has them.
    pub(crate) async fn apart() -> Self {
        let driver = format!("(component {DRIVER}");
        let (driver, _) = spawn("cost", &driver, DriverSettings::default());
        let app = App::start(&format!("(component {APP}"), &[(NAME, &driver)]).await;
        Self {
            app,
            _driver: Some(driver),
        }
    }

    /// Both in one store, composed before.
    pub(crate) async fn composed() -> Self {
        let both =
            format!("(component (component $driver {DRIVER} (component $app {APP}{COMPOSED}");
        Self {
            app: App::start(&both, &[]).await,
            _driver: None,
        }
    }

    /// `times` calls by one of [`FUNCTIONS`].
    pub(crate) async fn calls(&mut self, function: &str, times: u32) {
        let called = self.app.number(function, &[times]).await;
        called.expect(function);
    }
}

/// Microseconds of each call, apart and composed, round by round.
pub(crate) fn measure(rounds: u32) -> Value {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async move {
        let measured = tokio::spawn(async move {
            let mut pairs = [Pair::apart().await, Pair::composed().await];
            let mut found = serde_json::Map::new();
            for (function, name) in FUNCTIONS {
                let mut times = [Vec::new(), Vec::new()];
                for round in 0..=rounds {
                    for (pair, times) in pairs.iter_mut().zip(&mut times) {
                        let begun = Instant::now();
                        pair.calls(function, CALLS).await;
                        let each = begun.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS);
                        if round > 0 {
                            times.push(each);
                        }
                    }
                }
                let [apart, composed] = times;
                found.insert(name.into(), json!({ "apart": apart, "composed": composed }));
            }
            Value::Object(found)
        });
        measured.await.expect("measured")
    })
}
