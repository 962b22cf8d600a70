//! One log record for each request, written when its response has ended or its client has gone.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use canopy_ids::RequestId;
use canopy_runtime::{CallerKind, InstallationSpec, ServeError};
use http::{Method, Request, StatusCode, Version};

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
    pub(crate) arrived: Instant,
    /// `None` for a call of the platform's own.
    peer: Option<IpAddr>,
    method: Method,
    version: Version,
    path: Box<str>,
    pub(crate) installation: Option<Arc<InstallationSpec>>,
    pub(crate) caller: CallerKind,
    pub(crate) received: Option<Arc<Received>>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) code: Option<&'static str>,
    pub(crate) bytes_sent: u64,
    pub(crate) outcome: Outcome,
}

/// More of a path is not worth its place in the log.
const PATH_KEPT: usize = 256;

impl Record {
    pub(crate) fn begin<B>(request: &Request<B>, peer: Option<IpAddr>) -> Self {
        let path = request.uri().path();
        let kept = path
            .char_indices()
            .nth(PATH_KEPT)
            .map_or(path, |(end, _)| &path[..end]);
        Self {
            id: RequestId::new(),
            arrived: Instant::now(),
            peer,
            method: request.method().clone(),
            version: request.version(),
            path: kept.into(),
            installation: None,
            caller: CallerKind::Anonymous,
            received: None,
            status: None,
            code: None,
            bytes_sent: 0,
            outcome: Outcome::ClientGone,
        }
    }

    /// Writes down why the application failed, for the operator, with the guest's backtrace.
    pub(crate) fn failure(&self, error: &ServeError) {
        let Some(spec) = &self.installation else {
            return;
        };
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
        tracing::info!(
            target: "canopy::request",
            request_id = %self.id,
            tenant = spec.map(|spec| spec.tenant.name.as_str()),
            app = spec.map(|spec| spec.name.as_str()),
            package = spec.map(|spec| tracing::field::display(&spec.component.package)),
            version = spec.map(|spec| tracing::field::display(&spec.component.version)),
            caller = ?self.caller,
            peer = self.peer.map(tracing::field::display),
            method = %self.method,
            protocol = ?self.version,
            path = &*self.path,
            status = self.status.map(|status| status.as_u16()),
            code = self.code,
            outcome = ?self.outcome,
            bytes_received = self.received.as_ref().map_or(0, |received| received.bytes()),
            bytes_sent = self.bytes_sent,
            duration_ms = milliseconds(self.arrived.elapsed()),
            "request",
        );
    }
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
