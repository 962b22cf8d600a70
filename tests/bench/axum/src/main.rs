//! Answers with a greeting, or with the request's body at `/echo`: what a server costs that runs no
//! guests. `bench-axum ADDRESS`.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::{get, post};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("usage: bench-axum ADDRESS")?;
    let app = Router::new()
        .route("/", get(async || "Hello, world!\n"))
        .route("/bytes", get(async || vec![b'x'; 100 << 10]))
        .route(
            "/echo",
            post(async |request: Request| Body::from_stream(request.into_body().into_data_stream())),
        );
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, app).await?;
    Ok(())
}
