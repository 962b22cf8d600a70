//! Uses `wasi:keyvalue@0.2.0-draft2`, the draft that other platforms' components import: counts at
//! `/count/{key}` by compare-and-swap, and lists the keys at `/keys`.

use canopy_sdk::{IntoResponse, Json, Path, Response, Router, StatusCode, any};
use kv::wasi::keyvalue::atomics::{Cas, CasError, swap};
use kv::wasi::keyvalue::store::{self, Bucket, Error};

canopy_sdk::import!(
    kv: "wasi:keyvalue/store@0.2.0-draft2", "wasi:keyvalue/atomics@0.2.0-draft2",
    wit = ["../../../../wit/deps/keyvalue-0.2.0-draft2"]
);

#[canopy_sdk::app]
fn app() -> Router {
    Router::new()
        .route(
            "/count/{key}",
            any(|Path(key): Path<String>| answer(count(&key))),
        )
        .route("/keys", any(|| answer(keys())))
}

fn count(key: &str) -> Result<u64, Error> {
    let bucket = store::open("default")?;
    let mut cas = Cas::new(&bucket, key)?;
    loop {
        let before = cas
            .current()?
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let count = before.and_then(|text| text.parse().ok()).unwrap_or(0_u64) + 1;
        match swap(cas, count.to_string().as_bytes()) {
            Ok(()) => return Ok(count),
            Err(CasError::CasFailed(current)) => cas = current,
            Err(CasError::StoreError(error)) => return Err(error),
        }
    }
}

fn keys() -> Result<Vec<String>, Error> {
    let bucket: Bucket = store::open("default")?;
    let (mut keys, mut cursor) = (Vec::new(), None);
    loop {
        let page = bucket.list_keys(cursor.as_deref())?;
        keys.extend(page.keys);
        match page.cursor {
            Some(next) => cursor = Some(next),
            None => return Ok(keys),
        }
    }
}

fn answer(outcome: Result<impl serde::Serialize, Error>) -> Response {
    match outcome {
        Ok(value) => Json(value).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:?}")).into_response(),
    }
}
