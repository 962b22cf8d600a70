//! Serves `wasi:keyvalue` and `canopy:storage/blobs` from a bucket of an S3 service.
//!
//! [`signature`] signs requests, [`service`] sends them and [`answers`] reads what comes back.
//!
//! - [`keyvalue`] has the functions of keys and values: [`names`] says who owns which objects,
//!   [`counting`] makes numbers of conditional writes.
//! - [`blobs`] has those of objects: [`places`] says who owns which, [`objects`] and [`uploads`] ask
//!   the service for them, [`pieces`] cuts what comes as a stream.

mod answers;
mod blobs;
mod counting;
mod keyvalue;
mod names;
mod network;
mod objects;
mod pieces;
mod places;
mod service;
mod settings;
mod signature;
mod uploads;

use bindings::exports::canopy::driver::lifecycle;
use network::Network;
use service::Service;
use settings::Settings;

#[canopy_sdk::driver(
    "wasi:keyvalue/store@0.2.0-draft",
    "wasi:keyvalue/atomics@0.2.0-draft",
    "wasi:keyvalue/batch@0.2.0-draft",
    "wasi:keyvalue/store@0.2.0-draft2",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:keyvalue/batch@0.2.0-draft2",
    "canopy:storage/blobs@0.1.0",
    "canopy:driver/lifecycle@0.1.0",
    wit = [
        "../../../wit/deps/keyvalue-0.2.0-draft",
        "../../../wit/deps/keyvalue-0.2.0-draft2",
        "../../../wit/storage/0.1.0",
        "../../../wit/driver/0.1.0",
    ]
)]
struct S3;

impl lifecycle::Guest for S3 {
    /// Looks into the bucket, as whoever holds the access key.
    fn check() -> Result<(), String> {
        let settings = Settings::read().map_err(|error| error.to_string())?;
        let service = Service {
            settings: &settings,
            transport: Network::of(&settings),
        };
        let found = service.list(&format!("{}/", settings.prefix), None, 1);
        found.map(drop).map_err(|failure| failure.to_string())
    }
}
