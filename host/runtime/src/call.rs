//! One invocation: who, until when, and what is held until it is over.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use canopy_capability_identity::Caller;
use canopy_ids::RequestId;

use crate::spent::Spent;

/// One invocation of an installation.
pub struct Call {
    /// Names the request in logs and answers.
    pub request_id: RequestId,
    /// Who invokes, as the platform has verified it.
    pub caller: Arc<Caller>,
    /// When all of it must be over: instantiation, the guest, and the response's body.
    pub deadline: Instant,
    /// Through how many applications of this platform the request has come already.
    pub depth: u32,
    /// Dropped when the guest has ended *and* the response's body is gone, whichever is later. The
    /// permit of admission belongs here: a guest that has answered may still be running.
    pub permit: Permit,
    /// Says what the call has used of the CPU.
    pub spent: Spent,
}

impl Call {
    /// A call by `caller` that holds no permit.
    pub fn new(request_id: RequestId, caller: Arc<Caller>, deadline: Instant) -> Self {
        Self {
            request_id,
            caller,
            deadline,
            depth: 0,
            permit: Permit::none(),
            spent: Spent::default(),
        }
    }

    /// The same call, through `depth` applications.
    pub fn at_depth(mut self, depth: u32) -> Self {
        self.depth = depth;
        self
    }

    /// The same call, holding `permit`.
    pub fn holding(mut self, permit: impl Any + Send + Sync) -> Self {
        self.permit = Permit::new(permit);
        self
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("request_id", &self.request_id)
            .field("caller", &self.caller)
            .field("deadline", &self.deadline)
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

/// Something to be held as long as a call occupies the node, and then dropped. Clones hold the
/// same thing.
#[derive(Clone)]
pub struct Permit(
    #[expect(dead_code, reason = "held only to be dropped")] Option<Arc<dyn Any + Send + Sync>>,
);

impl Permit {
    /// Holds `permit`.
    pub fn new(permit: impl Any + Send + Sync) -> Self {
        Self(Some(Arc::new(permit)))
    }

    /// Holds nothing.
    pub fn none() -> Self {
        Self(None)
    }
}
