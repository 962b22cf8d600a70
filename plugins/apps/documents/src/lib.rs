//! Folders and documents: pages for people, a JSON API for programs.
//!
//! A request goes from [`pages`] or [`api`] through [`access`] to the [`tree`], which knows folders,
//! versions, the trash and the history, and to [`contents`], which knows the bytes. [`words`] takes
//! from a document what is searched for, and [`multipart`] reads what a browser's form sends.

mod access;
mod api;
mod contents;
mod model;
mod multipart;
mod pages;
mod search;
mod trash;
mod tree;
mod words;

use canopy_sdk::{HeaderValue, Response, Router, header};

#[canopy_sdk::app]
fn app() -> Router {
    pages::routes()
        .nest("/api", api::routes())
        .map_response(with_safe_headers)
}

/// What makes a slip in a page harmless: no scripts but our own, no framing, nothing kept by
/// caches along the way. Documents that are shown have a stricter policy of their own.
fn with_safe_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
             img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("same-origin"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}
