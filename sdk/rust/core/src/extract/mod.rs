//! Extractors: what a handler's parameters take from a request.

mod origin;
mod path;

use std::convert::Infallible;

use http::{HeaderMap, Method, StatusCode, Uri, header};
use serde::de::DeserializeOwned;

use crate::{Body, IntoResponse, Problem, Request};

pub use origin::SameOrigin;
#[cfg(feature = "wasi-0-3")]
pub(crate) use origin::is_foreign;
pub(crate) use path::Parameters;
pub use path::Path;

/// How long a body [`Json`], [`Form`], `String` and `Vec<u8>` read; a longer one is answered by
/// 413. A handler that takes [`Body`] reads as much as it likes.
pub const BODY_LIMIT: usize = 2 << 20;

/// What can be a parameter of a handler.
pub trait FromRequest: Sized {
    /// What answers the request if the value cannot be had.
    type Rejection: IntoResponse;

    /// Takes the value from `request`.
    ///
    /// # Errors
    /// If the request does not carry it.
    fn from_request(request: &mut Request) -> Result<Self, Self::Rejection>;
}

/// A body in JSON, as a parameter; a value to be sent as JSON, as a result.
///
/// As a parameter it asks for a content type of `application/json` or `application/…+json`, so
/// that a form on a foreign page cannot pose as an API client. Syntax errors are answered by 400
/// and values of another shape by 422.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Json<T> {
    type Rejection = Problem;

    fn from_request(request: &mut Request) -> Result<Self, Problem> {
        let kind = content_type(request.headers());
        let json = kind == "application/json"
            || (kind.starts_with("application/") && kind.ends_with("+json"));
        if !json {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The content type must be application/json.",
            ));
        }
        let bytes = Vec::<u8>::from_request(request)?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            let status = match error.classify() {
                serde_json::error::Category::Data => StatusCode::UNPROCESSABLE_ENTITY,
                _ => StatusCode::BAD_REQUEST,
            };
            Problem::new(status, format!("The body is not as expected: {error}."))
        })
    }
}

/// The query string, by field names.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Rejection = Problem;

    fn from_request(request: &mut Request) -> Result<Self, Problem> {
        serde_urlencoded::from_str(request.uri().query().unwrap_or_default())
            .map(Self)
            .map_err(|error| Problem::bad_request(format!("The query string: {error}.")))
    }
}

/// The body of an HTML form, `application/x-www-form-urlencoded`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Form<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Form<T> {
    type Rejection = Problem;

    fn from_request(request: &mut Request) -> Result<Self, Problem> {
        if content_type(request.headers()) != "application/x-www-form-urlencoded" {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The content type must be application/x-www-form-urlencoded.",
            ));
        }
        let bytes = Vec::<u8>::from_request(request)?;
        serde_urlencoded::from_bytes(&bytes)
            .map(Self)
            .map_err(|error| {
                Problem::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    format!("The form: {error}."),
                )
            })
    }
}

fn content_type(headers: &HeaderMap) -> String {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

impl FromRequest for Vec<u8> {
    type Rejection = Problem;

    fn from_request(request: &mut Request) -> Result<Self, Problem> {
        Ok(std::mem::take(request.body_mut()).read_to_vec(BODY_LIMIT)?)
    }
}

impl FromRequest for String {
    type Rejection = Problem;

    fn from_request(request: &mut Request) -> Result<Self, Problem> {
        Ok(std::mem::take(request.body_mut()).read_to_string(BODY_LIMIT)?)
    }
}

macro_rules! part {
    ($($type:ty, $request:ident => $value:expr;)*) => {
        $(
            impl FromRequest for $type {
                type Rejection = Infallible;

                fn from_request($request: &mut Request) -> Result<Self, Infallible> {
                    Ok($value)
                }
            }
        )*
    };
}

part! {
    Body, request => std::mem::take(request.body_mut());
    HeaderMap, request => request.headers().clone();
    Method, request => request.method().clone();
    Uri, request => request.uri().clone();
    Request, request => std::mem::take(request);
}

impl<T: FromRequest> FromRequest for Option<T> {
    type Rejection = Infallible;

    fn from_request(request: &mut Request) -> Result<Self, Infallible> {
        Ok(T::from_request(request).ok())
    }
}

impl<T: FromRequest> FromRequest for Result<T, T::Rejection> {
    type Rejection = Infallible;

    fn from_request(request: &mut Request) -> Result<Self, Infallible> {
        Ok(T::from_request(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize, Debug, PartialEq)]
    struct Point {
        x: i32,
        y: i32,
    }

    fn request(kind: &str, body: &str) -> Request {
        http::Request::post("/?x=1&y=2")
            .header(header::CONTENT_TYPE, kind)
            .body(Body::from(body))
            .unwrap()
    }

    #[test]
    fn json_is_read_by_its_content_type_only() {
        let body = r#"{"x":1,"y":2}"#;
        for kind in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/a+json",
        ] {
            let Json(point) = Json::<Point>::from_request(&mut request(kind, body)).unwrap();
            assert_eq!(point, Point { x: 1, y: 2 });
        }
        let refused = Json::<Point>::from_request(&mut request("text/plain", body)).unwrap_err();
        assert_eq!(refused.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }

    #[test]
    fn a_syntax_error_and_a_wrong_shape_have_statuses_of_their_own() {
        let status = |body| {
            Json::<Point>::from_request(&mut request("application/json", body))
                .unwrap_err()
                .status()
        };
        assert_eq!(status("{"), StatusCode::BAD_REQUEST);
        assert_eq!(status(r#"{"x":1}"#), StatusCode::UNPROCESSABLE_ENTITY);
    }

    #[test]
    fn query_and_form_are_read_by_field_names() {
        let mut request = request("application/x-www-form-urlencoded", "x=3&y=-4");
        assert_eq!(
            Query::<Point>::from_request(&mut request).unwrap().0,
            Point { x: 1, y: 2 }
        );
        assert_eq!(
            Form::<Point>::from_request(&mut request).unwrap().0,
            Point { x: 3, y: -4 }
        );
    }

    #[test]
    fn a_body_over_the_limit_is_refused() {
        let mut request = http::Request::new(Body::from(vec![b'x'; BODY_LIMIT + 1]));
        let refused = String::from_request(&mut request).unwrap_err();
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
}
