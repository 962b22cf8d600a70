//! Requests of `wasi:http` 0.2 that are handed over, with their options: wasmtime only reads these and
//! keeps them, so that an instance which sends many requests would run out of handles.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host as _;
use wasmtime_wasi_http::p2::bindings::http::types::{
    ErrorCode, FutureIncomingResponse, Host as _, OutgoingRequest, RequestOptions,
};

type Begun = Result<Resource<FutureIncomingResponse>, ErrorCode>;

/// Replaces the function that hands requests over in `linker`.
pub(crate) fn end_options<T: WasiHttpView + 'static>(
    linker: &mut Linker<T>,
) -> wasmtime::Result<()> {
    linker
        .instance("wasi:http/outgoing-handler@0.2.12")?
        .func_wrap(
            "handle",
            |mut store: StoreContextMut<'_, T>,
             (request, options): (
                Resource<OutgoingRequest>,
                Option<Resource<RequestOptions>>,
            )| {
                let mut http = store.data_mut().http();
                let handed_over = options
                    .as_ref()
                    .map(|options| Resource::<RequestOptions>::new_own(options.rep()));
                let begun = http.handle(request, options);
                if let Some(options) = handed_over {
                    http.table.delete(options)?;
                }
                let begun = match begun {
                    Ok(response) => Ok(response),
                    Err(error) => Err(http.convert_error_code(error)?),
                };
                Ok::<(Begun,), _>((begun,))
            },
        )
}
