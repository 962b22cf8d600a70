//! What entries of `canopy:storage/key-value` have and values have not: versions, conditions, an end,
//! listings with a prefix, transactions over several.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::behaviour::{first, gives};
use super::{Case, cases};
use crate::command::driver::test::bench::Bench;
use crate::command::driver::test::probe::{Stop, failed, same};

pub(super) const CASES: &[Case] = cases! {
    "entries/versions" => versions,
    "entries/conditions" => conditions,
    "entries/expiry" => expiry,
    "entries/pages" => pages,
    "entries/transactions" => transactions,
};

/// Milliseconds after which an entry goes by itself.
const TTL_MS: u64 = 300;
/// After what time it must be gone.
const GRACE: Duration = Duration::from_secs(10);

fn put(key: &str, value: &str, how: Value) -> Value {
    json!({"op": "put", "key": key, "value": value, "with": how})
}

/// Sets a value; its version.
async fn set(bench: &Bench, key: &str, value: &str) -> Result<Value, Stop> {
    let version = first(bench, &put(key, value, json!({}))).await;
    version.done(&format!("setting {key}"))
}

/// Refuses anything but an error of that kind, and says what it tells.
async fn errs(bench: &Bench, what: Value, kind: &str) -> Result<String, Stop> {
    let name = format!("{} {} {}", what["op"], what["key"], what["with"]);
    let said = first(bench, &what).await.refused(&name)?;
    match said
        .strip_prefix(kind)
        .and_then(|rest| rest.strip_prefix(' '))
    {
        Some(told) => Ok(told.trim_matches(['(', ')']).to_owned()),
        None => failed(format!("{name}: expected the error {kind}, got {said}")),
    }
}

/// A version is of one write: told when it is written, told later, and another for the next.
async fn versions(bench: &Bench) -> Result<(), Stop> {
    let entry = json!({"op": "entry", "key": "versioned"});
    let mut seen = Vec::new();
    for value in ["01", "02", "02"] {
        let version = set(bench, "versioned", value).await?;
        let told = first(bench, &entry).await.done("an entry")?;
        let expected = json!({"value": value, "version": version, "expires_at": null});
        same("what is told of it", &told, &expected)?;
        if seen.contains(&version) {
            return failed("two writes have the same version");
        }
        seen.push(version);
    }
    let delete = json!({"op": "delete", "key": "versioned"});
    gives(bench, delete, Value::Null).await?;
    gives(bench, entry, Value::Null).await?;
    let again = set(bench, "versioned", "01").await?;
    if seen.contains(&again) {
        return failed("a version comes again after a deletion");
    }
    Ok(())
}

async fn conditions(bench: &Bench) -> Result<(), Stop> {
    let on =
        |value: &str, condition: Value| put("conditional", value, json!({"condition": condition}));
    let delete = json!({"op": "delete", "key": "conditional"});
    gives(bench, delete, Value::Null).await?;
    let told = errs(bench, on("01", json!("present")), "conflict").await?;
    same("what is stored instead", &json!(told), &json!("null"))?;
    first(bench, &on("01", json!("absent")))
        .await
        .done("if absent")?;
    let version = set(bench, "conditional", "02").await?;
    let other = version.as_u64().map(|version| version.wrapping_add(1));
    for unmet in [
        json!("absent"),
        json!({"version": other}),
        json!({"value": "01"}),
    ] {
        let told = errs(bench, on("03", unmet), "conflict").await?;
        let stored = serde_json::from_str::<Value>(&told).unwrap_or_default();
        same("what is stored instead", &stored["value"], &json!("02"))?;
        same("its version", &stored["version"], &version)?;
    }
    let remove = json!({"op": "remove", "key": "conditional", "with": {"value": "01"}});
    errs(bench, remove, "conflict").await?;
    gives(
        bench,
        json!({"op": "get", "key": "conditional"}),
        json!("02"),
    )
    .await?;
    for (value, met) in [
        ("03", json!({"version": version})),
        ("04", json!({"value": "03"})),
        ("05", json!("present")),
    ] {
        first(bench, &on(value, met))
            .await
            .done("a condition that holds")?;
        let get = json!({"op": "get", "key": "conditional"});
        gives(bench, get, json!(value)).await?;
    }
    let remove =
        |condition: Value| json!({"op": "remove", "key": "conditional", "with": condition});
    gives(bench, remove(json!("present")), json!(true)).await?;
    gives(bench, remove(Value::Null), json!(false)).await
}

