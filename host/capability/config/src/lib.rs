//! `wasi:config`: the configuration of an installation, and the secrets granted to it, by key.
//!
//! Both published drafts (`0.2.0-rc.1` and `0.2.0-draft-2024-09-27`) read the same values. They are
//! fixed when an instance begins; a change makes a new generation of the installation.

mod bindings;
mod ctx;
mod host;

pub use bindings::add_to_linker;
pub use ctx::{ConfigCtx, ConfigView};
