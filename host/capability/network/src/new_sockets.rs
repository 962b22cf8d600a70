//! Making sockets, counted: a socket is a file descriptor of the node, which all tenants share. What
//! a connected one carries is counted too, for its tenant.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets as p2;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};
use wasmtime_wasi::p3::bindings::sockets::types as p3;
use wasmtime_wasi::sockets::WasiSocketsView;

use crate::ctx::NetworkView;
use crate::metered::{MeteredInput, MeteredOutput};

type P2<T> = (Result<Resource<T>, p2::network::ErrorCode>,);
type Connected =
    Result<(Resource<DynInputStream>, Resource<DynOutputStream>), p2::network::ErrorCode>;
type P3<T> = (Result<Resource<T>, p3::ErrorCode>,);

/// Replaces the functions that make sockets of 0.2 in `linker`.
pub(crate) fn limit_p2<T: WasiSocketsView + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> NetworkView<'_>,
) -> wasmtime::Result<()> {
    use p2::network::{ErrorCode, Host as _, IpAddressFamily};
    use p2::tcp::{HostTcpSocket as _, TcpSocket};
    use p2::{tcp_create_socket::Host as _, udp_create_socket::Host as _};

    linker
        .instance("wasi:sockets/tcp-create-socket@0.2.12")?
        .func_wrap(
            "create-tcp-socket",
            move |mut store: StoreContextMut<'_, T>, (family,): (IpAddressFamily,)| {
                if !view(store.data_mut()).ctx.outlet.may_make_socket() {
                    return Ok::<P2<_>, _>((Err(ErrorCode::NewSocketLimit),));
                }
                let mut sockets = store.data_mut().sockets();
                Ok((match sockets.create_tcp_socket(family) {
                    Ok(socket) => Ok(socket),
                    Err(error) => Err(sockets.convert_error_code(error)?),
                },))
            },
        )?;
    linker.instance("wasi:sockets/tcp@0.2.12")?.func_wrap(
        "[method]tcp-socket.finish-connect",
        move |mut store: StoreContextMut<'_, T>, (socket,): (Resource<TcpSocket>,)| {
            let outlet = view(store.data_mut()).ctx.outlet.clone();
            let mut sockets = store.data_mut().sockets();
            let owner = Resource::<TcpSocket>::new_borrow(socket.rep());
            let (input, output) = match sockets.finish_connect(socket) {
                Ok(streams) => streams,
                Err(error) => {
                    let code = sockets.convert_error_code(error)?;
                    return Ok::<(Connected,), _>((Err(code),));
                }
            };
            let inner: DynInputStream = sockets.table.delete(input)?;
            let outward: DynOutputStream = sockets.table.delete(output)?;
            let Ok(place) = outlet.open() else {
                return Ok((Err(ErrorCode::NewSocketLimit),));
            };
            let (account, place) = (outlet.gateway.0.account.clone(), Arc::new(place));
            let input: DynInputStream = Box::new(MeteredInput {
                inner,
                account: account.clone(),
                _place: place.clone(),
            });
            let output: DynOutputStream = Box::new(MeteredOutput {
                inner: outward,
                account,
                _place: place,
            });
            let input = sockets.table.push_child(input, &owner)?;
            let output = sockets.table.push_child(output, &owner)?;
            Ok((Ok((input, output)),))
        },
    )?;
    linker
        .instance("wasi:sockets/udp-create-socket@0.2.12")?
        .func_wrap_async(
            "create-udp-socket",
            move |mut store: StoreContextMut<'_, T>, (family,): (IpAddressFamily,)| {
                Box::new(async move {
                    if !view(store.data_mut()).ctx.outlet.may_make_socket() {
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
            if !view(store.data_mut()).ctx.outlet.may_make_socket() {
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
                if !view(store.data_mut()).ctx.outlet.may_make_socket() {
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
