//! Sockets of WASI 0.2, counted: a socket is a file descriptor of the node, which all tenants share. What
//! one carries is counted too, for its tenant.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets as p2;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};
use wasmtime_wasi::sockets::WasiSocketsView;

use crate::ctx::NetworkView;
use crate::metered::{MeteredInput, MeteredOutput};

type P2<T> = (Result<Resource<T>, p2::network::ErrorCode>,);
type Connected =
    Result<(Resource<DynInputStream>, Resource<DynOutputStream>), p2::network::ErrorCode>;

type Received = Result<Vec<p2::udp::IncomingDatagram>, p2::network::ErrorCode>;

/// Replaces the functions of 0.2 in `linker` that make sockets or carry bytes.
pub(crate) fn limit_p2<T: WasiSocketsView + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> NetworkView<'_>,
) -> wasmtime::Result<()> {
    use p2::network::{ErrorCode, Host as _, IpAddressFamily};
    use p2::tcp::{HostTcpSocket as _, TcpSocket};
    use p2::udp::{
        HostIncomingDatagramStream as _, HostOutgoingDatagramStream as _, IncomingDatagramStream,
        OutgoingDatagramStream,
    };
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
            let place = Arc::new(place);
            let input: DynInputStream = Box::new(MeteredInput {
                inner,
                outlet: outlet.clone(),
                _place: place.clone(),
            });
            let output: DynOutputStream = Box::new(MeteredOutput {
                inner: outward,
                outlet,
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
        )?;
    let mut udp = linker.instance("wasi:sockets/udp@0.2.12")?;
    udp.func_wrap(
        "[method]outgoing-datagram-stream.send",
        move |mut store: StoreContextMut<'_, T>,
              (stream, datagrams): (
            Resource<OutgoingDatagramStream>,
            Vec<p2::udp::OutgoingDatagram>,
        )| {
            let outlet = view(store.data_mut()).ctx.outlet.clone();
            // Whether the day's bytes are used up already.
            if outlet.carry(0).is_err() {
                return Ok::<(Result<u64, ErrorCode>,), _>((Err(ErrorCode::AccessDenied),));
            }
            let lengths: Vec<_> = datagrams.iter().map(|one| one.data.len() as u64).collect();
            let mut sockets = store.data_mut().sockets();
            Ok((match sockets.send(stream, datagrams) {
                Ok(sent) => {
                    let count = usize::try_from(sent).unwrap_or(usize::MAX);
                    // They are sent. If they were too many, the next ones are not.
                    let _ = outlet.carry(lengths.iter().take(count).sum());
                    Ok(sent)
                }
                Err(error) => Err(sockets.convert_error_code(error)?),
            },))
        },
    )?;
    udp.func_wrap(
        "[method]incoming-datagram-stream.receive",
        move |mut store: StoreContextMut<'_, T>,
              (stream, most): (Resource<IncomingDatagramStream>, u64)| {
            let outlet = view(store.data_mut()).ctx.outlet.clone();
            let mut sockets = store.data_mut().sockets();
            Ok::<(Received,), _>((match sockets.receive(stream, most) {
                Ok(received) => {
                    let bytes = received.iter().map(|one| one.data.len() as u64).sum();
                    let counted = outlet.carry(bytes);
                    counted
                        .map(|()| received)
                        .map_err(|_| ErrorCode::AccessDenied)
                }
                Err(error) => Err(sockets.convert_error_code(error)?),
            },))
        },
    )
}
