//! Sockets of WASI 0.3, counted: TCP by sockets of ours (`tcp.rs`), UDP by wasmtime's, whose making and
//! datagrams are counted.

use wasmtime::StoreContextMut;
use wasmtime::component::{
    Accessor, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType, StreamReader,
};
use wasmtime_wasi::p3::bindings::sockets::types::{
    ErrorCode, Host as _, HostUdpSocket, HostUdpSocketWithStore, IpAddressFamily, IpSocketAddress,
    UdpSocket,
};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};

use crate::ctx::NetworkView;
use crate::tcp::{Tcp, over};
use crate::tcp_streams;

type Answer<V> = (Result<V, ErrorCode>,);
type Datagram = (Vec<u8>, IpSocketAddress);
type View<T> = fn(&mut T) -> NetworkView<'_>;

fn too_many() -> ErrorCode {
    ErrorCode::Other(Some("this call has made as many sockets as it may".into()))
}

/// Replaces the sockets of 0.3 in `linker`.
pub(crate) fn replace<T: WasiSocketsView + 'static>(
    linker: &mut Linker<T>,
    view: View<T>,
) -> wasmtime::Result<()> {
    let mut types = linker.instance("wasi:sockets/types@0.3.0")?;
    tcp(&mut types, view)?;
    tcp_options(&mut types, view)?;
    udp(&mut types, view)
}

/// Has a function of a TCP socket be `work`.
fn method<T, P, V>(
    types: &mut LinkerInstance<'_, T>,
    view: View<T>,
    name: &str,
    work: fn(&mut Tcp, P) -> Result<V, ErrorCode>,
) -> wasmtime::Result<()>
where
    T: 'static,
    P: Lift + Send + Sync + 'static,
    V: Lower + Send + Sync + 'static,
{
    types.func_wrap(
        &format!("[method]tcp-socket.{name}"),
        move |mut store: StoreContextMut<'_, T>, (socket, value): (Resource<Tcp>, P)| {
            let socket = view(store.data_mut()).table.get_mut(&socket)?;
            Ok::<Answer<V>, _>((work(socket, value),))
        },
    )
}

/// Has a function of a TCP socket without parameters be `read`.
fn getter<T, V>(
    types: &mut LinkerInstance<'_, T>,
    view: View<T>,
    name: &str,
    read: fn(&Tcp) -> V,
) -> wasmtime::Result<()>
where
    T: 'static,
    V: Lower + Send + Sync + 'static,
{
    types.func_wrap(
        &format!("[method]tcp-socket.{name}"),
        move |mut store: StoreContextMut<'_, T>, (socket,): (Resource<Tcp>,)| {
            Ok::<(V,), _>((read(view(store.data_mut()).table.get(&socket)?),))
        },
    )
}

fn tcp<T: 'static>(types: &mut LinkerInstance<'_, T>, view: View<T>) -> wasmtime::Result<()> {
    types.resource(
        "tcp-socket",
        ResourceType::host::<Tcp>(),
        move |mut store, socket| {
            let socket = Resource::<Tcp>::new_own(socket);
            view(store.data_mut()).table.delete(socket)?;
            Ok(())
        },
    )?;
    types.func_wrap(
        "[static]tcp-socket.create",
        move |mut store: StoreContextMut<'_, T>, (family,): (IpAddressFamily,)| {
            let NetworkView { ctx, table } = view(store.data_mut());
            let made = match ctx.outlet.may_make_socket() {
                true => Tcp::new(family, ctx.outlet.clone()),
                false => Err(too_many()),
            };
            Ok::<Answer<Resource<Tcp>>, _>((match made {
                Ok(socket) => Ok(table.push(socket)?),
                Err(code) => Err(code),
            },))
        },
    )?;
    method(types, view, "bind", Tcp::bind)?;
    types.func_wrap(
        "[method]tcp-socket.listen",
        move |mut store: StoreContextMut<'_, T>, (socket,): (Resource<Tcp>,)| {
            let socket = view(store.data_mut()).table.get_mut(&socket)?;
            Ok::<Answer<StreamReader<Resource<Tcp>>>, _>((Err(socket.listen()),))
        },
    )?;
    types.func_wrap_concurrent(
        "[method]tcp-socket.connect",
        move |store: &Accessor<T>, (socket, to): (Resource<Tcp>, IpSocketAddress)| {
            Box::pin(async move {
                let begun = store.with(|mut store| {
                    let socket = view(store.data_mut()).table.get_mut(&socket)?;
                    wasmtime::error::Ok(socket.connect(to))
                })?;
                let connecting = match begun {
                    Ok(connecting) => connecting,
                    Err(code) => return Ok::<Answer<()>, _>((Err(code),)),
                };
                let connected = connecting.run().await;
                store.with(|mut store| {
                    let socket = view(store.data_mut()).table.get_mut(&socket)?;
                    Ok((socket.finish(connected),))
                })
            })
        },
    )?;
    types.func_wrap(
        "[method]tcp-socket.send",
        move |mut store: StoreContextMut<'_, T>,
              (socket, data): (Resource<Tcp>, StreamReader<u8>)| {
            let carrier = view(store.data_mut()).table.get_mut(&socket)?.send();
            Ok((tcp_streams::send(store, carrier, data)?,))
        },
    )?;
    types.func_wrap(
        "[method]tcp-socket.receive",
        move |mut store: StoreContextMut<'_, T>, (socket,): (Resource<Tcp>,)| {
            let carrier = view(store.data_mut()).table.get_mut(&socket)?.receive();
            Ok((tcp_streams::receive(store, carrier)?,))
        },
    )
}

