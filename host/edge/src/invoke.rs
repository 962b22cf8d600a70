//! Calls of the platform's own, as of a schedule: the way of a request from admission on.
//!
//! Nobody comes over a connection, so there is no host to route by and nobody to authenticate: the
//! platform names the installation, and says who calls. What follows is the same: admission, the
//! guest within its limits, the body to its end, and one record.

use std::sync::Arc;

use bytes::Bytes;
use canopy_admission::Refused;
use canopy_ids::{InstallationId, RequestId};
use canopy_runtime::{Call, Caller, RequestBody, ServeError};
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full};

use crate::body::{BrokenOff, ResponseBody};
use crate::chain::{DEADLINE_SLACK, ask};
use crate::guests::Guests;
use crate::headers::REQUEST_ID;
use crate::record::{Outcome, Record};
use crate::{Edge, problem};

/// A call of the platform's own.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Who is called.
    pub installation: InstallationId,
    /// Who the application is told calls.
    pub caller: Arc<Caller>,
    /// The request, with scheme and authority.
    pub request: Request<Bytes>,
}

/// What came of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Names the call in the logs.
    pub request_id: RequestId,
    /// What the application answered, or why it did not.
    pub outcome: Result<StatusCode, InvokeError>,
}

/// Why an application did not answer a call whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// There is no such installation on this node now.
    #[error("the installation is not served by this node now")]
    NotInstalled,
    /// There was no room for it.
    #[error("{0}")]
    Refused(Refused),
    /// The body is over the installation's limit.
    #[error("the body of {actual} bytes is over the limit of {limit}")]
    BodyTooLarge {
        /// Its length.
        actual: u64,
        /// The limit.
        limit: u64,
    },
    /// The application failed, or its answer broke off.
    #[error("{message}")]
    Failed {
        /// The code, as in the problem document that a client would get.
        code: &'static str,
        /// What a client would be told.
        message: String,
    },
    /// The answer did not end in time.
    #[error("the answer did not end in time")]
    Late,
}

impl InvokeError {
    fn failed(error: ServeError) -> Self {
        let (code, message) = problem::told(error);
        Self::Failed { code, message }
    }
}

impl<G: Guests> Edge<G> {
    /// Has an installation answer a call of the platform's own, and reads the answer to its end.
    /// Dropping the future cancels the guest.
    pub async fn invoke(&self, invocation: Invocation) -> Answered {
        let Invocation {
            installation,
            caller,
            request,
        } = invocation;
        let mut record = Record::begin(&request, None);
        record.caller = caller.kind;
        let request_id = record.id;
        let outcome = self.answer(record, installation, caller, request).await;
        Answered {
            request_id,
            outcome,
        }
    }

    async fn answer(
        &self,
        mut record: Record,
        installation: InstallationId,
        caller: Arc<Caller>,
        request: Request<Bytes>,
    ) -> Result<StatusCode, InvokeError> {
        let snapshot = self.routes.current();
        let route = snapshot.installation(installation);
        let spec = Arc::clone(&route.ok_or(InvokeError::NotInstalled)?.spec);
        drop(snapshot);
        record.installation = Some(Arc::clone(&spec));

        let limits = &spec.component.limits;
        let (actual, limit) = (request.body().len() as u64, limits.request_body_bytes);
        if actual > limit {
            record.code = Some("body-too-large");
            record.outcome = Outcome::Complete;
            return Err(InvokeError::BodyTooLarge { actual, limit });
        }

        // Is there room?
        let permit = match self.admission.admit(&ask(&spec)).await {
            Ok(permit) => permit,
            Err(refused) => {
                record.code = Some(problem::refused(&refused));
                record.outcome = Outcome::Complete;
                return Err(InvokeError::Refused(refused));
            }
        };

        // The request as the application is to see it.
        let (mut head, body) = request.into_parts();
        head.headers.insert(REQUEST_ID, record.shown_id());
        head.headers
            .insert(CONTENT_LENGTH, HeaderValue::from(actual));
        let authority = head.uri.authority();
        if let Some(Ok(host)) = authority.map(|host| HeaderValue::try_from(host.as_str())) {
            head.headers.insert(HOST, host);
        }
        let body: RequestBody = Full::new(body)
            .map_err(|never| match never {})
            .boxed_unsync();

        // Call it, and take the answer to its end.
        let deadline = record.arrived + limits.wall;
        let call = Call::new(record.id, caller, deadline).holding(permit);
        let whole = async move {
            let request = Request::from_parts(head, body);
            let response = match self.guests.serve(&spec, call, request).await {
                Ok(response) => response,
                Err(error) => {
                    record.failure(&error);
                    let error = InvokeError::failed(error);
                    if let InvokeError::Failed { code, .. } = &error {
                        record.code = Some(code);
                    }
                    record.outcome = Outcome::Complete;
                    drop(record);
                    return Err(error);
                }
            };
            let status = response.status();
            record.status = Some(status);
            let mut body = ResponseBody::open(response.into_body(), record, None);
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(_) => {}
                    Err(BrokenOff::Late) => return Err(InvokeError::Late),
                    Err(BrokenOff::Guest(error)) => return Err(InvokeError::failed(error)),
                }
            }
            Ok(status)
        };
        let whole = tokio::time::timeout_at((deadline + DEADLINE_SLACK).into(), whole);
        whole.await.unwrap_or(Err(InvokeError::Late))
    }
}
