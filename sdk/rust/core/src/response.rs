//! What a handler may return.

use std::convert::Infallible;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::{Body, Json, Problem, Response};

/// What becomes a response.
///
/// Besides the types named here: `(status, value)`, `(headers, value)` and
/// `(status, headers, value)`, where the headers are an array of pairs or a [`HeaderMap`];
/// `Result` of two that become responses; `Option`, whose `None` is 404.
pub trait IntoResponse {
    /// The response.
    fn into_response(self) -> Response;
}

/// HTML text.
///
/// What comes from outside must have been escaped; [`escape`] does it.
#[derive(Debug, Clone, Default)]
pub struct Html<T>(pub T);

/// Makes `text` safe between tags and within quoted attributes of HTML.
///
/// ```
/// assert_eq!(canopy_sdk::response::escape("<a title='x'>"), "&lt;a title=&#39;x&#39;&gt;");
/// ```
#[must_use]
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// A redirection by GET (303), as after a form was posted.
#[derive(Debug, Clone)]
pub struct Redirect(String);

impl Redirect {
    /// To `location`, a path of this application or an absolute address.
    #[must_use]
    pub fn to(location: impl Into<String>) -> Self {
        Self(location.into())
    }
}

/// What has been created (201), and where it is.
#[derive(Debug, Clone)]
pub struct Created<T> {
    location: String,
    value: T,
}

impl<T> Created<T> {
    /// At `location`, a path of this application; `value` is the body.
    #[must_use]
    pub fn at(location: impl Into<String>, value: T) -> Self {
        Self {
            location: location.into(),
            value,
        }
    }
}

impl<T: IntoResponse> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let headers = [(header::LOCATION, self.location)];
        (StatusCode::CREATED, headers, self.value).into_response()
    }
}

fn typed(kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

impl IntoResponse for Response {
    fn into_response(self) -> Response {
        self
    }
}

impl IntoResponse for Body {
    fn into_response(self) -> Response {
        typed("application/octet-stream", self)
    }
}

impl IntoResponse for Vec<u8> {
    fn into_response(self) -> Response {
        typed("application/octet-stream", self)
    }
}

impl IntoResponse for String {
    fn into_response(self) -> Response {
        typed("text/plain; charset=utf-8", self)
    }
}

impl IntoResponse for &'static str {
    fn into_response(self) -> Response {
        typed("text/plain; charset=utf-8", self)
    }
}

impl IntoResponse for () {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl IntoResponse for StatusCode {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self;
        response
    }
}

impl IntoResponse for Infallible {
    fn into_response(self) -> Response {
        match self {}
    }
}

impl<T: Into<Body>> IntoResponse for Html<T> {
    fn into_response(self) -> Response {
        typed("text/html; charset=utf-8", self.0)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => typed("application/json", bytes),
            Err(error) => {
                crate::log::error!("a value could not be written as JSON: {error}");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

impl IntoResponse for Redirect {
    fn into_response(self) -> Response {
        match HeaderValue::try_from(self.0) {
            Ok(location) => {
                let mut response = StatusCode::SEE_OTHER.into_response();
                response.headers_mut().insert(header::LOCATION, location);
                response
            }
            Err(_) => Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The place to go on at cannot be written into a header.",
            )
            .into_response(),
        }
    }
}

impl<T: IntoResponse, E: IntoResponse> IntoResponse for Result<T, E> {
    fn into_response(self) -> Response {
        match self {
            Ok(value) => value.into_response(),
            Err(error) => error.into_response(),
        }
    }
}

impl<T: IntoResponse> IntoResponse for Option<T> {
    fn into_response(self) -> Response {
        match self {
            Some(value) => value.into_response(),
            None => Problem::not_found("There is no such thing.").into_response(),
        }
    }
}

impl<T: IntoResponse> IntoResponse for (StatusCode, T) {
    fn into_response(self) -> Response {
        let mut response = self.1.into_response();
        *response.status_mut() = self.0;
        response
    }
}

impl<T: IntoResponse> IntoResponse for (HeaderMap, T) {
    fn into_response(self) -> Response {
        let mut response = self.1.into_response();
        for (name, value) in &self.0 {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }
}

impl<T, N, V, const COUNT: usize> IntoResponse for ([(N, V); COUNT], T)
where
    T: IntoResponse,
    N: TryInto<HeaderName>,
    V: TryInto<HeaderValue>,
{
    fn into_response(self) -> Response {
        let mut response = self.1.into_response();
        for (name, value) in self.0 {
            let (Ok(name), Ok(value)) = (name.try_into(), value.try_into()) else {
                crate::log::error!("a header of the response cannot be sent");
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            };
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl<H, T> IntoResponse for (StatusCode, H, T)
where
    (H, T): IntoResponse,
{
    fn into_response(self) -> Response {
        (self.0, (self.1, self.2)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_headers_are_laid_over_the_value() {
        let response = (
            StatusCode::CREATED,
            [("location", "/a/1"), ("content-type", "text/csv")],
            "a,b",
        )
            .into_response();
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(response.headers()["location"], "/a/1");
        assert_eq!(response.headers()["content-type"], "text/csv");
    }

    #[test]
    fn a_redirect_cannot_smuggle_a_header() {
        let response = Redirect::to("/a\r\nset-cookie: x=1").into_response();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(response.headers().get("set-cookie").is_none());
    }

    #[test]
    fn none_is_404_and_unit_is_204() {
        assert_eq!(None::<&str>.into_response().status(), StatusCode::NOT_FOUND);
        assert_eq!(().into_response().status(), StatusCode::NO_CONTENT);
    }
}
