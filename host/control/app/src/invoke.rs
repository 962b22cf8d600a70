//! How the control plane has an application called, as by a schedule. It only says whom and with
//! what; the call takes the way of every request, which the server puts behind this trait.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use canopy_ids::{InstallationId, RequestId};
use canopy_runtime::Caller;

/// A call of the platform's own.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Who is called.
    pub installation: InstallationId,
    /// Who the application is told calls.
    pub caller: Arc<Caller>,
    /// The request, with scheme and authority.
    pub request: http::Request<Bytes>,
}

/// What came of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Names the call in the logs.
    pub request_id: RequestId,
    /// The status of the application's answer, or why there was none.
    pub outcome: Result<u16, String>,
}

/// The answer to a call, once it has ended.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Answered> + Send + 'a>>;

/// Has applications called.
pub trait Invoke: Send + Sync + 'static {
    /// Calls an installation, under its limits and its tenant's, and waits until its answer has
    /// ended. Dropping the future cancels the call.
    fn invoke(&self, invocation: Invocation) -> Answering<'_>;
}
