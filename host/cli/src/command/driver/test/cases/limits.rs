//! What is too long, too much or no name at all: an error or success, and nothing in between.

use serde_json::{Value, json};

use super::{Case, cases};
use crate::command::driver::test::bench::{At, Bench};
use crate::command::driver::test::probe::{Stop, failed, same};

pub(super) const STORING: &[Case] = cases! {
    "limits/long-key" => long_key,
    "limits/large-value" => large_value,
    "limits/store-names" => store_names,
};

pub(super) const BATCHES: &[Case] = cases! {
    "limits/large-batch" => large_batch,
};

/// Sets a value, which may be refused. If it is not, it must be there, and go again.
async fn sound(bench: &Bench, what: &str, key: &str, value: &Value) -> Result<(), Stop> {
    let set = json!({"op": "set", "key": key, "value": value});
    if bench.ask(At::First, &set).await.defined(what)?.is_ok() {
        let get = json!({"op": "get", "key": key});
        let got = bench.ask(At::First, &get).await.done(what)?;
        same(what, &got, value)?;
        let delete = json!({"op": "delete", "key": key});
        bench.ask(At::First, &delete).await.done(what)?;
    }
    Ok(())
}

async fn long_key(bench: &Bench) -> Result<(), Stop> {
    for length in [300, 2_000, 70_000] {
        let what = format!("a key of {length} bytes");
        sound(bench, &what, &"k".repeat(length), &json!("00")).await?;
    }
    sound(bench, "a key without a character", "", &json!("00")).await
}

/// The component makes the value itself: its request would be too long.
async fn large_value(bench: &Bench) -> Result<(), Stop> {
    for kib in [64, 1_024] {
        let what = format!("a value of {kib} KiB");
        let churn = json!({"op": "churn", "key": "large", "count": 1, "bytes": kib << 10});
        if let Ok(same_bytes) = bench.ask(At::First, &churn).await.defined(&what)? {
            same(&what, &same_bytes, &json!(1))?;
            let delete = json!({"op": "delete", "key": "large"});
            bench.ask(At::First, &delete).await.done(&what)?;
        }
    }
    Ok(())
}

async fn large_batch(bench: &Bench) -> Result<(), Stop> {
    let keys: Vec<String> = (0..4_000).map(|n| format!("large{n}")).collect();
    for (op, value) in [("set-many", "00"), ("get-many", ""), ("delete-many", "")] {
        let what = json!({"op": op, "keys": keys, "value": value});
        let said = bench.ask(At::First, &what).await;
        said.defined("a batch of 4000 keys")?.ok();
    }
    Ok(())
}

/// A name may be none, and then nothing is reached by it; it never leads to another store.
async fn store_names(bench: &Bench) -> Result<(), Stop> {
    let set = json!({"op": "set", "key": "named", "value": "01"});
    bench.ask(At::First, &set).await.done("a write")?;
    let long = "s".repeat(5_000);
    for name in [
        "../default",
        "default/",
        "a:b",
        "{a}",
        "*",
        "%64efault",
        " default",
        &long,
    ] {
        let what = format!(
            "a store named {:?}",
            name.chars().take(20).collect::<String>()
        );
        let get = json!({"op": "get", "key": "named", "store": name});
        if let Ok(value @ Value::String(_)) = bench.ask(At::First, &get).await.defined(&what)? {
            return failed(format!("{what} shows the value {value} of `default`"));
        }
    }
    Ok(())
}
