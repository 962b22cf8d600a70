//! Host name to installation, and who calls.
//!
//! The control plane publishes a [`Snapshot`] of everything the request path needs to know; the path
//! reads it without a lock and never asks the control plane. A snapshot is swapped in whole by
//! [`Routes::publish`], so a request sees the state before a change or after it, never a mixture.

mod anonymous;
mod authenticate;
mod host;
mod snapshot;
mod token;

pub use anonymous::{AnonymousPaths, InvalidPathPattern};
pub use authenticate::{AuthenticationError, authenticate};
pub use host::{HostName, InvalidHost};
pub use snapshot::{DuplicateHost, Route, Routes, Snapshot, SnapshotBuilder};
pub use token::{SECRET_BYTES, TokenHash, TokenKind, TokenText};
