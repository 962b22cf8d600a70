//! Objects by `wasi:blobstore@0.2.0-draft`, made from its published WIT by `wit-bindgen` and `wstd`.
//! `put` takes the request's body and `get` gives the bytes as they come, both as streams; `whole`
//! gives them in one piece.

use std::pin::Pin;
use std::task::{Context, Poll};

use bindings::wasi::blobstore::blobstore;
use bindings::wasi::blobstore::types::{IncomingValue, ObjectId, OutgoingValue};
use bindings::wasi::io::streams::{InputStream, OutputStream, StreamError};
use faces::{Asked, Outcome, text};
use serde_json::{Value, json};
use wstd::http::body::util::BodyExt;
use wstd::http::body::{Bytes, Frame, HttpBody};
use wstd::http::{Body, Error, Request, Response};

mod bindings {
    wit_bindgen::generate!({
        path: ["../../../../wit/deps/io-0.2.2", "../../../../wit/deps/blobstore-0.2.0-draft"],
        world: "wasi:blobstore/imports",
        generate_all,
    });
}

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let asked = Asked::read(&request.uri().to_string());
    let outcome = match asked.op.as_str() {
        "put" => Some(put(&asked, request.into_body()).await),
        "get" => match get(&asked) {
            Ok(bytes) => return Ok(Response::new(Body::from_http_body(bytes))),
            Err(error) => Some(Err(error)),
        },
        _ => run(&asked),
    };
    let (status, text) = faces::answer(outcome);
    Ok(Response::builder().status(status).body(text.into())?)
}

fn run(asked: &Asked) -> Outcome<String> {
    let Asked { store, key, .. } = asked;
    let container = || blobstore::get_container(store);
    Some(match asked.op.as_str() {
        "create" => blobstore::create_container(store).and_then(|made| Ok(json!(made.name()?))),
        "drop" => blobstore::delete_container(store).map(|()| json!(null)),
        "contained" => blobstore::container_exists(store).map(|exists| json!(exists)),
        "container" => container()
            .and_then(|container| container.info())
            .map(|info| json!({ "name": info.name, "created": info.created_at })),
        "whole" => container()
            .and_then(|container| container.get_data(key, asked.from, asked.to))
            .and_then(IncomingValue::incoming_value_consume_sync)
            .map(|bytes| text(Some(bytes))),
        "size" => container()
            .and_then(|container| container.get_data(key, asked.from, asked.to))
            .map(|value| json!(value.size())),
        "held" => held(asked),
        "object" => container()
            .and_then(|container| container.object_info(key))
            .map(|info| {
                json!({
                    "name": info.name,
                    "container": info.container,
                    "created": info.created_at,
                    "size": info.size,
                })
            }),
        "has" => container()
            .and_then(|container| container.has_object(key))
            .map(|has| json!(has)),
        "delete" => container()
            .and_then(|container| container.delete_object(key))
            .map(|()| json!(null)),
        "delete-many" => container()
            .and_then(|container| container.delete_objects(&asked.names()))
            .map(|()| json!(null)),
        "clear" => container()
            .and_then(|container| container.clear())
            .map(|()| json!(null)),
        "list" => list(asked),
        "copy" => blobstore::copy_object(&source(asked), &target(asked)).map(|()| json!(null)),
        "move" => blobstore::move_object(&source(asked), &target(asked)).map(|()| json!(null)),
        "unfinished" => unfinished(asked),
        "twice" => twice(asked),
        "early" => early(asked),
        _ => return None,
    })
}

fn source(asked: &Asked) -> ObjectId {
    ObjectId {
        container: asked.store.clone(),
        object: asked.key.clone(),
    }
}

fn target(asked: &Asked) -> ObjectId {
    ObjectId {
        container: asked.other.clone(),
        object: asked.text(),
    }
}

fn begin(asked: &Asked) -> Result<(OutgoingValue, OutputStream), String> {
    let value = OutgoingValue::new_outgoing_value();
    let stream = value
        .outgoing_value_write_body()
        .map_err(|()| "no stream")?;
    blobstore::get_container(&asked.store)?.write_data(&asked.key, &value)?;
    Ok((value, stream))
}

async fn put(asked: &Asked, body: Body) -> Result<Value, String> {
    let (value, stream) = begin(asked)?;
    let mut body = body.into_boxed_body();
    'all: while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        let bytes = frame.into_data().unwrap_or_default();
        for part in bytes.chunks(4096) {
            if stream.blocking_write_and_flush(part).is_err() {
                // `finish` says why.
                break 'all;
            }
        }
    }
    drop(stream);
    OutgoingValue::finish(value)?;
    let info = blobstore::get_container(&asked.store)?.object_info(&asked.key)?;
    Ok(json!(info.size))
}

/// Writes half of an object and ends.
fn unfinished(asked: &Asked) -> Result<Value, String> {
    let (_value, stream) = begin(asked)?;
    stream
        .blocking_write_and_flush(b"half of it")
        .map_err(|error| error.to_string())?;
    Ok(json!(null))
}

/// Asks for the stream of a value, and where it goes, a second time.
fn twice(asked: &Asked) -> Result<Value, String> {
    let (value, stream) = begin(asked)?;
    let second = value.outgoing_value_write_body().is_err();
    let elsewhere = blobstore::get_container(&asked.store)?.write_data("elsewhere", &value);
    drop(stream);
    OutgoingValue::finish(value)?;
    Ok(json!([second, elsewhere.is_err()]))
}

/// Writes before it says where to, and never says it in a second value.
fn early(asked: &Asked) -> Result<Value, String> {
    let value = OutgoingValue::new_outgoing_value();
    let stream = value
        .outgoing_value_write_body()
        .map_err(|()| "no stream")?;
    stream
        .blocking_write_and_flush(&asked.value)
        .map_err(|error| error.to_string())?;
    drop(stream);
    blobstore::get_container(&asked.store)?.write_data(&asked.key, &value)?;
    OutgoingValue::finish(value)?;
    let nowhere = OutgoingValue::finish(OutgoingValue::new_outgoing_value());
    Ok(json!(nowhere.is_err()))
}

/// Reads an object that is deleted and put again meanwhile.
fn held(asked: &Asked) -> Result<Value, String> {
    let container = blobstore::get_container(&asked.store)?;
    let value = container.get_data(&asked.key, 0, u64::MAX)?;
    container.delete_object(&asked.key)?;
    let bytes = IncomingValue::incoming_value_consume_sync(value)?;
    Ok(text(Some(bytes)))
}

fn list(asked: &Asked) -> Result<Value, String> {
    let names = blobstore::get_container(&asked.store)?.list_objects()?;
    let (skipped, _) = names.skip_stream_object_names(asked.from)?;
    let mut pages = Vec::new();
    loop {
        let (page, ended) = names.read_stream_object_names(asked.delta.unsigned_abs())?;
        pages.push(page);
        if ended {
            return Ok(json!({ "skipped": skipped, "pages": pages }));
        }
    }
}

fn get(asked: &Asked) -> Result<Reading, String> {
    let container = blobstore::get_container(&asked.store)?;
    let value = container.get_data(&asked.key, asked.from, asked.to)?;
    Ok(Reading(IncomingValue::incoming_value_consume_async(value)?))
}

/// An object's bytes as a body, read as they are taken.
struct Reading(InputStream);

impl HttpBody for Reading {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Poll::Ready(match self.0.blocking_read(64 << 10) {
            Ok(bytes) => Some(Ok(Frame::data(bytes.into()))),
            Err(StreamError::Closed) => None,
            Err(error) => Some(Err(Error::msg(error.to_string()))),
        })
    }
}
