//! Calling a WASI 0.3 `wasi:http/handler` component.

use std::future::poll_fn;

use http::Request;
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime_wasi_http::p3::bindings::Service;
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{WasiBody, WasiHttpView};

use crate::body::RequestBody;
use crate::guest::GuestState;

/// What a guest answers: a response, or an error code in place of one.
pub(crate) type Answer = Result<http::Response<WasiBody>, ErrorCode>;

/// Runs the guest until it has returned, all its tasks have ended, and the body of its response is
/// read or dropped (`body_done` resolves). The response goes to `answer` before.
pub(crate) async fn run(
    store: &mut Store<GuestState>,
    service: &Service,
    request: Request<RequestBody>,
    answer: oneshot::Sender<Answer>,
    body_done: oneshot::Receiver<()>,
) -> wasmtime::Result<()> {
    let request = request.map(|body| body.map_err(wasmtime_wasi_http::Error::from));
    let (request, transmitted) = {
        let hooks = store.data_mut().http().hooks;
        wasmtime_wasi_http::p3::Request::from_http(hooks, request)
    };
    store
        .run_concurrent(async |accessor| -> wasmtime::Result<()> {
            match service.handle(accessor, request).await? {
                Ok(response) => {
                    let response =
                        accessor.with(|mut store| response.into_http(&mut store, transmitted))?;
                    let _ = answer.send(Ok(response));
                }
                Err(code) => {
                    let _ = answer.send(Err(code));
                }
            }
            // Whoever reads the body may depend on tasks of the host in this store.
            let _ = body_done.await;
            poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
            Ok(())
        })
        .await?
}
