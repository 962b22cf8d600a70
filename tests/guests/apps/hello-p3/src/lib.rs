//! Answers by WASI 0.3, made with `wasip3` alone: a component that the SDK had no part in.

use wasip3::http::types::{ErrorCode, Request, Response};
use wasip3::http_compat::{http_from_wasi_request, http_into_wasi_response};

wasip3::http::service::export!(Component);

struct Component;

impl wasip3::exports::http::handler::Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let request = http_from_wasi_request(request)?;
        let text = format!("hello from WASI 0.3, {}\n", request.uri().path());
        http_into_wasi_response(http::Response::new(text))
    }
}
