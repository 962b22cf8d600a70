//! SQL databases of one installation, as components import them.
//!
//! `canopy:storage/sql` (`storage`), `spin:sqlite` (`spin`) and `fermyon:spin/sqlite` (`spin2`) are
//! thin adapters over the same databases. Whose they are was decided when the store was made
//! ([`Databases`]), and what a statement may do is decided below them all, in the backend.

mod bindings;
mod ctx;
mod failure;
mod session;
mod spin;
mod spin2;
mod storage;
mod stream;

pub use bindings::{
    add_one_to_linker, add_spin2_to_linker, add_spin3_to_linker, add_storage_to_linker,
};
pub use ctx::{Databases, SqlCtx, SqlView};

/// What streams and futures of `canopy:storage/sql` carry.
pub mod payload {
    pub use crate::bindings::storage::canopy::storage::sql::{Error, Outcome, Value};
}