fn tcp_options<T: 'static>(
    types: &mut LinkerInstance<'_, T>,
    view: View<T>,
) -> wasmtime::Result<()> {
    getter(types, view, "get-local-address", Tcp::local_address)?;
    getter(types, view, "get-remote-address", Tcp::remote_address)?;
    getter(types, view, "get-is-listening", |_| false)?;
    getter(types, view, "get-address-family", Tcp::family)?;
    method(types, view, "set-listen-backlog-size", |socket, value| {
        socket.set_backlog(value)
    })?;
    getter(types, view, "get-keep-alive-enabled", Tcp::keep_alive)?;
    method(types, view, "set-keep-alive-enabled", |socket, value| {
        socket.set_keep_alive(value)
    })?;
    getter(
        types,
        view,
        "get-keep-alive-idle-time",
        Tcp::keep_alive_idle,
    )?;
    method(types, view, "set-keep-alive-idle-time", |socket, value| {
        socket.set_keep_alive_idle(value)
    })?;
    getter(
        types,
        view,
        "get-keep-alive-interval",
        Tcp::keep_alive_interval,
    )?;
    method(types, view, "set-keep-alive-interval", |socket, value| {
        socket.set_keep_alive_interval(value)
    })?;
    getter(types, view, "get-keep-alive-count", Tcp::keep_alive_count)?;
    method(types, view, "set-keep-alive-count", |socket, value| {
        socket.set_keep_alive_count(value)
    })?;
    getter(types, view, "get-hop-limit", Tcp::hop_limit)?;
    method(types, view, "set-hop-limit", |socket, value| {
        socket.set_hop_limit(value)
    })?;
    getter(types, view, "get-receive-buffer-size", Tcp::receive_buffer)?;
    method(types, view, "set-receive-buffer-size", |socket, value| {
        socket.set_receive_buffer(value)
    })?;
    getter(types, view, "get-send-buffer-size", Tcp::send_buffer)?;
    method(types, view, "set-send-buffer-size", |socket, value| {
        socket.set_send_buffer(value)
    })
}

fn udp<T: WasiSocketsView + 'static>(
    types: &mut LinkerInstance<'_, T>,
    view: View<T>,
) -> wasmtime::Result<()> {
    types.func_wrap_async(
        "[static]udp-socket.create",
        move |mut store: StoreContextMut<'_, T>, (family,): (IpAddressFamily,)| {
            Box::new(async move {
                if !view(store.data_mut()).ctx.outlet.may_make_socket() {
                    return Ok::<Answer<Resource<UdpSocket>>, _>((Err(too_many()),));
                }
                let mut sockets = store.data_mut().sockets();
                Ok((match HostUdpSocket::create(&mut sockets, family).await {
                    Ok(socket) => Ok(socket),
                    Err(error) => Err(sockets.convert_error_code(error)?),
                },))
            })
        },
    )?;
    types.func_wrap_concurrent(
        "[method]udp-socket.send",
        move |store: &Accessor<T>,
              (socket, data, to): (Resource<UdpSocket>, Vec<u8>, Option<IpSocketAddress>)| {
            Box::pin(async move {
                let outlet = store.with(|mut store| view(store.data_mut()).ctx.outlet.clone());
                if let Err(quota) = outlet.carry(data.len() as u64) {
                    return Ok::<Answer<()>, _>((Err(over(quota)),));
                }
                let sockets = store.with_getter::<WasiSockets>(T::sockets);
                let sent = WasiSockets::send(&sockets, socket, data, to).await;
                Ok((match sent {
                    Ok(()) => Ok(()),
                    Err(error) => Err(sockets.with(|mut store| {
                        let mut sockets = store.get();
                        sockets.convert_error_code(error)
                    })?),
                },))
            })
        },
    )?;
    types.func_wrap_concurrent(
        "[method]udp-socket.receive",
        move |store: &Accessor<T>, (socket,): (Resource<UdpSocket>,)| {
            Box::pin(async move {
                let outlet = store.with(|mut store| view(store.data_mut()).ctx.outlet.clone());
                let sockets = store.with_getter::<WasiSockets>(T::sockets);
                let received = WasiSockets::receive(&sockets, socket).await;
                Ok::<Answer<Datagram>, _>((match received {
                    Ok(datagram) => outlet
                        .carry(datagram.0.len() as u64)
                        .map(|()| datagram)
                        .map_err(over),
                    Err(error) => Err(sockets.with(|mut store| {
                        let mut sockets = store.get();
                        sockets.convert_error_code(error)
                    })?),
                },))
            })
        },
    )
}
