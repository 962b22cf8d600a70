//! `canopy:tenant/identity`: whom a component serves, who calls it, and as which installation.
//!
//! The facts are the host's. A component asks for them and can neither set nor forge them.

mod bindings;
mod ctx;
mod host;

pub use bindings::add_to_linker;
pub use ctx::{CallFacts, Caller, CallerKind, IdentityCtx, IdentityView, Installation, Tenant};
