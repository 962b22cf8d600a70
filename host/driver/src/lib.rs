//! Serving an imported interface from a driver component in a store of its own.
//!
//! An application imports an interface that the platform does not serve itself. A *driver* is a
//! component that exports it. Neither is known when the platform is built: both are read from
//! their component types, compared, and joined by host functions that carry each call over.
//!
//! ```text
//! application's store                       driver's store
//!   import ──► host function ──► board ──► actor ──► export
//!   proxy of a resource ◄── handle ◄──────── table of owned resources
//! ```
//!
//! # How to use it
//! 1. The data of every store implements [`DriverHost`]: it keeps the [`Proxies`] of resources
//!    that live in drivers, says on whose behalf a call goes out, and is told on whose behalf one
//!    comes in. Applications and drivers use the same trait, so drivers may call drivers.
//! 2. A [`DriverProgram`] says how a store for one driver instance is made.
//!    [`DriverHandle::spawn`] starts the instance's actor; clones of the handle share it, and when
//!    the last is gone (with the resources it gave out) the instance ends.
//! 3. [`link_interfaces`] joins an application's imports to handles, all bound imports of a
//!    component in one go. It refuses differing shapes with a [`LinkError`] that names the
//!    function and the difference. [`check_interfaces`] does the same without a handle, for
//!    checking a binding before it is saved.
//!
//! # What holds
//! - One actor per store, and as many stores per driver instance as its program says: the calls of a
//!   store run one after the other, in order of arrival. One more store is made where all are busy,
//!   and one that is idle for long is dropped. What has resources of the driver is answered by the
//!   store that owns them. A call that traps, runs out of time or returns what it must not ends that
//!   store alone; the call gets a [`DriverFailed`], and the next call starts a fresh store.
//! - A driver that fails again and again is started with growing pauses, and after
//!   [`DriverSettings::breaker`] failures without an answer in between calls are refused at once,
//!   until one that is let through is answered.
//! - The application sees a failure as an error value where the function's result type has a
//!   fitting case, otherwise its call traps with a [`DriverFailed`] that can be downcast from the
//!   [`wasmtime::Error`].
//! - A resource lives in the driver's store. The application holds a proxy; when that is dropped,
//!   or the whole store of the application is, the driver's destructor runs, once. Resources of a
//!   store that has been replaced answer with [`FailureCause::ResourceLost`].
//! - What one caller holds of a store is bounded ([`DriverSettings::held`]), whichever of its instances
//!   hold it: beyond that it is refused what would be more, and others are served.
//! - A resource that a driver has from another driver stays where it was made, and whoever it is given
//!   or lent to holds a proxy as well. The host's own resources cross where [`DriverHost`] lists them:
//!   their objects move from one store's table to the other's, for good or for the length of a call.
//! - Streams and futures cross in parameters and results. What is written in one store is taken at
//!   the pace at which it is read in the other, with room for one chunk between them. A call is over
//!   when it has returned and its streams have ended: as long as any is open the driver's store goes
//!   on running for them, until the call's deadline at most, and begins no call of another caller.
//! - An end of a stream is an end only if the writer made it. Where the driver has failed or was out
//!   of time, its reader traps with the [`DriverFailed`], unless a future beside the stream has a
//!   type by which it can say so (`result<_, E>` with a fitting `E`): then the stream ends and the
//!   future gets that error. Where the caller's store is gone in the middle, the driver is never told
//!   that it was all; its store is replaced as for an abandoned call. Whoever writes learns that the
//!   reader is gone by its write.
//! - A store that waits for a call and owns nothing of anybody's is ended after
//!   [`DriverSettings::idle_timeout`], or before by [`DriverHandle::end_idle`], for somebody who needs
//!   room. Where there is none for a store of its own, the call fails by [`FailureCause::NoRoom`].
//! - A driver runs only while it is called or has streams open; what it left unfinished goes on at
//!   its next call.
//!
//! What a stream or future carries is one of a list of types (`payload.rs`): the primitive ones,
//! strings, lists of bytes, what is commonly made of these, and what `canopy:storage` has. Others,
//! and resources in them, are refused when the component is linked.
//!
//! # Costs
//! A call is two hops between tasks and a copy of its values; see the example `call_cost`. On the
//! way a list of numbers is a block of bytes and any other value has 32 bytes, beside the bytes of a
//! string. [`wasmtime::Store::set_hostcall_fuel`] counts them as that, in both stores of a call.
//!
//! # Limits
//! [`DriverSettings`] has them all with their defaults; [`ProxiesFull`] and [`FailureCause`] are
//! their errors.

mod actor;
mod board;
#[allow(
    unsafe_code,
    reason = "the traits of Wasmtime by which a type is read and written are unsafe to implement"
)]
mod canonical;
mod context;
mod crossing;
mod error;
mod exports;
mod failure;
mod handle;
mod held;
mod host;
mod link;
mod links;
mod live;
mod objects;
mod payload;
mod pipe;
mod plan;
mod proxies;
mod rest;
mod session;
mod settings;
mod shape;
mod supervise;
mod values;

pub use context::CallContext;
pub use crossing::Crossing;
pub use error::{DriverFailed, FailureCause, HostResourceHeld, LinkError, ProxiesFull};
pub use handle::DriverHandle;
pub use host::{DriverHost, DriverProgram, Room};
pub use link::{Binding, link_interfaces};
pub use links::Links;
pub use objects::{HostObject, HostResource};
pub use plan::{Candidate, check_interfaces, has_only_types};
pub use proxies::Proxies;
pub use settings::DriverSettings;
pub use supervise::{DriverHealth, DriverState};
