//! Calls of the platform's own, as of a schedule: the way of a request from admission on.
//!
//! Nobody comes over a connection, so there is no host to route by and nobody to authenticate: the
//! platform names the installation, and says who calls. What follows is the same: admission, the
//! guest within its limits, the body to its end, and one record. A message that an application takes
//! by its own handler goes the same way, with another export at its end.

use std::sync::Arc;

use bytes::Bytes;
use canopy_admission::{Permit, Refused};
use canopy_ids::{InstallationId, RequestId};
use canopy_runtime::{Call, Caller, InstallationSpec, MessageDelivery, RequestBody, ServeError};
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

/// A message for an application that takes it by its own handler.
#[derive(Debug, Clone)]
pub struct Handing {
    /// Who is called.
    pub installation: InstallationId,
    /// Who the application is told calls.
    pub caller: Arc<Caller>,
    /// The message.
    pub message: MessageDelivery,
}

/// What came of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handed {
    /// Names the call in the logs.
    pub request_id: RequestId,
    /// Why the application did not take it, unless it did.
    pub outcome: Result<(), InvokeError>,
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
    /// The application does not take the message, in its own words.
    #[error("the application did not take it: {0}")]
    NotTaken(String),
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
        let actual = request.body().len() as u64;
        let (spec, permit) = self.admitted(&mut record, installation, actual).await?;

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
        let deadline = record.arrived + spec.component.limits.wall;
        let call = Call::new(record.id, caller, deadline).holding(permit);
        record.spent = Some(call.spent.clone());
        let whole = async move {
            let request = Request::from_parts(head, body);
            let response = match self.guests.serve(&spec, call, request).await {
                Ok(response) => response,
                Err(error) => return Err(failed(record, error)),
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

    /// Has an installation take a message by its own handler. Dropping the future cancels the guest.
    pub async fn hand_over(&self, handing: Handing) -> Handed {
        let Handing {
            installation,
            caller,
            message,
        } = handing;
        let mut record = Record::message(&message.topic);
        record.caller = caller.kind;
        let request_id = record.id;
        let outcome = self.take(record, installation, caller, message).await;
        Handed {
            request_id,
            outcome,
        }
    }

    async fn take(
        &self,
        mut record: Record,
        installation: InstallationId,
        caller: Arc<Caller>,
        message: MessageDelivery,
    ) -> Result<(), InvokeError> {
        let actual = message.body.len() as u64;
        let (spec, permit) = self.admitted(&mut record, installation, actual).await?;
        let deadline = record.arrived + spec.component.limits.wall;
        let call = Call::new(record.id, caller, deadline).holding(permit);
        let taken = async move {
            match self.guests.deliver(&spec, call, message).await {
                Ok(said) => {
                    record.outcome = Outcome::Complete;
                    said.map_err(|text| {
                        record.code = Some("not-taken");
                        InvokeError::NotTaken(text)
                    })
                }
                Err(error) => Err(failed(record, error)),
            }
        };
        let taken = tokio::time::timeout_at((deadline + DEADLINE_SLACK).into(), taken);
        taken.await.unwrap_or(Err(InvokeError::Late))
    }

    /// The installation, if there is room for a call of it with a body of `actual` bytes.
    async fn admitted(
        &self,
        record: &mut Record,
        installation: InstallationId,
        actual: u64,
    ) -> Result<(Arc<InstallationSpec>, Permit), InvokeError> {
        let snapshot = self.routes.current();
        let route = snapshot.installation(installation);
        let spec = Arc::clone(&route.ok_or(InvokeError::NotInstalled)?.spec);
        drop(snapshot);
        record.installation = Some(Arc::clone(&spec));

        let limit = spec.component.limits.request_body_bytes;
        if actual > limit {
            record.code = Some("body-too-large");
            record.outcome = Outcome::Complete;
            return Err(InvokeError::BodyTooLarge { actual, limit });
        }
        match self.admission.admit(&ask(&spec)).await {
            Ok(permit) => Ok((spec, permit)),
            Err(refused) => {
                record.code = Some(problem::refused(&refused));
                record.outcome = Outcome::Complete;
                Err(InvokeError::Refused(refused))
            }
        }
    }
}

/// Writes down why an application did not answer.
fn failed(mut record: Record, error: ServeError) -> InvokeError {
    record.failure(&error);
    let (code, message) = problem::told(error);
    record.code = Some(code);
    record.outcome = Outcome::Complete;
    InvokeError::Failed { code, message }
}
