//! Sends the body of `/send?topic=` as a message, with `&delay=` held back, with `&by=wasmcloud` by
//! `wasmcloud:messaging`, with `&by=request` as a question whose answer it tells, if it comes within
//! `&within=` milliseconds; answers `questions`; writes down what it gets, listed by `/got`. A message
//! that says `twice` it takes at the third attempt, one that says `broken` not before `/mend` was called,
//! and for one that says `sleep MS` it takes so long; `/begun` tells how many of those it has begun with.

use std::time::Duration;

use canopy_sdk::identity;
use canopy_sdk::kv::{Bucket, Error};
use canopy_sdk::messages::{Delivery, Message};
use canopy_sdk::{HeaderMap, Json, Query, Router, StatusCode, any, get};
use serde::Deserialize;
use serde_json::{Value, json};
use wit::wasmcloud::messaging::consumer;

canopy_sdk::import!(
    wit: "wasmcloud:messaging/consumer@0.2.0",
    wit = ["../../../../wit/deps/wasmcloud-messaging-0.2.0"]
);

#[derive(Deserialize)]
struct Send {
    topic: String,
    delay: Option<u64>,
    by: Option<String>,
    within: Option<u32>,
}

#[canopy_sdk::app]
fn app() -> Router {
    Router::new()
        .route("/send", any(send))
        .route("/got", get(got))
        .route("/mend", any(mend))
        .route("/begun", get(begun))
        .route("/on/orders", any(take))
        .route("/on/events", any(take))
        .route("/on/questions", any(reply))
}

/// Answers a question, unless it asks for silence.
fn reply(question: Delivery<String>) -> Result<StatusCode, StatusCode> {
    let body = question.body;
    let name = identity::installation().map(|own| own.name);
    if let Some(to) = question.reply_to.filter(|_| body != "silence") {
        let answer = Message::new(format!("{body}? says {}", name.unwrap_or_default()));
        let sent = answer.publish(&to);
        sent.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    }
    Ok(StatusCode::NO_CONTENT)
}

fn send(Query(send): Query<Send>, body: String) -> (StatusCode, String) {
    let outcome = match send.by.as_deref() {
        Some("request") => {
            let within = send.within.unwrap_or(5_000);
            return match consumer::request(&send.topic, body.as_bytes(), within) {
                Ok(answer) => {
                    let text = String::from_utf8_lossy(&answer.body).into_owned();
                    (StatusCode::OK, text)
                }
                Err(error) => (StatusCode::CONFLICT, error),
            };
        }
        Some(_) => consumer::publish(&consumer::BrokerMessage {
            subject: send.topic,
            body: body.into_bytes(),
            reply_to: Some("answers".into()),
        })
        .map(|()| 1),
        None => {
            let mut message = Message::new(body).content_type("text/plain");
            if let Some(delay) = send.delay {
                message = message.delay(Duration::from_millis(delay));
            }
            let sent = message.publish(&send.topic);
            sent.map_err(|error| format!("{error:?}"))
        }
    };
    match outcome {
        Ok(subscribers) => (StatusCode::ACCEPTED, subscribers.to_string()),
        Err(error) => (StatusCode::CONFLICT, error),
    }
}

fn failed(_: Error) -> StatusCode {
    StatusCode::INTERNAL_SERVER_ERROR
}

fn mend() -> Result<StatusCode, StatusCode> {
    let bucket = Bucket::open("default").map_err(failed)?;
    bucket.set("mended", &true).map_err(failed)?;
    Ok(StatusCode::OK)
}

fn take(headers: HeaderMap, delivery: Delivery<String>) -> Result<StatusCode, StatusCode> {
    let kind = headers.get("content-type");
    let kind = kind.and_then(|value| value.to_str().ok());
    let bucket = Bucket::open("default").map_err(failed)?;
    match delivery.body.as_str() {
        "twice" if delivery.attempt < 3 => return Err(StatusCode::SERVICE_UNAVAILABLE),
        "broken" if !bucket.exists("mended").map_err(failed)? => panic!("on purpose"),
        _ => {}
    }
    if let Some(ms) = delivery.body.strip_prefix("sleep ") {
        let ms = ms.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
        let key = format!("begun/{}", delivery.id);
        bucket.set(&key, &true).map_err(failed)?;
        std::thread::sleep(Duration::from_millis(ms));
    }
    let number = bucket.increment("count", 1).map_err(failed)?;
    let caller = identity::caller();
    let got = json!({
        "body": delivery.body,
        "topic": delivery.topic,
        "message": delivery.id,
        "attempt": delivery.attempt.to_string(),
        "sender": delivery.sender,
        "reply_to": delivery.reply_to.unwrap_or_default(),
        "type": kind.unwrap_or_default(),
        "caller": caller.subject,
    });
    let key = format!("got/{number:06}");
    bucket.set(&key, &got).map_err(failed)?;
    Ok(StatusCode::NO_CONTENT)
}

fn begun() -> Result<String, StatusCode> {
    let bucket = Bucket::open("default").map_err(failed)?;
    let begun = bucket.keys_with_prefix("begun/").map_err(failed)?;
    Ok(begun.len().to_string())
}

fn got() -> Result<Json<Vec<Value>>, StatusCode> {
    let bucket = Bucket::open("default").map_err(failed)?;
    let mut got = Vec::new();
    for key in bucket.keys_with_prefix("got/").map_err(failed)? {
        got.extend(bucket.get::<Value>(&key).map_err(failed)?);
    }
    Ok(Json(got))
}
