//! What reading, writing, listing and counting come to.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::{Value, json};

use super::{BATCH, Case, cases};
use crate::command::driver::test::bench::{At, Bench};
use crate::command::driver::test::probe::{Answer, Stop, failed, hex, same, skipped};

pub(super) const STORING: &[Case] = cases! {
    "behaviour/absent" => absent,
    "behaviour/write-read" => write_read,
    "behaviour/bytes" => bytes,
    "behaviour/delete" => delete,
    "behaviour/odd-keys" => odd_keys,
    "behaviour/list" => list,
    "behaviour/stores-apart" => stores_apart,
};

pub(super) const BATCHES: &[Case] = cases! {
    "behaviour/batches" => batches,
};

pub(super) const COUNTING: &[Case] = cases! {
    "behaviour/increment" => increment,
    "behaviour/increment-text" => increment_text,
    "behaviour/increment-overflow" => increment_overflow,
    "behaviour/increment-concurrent" => increment_concurrent,
    "behaviour/swap" => swap,
};

/// Keys in which something could take a part for something else.
const ODD_KEYS: [&str; 16] = [
    "a/b", "a//b", "/", "..", "../x", ".", "%2F", "a b+c", "ü€", "k?x=1&y", "'\"\\;--", "=2F",
    "a:b", "{a}", "*", "a\r\nb",
];

pub(super) async fn first(bench: &Bench, what: &Value) -> Answer {
    bench.ask(At::First, what).await
}

/// Asks, and expects that answer.
pub(super) async fn gives(bench: &Bench, what: Value, expected: Value) -> Result<(), Stop> {
    let name = format!("{} {}", what["op"], what["key"]);
    let got = first(bench, &what).await.done(&name)?;
    same(&name, &got, &expected)
}

async fn absent(bench: &Bench) -> Result<(), Stop> {
    gives(bench, json!({"op": "get", "key": "absent"}), Value::Null).await?;
    gives(
        bench,
        json!({"op": "exists", "key": "absent"}),
        json!(false),
    )
    .await?;
    gives(bench, json!({"op": "delete", "key": "absent"}), Value::Null).await
}

async fn write_read(bench: &Bench) -> Result<(), Stop> {
    for value in ["one", "two"] {
        let value = hex(value.as_bytes());
        gives(
            bench,
            json!({"op": "set", "key": "k", "value": value}),
            Value::Null,
        )
        .await?;
        gives(bench, json!({"op": "get", "key": "k"}), value).await?;
    }
    gives(bench, json!({"op": "exists", "key": "k"}), json!(true)).await
}

async fn bytes(bench: &Bench) -> Result<(), Stop> {
    let all: Vec<u8> = (0..=255).collect();
    for value in [all.as_slice(), b"", b"\r\n", b"\0"] {
        let value = hex(value);
        gives(
            bench,
            json!({"op": "set", "key": "bytes", "value": value}),
            Value::Null,
        )
        .await?;
        gives(bench, json!({"op": "get", "key": "bytes"}), value).await?;
    }
    Ok(())
}

async fn delete(bench: &Bench) -> Result<(), Stop> {
    gives(
        bench,
        json!({"op": "set", "key": "gone", "value": "00"}),
        Value::Null,
    )
    .await?;
    for _ in 0..2 {
        gives(bench, json!({"op": "delete", "key": "gone"}), Value::Null).await?;
        gives(bench, json!({"op": "exists", "key": "gone"}), json!(false)).await?;
        gives(bench, json!({"op": "get", "key": "gone"}), Value::Null).await?;
    }
    Ok(())
}

async fn odd_keys(bench: &Bench) -> Result<(), Stop> {
    let odd = |key| format!("odd {key}");
    for key in ODD_KEYS {
        let value = hex(key.as_bytes());
        let set = json!({"op": "set", "key": odd(key), "value": value});
        gives(bench, set, Value::Null).await?;
    }
    for key in ODD_KEYS {
        let get = json!({"op": "get", "key": odd(key)});
        gives(bench, get, hex(key.as_bytes())).await?;
    }
    let listed = keys(bench, At::First, "odd ").await?;
    let expected: BTreeSet<_> = ODD_KEYS.into_iter().map(odd).collect();
    if BTreeSet::from_iter(listed) == expected {
        Ok(())
    } else {
        failed("listing does not give the keys as they were written")
    }
}

/// The keys of a store that begin with `prefix`.
pub(super) async fn keys(bench: &Bench, at: At, prefix: &str) -> Result<Vec<String>, Stop> {
    let listed = bench.ask(at, &json!({"op": "list"})).await.done("list")?;
    let keys: Option<Vec<String>> = serde_json::from_value(listed).ok();
    let Some(mut keys) = keys else {
        return failed("listing gives no keys");
    };
    keys.retain(|key| key.starts_with(prefix));
    Ok(keys)
}

