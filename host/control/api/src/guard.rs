//! What happens to every request: it gets an identifier, and nothing is looked at before its token.

use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use canopy_app::AppError;
use canopy_ids::RequestId;

use crate::Api;
use crate::problem::{self, ApiError};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives the request its identifier, finishes problem documents with it, and writes a line of log.
pub(crate) async fn identify(mut request: Request, next: Next) -> Response {
    let id = RequestId::new();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let known = request.headers().get(IF_NONE_MATCH).cloned();
    let started = Instant::now();
    request.extensions_mut().insert(id);

    let mut response = problem::finish(next.run(request).await, id);
    let reads = method == Method::GET || method == Method::HEAD;
    if reads && response.status() == StatusCode::OK && is_known(&response, known.as_ref()) {
        let tag = response.headers().get(ETAG).cloned();
        response = StatusCode::NOT_MODIFIED.into_response();
        response.headers_mut().extend(tag.map(|tag| (ETAG, tag)));
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        headers.insert(X_REQUEST_ID, id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    tracing::info!(
        request_id = %id,
        %method,
        path,
        status = response.status().as_u16(),
        milliseconds = started.elapsed().as_millis(),
        "control request"
    );
    response
}

fn is_known(response: &Response, known: Option<&HeaderValue>) -> bool {
    let tag = response.headers().get(ETAG);
    tag.is_some() && tag == known
}

/// Lets nothing through without a valid token, not even to learn which routes there are.
pub(crate) async fn authenticate(
    State(api): State<Api>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = request
        .extensions()
        .get::<RequestId>()
        .copied()
        .unwrap_or_else(RequestId::new);
    let Some(token) = bearer(&request) else {
        return ApiError::from(AppError::Unauthenticated).into_response();
    };
    match api.app.authenticate(token, id).await {
        Ok(context) => {
            request.extensions_mut().insert(context);
            next.run(request).await
        }
        Err(error) => ApiError::from(error).into_response(),
    }
}

fn bearer(request: &Request) -> Option<&str> {
    let mut values = request.headers().get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

pub(crate) async fn no_such_route() -> ApiError {
    ApiError::NoSuchRoute
}

pub(crate) async fn no_such_method() -> ApiError {
    ApiError::NoSuchMethod
}
