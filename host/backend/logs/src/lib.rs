//! Installation logs on disk, bounded and readable while written.
//!
//! Every installation and every driver instance has a log of its own: a folder of NDJSON files
//! whose number and size are limited, so the oldest records go when newer ones need the room.
//! Whoever writes never waits. What arrives faster than a log takes it is dropped, and how much
//! was dropped becomes a record itself.
//!
//! A record that has been written survives the end of the process, however it ends. It is not
//! synchronised to the disk one by one: a power failure may cost some of the newest records. What it
//! leaves of one is passed over by readers and counted; the others are read as they were written.
//!
//! ```
//! # async fn example(dir: &std::path::Path) -> Result<(), canopy_backend_logs::LogError> {
//! use canopy_backend_logs::{Entry, Level, LogContext, LogRange, LogSettings, LogStore, Source};
//! use canopy_ids::InstallationId;
//!
//! let store = LogStore::open(dir, LogSettings::default())?;
//! let installation = InstallationId::new();
//! let context = LogContext {
//!     tenant: "acme".parse().expect("a name"),
//!     app: Some("invoices".parse().expect("a name")),
//!     driver: None,
//!     package: "canopy/invoices".parse().expect("a package name"),
//!     version: semver::Version::new(1, 0, 0),
//! };
//! let log = store.log(installation, context);
//! log.append(Entry::new(Level::Info, Source::Stdout, "hello"));
//! let page = store.read(installation, LogRange::Last, 100).await?;
//! assert_eq!(page.records[0].message, "hello");
//! # Ok(())
//! # }
//! ```

mod check;
mod escape;
mod files;
mod lines;
mod queue;
mod read;
mod record;
mod settings;
mod store;
mod subscription;
mod writer;

pub use check::check;
pub use read::{LogPage, LogRange};
pub use record::{Entry, Level, LogContext, LogOwner, LogRecord, Source};
pub use settings::LogSettings;
pub use store::{Log, LogError, LogStore};
pub use subscription::LogSubscription;