/// What is to go goes, and no sooner than it was to.
async fn expiry(bench: &Bench) -> Result<(), Stop> {
    let lasting = put("passing", "01", json!({"ttl_ms": 600_000}));
    first(bench, &lasting).await.done("with a time to live")?;
    let entry = json!({"op": "entry", "key": "passing"});
    let told = first(bench, &entry).await.done("an entry")?;
    if told["expires_at"].as_u64().is_none() {
        return failed("an entry that is to go does not tell when");
    }
    set(bench, "passing", "02").await?;
    let told = first(bench, &entry).await.done("an entry")?;
    same("of one that is to stay", &told["expires_at"], &Value::Null)?;
    let begun = Instant::now();
    let short = put("passing", "03", json!({"ttl_ms": TTL_MS}));
    first(bench, &short).await.done("with a time to live")?;
    let get = json!({"op": "get", "key": "passing"});
    loop {
        let got = first(bench, &get).await.done("a read")?;
        if got.is_null() {
            break;
        }
        same("until its time", &got, &json!("03"))?;
        if begun.elapsed() > GRACE {
            return failed("an entry is there long after its time");
        }
    }
    if begun.elapsed() < Duration::from_millis(TTL_MS) {
        return failed("an entry is gone before its time");
    }
    let none = put("passing", "04", json!({"ttl_ms": 0}));
    errs(bench, none, "invalid-argument").await.map(drop)
}

const LISTED: [&str; 5] = ["page/Z", "page/a", "page/a-b", "page/b", "page/ü"];

/// Pages of any length give every key with the prefix, once, in the order of bytes.
async fn pages(bench: &Bench) -> Result<(), Stop> {
    for key in [
        "page", "pagf", "page/ü", "page/b", "page/a-b", "page/a", "page/Z",
    ] {
        set(bench, key, "0a").await?;
    }
    let page = |with: Value| json!({"op": "page", "with": with});
    for limit in [1, 2, 100] {
        let (mut keys, mut after) = (Vec::new(), Value::Null);
        loop {
            let with = json!({"prefix": "page/", "limit": limit, "after": after, "values": true});
            let page = first(bench, &page(with)).await.done("a page")?;
            let Some(some) = page["entries"].as_array() else {
                return failed("a page has no entries");
            };
            if some.len() > limit {
                return failed(format!("a page of at most {limit} has {}", some.len()));
            }
            keys.extend_from_slice(some);
            after = page["next"].clone();
            if after.is_null() || keys.len() > LISTED.len() {
                break;
            }
        }
        let expected: Value = LISTED.iter().map(|key| json!([key, "0a"])).collect();
        same(
            &format!("all pages of {limit}"),
            &Value::from(keys),
            &expected,
        )?;
    }
    let with = json!({"prefix": "page/a", "after": "page/a", "limit": 100});
    let expected = json!({"entries": [["page/a-b", null]], "next": null});
    gives(bench, page(with), expected).await
}

/// All changes, or none.
async fn transactions(bench: &Bench) -> Result<(), Stop> {
    let transact = |preconditions: Value, changes: Value| json!({"op": "transact", "with": {"preconditions": preconditions, "changes": changes}});
    let values = json!({"op": "get-many", "keys": ["one", "two", "sum"]});
    let delete = json!({"op": "delete-many", "keys": ["one", "two", "sum"]});
    gives(bench, delete, Value::Null).await?;
    let changes = json!([
        {"set": ["one", "01"]},
        {"set": ["two", "02"]},
        {"increment": ["sum", 5]},
        {"delete": "two"},
        {"delete": "absent"},
    ]);
    let begun = transact(json!([["one", "absent"]]), changes);
    gives(bench, begun, json!(["set", "set", 5, true, false])).await?;
    gives(bench, values.clone(), json!(["01", null, "35"])).await?;
    let unmet = json!([["one", "present"], ["two", "present"]]);
    let refused = transact(unmet, json!([{"set": ["one", "09"]}]));
    let index = errs(bench, refused, "precondition-failed").await?;
    same("which one", &json!(index), &json!("1"))?;
    let impossible = json!([{"set": ["two", "09"]}, {"increment": ["sum", i64::MAX]}]);
    errs(bench, transact(json!([]), impossible), "overflow").await?;
    gives(bench, values, json!(["01", null, "35"])).await
}
