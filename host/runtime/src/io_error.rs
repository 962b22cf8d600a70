//! What a guest is told of a stream that failed.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::IoError;

use crate::guest::GuestState;

/// Has an error of `wasi:io` 0.2 tell what happened and why, and not where in the platform: wasmtime's own
/// function adds a backtrace of the node where the node takes any.
pub(crate) fn tell_reasons(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker.instance("wasi:io/error@0.2.12")?.func_wrap(
        "[method]error.to-debug-string",
        |mut store: StoreContextMut<'_, GuestState>, (error,): (Resource<IoError>,)| {
            let error = store.data_mut().ctx().table.get(&error)?;
            Ok((format!("{error:#}"),))
        },
    )
}
