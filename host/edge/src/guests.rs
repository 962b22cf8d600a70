//! What runs applications, as far as the edge knows.

use std::sync::Arc;

use bytes::Bytes;
use canopy_runtime::{
    Addresses, Call, InstallationSpec, RequestBody, ResponseBody, Runtime, ServeError,
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
}
