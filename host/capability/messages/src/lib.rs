//! Messages between the applications of one tenant: `canopy:networking/messages` and
//! `wasmcloud:messaging`, two names of one implementation.
//!
//! Who sends names a topic. The message is put into the queue of every installation of the tenant
//! that subscribes to it, and is on the disk when the call returns. Delivering it is the edge's.

mod bindings;
mod ctx;
mod host;
mod replies;
mod sender;
mod settings;
mod subscriptions;

pub use bindings::{add_canopy_to_linker, add_wasmcloud_to_linker};
pub use ctx::{MessagesCtx, MessagesView};
pub use sender::{Outgoing, PublishError, Reply, RequestError, Sender};
pub use settings::MessageSettings;
pub use subscriptions::{Destination, Subscription, Subscriptions};
