//! What this capability knows, and the part of a store that it works on.

use canopy_ids::RequestId;

use crate::sender::Sender;

/// What one component may send.
#[derive(Clone)]
pub struct MessagesCtx {
    pub(crate) sender: Option<Sender>,
    /// What is sent belongs to it.
    pub(crate) request: Option<RequestId>,
}

impl MessagesCtx {
    /// A component that sends by `sender`.
    pub fn new(sender: Sender) -> Self {
        Self {
            sender: Some(sender),
            request: None,
        }
    }

    /// A component that has nobody to send to: sending is `access-denied`.
    pub fn none() -> Self {
        Self {
            sender: None,
            request: None,
        }
    }

    /// A call begins, for `request`.
    pub fn begin(&mut self, request: RequestId) {
        self.request = Some(request);
    }
}

/// The part of a store that this capability works on.
pub struct MessagesView<'a> {
    /// Who sends.
    pub ctx: &'a mut MessagesCtx,
}
