//! Does to `wasi:keyvalue` what the query says, with whatever bucket and key it names: `op` is
//! `get`, `set`, `delete`, `exists`, `increment`, `list`, `get-many`, `set-many` or `delete-many`.
//! Errors of the store are answered by 500 with their text.

use canopy_sdk::kv::{Bucket, Error};
use canopy_sdk::{IntoResponse, Json, Query, Response, Router, StatusCode, any};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Probe {
    op: String,
    #[serde(default = "default_bucket")]
    bucket: String,
    #[serde(default)]
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default = "one")]
    delta: u64,
}

fn default_bucket() -> String {
    "default".to_owned()
}

fn one() -> u64 {
    1
}

#[canopy_sdk::app]
fn app() -> Router {
    Router::new().route("/", any(probe))
}

fn probe(Query(probe): Query<Probe>, body: String) -> Response {
    match run(&probe, body) {
        Ok(Some(value)) => Json(value).into_response(),
        Ok(None) => (StatusCode::BAD_REQUEST, "no such op").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// A value that comes as the body may be longer than a query string.
fn run(probe: &Probe, body: String) -> Result<Option<Value>, Error> {
    let bucket = Bucket::open(&probe.bucket)?;
    let value = if body.is_empty() {
        probe.value.clone()
    } else {
        body
    };
    let keys: Vec<String> = probe.key.split(',').map(str::to_owned).collect();
    Ok(Some(match probe.op.as_str() {
        "get" => json!(bucket.get_bytes(&probe.key)?.map(text)),
        "set" => json!(bucket.set_bytes(&probe.key, value.as_bytes())?),
        "delete" => json!(bucket.delete(&probe.key)?),
        "exists" => json!(bucket.exists(&probe.key)?),
        "increment" => json!(bucket.increment(&probe.key, probe.delta)?),
        "list" => json!(bucket.keys_with_prefix(&probe.key)?),
        "get-many" => json!(bucket.get_many::<Value>(&keys)?),
        "set-many" => {
            let pairs: Vec<(String, &str)> =
                keys.into_iter().map(|key| (key, value.as_str())).collect();
            json!(bucket.set_many(&pairs)?)
        }
        "delete-many" => json!(bucket.delete_many(&keys)?),
        _ => return Ok(None),
    }))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
