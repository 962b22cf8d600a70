//! What `tests/bench` asks for beside a greeting: `/bytes?n=` answers with so many bytes, `/kv` with
//! JSON after reading a key, writing it and reading it again, `/get?n=` reads a key so many times, and
//! `/set?n=&writer=` writes so many keys of one writer.

use canopy_sdk::kv::{Bucket, Error};
use canopy_sdk::{IntoResponse, Json, Query, Response, Router, StatusCode, get};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Size {
    n: usize,
}

#[canopy_sdk::app]
fn app() -> Router {
    Router::new()
        .route("/bytes", get(bytes))
        .route("/kv", get(kv))
        .route("/get", get(gets))
        .route("/set", get(sets))
}

fn bytes(Query(size): Query<Size>) -> Response {
    vec![b'x'; size.n].into_response()
}

#[derive(Deserialize)]
struct Work {
    n: u32,
    #[serde(default)]
    writer: u32,
}

fn gets(Query(work): Query<Work>) -> Response {
    done((|| {
        let bucket = Bucket::open("default")?;
        for _ in 0..work.n {
            bucket.get_bytes("0/0")?;
        }
        Ok(())
    })())
}

fn sets(Query(work): Query<Work>) -> Response {
    done((|| {
        let bucket = Bucket::open("default")?;
        for number in 0..work.n {
            bucket.set_bytes(&format!("{}/{number}", work.writer), b"0123456789abcdef")?;
        }
        Ok(())
    })())
}

fn done(outcome: Result<(), Error>) -> Response {
    match outcome {
        Ok(()) => "done".into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn kv() -> Response {
    match three_operations() {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn three_operations() -> Result<Value, Error> {
    let bucket = Bucket::open("default")?;
    let before = bucket.get_bytes("visits")?;
    bucket.set_bytes("visits", b"0123456789abcdef")?;
    let after = bucket.get_bytes("visits")?;
    Ok(
        json!({ "before": before.map(|value| value.len()), "after": after.map(|value| value.len()) }),
    )
}
