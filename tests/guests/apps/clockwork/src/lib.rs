//! Writes down each scheduled call that it gets; `/calls` lists them. `/done` is done at once,
//! `/third-time` at the third attempt, `/trap` never, and `/slow` in a second.

use std::time::Duration;

use canopy_sdk::identity::{self, CallerKind};
use canopy_sdk::kv::{Bucket, Error};
use canopy_sdk::{HeaderMap, Json, Method, Router, StatusCode, any, get};
use serde_json::{Value, json};

#[canopy_sdk::app]
fn app() -> Router {
    Router::new()
        .route("/calls", get(calls))
        .route("/done", any(done))
        .route("/third-time", any(third_time))
        .route("/trap", any(trap))
        .route("/slow", any(slow))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

fn write_down(method: &Method, headers: &HeaderMap) -> Result<(), StatusCode> {
    let caller = identity::caller();
    let call = json!({
        "schedule": header(headers, "canopy-schedule"),
        "scheduled_at": header(headers, "canopy-scheduled-at"),
        "run": header(headers, "canopy-run"),
        "attempt": header(headers, "canopy-attempt"),
        "method": method.as_str(),
        "by_schedule": caller.kind == CallerKind::Schedule,
        "subject": caller.subject,
    });
    let key = format!(
        "{}/{}",
        header(headers, "canopy-run"),
        header(headers, "canopy-attempt")
    );
    let written = Bucket::open("default").and_then(|calls| calls.set(&key, &call));
    written.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

fn calls() -> Result<Json<Vec<Value>>, StatusCode> {
    read()
        .map(Json)
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

fn read() -> Result<Vec<Value>, Error> {
    let bucket = Bucket::open("default")?;
    let mut calls = Vec::new();
    for key in bucket.keys_with_prefix("")? {
        calls.extend(bucket.get::<Value>(&key)?);
    }
    Ok(calls)
}

fn done(method: Method, headers: HeaderMap) -> Result<StatusCode, StatusCode> {
    write_down(&method, &headers).map(|()| StatusCode::NO_CONTENT)
}

fn third_time(method: Method, headers: HeaderMap) -> Result<StatusCode, StatusCode> {
    write_down(&method, &headers)?;
    match header(&headers, "canopy-attempt") {
        "1" | "2" => Err(StatusCode::SERVICE_UNAVAILABLE),
        _ => Ok(StatusCode::OK),
    }
}

fn trap(method: Method, headers: HeaderMap) -> StatusCode {
    let written = write_down(&method, &headers);
    panic!("this guest gives up on purpose: {written:?}");
}

fn slow(method: Method, headers: HeaderMap) -> Result<StatusCode, StatusCode> {
    write_down(&method, &headers)?;
    std::thread::sleep(Duration::from_secs(1));
    Ok(StatusCode::OK)
}
