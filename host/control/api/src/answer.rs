//! Answers with the revision as their ETag.

use axum::Json;
use axum::http::header::ETAG;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use canopy_api_types::{Driver, Installation, Package, Plan, Publisher, Tenant};
use serde::Serialize;

/// A noun that has a revision.
pub(crate) trait Revised {
    fn revision(&self) -> u64;
}

macro_rules! revised {
    ($($noun:ty),*) => {
        $(impl Revised for $noun {
            fn revision(&self) -> u64 {
                self.revision
            }
        })*
    };
}

revised!(Driver, Installation, Package, Plan, Publisher, Tenant);

/// A noun as it is now.
pub(crate) struct Tagged<T>(pub(crate) T);

impl<T: Revised + Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        part(self.0.revision(), &self.0)
    }
}

/// A noun that was written, and whether it is new.
pub(crate) struct Stored<T>(pub(crate) T, pub(crate) bool);

impl<T: Revised + Serialize> IntoResponse for Stored<T> {
    fn into_response(self) -> Response {
        let mut response = part(self.0.revision(), &self.0);
        if self.1 {
            *response.status_mut() = StatusCode::CREATED;
        }
        response
    }
}

/// A part of a noun, tagged with the noun's revision.
pub(crate) fn part(revision: u64, body: &impl Serialize) -> Response {
    let mut response = Json(body).into_response();
    if let Ok(tag) = HeaderValue::try_from(format!("\"{revision}\"")) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}
