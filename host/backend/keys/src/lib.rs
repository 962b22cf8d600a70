//! The operator's key, and the data keys of tenants that it wraps.
//!
//! ```text
//! operator key                     32 bytes that only the operator has: a file, or a command
//!   └─ wraps ─ node key            <storage>/node.key: the node's own files
//!   └─ wraps ─ tenant keys         <storage>/<tenant>/key: one or more versions of each tenant
//!                └─ derives ─ file keys    one for each file of an installation, kept nowhere
//! ```
//!
//! - **Wrapping** is XChaCha20-Poly1305 with the tenant and the version as associated data, so a
//!   key that is moved to another tenant or version does not open.
//! - **Another operator key** rewraps every key and touches no data; a crash in the middle is
//!   finished at the next start. **A new version of a tenant's key** encrypts what is written from
//!   then on; older versions go on opening what they encrypted.
//! - **Erasing a tenant** overwrites and removes its wrapped keys; what they encrypted can't be read
//!   any more, wherever copies of it are.
//!
//! What it does not do: a file system that never writes in place keeps overwritten blocks until it
//! uses them again. A wrapped key that is found there opens for whoever has the operator key.

mod derive;
mod error;
mod operator;
mod ring;
mod stored;
mod wrap;

pub use derive::{FileKey, FileKeys, TenantKeys};
pub use error::KeyError;
pub use operator::{OperatorKey, OperatorKeys};
pub use ring::Keyring;

/// Bytes of every key.
pub const KEY_BYTES: usize = 32;
