//! Keys and values by `canopy:storage/key-value@0.1.0`, made from its WIT by `wit-bindgen` and
//! `wasip3`. Besides what all have: `set-for` with `delta` milliseconds to live, `version`, `entries`,
//! and `transfer` from `key` to `value` of `delta`, relying on `key` being `expected`.

use bindings::canopy::storage::key_value::{
    Change, Condition, Error, ListOptions, Precondition, SetOptions, Store,
};
use faces::{Asked, Outcome, text};
use serde_json::json;
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
        "list" => scan(store, false).await,
        "entries" => scan(store, true).await,
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

async fn scan(store: &Store, values: bool) -> Result<serde_json::Value, Error> {
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let options = ListOptions {
            prefix: String::new(),
            after,
            limit: Some(2),
            values,
        };
        let page = store.list(options).await?;
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
