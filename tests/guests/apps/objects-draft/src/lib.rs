//! Objects by `wasi:blobstore@0.2.0-draft`: takes and gives `/o/{name}` in the container `box` by its
//! streams, gives `/whole/{name}` in one piece, and lists the container at `/list`.

use std::io::Read;

use bindings::wasi::blobstore::blobstore::{create_container, get_container};
use bindings::wasi::blobstore::types::{IncomingValue, OutgoingValue};
use bindings::wasi::io::streams::{InputStream, StreamError};
use canopy_sdk::{Body, IntoResponse, Path, Response, Router, StatusCode, get, put};

mod bindings {
    wit_bindgen::generate!({
        path: ["../../../../wit/deps/io-0.2.2", "../../../../wit/deps/blobstore-0.2.0-draft"],
        world: "wasi:blobstore/imports",
        generate_all,
    });
}

#[canopy_sdk::app]
fn app() -> Router {
    Router::new()
        .route(
            "/o/{name}",
            put(|path: Path<String>, body: Body| answer(take(&path.0, body)))
                .get(|path: Path<String>| answer(give(&path.0)))
                .delete(|path: Path<String>| answer(remove(&path.0))),
        )
        .route(
            "/whole/{name}",
            get(|path: Path<String>| answer(whole(&path.0))),
        )
        .route(
            "/unfinished/{name}",
            put(|path: Path<String>| answer(unfinished(&path.0))),
        )
        .route("/list", get(|| answer(list())))
}

fn answer<T: IntoResponse>(result: Result<T, String>) -> Response {
    match result {
        Ok(answer) => answer.into_response(),
        Err(text) if text.contains("no such") => (StatusCode::NOT_FOUND, text).into_response(),
        Err(text) => (StatusCode::INTERNAL_SERVER_ERROR, text).into_response(),
    }
}

fn take(name: &str, mut body: Body) -> Result<String, String> {
    let container = create_container("box")?;
    let value = OutgoingValue::new_outgoing_value();
    let stream = value
        .outgoing_value_write_body()
        .map_err(|()| "no stream")?;
    container.write_data(name, &value)?;
    let mut piece = vec![0; 64 << 10];
    loop {
        let length = body.read(&mut piece).map_err(|error| error.to_string())?;
        if length == 0 {
            break;
        }
        for part in piece[..length].chunks(4096) {
            stream
                .blocking_write_and_flush(part)
                .map_err(|error| error.to_string())?;
        }
    }
    drop(stream);
    OutgoingValue::finish(value)?;
    Ok(container.object_info(name)?.size.to_string())
}

fn unfinished(name: &str) -> Result<String, String> {
    let container = create_container("box")?;
    let value = OutgoingValue::new_outgoing_value();
    let stream = value
        .outgoing_value_write_body()
        .map_err(|()| "no stream")?;
    container.write_data(name, &value)?;
    stream
        .blocking_write_and_flush(b"half of it")
        .map_err(|error| error.to_string())?;
    Ok("left".to_owned())
}

fn data(name: &str) -> Result<IncomingValue, String> {
    get_container("box")?.get_data(name, 0, u64::MAX)
}

fn give(name: &str) -> Result<Body, String> {
    let stream = IncomingValue::incoming_value_consume_async(data(name)?)?;
    Ok(Body::from_reader(Stream(stream)))
}

struct Stream(InputStream);

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.blocking_read(buffer.len() as u64) {
            Ok(bytes) => {
                buffer[..bytes.len()].copy_from_slice(&bytes);
                Ok(bytes.len())
            }
            Err(StreamError::Closed) => Ok(0),
            Err(error) => Err(std::io::Error::other(error.to_string())),
        }
    }
}

fn whole(name: &str) -> Result<Vec<u8>, String> {
    IncomingValue::incoming_value_consume_sync(data(name)?)
}

fn remove(name: &str) -> Result<String, String> {
    get_container("box")?.delete_object(name)?;
    Ok("true".to_owned())
}

fn list() -> Result<String, String> {
    let names = get_container("box")?.list_objects()?;
    let mut lines = String::new();
    loop {
        let (page, ended) = names.read_stream_object_names(2)?;
        for name in page {
            lines += &format!("{name}\n");
        }
        if ended {
            return Ok(lines);
        }
    }
}
