//! Keys and values by `canopy:storage/key-value@0.1.0`, made from its WIT by `wit-bindgen` and
//! `wasip3`. Besides what others have: `set-for` with `delta` milliseconds to live, `expires` and
//! `version` of a key, `under` a prefix, `entries`, and `transfer` from `key` to `value` of `delta`,
//! relying on `key` being `expected`.

use bindings::canopy::storage::key_value::{
    Change, Condition, Error, ListOptions, Listed, Page, Precondition, SetOptions, Store,
};
use faces::{Asked, Outcome, text};
use serde_json::{Value, json};
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future, wit_stream};

mod bindings {
    wit_bindgen::generate!({
        inline: "package guests:canopy; world canopy { import canopy:storage/key-value@0.1.0; }",
        path: "../../../../wit/storage/0.1.0",
        generate_all,
    });
}

wasip3::http::service::export!(Component);

struct Component;

impl wasip3::exports::http::handler::Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let asked = Asked::read(&request.get_path_with_query().unwrap_or_default());
        let (status, text) = faces::answer(run(asked).await);
        let (mut writer, body) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        let (response, _) = Response::new(Fields::new(), Some(body), trailers);
        response
            .set_status_code(status)
            .map_err(|()| ErrorCode::InternalError(None))?;
        wasip3::spawn_local(async move {
            writer.write_all(text.into_bytes()).await;
        });
        Ok(response)
    }
}

async fn run(asked: Asked) -> Outcome<Error> {
    let name = asked.store.clone();
    match Store::open(name).await {
        Ok(store) => operate(&store, asked).await,
        Err(error) => Some(Err(error)),
    }
}

async fn operate(store: &Store, asked: Asked) -> Outcome<Error> {
    let (names, pairs) = (asked.names(), asked.pairs());
    let Asked {
        op,
        key,
        value,
        expected,
        delta,
        ..
    } = asked;
    let always = SetOptions {
        ttl_ms: None,
        condition: None,
    };
    Some(match op.as_str() {
        "get" => store.get(key).await.map(text),
        "set" => store.set(key, value, always).await.map(|_| json!(null)),
        "delete" => store.delete(key, None).await.map(|_| json!(null)),
        "exists" => store.exists(key).await.map(|exists| json!(exists)),
        "list" => scan(store, "", None, false).await,
        "under" => scan(store, &key, Some(2), false).await,
        "entries" => scan(store, "", Some(2), true).await,
        "get-many" => {
            let found = store.get_many(names).await;
            found.map(|found| found.into_iter().map(text).collect())
        }
        "set-many" => store.set_many(pairs).await.map(|()| json!(null)),
        "delete-many" => store.delete_many(names).await.map(|()| json!(null)),
        "outrun" => outrun(store, key, value).await,
        "resume" => resume(store).await,
        "increment" => store.increment(key, delta).await.map(|sum| json!(sum)),
        "swap" => {
            let options = SetOptions {
                ttl_ms: None,
                condition: Some(expected.map_or(Condition::Absent, Condition::Value)),
            };
            match store.set(key, value, options).await {
                Ok(_) => Ok(json!(true)),
                Err(Error::Conflict(_)) => Ok(json!(false)),
                Err(error) => Err(error),
            }
        }
        "set-for" => {
            let options = SetOptions {
                ttl_ms: Some(delta.unsigned_abs()),
                condition: None,
            };
            store
                .set(key, value, options)
                .await
                .map(|version| json!(version))
        }
        "version" => {
            let entry = store.get_entry(key).await;
            entry.map(|entry| json!(entry.map(|entry| entry.version)))
        }
        "expires" => {
            let entry = store.get_entry(key).await;
            entry.map(|entry| json!(entry.is_some_and(|entry| entry.expires_at.is_some())))
        }
        "transfer" => {
            let relied = Precondition {
                key: key.clone(),
                condition: expected.map_or(Condition::Absent, Condition::Value),
            };
            let to = String::from_utf8_lossy(&value).into_owned();
            let changes = vec![
                Change::Increment((key, -delta)),
                Change::Increment((to, delta)),
            ];
            let outcomes = store.transact(vec![relied], changes).await;
            outcomes.map(|outcomes| json!(format!("{outcomes:?}")))
        }
        _ => return None,
    })
}

/// Sets a key between looking at it and swapping it, and swaps what that conflict gives.
async fn outrun(store: &Store, key: String, value: Vec<u8>) -> Result<Value, Error> {
    let conditional = |condition| SetOptions {
        ttl_ms: None,
        condition: Some(condition),
    };
    let seen = store.get_entry(key.clone()).await?;
    let seen = seen.map_or(Condition::Absent, |entry| Condition::Version(entry.version));
    let always = SetOptions {
        ttl_ms: None,
        condition: None,
    };
    store.set(key.clone(), b"outrun".to_vec(), always).await?;
    let first = store.set(key.clone(), value.clone(), conditional(seen));
    let met = match first.await {
        Err(Error::Conflict(Some(met))) => met,
        Err(error) => return Err(error),
        Ok(_) => return Ok(json!("it was swapped")),
    };
    let again = conditional(Condition::Version(met.version));
    let swapped = store.set(key, value, again).await.is_ok();
    Ok(json!([text(Some(met.value)), swapped]))
}

async fn page(
    store: &Store,
    prefix: &str,
    after: Option<String>,
    limit: Option<u32>,
    values: bool,
) -> Result<Page, Error> {
    let options = ListOptions {
        prefix: prefix.to_owned(),
        after,
        limit,
        values,
    };
    store.list(options).await
}

/// The last key of the first page and the first of the second.
async fn resume(store: &Store) -> Result<Value, Error> {
    let first = page(store, "", None, None, false).await?;
    let second = page(store, "", first.next, None, false).await?;
    let key = |listed: Option<&Listed>| listed.map(|listed| listed.key.clone());
    Ok(json!([
        key(first.entries.last()),
        key(second.entries.first())
    ]))
}

async fn scan(
    store: &Store,
    prefix: &str,
    limit: Option<u32>,
    values: bool,
) -> Result<Value, Error> {
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = page(store, prefix, after, limit, values).await?;
        listed.extend(page.entries.into_iter().map(|listed| match listed.entry {
            Some(entry) => json!([listed.key, text(Some(entry.value))]),
            None => json!(listed.key),
        }));
        after = page.next;
        if after.is_none() {
            return Ok(json!(listed));
        }
    }
}
