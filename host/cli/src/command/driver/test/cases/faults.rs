//! What a driver makes of a server that is away, slow, silent or confused: errors of the interface, in
//! time, nothing lost that was taken, and work again as soon as the server does.
//!
//! A driver may remember what passed by it. So what has to come from the server is asked for by a name
//! that is new, or after a restart.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::behaviour::gives;
use super::{Case, cases};
use crate::command::driver::test::bench::{At, Bench};
use crate::command::driver::test::probe::{Answer, Stop, failed, same};
use crate::command::driver::test::proxy::Weather;

pub(super) const STORING: &[Case] = cases! {
    "faults/refused" => refused,
    "faults/broken-idle" => broken_idle,
    "faults/broken-answer" => broken_answer,
    "faults/silent" => silent,
    "faults/slow" => slow,
    "faults/too-slow" => too_slow,
    "faults/garbled" => garbled,
    "faults/nothing-lost" => nothing_lost,
};

pub(super) const COUNTING: &[Case] = cases! {
    "faults/counted-once" => counted_once,
};

/// Longer than the 40 ms after which an acknowledgement that was put off is sent, and shorter than any
/// time limit.
const SLOW: Duration = Duration::from_millis(150);
/// By how much an answer comes later than the driver waits for it.
const TOO_LATE: Duration = Duration::from_millis(500);

fn get(key: &str) -> Value {
    json!({"op": "get", "key": key})
}

fn set(key: &str, value: &str) -> Value {
    json!({"op": "set", "key": key, "value": value})
}

/// What comes of asking so in that weather, one after the other until a call itself fails. Afterwards the
/// driver has found its server again.
pub(super) async fn during(
    bench: &Bench,
    weather: Weather,
    asks: &[Value],
) -> Result<Vec<Answer>, Stop> {
    bench.proxy()?.set(weather);
    let mut answers = Vec::new();
    for ask in asks {
        answers.push(bench.ask(At::First, ask).await);
        if matches!(answers.last(), Some(Answer::Broken(_))) {
            break;
        }
    }
    bench.recovers().await?;
    Ok(answers)
}

/// What comes of asking a server that takes its time, but no more than servers do.
pub(super) async fn slowly(bench: &Bench, asks: &[Value]) -> Result<Vec<Answer>, Stop> {
    let proxy = bench.proxy()?;
    proxy.set(Weather::Slow(SLOW));
    let mut answers = Vec::new();
    for ask in asks {
        answers.push(bench.ask(At::First, ask).await);
    }
    proxy.set(Weather::Fair);
    Ok(answers)
}

/// After a fault the value of `key` is what it was.
async fn unharmed(bench: &Bench, key: &str, value: &Value) -> Result<(), Stop> {
    let got = bench.answer(|| Ok(get(key))).await?;
    same("after the fault", &got, value)
}

/// Refuses another value than that which is stored; an error is no other value.
fn right_or_error(what: &str, answer: Answer, value: &Value) -> Result<(), Stop> {
    match answer.defined(what)? {
        Ok(got) => same(what, &got, value),
        Err(_) => Ok(()),
    }
}

/// During `weather` a read and a write are errors of the interface; afterwards all is as it was.
async fn errs(bench: &Bench, weather: Weather) -> Result<(), Stop> {
    bench.proxy()?;
    gives(bench, set("kept", "01"), Value::Null).await?;
    let asks = [get("kept"), get(&bench.fresh()), set("lost", "02")];
    let mut answers = during(bench, weather, &asks).await?.into_iter();
    unharmed(bench, "kept", &json!("01")).await?;
    if let Some(read) = answers.next() {
        right_or_error("a read of what was written before", read, &json!("01"))?;
    }
    for (what, answer) in ["a read", "a write"].iter().zip(answers) {
        answer.refused(what)?;
    }
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
    gives(bench, set("kept", "03"), Value::Null).await?;
    bench.forget().await?;
    proxy.break_all();
    let answer = bench.ask(At::First, &get("kept")).await;
    right_or_error("a read after the connection broke", answer, &json!("03"))?;
    bench.recovers().await?;
    unharmed(bench, "kept", &json!("03")).await
}

/// The connection breaks in the middle of an answer.
async fn broken_answer(bench: &Bench) -> Result<(), Stop> {
    bench.proxy()?;
    let value = json!("04".repeat(2_000));
    let set = json!({"op": "set", "key": "long", "value": value});
    gives(bench, set, Value::Null).await?;
    for bytes in [1, 7, 100] {
        bench.forget().await?;
        for answer in during(bench, Weather::Cut(bytes), &[get("long")]).await? {
            right_or_error("a read whose answer broke off", answer, &value)?;
        }
        unharmed(bench, "long", &value).await?;
    }
    Ok(())
}

/// A server that takes its time is none that does not work.
async fn slow(bench: &Bench) -> Result<(), Stop> {
    let asks = [set("slow", "05"), get("slow"), get(&bench.fresh())];
    let expected = [Value::Null, json!("05"), Value::Null];
    for (answer, expected) in slowly(bench, &asks).await?.into_iter().zip(expected) {
        let what = "what a slow server was asked for";
        same(what, &answer.done(what)?, &expected)?;
    }
    Ok(())
}

/// A server that answers when the driver does not wait any more: an error, and the late answer is not
/// taken for that to a later question.
async fn too_slow(bench: &Bench) -> Result<(), Stop> {
    let proxy = bench.proxy()?;
    gives(bench, set("late", "09"), Value::Null).await?;
    let begun = Instant::now();
    proxy.set(Weather::Silent);
    let unanswered = bench.ask(At::First, &get(&bench.fresh())).await;
    let slow = begun.elapsed() + TOO_LATE;
    bench.recovers().await?;
    unanswered.refused("a read of a silent server")?;
    bench.forget().await?;
    proxy.set(Weather::Slow(slow));
    let late = bench.ask(At::First, &get("late")).await;
    // Whatever has been asked for until now is answered within this time.
    let end = Instant::now() + slow;
    proxy.set(Weather::Fair);
    while Instant::now() < end {
        let answer = bench.ask(At::First, &get(&bench.fresh())).await;
        let what = "a read after one that was answered too late";
        right_or_error(what, answer, &Value::Null)?;
    }
    bench.recovers().await?;
    late.refused(&format!("a read that is answered after {slow:.1?}"))?;
    unharmed(bench, "late", &json!("09")).await
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
    bench.recovers().await?;
    bench.forget().await?;
    for key in taken {
        gives(bench, get(&key), json!("06")).await?;
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
    bench.recovers().await?;
    let sum = bench.answer(|| Ok(increment(0))).await?;
    match sum.as_i64() {
        Some(sum) if (done..=asked).contains(&sum) => Ok(()),
        _ => failed(format!(
            "asked {asked} times, done {done} times, counted {sum}"
        )),
    }
}
