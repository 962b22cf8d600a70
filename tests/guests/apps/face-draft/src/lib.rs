//! Keys and values by `wasi:keyvalue@0.2.0-draft`, made from its published WIT by `wit-bindgen` and
//! `wstd`.

use bindings::wasi::keyvalue::{atomics, batch, store};
use faces::{Asked, Outcome, text};
use serde_json::{Value, json};
use wstd::http::{Body, Error, Request, Response};

mod bindings {
    wit_bindgen::generate!({
        inline: "package guests:draft; world draft { import wasi:keyvalue/store@0.2.0-draft; import wasi:keyvalue/atomics@0.2.0-draft; import wasi:keyvalue/batch@0.2.0-draft; }",
        path: "../../../../wit/deps/keyvalue-0.2.0-draft",
        generate_all,
    });
}

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let asked = Asked::read(&request.uri().to_string());
    let (status, text) = faces::answer(run(asked));
    Ok(Response::builder().status(status).body(text.into())?)
}

fn run(asked: Asked) -> Outcome<store::Error> {
    let Asked { key, value, .. } = &asked;
    let open = || store::open(&asked.store);
    Some(match asked.op.as_str() {
        "get" => open().and_then(|store| store.get(key)).map(text),
        "set" => open()
            .and_then(|store| store.set(key, value))
            .map(|()| json!(null)),
        "delete" => open()
            .and_then(|store| store.delete(key))
            .map(|()| json!(null)),
        "exists" => open()
            .and_then(|store| store.exists(key))
            .map(|exists| json!(exists)),
        "list" => keys(&asked.store).map(|keys| json!(keys)),
        "increment" => open()
            .and_then(|store| atomics::increment(&store, key, asked.delta.unsigned_abs()))
            .map(|sum| json!(sum)),
        "get-many" => {
            let keys = asked.names();
            open()
                .and_then(|store| batch::get_many(&store, &keys))
                .map(|found| found_of(&keys, found))
        }
        "set-many" => open()
            .and_then(|store| batch::set_many(&store, &asked.pairs()))
            .map(|()| json!(null)),
        "delete-many" => open()
            .and_then(|store| batch::delete_many(&store, &asked.names()))
            .map(|()| json!(null)),
        "resume" => resume(&asked),
        _ => return None,
    })
}

fn keys(name: &str) -> Result<Vec<String>, store::Error> {
    let store = store::open(name)?;
    let (mut keys, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.list_keys(cursor)?;
        keys.extend(page.keys);
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(keys);
        }
    }
}

/// The values of `keys`, in their order.
fn found_of(keys: &[String], found: Vec<Option<(String, Vec<u8>)>>) -> Value {
    let value = |(key, found): (&String, Option<(String, Vec<u8>)>)| {
        text(
            found
                .filter(|(found, _)| found == key)
                .map(|(_, value)| value),
        )
    };
    keys.iter().zip(found).map(value).collect()
}

/// The last key of the first page and the first of the second, asked for in a store opened anew.
fn resume(asked: &Asked) -> Result<Value, store::Error> {
    let first = store::open(&asked.store)?.list_keys(None)?;
    let second = store::open(&asked.store)?.list_keys(first.cursor)?;
    Ok(json!([first.keys.last(), second.keys.first()]))
}
