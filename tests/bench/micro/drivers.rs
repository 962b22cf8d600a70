//! A call of a driver, in a store of its own, and the same two components composed in one store.

use std::time::Instant;

use canopy_driver::DriverSettings;
use serde_json::{Value, json};

use crate::support::{App, Handle, spawn};

const NAME: &str = "acme:cost/cost@1.0.0";
/// What an app does as often as it is told, what the one call is, and how often it is made for a
/// sample.
pub(crate) const FUNCTIONS: [(&str, &str, u32); 4] = [
    ("numbers", "number", 5_000),
    ("lists", "1 KiB list", 5_000),
    ("methods", "resource method", 5_000),
    ("streams", "1 MiB stream", 200),
];

const DRIVER: &str = r#"
  (core module $libc
    (memory (export "memory") 3)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $libc (instantiate $libc))
  (type $bytes (stream u8))
  (core func $stream-new (canon stream.new $bytes))
  (core func $stream-write (canon stream.write $bytes async (memory (core memory $libc "memory"))))
  (core func $drop-writable (canon stream.drop-writable $bytes))
  (core func $set-new (canon waitable-set.new))
  (core func $join (canon waitable.join))
  (core func $return (canon task.return (result $bytes)))
  (core module $m
    (import "" "new" (func $new (param i32) (result i32)))
    (import "" "stream-new" (func $stream-new (result i64)))
    (import "" "stream-write" (func $stream-write (param i32 i32 i32) (result i32)))
    (import "" "drop-writable" (func $drop-writable (param i32)))
    (import "" "set-new" (func $set-new (result i32)))
    (import "" "join" (func $join (param i32 i32)))
    (import "" "return" (func $return (param i32)))
    (global $end (mut i32) (i32.const 0))
    (global $left (mut i32) (i32.const 0))
    (global $set (mut i32) (i32.const 0))
    (func (export "number") (param i32) (result i32) (local.get 0))
    (func (export "bytes") (param i32 i32) (result i32) (local.get 1))
    (func (export "construct") (param i32) (result i32) (call $new (local.get 0)))
    (func (export "add") (param i32 i32) (result i32)
      (i32.add (local.get 0) (local.get 1)))
    (func (export "flow") (param $count i32) (result i32) (local $ends i64)
      (local.set $ends (call $stream-new))
      (global.set $end (i32.wrap_i64 (i64.shr_u (local.get $ends) (i64.const 32))))
      (global.set $left (local.get $count))
      (call $return (i32.wrap_i64 (local.get $ends)))
      (call $write))
    (func (export "flow-callback") (param i32 i32 i32) (result i32)
      (call $wrote (local.get 2))
      (call $write))
    (func $write (result i32) (local $status i32)
      (loop $more
        (if (global.get $left) (then
          (local.set $status (call $stream-write (global.get $end) (i32.const 65536)
            (select (global.get $left) (i32.const 65536)
              (i32.lt_u (global.get $left) (i32.const 65536)))))
          (if (i32.eq (local.get $status) (i32.const -1)) (then (return (call $wait))))
          (call $wrote (local.get $status))
          (br $more))))
      (call $join (global.get $end) (i32.const 0))
      (call $drop-writable (global.get $end))
      (i32.const 0))
    (func $wrote (param $status i32)
      (if (i32.and (local.get $status) (i32.const 15)) (then unreachable))
      (global.set $left
        (i32.sub (global.get $left) (i32.shr_u (local.get $status) (i32.const 4)))))
    (func $wait (result i32)
      (if (i32.eqz (global.get $set)) (then (global.set $set (call $set-new))))
      (call $join (global.get $end) (global.get $set))
      (i32.or (i32.const 2) (i32.shl (global.get $set) (i32.const 4)))))
  (type $thing (resource (rep i32)))
  (core func $new (canon resource.new $thing))
  (core instance $m (instantiate $m (with "" (instance
    (export "new" (func $new))
    (export "stream-new" (func $stream-new))
    (export "stream-write" (func $stream-write))
    (export "drop-writable" (func $drop-writable))
    (export "set-new" (func $set-new))
    (export "join" (func $join))
    (export "return" (func $return))))))
  (func $number (param "x" u32) (result u32) (canon lift (core func $m "number")))
  (func $bytes (param "x" (list u8)) (result u32) (canon lift (core func $m "bytes")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (func $construct (param "value" u32) (result (own $thing))
    (canon lift (core func $m "construct")))
  (func $add (param "self" (borrow $thing)) (param "n" u32) (result u32)
    (canon lift (core func $m "add")))
  (func $flow async (param "count" u32) (result $bytes)
    (canon lift (core func $m "flow") async (callback (core func $m "flow-callback"))))
  (component $shim
    (import "thing" (type $t (sub resource)))
    (import "number" (func $number (param "x" u32) (result u32)))
    (import "bytes" (func $bytes (param "x" (list u8)) (result u32)))
    (import "construct" (func $construct (param "value" u32) (result (own $t))))
    (import "add" (func $add (param "self" (borrow $t)) (param "n" u32) (result u32)))
    (import "flow" (func $flow async (param "count" u32) (result (stream u8))))
    (export $thing "thing" (type $t))
    (export "number" (func $number))
    (export "bytes" (func $bytes))
    (export "flow" (func $flow))
    (export "[constructor]thing" (func $construct)
      (func (param "value" u32) (result (own $thing))))
    (export "[method]thing.add" (func $add)
      (func (param "self" (borrow $thing)) (param "n" u32) (result u32))))
  (instance $cost (instantiate $shim
    (with "thing" (type $thing))
    (with "number" (func $number))
    (with "bytes" (func $bytes))
    (with "construct" (func $construct))
    (with "add" (func $add))
    (with "flow" (func $flow))))
  (export "acme:cost/cost@1.0.0" (instance $cost)))"#;

/// Makes as many calls as it is told to, within one call of its own.
const APP: &str = r#"
  (import "acme:cost/cost@1.0.0" (instance $cost
    (export "thing" (type $thing (sub resource)))
    (export "number" (func (param "x" u32) (result u32)))
    (export "bytes" (func (param "x" (list u8)) (result u32)))
    (export "[constructor]thing" (func (param "value" u32) (result (own $thing))))
    (export "[method]thing.add"
      (func (param "self" (borrow $thing)) (param "n" u32) (result u32)))
    (export "flow" (func async (param "count" u32) (result (stream u8))))))
  (alias export $cost "thing" (type $thing))
  (core module $libc (memory (export "memory") 2))
  (core instance $libc (instantiate $libc))
  (core func $number (canon lower (func $cost "number")))
  (core func $bytes (canon lower (func $cost "bytes") (memory (core memory $libc "memory"))))
  (core func $construct (canon lower (func $cost "[constructor]thing")))
  (core func $add (canon lower (func $cost "[method]thing.add")))
  (core func $drop (canon resource.drop $thing))
  (type $bytes (stream u8))
  (core func $flow (canon lower (func $cost "flow")))
  (core func $stream-read (canon stream.read $bytes async (memory (core memory $libc "memory"))))
  (core func $drop-readable (canon stream.drop-readable $bytes))
  (core func $set-new (canon waitable-set.new))
  (core func $set-wait (canon waitable-set.wait (memory (core memory $libc "memory"))))
  (core func $join (canon waitable.join))
  (core module $m
    (import "" "number" (func $number (param i32) (result i32)))
    (import "" "bytes" (func $bytes (param i32 i32) (result i32)))
    (import "" "construct" (func $construct (param i32) (result i32)))
    (import "" "add" (func $add (param i32 i32) (result i32)))
    (import "" "drop" (func $drop (param i32)))
    (import "" "memory" (memory 2))
    (import "" "flow" (func $flow (param i32) (result i32)))
    (import "" "stream-read" (func $stream-read (param i32 i32 i32) (result i32)))
    (import "" "drop-readable" (func $drop-readable (param i32)))
    (import "" "set-new" (func $set-new (result i32)))
    (import "" "set-wait" (func $set-wait (param i32 i32) (result i32)))
    (import "" "join" (func $join (param i32 i32)))
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
      (call $drop (local.get $thing)))
    (func (export "streams") (param $n i32)
      (local $end i32) (local $set i32) (local $status i32) (local $read i32)
      (local.set $set (call $set-new))
      (loop $more
        (local.set $end (call $flow (i32.const 1048576)))
        (local.set $read (i32.const 0))
        (loop $on
          (local.set $status
            (call $stream-read (local.get $end) (i32.const 0) (i32.const 65536)))
          (if (i32.eq (local.get $status) (i32.const -1)) (then
            (call $join (local.get $end) (local.get $set))
            (drop (call $set-wait (local.get $set) (i32.const 65536)))
            (local.set $status (i32.load (i32.const 65540)))
            (call $join (local.get $end) (i32.const 0))))
          (local.set $read
            (i32.add (local.get $read) (i32.shr_u (local.get $status) (i32.const 4))))
          (br_if $on (i32.eqz (i32.and (local.get $status) (i32.const 15)))))
        (if (i32.ne (local.get $read) (i32.const 1048576)) (then unreachable))
        (call $drop-readable (local.get $end))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br_if $more (local.get $n)))))
  (core instance $m (instantiate $m (with "" (instance
    (export "number" (func $number))
    (export "bytes" (func $bytes))
    (export "construct" (func $construct))
    (export "add" (func $add))
    (export "drop" (func $drop))
    (export "memory" (memory $libc "memory"))
    (export "flow" (func $flow))
    (export "stream-read" (func $stream-read))
    (export "drop-readable" (func $drop-readable))
    (export "set-new" (func $set-new))
    (export "set-wait" (func $set-wait))
    (export "join" (func $join))))))
  (func (export "numbers") (param "n" u32) (canon lift (core func $m "numbers")))
  (func (export "lists") (param "n" u32) (canon lift (core func $m "lists")))
  (func (export "methods") (param "n" u32) (canon lift (core func $m "methods")))
  (func (export "streams") async (param "n" u32) (canon lift (core func $m "streams"))))"#;

const COMPOSED: &str = r#"
  (instance $d (instantiate $driver))
  (alias export $d "acme:cost/cost@1.0.0" (instance $cost))
  (instance $a (instantiate $app (with "acme:cost/cost@1.0.0" (instance $cost))))
  (alias export $a "numbers" (func $numbers))
  (alias export $a "lists" (func $lists))
  (alias export $a "methods" (func $methods))
  (alias export $a "streams" (func $streams))
  (export "numbers" (func $numbers))
  (export "lists" (func $lists))
  (export "methods" (func $methods))
  (export "streams" (func $streams)))"#;

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
            for (function, name, calls) in FUNCTIONS {
                let mut times = [Vec::new(), Vec::new()];
                for round in 0..=rounds {
                    for (pair, times) in pairs.iter_mut().zip(&mut times) {
                        let begun = Instant::now();
                        pair.calls(function, calls).await;
                        let each = begun.elapsed().as_secs_f64() * 1e6 / f64::from(calls);
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
