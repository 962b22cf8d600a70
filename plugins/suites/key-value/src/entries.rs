//! What entries have and values have not: versions, conditions, an end, and transactions over several.

use canopy_sdk::stream::block_on;
use probe::{Asked, Bytes, Fault, Outcome, hex};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::fault;
use crate::interface::canopy::storage::key_value::{
    Change, Condition, Entry, ListOptions, Outcome as Done, Precondition, SetOptions, Setting,
    Store,
};

/// What must be stored for a write to take place.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum If {
    Absent,
    Present,
    Version(u64),
    Value(Bytes),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct How {
    ttl_ms: Option<u64>,
    condition: Option<If>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    prefix: String,
    after: Option<String>,
    limit: Option<u32>,
    #[serde(default)]
    values: bool,
}

/// One change of a transaction, by its key.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum One {
    Set(String, Bytes),
    Delete(String),
    Increment(String, i64),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    #[serde(default)]
    preconditions: Vec<(String, If)>,
    changes: Vec<One>,
}

impl From<If> for Condition {
    fn from(condition: If) -> Self {
        match condition {
            If::Absent => Self::Absent,
            If::Present => Self::Present,
            If::Version(version) => Self::Version(version),
            If::Value(Bytes(value)) => Self::Value(value),
        }
    }
}

impl From<One> for Change {
    fn from(one: One) -> Self {
        match one {
            One::Set(key, Bytes(value)) => Self::Set(Setting {
                key,
                value,
                ttl_ms: None,
            }),
            One::Delete(key) => Self::Delete(key),
            One::Increment(key, delta) => Self::Increment((key, delta)),
        }
    }
}

pub(crate) fn perform(store: &Store, asked: &Asked) -> Outcome {
    Some(match asked.op.as_str() {
        "put" => asked.with(|how| put(store, asked, how)),
        "remove" => asked.with(|condition: Option<If>| {
            let removed = store.delete(asked.key.clone(), condition.map(Condition::from));
            block_on(removed).map(Value::from).map_err(fault)
        }),
        "entry" => {
            let entry = block_on(store.get_entry(asked.key.clone()));
            entry.map(told).map_err(fault)
        }
        "page" => asked.with(|listing| page(store, listing)),
        "transact" => asked.with(|whole| transact(store, whole)),
        _ => return None,
    })
}

/// What is told of an entry, if there is one.
pub(crate) fn told(entry: Option<Entry>) -> Value {
    entry.map_or(Value::Null, |entry| {
        json!({
            "value": hex::encode(&entry.value),
            "version": entry.version,
            "expires_at": entry.expires_at,
        })
    })
}

/// The version of what was set.
fn put(store: &Store, asked: &Asked, how: How) -> Result<Value, Fault> {
    let options = SetOptions {
        ttl_ms: how.ttl_ms,
        condition: how.condition.map(Condition::from),
    };
    let set = store.set(asked.key.clone(), asked.value.0.clone(), options);
    block_on(set).map(Value::from).map_err(fault)
}

fn page(store: &Store, listing: Listing) -> Result<Value, Fault> {
    let page = block_on(store.list(ListOptions {
        prefix: listing.prefix,
        after: listing.after,
        limit: listing.limit,
        values: listing.values,
    }));
    let page = page.map_err(fault)?;
    let listed = page.entries.into_iter();
    let listed =
        listed.map(|listed| json!([listed.key, listed.entry.map(|one| hex::encode(&one.value))]));
    Ok(json!({"entries": listed.collect::<Value>(), "next": page.next}))
}

/// What each change did; of what was set, only that it was.
fn transact(store: &Store, whole: Whole) -> Result<Value, Fault> {
    let preconditions = whole.preconditions.into_iter();
    let preconditions = preconditions.map(|(key, condition)| Precondition {
        key,
        condition: condition.into(),
    });
    let changes = whole.changes.into_iter().map(Change::from).collect();
    let done = block_on(store.transact(preconditions.collect(), changes)).map_err(fault)?;
    let outcome = |done: Done| match done {
        Done::Set(_) => json!("set"),
        Done::Deleted(was_there) => json!(was_there),
        Done::Incremented(sum) => json!(sum),
    };
    Ok(done.into_iter().map(outcome).collect())
}
