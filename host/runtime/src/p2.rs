//! Calling a WASI 0.2 `wasi:http/incoming-handler` component.

use http::Request;
use http::uri::Scheme;
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::Proxy;
use wasmtime_wasi_http::p2::bindings::http::types;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::body::RequestBody;
use crate::guest::GuestState;

/// What a guest answers: a response, or an error code in place of one.
pub(crate) type Answer = Result<http::Response<HyperOutgoingBody>, types::ErrorCode>;

/// Runs the guest to its end. Its response goes to `answer` as soon as it is set.
pub(crate) async fn run(
    store: &mut Store<GuestState>,
    proxy: &Proxy,
    request: Request<RequestBody>,
    answer: oneshot::Sender<Answer>,
) -> wasmtime::Result<()> {
    let scheme = match request.uri().scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => types::Scheme::Https,
        _ => types::Scheme::Http,
    };
    let request = request.map(|body| body.map_err(wasmtime_wasi_http::Error::from));
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(scheme, request)?;
    let outparam = http.new_response_outparam(answer)?;
    proxy
        .wasi_http_incoming_handler()
        .call_handle(store, request, outparam)
        .await
}
