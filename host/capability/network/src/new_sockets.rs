//! Making sockets, counted: a socket is a file descriptor of the node, which all tenants share.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets as p2;
use wasmtime_wasi::p3::bindings::sockets::types as p3;
use wasmtime_wasi::sockets::WasiSocketsView;

use crate::ctx::NetworkView;

type P2<T> = (Result<Resource<T>, p2::network::ErrorCode>,);
type P3<T> = (Result<Resource<T>, p3::ErrorCode>,);

/// Replaces the functions that make sockets of 0.2 in `linker`.
pub(crate) fn limit_p2<T: WasiSocketsView + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> NetworkView<'_>,
) -> wasmtime::Result<()> {
    use p2::network::{ErrorCode, Host as _, IpAddressFamily};
    use p2::{tcp_create_socket::Host as _, udp_create_socket::Host as _};

    linker
        .instance("wasi:sockets/tcp-create-socket@0.2.12")?
        .func_wrap(
            "create-tcp-socket",
            move |mut store: StoreContextMut<'_, T>, (family,): (IpAddressFamily,)| {
                if !view(store.data_mut()).ctx.outlet.count() {
                    return Ok::<P2<_>, _>((Err(ErrorCode::NewSocketLimit),));
                }
                let mut sockets = store.data_mut().sockets();
                Ok((match sockets.create_tcp_socket(family) {
                    Ok(socket) => Ok(socket),
                    Err(error) => Err(sockets.convert_error_code(error)?),
                },))
            },
        )?;
    linker
        .instance("wasi:sockets/udp-create-socket@0.2.12")?
        .func_wrap_async(
            "create-udp-socket",
            move |mut store: StoreContextMut<'_, T>, (family,): (IpAddressFamily,)| {
                Box::new(async move {
                    if !view(store.data_mut()).ctx.outlet.count() {
                        return Ok::<P2<_>, _>((Err(ErrorCode::NewSocketLimit),));
                    }
                    let mut sockets = store.data_mut().sockets();
                    Ok((match sockets.create_udp_socket(family).await {
                        Ok(socket) => Ok(socket),
                        Err(error) => Err(sockets.convert_error_code(error)?),
                    },))
                })
            },
        )
}

/// Replaces the functions that make sockets of 0.3 in `linker`.
pub(crate) fn limit_p3<T: WasiSocketsView + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> NetworkView<'_>,
) -> wasmtime::Result<()> {
    use p3::{ErrorCode, Host as _, IpAddressFamily};

    fn too_many() -> ErrorCode {
        ErrorCode::Other(Some("this call has made as many sockets as it may".into()))
    }

    let mut types = linker.instance("wasi:sockets/types@0.3.0")?;
    types.func_wrap(
        "[static]tcp-socket.create",
        move |mut store: StoreContextMut<'_, T>, (family,): (IpAddressFamily,)| {
            if !view(store.data_mut()).ctx.outlet.count() {
                return Ok::<P3<_>, _>((Err(too_many()),));
            }
            let mut sockets = store.data_mut().sockets();
            Ok((match p3::HostTcpSocket::create(&mut sockets, family) {
                Ok(socket) => Ok(socket),
                Err(error) => Err(sockets.convert_error_code(error)?),
            },))
        },
    )?;
    types.func_wrap_async(
        "[static]udp-socket.create",
        move |mut store: StoreContextMut<'_, T>, (family,): (IpAddressFamily,)| {
            Box::new(async move {
                if !view(store.data_mut()).ctx.outlet.count() {
                    return Ok::<P3<_>, _>((Err(too_many()),));
                }
                let mut sockets = store.data_mut().sockets();
                Ok((
                    match p3::HostUdpSocket::create(&mut sockets, family).await {
                        Ok(socket) => Ok(socket),
                        Err(error) => Err(sockets.convert_error_code(error)?),
                    },
                ))
            })
        },
    )
}