async fn list(bench: &Bench) -> Result<(), Stop> {
    let names: Vec<String> = (0..600).map(|n| format!("list{n}")).collect();
    for some in names.chunks(BATCH) {
        let set = json!({"op": "set-many", "keys": some, "value": "00"});
        gives(bench, set, Value::Null).await?;
    }
    let listed = keys(bench, At::First, "list").await?;
    let (count, distinct) = (listed.len(), BTreeSet::from_iter(listed));
    if distinct != names.iter().cloned().collect() {
        return failed(format!("of 600 keys {} are listed", distinct.len()));
    }
    if count != 600 {
        return failed(format!(
            "600 keys that nobody changes are listed as {count}"
        ));
    }
    for some in names.chunks(BATCH) {
        gives(
            bench,
            json!({"op": "delete-many", "keys": some}),
            Value::Null,
        )
        .await?;
    }
    match keys(bench, At::First, "list").await?.len() {
        0 => Ok(()),
        left => failed(format!("{left} of 600 deleted keys are listed")),
    }
}

async fn stores_apart(bench: &Bench) -> Result<(), Stop> {
    gives(
        bench,
        json!({"op": "set", "key": "apart", "value": "01"}),
        Value::Null,
    )
    .await?;
    let second = json!({"op": "get", "key": "apart", "store": "second"});
    match first(bench, &second).await.defined("another store")? {
        Err(fault) => skipped(format!("the driver has one store: {fault}")),
        Ok(Value::Null) => {
            let set = json!({"op": "set", "key": "apart", "value": "02", "store": "second"});
            gives(bench, set, Value::Null).await?;
            gives(bench, json!({"op": "get", "key": "apart"}), json!("01")).await?;
            gives(bench, second, json!("02")).await?;
            let delete = json!({"op": "delete", "key": "apart", "store": "second"});
            gives(bench, delete, Value::Null).await
        }
        Ok(_) => failed("what was written to one store is in another"),
    }
}

async fn batches(bench: &Bench) -> Result<(), Stop> {
    let set = json!({"op": "set-many", "keys": ["b1", "b2"], "value": "0b"});
    gives(bench, set, Value::Null).await?;
    let get = json!({"op": "get-many", "keys": ["b2", "b-absent", "b1"]});
    gives(bench, get, json!(["0b", null, "0b"])).await?;
    let twice = json!({"op": "set-many", "keys": ["b1", "b1"], "value": "0c"});
    first(bench, &twice)
        .await
        .defined("a batch with a key twice")?
        .ok();
    for op in ["get-many", "set-many", "delete-many"] {
        let empty = json!({"op": op, "keys": []});
        first(bench, &empty).await.done("an empty batch")?;
    }
    gives(
        bench,
        json!({"op": "delete-many", "keys": ["b1", "b2", "b-absent"]}),
        Value::Null,
    )
    .await?;
    gives(
        bench,
        json!({"op": "get-many", "keys": ["b1", "b2"]}),
        json!([null, null]),
    )
    .await
}

async fn increment(bench: &Bench) -> Result<(), Stop> {
    for (delta, sum) in [(3, 3), (4, 7), (0, 7)] {
        let increment = json!({"op": "increment", "key": "n", "delta": delta});
        gives(bench, increment, json!(sum)).await?;
    }
    gives(bench, json!({"op": "get", "key": "n"}), hex(b"7")).await
}

async fn increment_text(bench: &Bench) -> Result<(), Stop> {
    let text = hex(b"text");
    gives(
        bench,
        json!({"op": "set", "key": "text", "value": text}),
        Value::Null,
    )
    .await?;
    let increment = json!({"op": "increment", "key": "text", "delta": 1});
    first(bench, &increment)
        .await
        .refused("counting up a text")?;
    gives(bench, json!({"op": "get", "key": "text"}), text).await
}

async fn increment_overflow(bench: &Bench) -> Result<(), Stop> {
    let increment = |delta: i64| json!({"op": "increment", "key": "far", "delta": delta});
    gives(bench, increment(5), json!(5)).await?;
    first(bench, &increment(i64::MAX))
        .await
        .refused("counting beyond what the interface can tell")?;
    gives(bench, increment(0), json!(5)).await
}

async fn increment_concurrent(bench: &Bench) -> Result<(), Stop> {
    let once = json!({"op": "increment", "key": "many", "delta": 1});
    let sums = join_all((0..16).map(|_| first(bench, &once))).await;
    let sums = sums
        .into_iter()
        .map(|answer| Ok(answer.done("one of 16 at once")?.as_i64()));
    let sums = sums.collect::<Result<BTreeSet<_>, Stop>>()?;
    if sums == (1..=16).map(Some).collect() {
        Ok(())
    } else {
        failed("16 at once do not give the sums from 1 to 16, each once")
    }
}

async fn swap(bench: &Bench) -> Result<(), Stop> {
    let swap = |value: &str| json!({"op": "swap", "key": "swap", "value": value});
    gives(bench, swap("01"), json!(true)).await?;
    gives(bench, swap("02"), json!(false)).await?;
    let mut expecting = swap("02");
    expecting["expected"] = json!("01");
    gives(bench, expecting, json!(true)).await?;
    gives(bench, json!({"op": "get", "key": "swap"}), json!("02")).await
}
