//! The package manifest `canopy.toml`.
//!
//! A manifest says what a package is, what it asks for and why, and how it is configured. Reading
//! one checks everything that can be checked without the component and reports all faults at once,
//! each with the key where it is; [`Manifest::compare`] checks the rest against what the component
//! really imports and exports. Unknown keys are faults, so that a misspelt one is never ignored.
//!
//! ```
//! let manifest = canopy_manifest::Manifest::parse(
//!     r#"
//!         name = "acme/notes"
//!         version = "1.0.0"
//!         kind = "app"
//!         title = "Notes"
//!         summary = "Keeps notes."
//!         component = "target/wasm32-wasip2/release/notes.wasm"
//!
//!         [[needs]]
//!         interface = "wasi:keyvalue/store@0.2.0-draft2"
//!         reason = "Keeps the notes."
//!
//!         [http]
//!         anonymous = ["/", "/assets/*"]
//!
//!         [config.properties.language]
//!         type = "string"
//!         default = "en"
//!     "#,
//! )?;
//! assert_eq!(manifest.name.to_string(), "acme/notes");
//! # Ok::<(), canopy_manifest::ManifestError>(())
//! ```

mod compare;
mod config;
mod error;
mod manifest;
mod need;
mod reader;
mod schedule;
mod sql;
mod store;
mod subscription;
mod tls;

pub use compare::{ComponentInterfaces, Difference, answers_requests, is_baseline, is_lifecycle};
pub use config::{ConfigFault, ConfigSchema};
pub use error::{Fault, ManifestError, nearest};
pub use manifest::{Kind, LimitsAsked, MAX_MANIFEST_BYTES, Manifest};
pub use need::{InvalidNeeded, Need, Needed};
pub use schedule::{InvalidTimetable, ScheduleAsked, Timetable};
pub use sql::{MAX_MIGRATIONS_BYTES, SqlAsked};
pub use store::StoreAsked;
pub use subscription::SubscriptionAsked;
pub use tls::TlsAsked;

/// The manifest's file name.
pub const FILE_NAME: &str = "canopy.toml";
