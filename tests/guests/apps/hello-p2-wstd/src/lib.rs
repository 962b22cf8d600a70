//! Answers by WASI 0.2, made with `wstd` alone: a component that the SDK had no part in.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use wstd::http::{Body, Error, Request, Response};

/// Requests that this instance has answered; more than one only where the package asks for reuse.
static COUNT: AtomicU32 = AtomicU32::new(0);

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let count = COUNT.fetch_add(1, Relaxed) + 1;
    if request.uri().path() == "/count" {
        return Ok(Response::new(count.to_string().into()));
    }
    let text = format!("hello from WASI 0.2, {}\n", request.uri().path());
    Ok(Response::new(text.into()))
}
