//! `wasi:tls` of both drafts: a guest's own streams, under the TLS of its owner.
//!
//! The stream has been checked when it was connected; which name the server must prove is the
//! guest's to say.

use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};
use wasmtime_wasi_tls::p2::bindings::types::HostClientHandshake as _;
use wasmtime_wasi_tls::{Error, TlsProvider, TlsStream, TlsTransport, WasiTlsView};

use crate::ctx::NetworkView;
use crate::gateway::Gateway;

/// TLS as the owner of a gateway speaks it.
pub(crate) struct OwnTls(pub(crate) Gateway);

type Connecting = Pin<Box<dyn Future<Output = Result<Box<dyn TlsStream>, Error>> + Send>>;

impl TlsProvider for OwnTls {
    fn connect(&self, server_name: String, transport: Box<dyn TlsTransport>) -> Connecting {
        let gateway = self.0.clone();
        Box::pin(async move {
            let name = ServerName::try_from(server_name).map_err(|_| {
                Error::msg("the server's name is neither a DNS name nor an address")
            })?;
            let tls = gateway.0.tls().map_err(Error::msg)?;
            let connector = TlsConnector::from(tls.sockets.clone());
            let within = gateway.0.network.0.settings.connect_timeout;
            match timeout(within, connector.connect(name, transport)).await {
                Ok(Ok(stream)) => Ok(Box::new(Encrypted(stream)) as Box<dyn TlsStream>),
                Ok(Err(error)) => Err(Error::msg(error)),
                Err(_) => Err(Error::msg("the handshake took too long")),
            }
        })
    }
}

/// Replaces the function of the draft for 0.2 in `linker` that names the server: the host keeps the name
/// until the handshake begins.
pub(crate) fn count_names<T: WasiTlsView + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> NetworkView<'_>,
) -> wasmtime::Result<()> {
    linker.instance("wasi:tls/types@0.2.0-draft")?.func_wrap(
        "[constructor]client-handshake",
        move |mut store: StoreContextMut<'_, T>,
              (name, input, output): (
            String,
            Resource<DynInputStream>,
            Resource<DynOutputStream>,
        )| {
            view(store.data_mut()).ctx.keep_for_call(name.len())?;
            let handshake = store.data_mut().tls().new(name, input, output)?;
            wasmtime::error::Ok((handshake,))
        },
    )
}

/// A stream after the handshake.
struct Encrypted(tokio_rustls::client::TlsStream<Box<dyn TlsTransport>>);

impl TlsStream for Encrypted {}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
