//! What a driver makes of a server that is away, slow, silent or confused: errors of the interface, in
//! time, nothing lost that was taken, and work again as soon as the server does.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Case, cases};
use crate::command::driver::test::bench::{At, Bench};
use crate::command::driver::test::probe::{Stop, failed, same};
use crate::command::driver::test::proxy::Weather;

pub(super) const STORING: &[Case] = cases! {
    "faults/refused" => refused,
    "faults/broken-idle" => broken_idle,
    "faults/broken-answer" => broken_answer,
    "faults/silent" => silent,
    "faults/slow" => slow,
    "faults/garbled" => garbled,
    "faults/nothing-lost" => nothing_lost,
};

pub(super) const COUNTING: &[Case] = cases! {
    "faults/counted-once" => counted_once,
};

fn get(key: &str) -> Value {
    json!({"op": "get", "key": key})
}

fn set(key: &str, value: &str) -> Value {
    json!({"op": "set", "key": key, "value": value})
}

/// During `weather` a read and a write are errors of the interface; afterwards all is as it was.
async fn errs(bench: &Bench, weather: Weather) -> Result<(), Stop> {
    let proxy = bench.proxy()?;
    bench
        .ask(At::First, &set("kept", "01"))
        .await
        .done("a write")?;
    proxy.set(weather);
    let read = bench.ask(At::First, &get("kept")).await;
    let written = bench.ask(At::First, &set("lost", "02")).await;
    bench.recovers(&get("kept"), &json!("01")).await?;
    read.refused("a read")?;
    written.refused("a write")?;
    Ok(())
}

async fn refused(bench: &Bench) -> Result<(), Stop> {
    errs(bench, Weather::Refused).await
}

async fn silent(bench: &Bench) -> Result<(), Stop> {
    errs(bench, Weather::Silent).await
}

async fn garbled(bench: &Bench) -> Result<(), Stop> {
    errs(bench, Weather::Garbled).await
}

/// A connection that the driver may have kept is gone when it wants it again.
async fn broken_idle(bench: &Bench) -> Result<(), Stop> {
    let proxy = bench.proxy()?;
    bench
        .ask(At::First, &set("kept", "03"))
        .await
        .done("a write")?;
    proxy.break_all();
    let answer = bench.ask(At::First, &get("kept")).await;
    if let Ok(value) = answer.defined("a read after the connection broke")? {
        same("a read after the connection broke", &value, &json!("03"))?;
    }
    bench.recovers(&get("kept"), &json!("03")).await
}

/// The connection breaks in the middle of an answer.
async fn broken_answer(bench: &Bench) -> Result<(), Stop> {
    let proxy = bench.proxy()?;
    let value = "04".repeat(2_000);
    bench
        .ask(At::First, &set("long", &value))
        .await
        .done("a write")?;
    for bytes in [1, 7, 100] {
        proxy.set(Weather::Cut(bytes));
        let answer = bench.ask(At::First, &get("long")).await;
        bench.recovers(&get("long"), &json!(value)).await?;
        if let Ok(got) = answer.defined("a read whose answer broke off")? {
            same("a read whose answer broke off", &got, &json!(value))?;
        }
    }
    Ok(())
}

/// A server that takes its time is none that does not work.
async fn slow(bench: &Bench) -> Result<(), Stop> {
    let proxy = bench.proxy()?;
    proxy.set(Weather::Slow(Duration::from_millis(150)));
    let written = bench.ask(At::First, &set("slow", "05")).await;
    let read = bench.ask(At::First, &get("slow")).await;
    proxy.set(Weather::Fair);
    written.done("a write to a slow server")?;
    same(
        "a read from a slow server",
        &read.done("a read from a slow server")?,
        &json!("05"),
    )
}

/// Of writes on connections that break, those that were taken are there.
async fn nothing_lost(bench: &Bench) -> Result<(), Stop> {
    let proxy = bench.proxy()?;
    let mut taken = Vec::new();
    for round in 0..10 {
        let key = format!("flaky{round}");
        proxy.set(if round % 3 == 0 {
            Weather::Cut(3)
        } else {
            Weather::Fair
        });
        if round % 2 == 0 {
            proxy.break_all();
        }
        let said = bench.ask(At::First, &set(&key, "06")).await;
        if said.defined("a write on a connection that breaks")?.is_ok() {
            taken.push(key);
        }
    }
    bench.recovers(&get("never-written"), &Value::Null).await?;
    for key in taken {
        let got = bench
            .ask(At::First, &get(&key))
            .await
            .done("reading afterwards")?;
        same("a write that was taken", &got, &json!("06"))?;
    }
    Ok(())
}

/// Counting up on connections that break: at least as often as it was said to be done, and no more
/// often than it was asked for.
async fn counted_once(bench: &Bench) -> Result<(), Stop> {
    let proxy = bench.proxy()?;
    let increment = |delta: i64| json!({"op": "increment", "key": "flaky-n", "delta": delta});
    let (mut done, mut asked) = (0, 0);
    for round in 0..12 {
        match round % 3 {
            0 => proxy.set(Weather::Cut(2)),
            1 => proxy.break_all(),
            _ => proxy.set(Weather::Fair),
        }
        asked += 1;
        let said = bench.ask(At::First, &increment(1)).await;
        done += i64::from(
            said.defined("counting on a connection that breaks")?
                .is_ok(),
        );
    }
    bench.recovers(&get("never-written"), &Value::Null).await?;
    let sum = bench.ask(At::First, &increment(0)).await.done("the sum")?;
    match sum.as_i64() {
        Some(sum) if (done..=asked).contains(&sum) => Ok(()),
        _ => failed(format!(
            "asked {asked} times, done {done} times, counted {sum}"
        )),
    }
}
