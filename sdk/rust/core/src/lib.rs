//! What `canopy-sdk` consists of, without key-value storage.
//!
//! That crate is this one and its module `kv`; its documentation says how to use both. A driver
//! that serves `wasi:keyvalue` depends on this one, which goes by the same name in its code: a
//! component cannot both take and give the types that the interfaces of a package share.

pub mod body;
pub mod client;
pub mod config;
#[cfg(not(feature = "wasi-0-3"))]
mod entry;
#[cfg(feature = "wasi-0-3")]
#[path = "entry_0_3.rs"]
mod entry;
pub mod extract;
mod handler;
pub mod identity;
pub mod log;
pub mod problem;
pub mod response;
mod routing;
#[cfg(feature = "wasi-0-3")]
pub mod stream;
#[cfg(feature = "wasi-0-3")]
pub mod websocket;
mod wire;

mod bindings;

pub use body::Body;
#[cfg(feature = "wasi-0-3")]
pub use canopy_sdk_macros::websocket;
pub use canopy_sdk_macros::{app, driver, import};
pub use extract::{Form, FromRequest, Json, Path, Query};
pub use handler::Handler;
pub use http::{self, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
pub use problem::Problem;
pub use response::{Created, Html, IntoResponse, Redirect};
pub use routing::{MethodRouter, Router, any, delete, get, patch, post, put};

/// A request: head by the crate [`http`], body by [`Body`].
pub type Request = http::Request<Body>;

/// A response: head by the crate [`http`], body by [`Body`].
pub type Response = http::Response<Body>;

/// What the attributes' output refers to; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::__export_app as export_app;
    #[cfg(feature = "wasi-0-3")]
    pub use crate::__export_websocket as export_websocket;
    pub use crate::entry::serve;
    #[cfg(feature = "wasi-0-3")]
    pub use crate::websocket::open;
    #[cfg(not(feature = "wasi-0-3"))]
    pub use wasip2 as wasi;
    #[cfg(feature = "wasi-0-3")]
    pub use wasip3 as wasi;
    pub use wit_bindgen;
}
