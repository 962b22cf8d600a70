//! Serves `wasi:keyvalue` from a Redis server.
//!
//! [`bucket`] has the functions of the interface, [`keys`] says who owns which keys, [`resp`] speaks the
//! protocol, [`connection`] keeps the connection.

mod bucket;
mod connection;
mod keys;
mod resp;
mod settings;

use bindings::exports::canopy::driver::lifecycle;
use bucket::{Opened, accepted};
use connection::{Failure, Repeat, exchange};
use settings::Settings;

#[canopy_sdk::driver(
    "wasi:keyvalue/store@0.2.0-draft",
    "wasi:keyvalue/atomics@0.2.0-draft",
    "wasi:keyvalue/batch@0.2.0-draft",
    "wasi:keyvalue/store@0.2.0-draft2",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:keyvalue/batch@0.2.0-draft2",
    "canopy:driver/lifecycle@0.1.0",
    wit = [
        "../../../wit/deps/keyvalue-0.2.0-draft",
        "../../../wit/deps/keyvalue-0.2.0-draft2",
        "../../../wit/driver/0.1.0"
    ]
)]
struct Redis;

buckets::drafts!(bindings, Redis, Opened);

impl lifecycle::Guest for Redis {
    /// Connects, signs in and chooses the database.
    fn check() -> Result<(), String> {
        let settings = Settings::read().map_err(|error| error.to_string())?;
        let ping: &[&[u8]] = &[b"PING"];
        let replies = exchange(&settings, &[ping], Repeat::Harmless);
        let reply = replies.and_then(|mut replies| replies.pop().ok_or(Failure::Confused));
        reply
            .and_then(accepted)
            .map(drop)
            .map_err(|failure| failure.to_string())
    }
}
