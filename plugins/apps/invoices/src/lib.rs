//! Customers and invoices: pages for people, a JSON API for programs.
//!
//! A request goes from [`pages`] or [`api`] through [`access`] to the [`books`], which give
//! invoices their numbers by [`numbering`]. [`model`] and [`decimal`] know what is valid and what
//! it adds up to.

mod access;
mod api;
mod books;
mod decimal;
mod form;
mod model;
mod numbering;
mod pages;
mod settings;

use canopy_sdk::{HeaderValue, Response, Router, header};

#[canopy_sdk::app]
fn app() -> Router {
    pages::routes()
        .nest("/api", api::routes())
        .map_response(with_safe_headers)
}

/// What makes a slip in a page harmless: no scripts but our own, no framing, nothing kept by
/// caches along the way.
fn with_safe_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}
