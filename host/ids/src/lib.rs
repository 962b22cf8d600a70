//! Typed identifiers and names used across the host.
//!
//! Every noun has an identifier type of its own, so that two of them cannot be swapped, and every
//! name that comes from outside is a type whose only constructor checks it.

mod binding;
mod digest;
mod interface;
mod name;
mod uuids;

pub use binding::{BindingKey, Import};
pub use digest::{Digest, DigestHasher, InvalidDigest};
pub use interface::{InterfaceName, InvalidInterface, WitPackage};
pub use name::{InvalidName, Label, PackageName};
pub use uuids::{
    DriverInstanceId, ErasureId, ExportId, ImportId, InstallationId, InvalidId, JobId, MessageId,
    RequestId, RunId, SnapshotId, TenantId, TokenId,
};
