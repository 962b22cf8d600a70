//! Write applications and drivers for Canopy in Rust.
//!
//! An application answers HTTP requests of one tenant. The platform starts a fresh instance of it
//! for every request, so nothing that a handler keeps in memory outlives its answer or reaches
//! anybody else; what must last goes to storage.
//!
//! ```no_run
//! use canopy_sdk::{Path, Router, get};
//!
//! #[canopy_sdk::app]
//! fn app() -> Router {
//!     Router::new().route("/hello/{name}", get(|Path(name): Path<String>| format!("Hello, {name}!")))
//! }
//! ```
//!
//! What the modules are for:
//!
//! | module | gives |
//! | --- | --- |
//! | [`routing`](Router), [`extract`], [`response`] | requests to handlers, handlers' results to responses |
//! | [`kv`] | durable key-value storage, the installation's own |
//! | `blobs` | objects of any size, streamed; with the feature `storage` |
//! | `sql` | SQL databases; with the feature `storage` |
//! | [`messages`] | messages to and from other applications of the tenant |
//! | `websocket` | WebSocket connections; with the feature `wasi-0-3`, which `storage` includes |
//! | [`identity`] | the tenant, the caller and the installation, as the platform vouches for them |
//! | [`client`] | outgoing HTTP to the hosts that the tenant allows |
//! | [`config`] | settings and secrets of the installation |
//! | [`log`] | records in the installation's log |
//! | [`problem`] | errors as `application/problem+json` |
//!
//! # The feature `storage`
//!
//! The platform's own storage in full is asynchronous, and waiting for it takes a component that
//! answers by WASI 0.3. With this feature `#[app]` makes one of the same functions: handlers stay as
//! they are and wait inside the calls. Two things differ. Several requests of one installation may
//! meet the same instance, one after the other, so a `static` may outlive an answer. And bodies pass
//! from a request to storage and from storage to a response without coming into the application's
//! memory. A driver cannot use the feature: it has no storage of its own. The feature `wasi-0-3` alone
//! does the same to `#[app]`, without storage.
//!
//! A driver serves an interface to other components: see [`driver`]. One that serves `wasi:keyvalue`
//! depends on `canopy-sdk-core` instead of this crate. An application that uses an
//! interface which this crate does not cover generates its bindings by [`import!`].

#[doc(inline)]
pub use canopy_sdk_core::*;

mod bindings;
#[cfg(feature = "storage")]
pub mod blobs;
pub mod kv;
pub mod messages;
#[cfg(feature = "storage")]
pub mod sql;
