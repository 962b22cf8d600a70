//! What handlers take from a request. Whatever does not fit is told as a problem document.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::{CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use canopy_app::{Context, IdempotencyKey, PageRequest, Precondition};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use crate::problem::ApiError;
use crate::{Api, DEFAULT_PAGE, MAX_PAGE};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// On whose behalf the request is.
pub(crate) struct Asked(pub(crate) Context);

impl FromRequestParts<Api> for Asked {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, ApiError> {
        let context = parts.extensions.get::<Context>().cloned();
        let mut context = context.ok_or(ApiError::App(canopy_app::AppError::Unauthenticated))?;
        let query = parts.uri.query().unwrap_or_default();
        for check in query
            .split('&')
            .filter_map(|part| part.strip_prefix("check="))
        {
            context.check = match check {
                "true" => true,
                "false" => false,
                _ => {
                    let message = "`check` must be `true` or `false`";
                    return Err(ApiError::InvalidQuery(message.into()));
                }
            };
        }
        Ok(Self(context))
    }
}

/// What may be said with a change that drivers are asked about. [`Asked`] reads it.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `Asked` reads")]
pub(crate) struct CheckQuery {
    /// `false`: do without asking drivers whether what is changed works. It is said in their logs.
    check: Option<bool>,
}

/// The names in the path.
pub(crate) struct Address<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for Address<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        match Path::from_request_parts(parts, api).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(rejection) => Err(ApiError::InvalidAddress(rejection.body_text())),
        }
    }
}

/// The query.
pub(crate) struct Asking<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for Asking<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        match Query::from_request_parts(parts, api).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(ApiError::InvalidQuery(rejection.body_text())),
        }
    }
}

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Api> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        let is_json = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|kind| {
                let kind = kind.trim().to_ascii_lowercase();
                kind == "application/json" || kind.ends_with("+json")
            });
        if !is_json {
            return Err(ApiError::NotJson);
        }
        let bytes = Bytes::from_request(request, api).await?;
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Self(value)),
            Err(error) if error.is_data() => Err(ApiError::InvalidBody(error.to_string())),
            Err(error) => Err(ApiError::BrokenJson(error.to_string())),
        }
    }
}

/// `If-Match` and `If-None-Match`.
pub(crate) struct Condition(pub(crate) Precondition);

impl FromRequestParts<Api> for Condition {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, ApiError> {
        Ok(Self(precondition(&parts.headers)?))
    }
}

fn precondition(headers: &HeaderMap) -> Result<Precondition, ApiError> {
    let one = |name: HeaderName| {
        let mut values = headers.get_all(&name).iter();
        let value = values.next();
        if values.next().is_some() {
            return Err(ApiError::InvalidCondition("each header can be sent once"));
        }
        Ok(value)
    };
    match (one(IF_MATCH)?, one(IF_NONE_MATCH)?) {
        (None, None) => Ok(Precondition::Any),
        (Some(_), Some(_)) => Err(ApiError::InvalidCondition(
            "send `If-Match` or `If-None-Match`, not both",
        )),
        (None, Some(value)) if value == "*" => Ok(Precondition::Absent),
        (None, Some(_)) => Err(ApiError::InvalidCondition(
            "`If-None-Match` of a write can only be `*`",
        )),
        (Some(value), None) if value == "*" => Ok(Precondition::Present),
        (Some(value), None) => {
            let tag = value
                .to_str()
                .ok()
                .and_then(|text| text.trim().strip_prefix('"')?.strip_suffix('"'))
                .filter(|tag| !tag.contains('"'))
                .ok_or(ApiError::InvalidCondition(
                    "`If-Match` must be `*` or one ETag as it was received, as in `\"42\"`",
                ))?;
            // A tag that this API never gave out matches nothing.
            Ok(Precondition::Revision(tag.parse().unwrap_or(u64::MAX)))
        }
    }
}

/// `Idempotency-Key`.
pub(crate) struct Once(pub(crate) Option<IdempotencyKey>);

impl FromRequestParts<Api> for Once {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get(IDEMPOTENCY_KEY) else {
            return Ok(Self(None));
        };
        let text = value.to_str().unwrap_or_default();
        Ok(Self(Some(IdempotencyKey::new(text)?)))
    }
}

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// Items at most: 1 to 1000, 100 where none is given.
    #[serde(default)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    cursor: Option<String>,
}

/// The page that `limit` and `cursor` ask for.
pub(crate) fn page(limit: Option<usize>, cursor: Option<String>) -> Result<PageRequest, ApiError> {
    let limit = limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(ApiError::InvalidQuery(format!(
            "`limit` must be from 1 to {MAX_PAGE}"
        )));
    }
    Ok(PageRequest { limit, cursor })
}

impl PageQuery {
    pub(crate) fn page(self) -> Result<PageRequest, ApiError> {
        page(self.limit, self.cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(HeaderName, &'static str)]) -> Result<Precondition, ApiError> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, axum::http::HeaderValue::from_static(value));
        }
        precondition(&headers)
    }

    #[test]
    fn conditions_are_read() {
        for (pairs, expected) in [
            (&[][..], Precondition::Any),
            (&[(IF_MATCH, "\"42\"")], Precondition::Revision(42)),
            (&[(IF_MATCH, "*")], Precondition::Present),
            (&[(IF_NONE_MATCH, "*")], Precondition::Absent),
            (&[(IF_MATCH, "\"other\"")], Precondition::Revision(u64::MAX)),
        ] {
            assert_eq!(read(pairs).expect("valid"), expected);
        }
    }

    #[test]
    fn conditions_that_cannot_be_kept_are_refused() {
        for pairs in [
            &[(IF_MATCH, "42")][..],
            &[(IF_MATCH, "W/\"42\"")],
            &[(IF_MATCH, "\"1\", \"2\"")],
            &[(IF_NONE_MATCH, "\"42\"")],
            &[(IF_MATCH, "*"), (IF_NONE_MATCH, "*")],
            &[(IF_MATCH, "\"1\""), (IF_MATCH, "\"2\"")],
        ] {
            assert!(read(pairs).is_err(), "{pairs:?}");
        }
    }
}
