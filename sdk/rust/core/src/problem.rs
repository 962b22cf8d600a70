//! Errors for callers, as `application/problem+json` (RFC 9457).

use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::{IntoResponse, Response};

/// What went wrong, told to the caller.
///
/// ```
/// use canopy_sdk::{Problem, StatusCode};
///
/// fn withdraw(balance: u32, amount: u32) -> Result<u32, Problem> {
///     balance.checked_sub(amount).ok_or_else(|| {
///         Problem::new(StatusCode::CONFLICT, "The balance does not cover that.")
///             .kind("urn:example:out-of-credit")
///             .with("balance", balance)
///     })
/// }
/// # assert_eq!(withdraw(3, 4).unwrap_err().to_string(), "The balance does not cover that.");
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    status: StatusCode,
    kind: Option<String>,
    detail: String,
    more: Map<String, Value>,
}

impl Problem {
    /// A problem whose title is the name of `status`; `detail` is a sentence for people.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            kind: None,
            detail: detail.into(),
            more: Map::new(),
        }
    }

    /// 400: the request is malformed.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404: there is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 409: the thing is not in a state that allows this.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// The URI that identifies problems of this kind, for programs.
    #[must_use]
    pub fn kind(mut self, uri: impl Into<String>) -> Self {
        self.kind = Some(uri.into());
        self
    }

    /// Adds a member. `type`, `title`, `status` and `detail` are set by other means.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// The status that the response will have.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut members = self.more;
        members.insert(
            "type".to_owned(),
            self.kind.unwrap_or_else(|| "about:blank".to_owned()).into(),
        );
        members.insert(
            "title".to_owned(),
            self.status.canonical_reason().unwrap_or("Problem").into(),
        );
        members.insert("status".to_owned(), json!(self.status.as_u16()));
        members.insert("detail".to_owned(), self.detail.into());
        let mut response = Response::new(Value::Object(members).to_string().into());
        *response.status_mut() = self.status;
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        response
    }
}

/// Configuration that cannot be used is not the caller's fault: 500, with the reason in the log and
/// the setting's name for the caller.
impl From<crate::config::Error> for Problem {
    fn from(error: crate::config::Error) -> Self {
        crate::log::error!("configuration: {error}");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("The installation's configuration cannot be used: {error}."),
        )
    }
}

/// A host that does not answer is not the caller's fault: 504 if it was too slow, else 502, with
/// the reason in the log alone.
impl From<crate::client::Error> for Problem {
    fn from(error: crate::client::Error) -> Self {
        crate::log::error!("outgoing request: {error}");
        let status = match error {
            crate::client::Error::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        };
        Self::new(
            status,
            "Another system that this needs did not answer as it should.",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_answered_by_its_status_and_says_all_members() {
        let response = Problem::conflict("taken")
            .kind("urn:x:taken")
            .with("by", "somebody")
            .into_response();
        assert_eq!(response.status(), StatusCode::CONFLICT);
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        let body: Value =
            serde_json::from_slice(&response.into_body().read_to_vec(1000).unwrap()).unwrap();
        assert_eq!(
            body,
            json!({"type": "urn:x:taken", "title": "Conflict", "status": 409,
                   "detail": "taken", "by": "somebody"})
        );
    }
}
