//! What runs applications, as far as the edge knows.

use std::sync::Arc;

use bytes::Bytes;
use canopy_runtime::{
    Addresses, Call, InstallationSpec, MessageDelivery, RequestBody, ResponseBody, Runtime,
    ServeError, Socket, SocketIncoming, SocketOpening, SocketRefusal,
};
use http::{Request, Response};

/// Answers requests by running an installed application.
pub trait Guests: Send + Sync + 'static {
    /// The body of a response. An error is a failure of the application after its header was sent.
    type Body: http_body::Body<Data = Bytes, Error = ServeError> + Send + Unpin + 'static;

    /// Who knows the objects of installations by their addresses; nobody: there are none.
    fn addresses(&self) -> Option<&Addresses> {
        None
    }

    /// Has the application answer `request`. Dropping the future cancels it.
    fn serve(
        &self,
        spec: &Arc<InstallationSpec>,
        call: Call,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Self::Body>, ServeError>> + Send;

    /// Has the application take a connection of the WebSocket protocol, or say why it does not.
    /// Dropping the future cancels it.
    fn open_socket(
        &self,
        _spec: &Arc<InstallationSpec>,
        _call: Call,
        _opening: SocketOpening,
        _incoming: SocketIncoming,
    ) -> impl Future<Output = Result<Result<Socket, SocketRefusal>, ServeError>> + Send {
        std::future::ready(Err(ServeError::NoSockets))
    }

    /// Has the application take a message by its own handler, or say why it does not. Dropping the
    /// future cancels it.
    fn deliver(
        &self,
        _spec: &Arc<InstallationSpec>,
        _call: Call,
        _message: MessageDelivery,
    ) -> impl Future<Output = Result<Result<(), String>, ServeError>> + Send {
        std::future::ready(Err(ServeError::NoMessages))
    }
}

impl Guests for Runtime {
    type Body = ResponseBody;

    fn addresses(&self) -> Option<&Addresses> {
        Some(Runtime::addresses(self))
    }

    async fn serve(
        &self,
        spec: &Arc<InstallationSpec>,
        call: Call,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, ServeError> {
        Runtime::serve(self, spec, call, request).await
    }

    async fn open_socket(
        &self,
        spec: &Arc<InstallationSpec>,
        call: Call,
        opening: SocketOpening,
        incoming: SocketIncoming,
    ) -> Result<Result<Socket, SocketRefusal>, ServeError> {
        Runtime::open_socket(self, spec, call, opening, incoming).await
    }

    async fn deliver(
        &self,
        spec: &Arc<InstallationSpec>,
        call: Call,
        message: MessageDelivery,
    ) -> Result<Result<(), String>, ServeError> {
        Runtime::deliver(self, spec, call, message).await
    }
}
