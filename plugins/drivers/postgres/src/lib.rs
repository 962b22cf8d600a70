//! Serves `wasi:keyvalue`, `canopy:storage/sql` and `spin:postgres` from a PostgreSQL server.
//!
//! [`session`] speaks the protocol, [`connection`] makes and keeps connections.
//!
//! - [`keyvalue`] has the functions of keys and values; [`rows`] says who owns which rows and how they
//!   are reached.
//! - [`sql`] has those of databases: each installation has a role and a schema of its own; [`spin`] has
//!   the same databases by another name.

mod connection;
mod keyvalue;
mod rows;
mod session;
mod settings;
mod spin;
mod sql;

use bindings::exports::canopy::driver::lifecycle;
use settings::Settings;

#[canopy_sdk::driver(
    "wasi:keyvalue/store@0.2.0-draft",
    "wasi:keyvalue/atomics@0.2.0-draft",
    "wasi:keyvalue/batch@0.2.0-draft",
    "wasi:keyvalue/store@0.2.0-draft2",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:keyvalue/batch@0.2.0-draft2",
    "canopy:storage/sql@0.1.0",
    "spin:postgres/postgres@4.2.0",
    "canopy:driver/lifecycle@0.1.0",
    wit = [
        "../../../wit/deps/keyvalue-0.2.0-draft",
        "../../../wit/deps/keyvalue-0.2.0-draft2",
        "../../../wit/storage/0.1.0",
        "../../../wit/deps/spin-postgres-4.2.0",
        "../../../wit/driver/0.1.0",
    ]
)]
struct Postgres;

impl lifecycle::Guest for Postgres {
    /// Connects and signs in.
    fn check() -> Result<(), String> {
        let settings = Settings::read().map_err(|error| error.to_string())?;
        connection::check(&settings).map_err(|failure| failure.to_string())
    }
}
