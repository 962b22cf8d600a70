//! Databases on SQLite: the suite of every backend, and what is particular to this one.

mod attack;
mod crash;
mod storage;
mod support;

mod conformance {
    use crate::support;

    canopy_backend::sql_conformance!(|| async { support::open() });
}
