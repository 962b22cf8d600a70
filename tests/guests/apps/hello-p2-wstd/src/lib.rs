//! Answers by WASI 0.2, made with `wstd` alone: a component that the SDK had no part in.

use wstd::http::{Body, Error, Request, Response};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let text = format!("hello from WASI 0.2, {}\n", request.uri().path());
    Ok(Response::new(text.into()))
}
