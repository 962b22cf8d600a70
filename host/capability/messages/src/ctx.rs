//! What this capability knows, and the part of a store that it works on.

use crate::sender::Sender;

/// What one component may send.
#[derive(Clone)]
pub struct MessagesCtx {
    pub(crate) sender: Option<Sender>,
}

impl MessagesCtx {
    /// A component that sends by `sender`.
    pub fn new(sender: Sender) -> Self {
        Self {
            sender: Some(sender),
        }
    }

    /// A component that has nobody to send to: sending is `access-denied`.
    pub fn none() -> Self {
        Self { sender: None }
    }
}

/// The part of a store that this capability works on.
pub struct MessagesView<'a> {
    /// Who sends.
    pub ctx: &'a mut MessagesCtx,
}
