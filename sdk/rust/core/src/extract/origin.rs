//! Telling requests of our own pages from those of other sites.

use http::{HeaderMap, StatusCode, Uri, header};

use crate::{FromRequest, Problem, Request};

/// The request was not sent by a page of another site.
///
/// Threat: a page anywhere can make its visitor's browser post a form to an application that the
/// visitor may use. A handler of a form takes this before the form. Order of evaluation:
///
/// 1. `Sec-Fetch-Site`, which browsers set and pages cannot: `same-origin` and `none` pass.
/// 2. Without it `Origin`, which must name the host that the request was sent to.
/// 3. Without both it is no browser's request for a page, and passes.
///
/// ```
/// use canopy_sdk::{Form, Redirect, Router, extract::SameOrigin, post};
///
/// fn app() -> Router {
///     let create = |_: SameOrigin, Form(_): Form<Vec<(String, String)>>| Redirect::to("/");
///     Router::new().route("/", post(create))
/// }
/// # let _ = app();
/// ```
///
/// A handler that takes [`Json`](crate::Json) needs no such check: a page of another site cannot
/// send that without asking first.
#[derive(Debug, Clone, Copy)]
pub struct SameOrigin;

impl FromRequest for SameOrigin {
    type Rejection = Problem;

    fn from_request(request: &mut Request) -> Result<Self, Problem> {
        if is_foreign(request.uri(), request.headers()) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "The request was sent by a page of another site.",
            ));
        }
        Ok(Self)
    }
}

/// Whether browsers say that a page of another site sends this.
pub(crate) fn is_foreign(uri: &Uri, headers: &HeaderMap) -> bool {
    let text = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default())
    };
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text(header::ORIGIN.as_str()) else {
        return false;
    };
    // `wasi:http` tells the host as a part of the address and not among the headers.
    let host = uri.authority().map(http::uri::Authority::as_str);
    match host.or_else(|| text(header::HOST.as_str())) {
        Some(host) => origin
            .split_once("://")
            .is_none_or(|(_, authority)| !authority.eq_ignore_ascii_case(host)),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign(pairs: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        let uri = Uri::from_static("http://books.acme.localhost:8080/form");
        is_foreign(&uri, &headers)
    }

    #[test]
    fn pages_of_other_sites_are_told_apart() {
        assert!(!foreign(&[]));
        assert!(!foreign(&[("sec-fetch-site", "same-origin")]));
        assert!(!foreign(&[("sec-fetch-site", "none")]));
        assert!(!foreign(&[("origin", "http://books.acme.localhost:8080")]));
        assert!(foreign(&[("sec-fetch-site", "cross-site")]));
        assert!(foreign(&[("sec-fetch-site", "same-site")]));
        assert!(foreign(&[
            ("origin", "http://evil.example"),
            ("host", "evil.example")
        ]));
        assert!(foreign(&[("origin", "null")]));
    }
}
