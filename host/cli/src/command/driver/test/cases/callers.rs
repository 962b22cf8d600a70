//! Many callers at once, restarts in the middle, and what is left behind by calls.

use futures::future::{join_all, try_join, try_join_all};
use serde_json::{Value, json};

use super::behaviour::keys;
use super::{BATCH, Case, cases};
use crate::command::driver::test::bench::{At, Bench};
use crate::command::driver::test::probe::{Answer, Stop, failed, same};

pub(super) const CASES: &[Case] = cases! {
    "callers/installations-apart" => installations_apart,
    "callers/tenants-apart" => tenants_apart,
    "callers/concurrent" => concurrent,
    "restart/keeps" => restart_keeps,
    "restart/in-mid-use" => restart_in_mid_use,
    "leaks/memory" => memory,
};

pub(super) const HANDLES: &[Case] = cases! {
    "leaks/handles" => handles,
};

pub(super) const UNREAD: &[Case] = cases! {
    "leaks/unread" => unread,
};

async fn installations_apart(bench: &Bench) -> Result<(), Stop> {
    apart(bench, At::Sibling, "another installation of the tenant").await
}

async fn tenants_apart(bench: &Bench) -> Result<(), Stop> {
    apart(bench, At::Other, "another tenant").await
}

/// What one has written the other neither reads nor lists, nor changes by the same name.
async fn apart(bench: &Bench, other: At, who: &str) -> Result<(), Stop> {
    let set = |value: &str| json!({"op": "set", "key": "whose", "value": value});
    let get = json!({"op": "get", "key": "whose"});
    bench.ask(At::First, &set("0a")).await.done("a write")?;
    let seen = bench.ask(other, &get).await.done("a read")?;
    if !seen.is_null() {
        return failed(format!("{who} reads the value"));
    }
    if !keys(bench, other, "whose").await?.is_empty() {
        return failed(format!("{who} sees the key in a listing"));
    }
    bench.ask(other, &set("0b")).await.done("a write")?;
    let kept = bench.ask(At::First, &get).await.done("a read")?;
    same(&format!("what {who} has written over"), &kept, &json!("0a"))?;
    let delete = json!({"op": "delete", "key": "whose"});
    bench.ask(other, &delete).await.done("a deletion")?;
    let kept = bench.ask(At::First, &get).await.done("a read")?;
    same(&format!("what {who} has deleted"), &kept, &json!("0a"))
}

/// Everybody writes, reads and, where the interface can, counts under the same names at once.
async fn concurrent(bench: &Bench) -> Result<(), Stop> {
    let one = |at: At, mark: &'static str, n: usize| async move {
        let key = format!("at-once{}", n % 4);
        let set = json!({"op": "set", "key": key, "value": mark});
        bench.ask(at, &set).await.done("a write among many")?;
        let got = bench.ask(at, &json!({"op": "get", "key": key})).await;
        same(
            "a read among many",
            &got.done("a read among many")?,
            &json!(mark),
        )?;
        let count = json!({"op": "increment", "key": "at-once-n", "delta": 1});
        match bench.ask(at, &count).await {
            Answer::Absent => Ok(Value::Null),
            counted => counted.done("counting among many"),
        }
    };
    let all = At::ALL.into_iter().zip(["01", "02", "03"]);
    let all = all.flat_map(|(at, mark)| (0..12).map(move |n| one(at, mark, n)));
    if try_join_all(all).await?.contains(&Value::Null) {
        return Ok(());
    }
    for at in At::ALL {
        let sum = json!({"op": "increment", "key": "at-once-n", "delta": 0});
        let sum = bench.ask(at, &sum).await.done("the sum")?;
        same("what each counted alone", &sum, &json!(12))?;
    }
    Ok(())
}

async fn restart_keeps(bench: &Bench) -> Result<(), Stop> {
    let set = json!({"op": "set", "key": "lasts", "value": "0c"});
    bench.ask(At::First, &set).await.done("a write")?;
    bench.restart(At::First).await?;
    let get = json!({"op": "get", "key": "lasts"});
    let got = bench.ask(At::First, &get).await.done("a read")?;
    same("what was written before a restart", &got, &json!("0c"))
}

