//! One log record for each request, written when its response has ended or its client has gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use canopy_ids::RequestId;
use canopy_runtime::{CallerKind, InstallationSpec, ServeError, Spent};
use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Version};
use tracing::field;

use crate::body::Received;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Neither answered nor refused, because the client went away before.
    ClientGone,
    /// Answered whole.
    Complete,
    /// Broken off after the header had been sent.
    BrokenOff,
}

/// What is written down about one request. Dropping it writes it.
pub(crate) struct Record {
    pub(crate) id: RequestId,
    shown_id: HeaderValue,
    pub(crate) arrived: Instant,
    /// `None` for a call of the platform's own.
    peer: Option<Arc<str>>,
    method: Option<Method>,
    version: Option<Version>,
    host: Option<Box<str>>,
    path: Option<Box<str>>,
    /// That of a message, which is no request.
    topic: Option<Box<str>>,
    user_agent: Option<Box<str>>,
    pub(crate) installation: Option<Arc<InstallationSpec>>,
    pub(crate) caller: CallerKind,
    pub(crate) received: Option<Arc<Received>>,
    /// What the application has used of the CPU, where it has been asked.
    pub(crate) spent: Option<Spent>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) code: Option<&'static str>,
    pub(crate) bytes_sent: u64,
    pub(crate) outcome: Outcome,
}

/// More of a path, or of what else a client says of itself, is not worth its place in the log.
const KEPT: usize = 256;

impl Record {
    pub(crate) fn begin<B>(request: &Request<B>, peer: Option<&Arc<str>>) -> Self {
        let uri = request.uri();
        let mut record = Self::new();
        record.host = match uri.authority() {
            Some(authority) => Some(kept(authority.as_str())),
            None => request.headers().get(HOST).map(shown),
        };
        record.peer = peer.cloned();
        record.method = Some(request.method().clone());
        record.version = Some(request.version());
        record.path = Some(kept(uri.path()));
        record.user_agent = request.headers().get(USER_AGENT).map(shown);
        record
    }

    /// Of a message on `topic` that the application takes by its own handler.
    pub(crate) fn message(topic: &str) -> Self {
        let mut record = Self::new();
        record.topic = Some(kept(topic));
        record
    }

    fn new() -> Self {
        let id = RequestId::new();
        Self {
            id,
            // An identifier is visible ASCII.
            shown_id: HeaderValue::try_from(id.to_string())
                .unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            arrived: Instant::now(),
            peer: None,
            method: None,
            version: None,
            host: None,
            path: None,
            topic: None,
            user_agent: None,
            installation: None,
            caller: CallerKind::Anonymous,
            received: None,
            spent: None,
            status: None,
            code: None,
            bytes_sent: 0,
            outcome: Outcome::ClientGone,
        }
    }

    /// The identifier as header fields carry it.
    pub(crate) fn shown_id(&self) -> HeaderValue {
        self.shown_id.clone()
    }

    /// Writes down why the application failed, for the operator, with the guest's backtrace.
    pub(crate) fn failure(&self, error: &ServeError) {
        let Some(spec) = &self.installation else {
            return;
        };
        // It comes for every request of the tenant then, and the record of the request says it.
        if matches!(error, ServeError::TenantCpu { .. }) {
            return;
        }
        let backtrace = match error {
            ServeError::Trap { backtrace, .. } | ServeError::Stack { backtrace } => backtrace,
            _ => "",
        };
        tracing::warn!(
            target: "canopy::guest",
            request_id = %self.id,
            tenant = %spec.tenant.name,
            app = %spec.name,
            package = %spec.component.package,
            version = %spec.component.version,
            %error,
            backtrace,
            "application failed",
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let spec = self.installation.as_deref();
        let spent = self.spent.as_ref().map(Spent::get);
        tracing::info!(
            target: "canopy::request",
            request_id = self.shown_id.to_str().ok().map(field::display),
            tenant = spec.map(|spec| spec.tenant.name.as_str()),
            app = spec.map(|spec| spec.name.as_str()),
            package = spec.map(|spec| field::display(&spec.component.package)),
            version = spec.map(|spec| field::display(&spec.component.version)),
            caller = ?self.caller,
            peer = self.peer.as_deref().map(field::display),
            method = self.method.as_ref().map(|method| field::display(method.as_str())),
            protocol = self.version.map(field::debug),
            host = self.host.as_deref(),
            path = self.path.as_deref(),
            topic = self.topic.as_deref(),
            user_agent = self.user_agent.as_deref(),
            status = self.status.map(|status| status.as_u16()),
            code = self.code,
            outcome = ?self.outcome,
            bytes_received = self.received.as_ref().map_or(0, |received| received.bytes()),
            bytes_sent = self.bytes_sent,
            cpu_us = spent.map(|spent| microseconds(spent.guest)),
            host_cpu_us = spent.map(|spent| microseconds(spent.host)),
            duration_ms = milliseconds(self.arrived.elapsed()),
            "request",
        );
    }
}

/// The beginning of a text that a client chose.
fn kept(text: &str) -> Box<str> {
    let end = text.char_indices().nth(KEPT);
    end.map_or(text, |(end, _)| &text[..end]).into()
}

/// The beginning of a field's value. What is not visible ASCII is escaped.
fn shown(value: &HeaderValue) -> Box<str> {
    let bytes = value.as_bytes();
    let bytes = &bytes[..bytes.len().min(KEPT)];
    match value.to_str() {
        Ok(text) => kept(text),
        Err(_) => bytes.escape_ascii().to_string().into(),
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(request: http::request::Builder) -> Record {
        let request = request.body(()).expect("a request");
        Record::begin(&request, Some(&"127.0.0.1".into()))
    }

    #[test]
    fn a_record_knows_host_and_user_agent_as_the_client_sent_them() {
        let record = record(
            Request::get("/one?two")
                .header(HOST, "app.acme.localhost:8080")
                .header(USER_AGENT, "curl/8"),
        );
        assert_eq!(record.host.as_deref(), Some("app.acme.localhost:8080"));
        assert_eq!(record.user_agent.as_deref(), Some("curl/8"));
        assert_eq!(record.path.as_deref(), Some("/one"));
        let absolute = Request::get("http://app.acme.localhost/").header(HOST, "other");
        let record = self::record(absolute);
        assert_eq!(record.host.as_deref(), Some("app.acme.localhost"));
        assert_eq!(record.user_agent, None);
    }

    #[test]
    fn a_record_keeps_little_of_what_is_long_and_nothing_that_moves_a_terminal() {
        let record = record(
            Request::get(format!("/{}", "x".repeat(5_000)))
                .header(USER_AGENT, "y".repeat(5_000))
                .header(HOST, &b"\xff\x9b2J"[..]),
        );
        assert_eq!(record.path.as_deref().map(str::len), Some(KEPT));
        assert_eq!(record.user_agent.as_deref().map(str::len), Some(KEPT));
        assert_eq!(record.host.as_deref(), Some("\\xff\\x9b2J"));
    }
}
