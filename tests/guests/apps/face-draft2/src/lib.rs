//! Keys and values by `wasi:keyvalue@0.2.0-draft2`, made from its published WIT by `wit-bindgen` and
//! `wstd`.

use bindings::wasi::keyvalue::atomics::{self, Cas, CasError};
use bindings::wasi::keyvalue::{batch, store};
use faces::{Asked, Outcome, text};
use serde_json::{Value, json};
use wstd::http::{Body, Error, Request, Response};

mod bindings {
    wit_bindgen::generate!({
        inline: "package guests:draft2; world draft2 { import wasi:keyvalue/store@0.2.0-draft2; import wasi:keyvalue/atomics@0.2.0-draft2; import wasi:keyvalue/batch@0.2.0-draft2; }",
        path: "../../../../wit/deps/keyvalue-0.2.0-draft2",
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
            .and_then(|store| atomics::increment(&store, key, asked.delta))
            .map(|sum| json!(sum)),
        "swap" => swap(&asked).map(|swapped| json!(swapped)),
        "outrun" => outrun(&asked),
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
        let page = store.list_keys(cursor.as_deref())?;
        keys.extend(page.keys);
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(keys);
        }
    }
}

fn swap(asked: &Asked) -> Result<bool, store::Error> {
    let cas = Cas::new(&store::open(&asked.store)?, &asked.key)?;
    if cas.current()? != asked.expected {
        return Ok(false);
    }
    match atomics::swap(cas, &asked.value) {
        Ok(()) => Ok(true),
        Err(CasError::CasFailed(_)) => Ok(false),
        Err(CasError::StoreError(error)) => Err(error),
    }
}

/// Sets a key between looking at it and swapping it, and swaps what that conflict gives.
fn outrun(asked: &Asked) -> Result<Value, store::Error> {
    let store = store::open(&asked.store)?;
    let cas = Cas::new(&store, &asked.key)?;
    store.set(&asked.key, b"outrun")?;
    let met = match atomics::swap(cas, &asked.value) {
        Err(CasError::CasFailed(met)) => met,
        Err(CasError::StoreError(error)) => return Err(error),
        Ok(()) => return Ok(json!("it was swapped")),
    };
    let found = text(met.current()?);
    Ok(match atomics::swap(met, &asked.value) {
        Ok(()) => json!([found, true]),
        Err(error) => json!([found, format!("{error:?}")]),
    })
}

/// The values of `keys`, in their order.
fn found_of(keys: &[String], found: Vec<(String, Option<Vec<u8>>)>) -> Value {
    let value = |(key, (found, value)): (&String, (String, Option<Vec<u8>>))| {
        text(value.filter(|_| found == *key))
    };
    keys.iter().zip(found).map(value).collect()
}

/// The last key of the first page and the first of the second, asked for in a store opened anew.
fn resume(asked: &Asked) -> Result<Value, store::Error> {
    let first = store::open(&asked.store)?.list_keys(None)?;
    let second = store::open(&asked.store)?.list_keys(first.cursor.as_deref())?;
    Ok(json!([first.keys.last(), second.keys.first()]))
}
