//! A problem document (RFC 9457) as a response.

use std::time::Duration;

use bytes::Bytes;
use canopy_ids::RequestId;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RETRY_AFTER,
    SEC_WEBSOCKET_VERSION, WWW_AUTHENTICATE,
};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::Problem;

/// Whole seconds, never less than what is meant.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0 || duration.is_zero())
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    request_id: RequestId,
}

impl Problem {
    /// The problem as a response.
    pub(crate) fn response(&self, request_id: RequestId) -> Response<Bytes> {
        let document = Document {
            r#type: format!("urn:canopy:problem:{}", self.code),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            request_id,
        };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UPGRADE_REQUIRED {
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds(after)));
        }
        if let Some((scope, rate)) = self.rate {
            let name = scope.as_str();
            let wait = self.retry_after.map_or(1, seconds);
            // Structured fields of the IETF's draft on rate limits.
            for (field, value) in [
                (
                    "ratelimit-policy",
                    format!("\"{name}\";q={};w=1", rate.per_second),
                ),
                ("ratelimit", format!("\"{name}\";r=0;t={wait}")),
            ] {
                if let Ok(value) = HeaderValue::try_from(value) {
                    headers.insert(field, value);
                }
            }
        }
        if let Some(location) = &self.location
            && let Ok(value) = HeaderValue::try_from(location)
        {
            headers.insert(LOCATION, value);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"canopy\""),
            );
        }
        if let Some(size) = self.size
            && let Ok(value) = HeaderValue::try_from(format!("bytes */{size}"))
        {
            headers.insert(CONTENT_RANGE, value);
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