/// Calls go on while the driver is started anew: each ends as calls end, and what was taken is there.
async fn restart_in_mid_use(bench: &Bench) -> Result<(), Stop> {
    let key = |worker: usize, round: usize| format!("mid{worker}-{round}");
    let set = |worker, round| json!({"op": "set", "key": key(worker, round), "value": "0d"});
    let taken = through_restarts(bench, set).await?;
    let taken: Vec<_> = taken
        .into_iter()
        .map(|(worker, round)| key(worker, round))
        .collect();
    for some in taken.chunks(BATCH) {
        let get = json!({"op": "get-many", "keys": some});
        let got = bench
            .ask(At::First, &get)
            .await
            .done("reading afterwards")?;
        let all = vec![json!("0d"); some.len()];
        same("what was taken during restarts", &got, &Value::Array(all))?;
    }
    Ok(())
}

/// Has four workers ask twelve times each while the driver is started anew, again and again. Which rounds
/// of which workers succeeded, of which there must be some; the others have to be errors.
pub(super) async fn through_restarts(
    bench: &Bench,
    ask: impl Fn(usize, usize) -> Value,
) -> Result<Vec<(usize, usize)>, Stop> {
    let ask = &ask;
    let work = |worker: usize| async move {
        let mut done = Vec::new();
        for round in 0..12 {
            let said = bench.ask(At::First, &ask(worker, round)).await;
            if said.defined("a call during a restart")?.is_ok() {
                done.push((worker, round));
            }
        }
        Ok::<_, Stop>(done)
    };
    let restarts = async {
        for _ in 0..3 {
            bench.restart(At::First).await?;
        }
        Ok(())
    };
    let (done, ()) = try_join(try_join_all((0..4).map(work)), restarts).await?;
    let done: Vec<_> = done.into_iter().flatten().collect();
    if done.is_empty() {
        return failed("no call succeeded while the driver was started anew");
    }
    Ok(done)
}

/// Stores that applications open and do not let go of, more than a driver could keep; at once fewer than one
/// application may hold (`driver.held`).
async fn handles(bench: &Bench) -> Result<(), Stop> {
    abandon(bench, 32, 50).await
}

/// Objects, or rows of transactions, that applications begin to read and leave.
async fn unread(bench: &Bench) -> Result<(), Stop> {
    let value = "0e".repeat(4_000);
    let set = json!({"op": "set", "key": "unread", "value": value});
    bench.ask(At::First, &set).await.done("a write")?;
    abandon(bench, 4, 12).await
}

/// Opens `count` and leaves them, from several calls at once, so often.
async fn abandon(bench: &Bench, rounds: usize, count: usize) -> Result<(), Stop> {
    const AT_ONCE: usize = 8;
    let abandon = json!({"op": "abandon", "key": "unread", "count": count});
    for _ in 0..rounds {
        for answer in join_all((0..AT_ONCE).map(|_| bench.ask(At::First, &abandon))).await {
            answer.done("opening and leaving")?;
        }
    }
    bench
        .ask(At::First, &json!({"op": "open"}))
        .await
        .done("opening a store")
        .map(drop)
}

/// More bytes through the driver than its memory holds.
async fn memory(bench: &Bench) -> Result<(), Stop> {
    const BYTES: u64 = 256 << 10;
    const ROUNDS: u64 = 16;
    let needed = bench.given.memory + bench.given.memory / 4;
    for _ in 0..needed.div_ceil(BYTES * ROUNDS) {
        let churn = json!({"op": "churn", "key": "churn", "count": ROUNDS, "bytes": BYTES});
        let same_bytes = bench
            .ask(At::First, &churn)
            .await
            .done("many writes and reads")?;
        same(
            "values that came back as they went",
            &same_bytes,
            &json!(ROUNDS),
        )?;
    }
    Ok(())
}
