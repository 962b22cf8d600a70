//! Outgoing HTTP.
//!
//! A host can be reached if the tenant has granted it to the installation; the manifest asks for
//! it with a reason. Redirects are not followed: the response says where, and whether to go there
//! is for the application to decide.
//!
//! ```no_run
//! use canopy_sdk::client;
//! use serde_json::{Value, json};
//!
//! fn rate(currency: &str) -> Result<f64, client::Error> {
//!     let rates: Value = client::get("https://rates.example.com/v1/latest")
//!         .header("accept", "application/json")
//!         .send()?
//!         .error_for_status()?
//!         .json()?;
//!     Ok(rates[currency].as_f64().unwrap_or(1.0))
//! }
//!
//! fn notify(text: &str) -> Result<(), client::Error> {
//!     client::post("https://hooks.example.com/t/1").json(&json!({ "text": text })).send()?;
//!     Ok(())
//! }
//! ```

use std::io;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, FutureIncomingResponse, OutgoingRequest, RequestOptions, Scheme,
};

use crate::body::{ReadError, failed};
use crate::{Body, wire};

/// How long an answer [`Reply::json`], [`Reply::text`] and [`Reply::bytes`] read.
pub const REPLY_LIMIT: usize = 16 << 20;

/// How long to wait for a connection, for the head of the answer, and between two pieces of its
/// body, unless the request says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no usable answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request cannot be sent as it is.
    #[error("the request is malformed: {0}")]
    Malformed(String),
    /// The tenant has not granted this host to the installation.
    #[error("the installation may not reach {0}")]
    Denied(String),
    /// The host did not answer in time.
    #[error("no answer in time: {0}")]
    Timeout(String),
    /// The connection failed or broke.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// The host answered with a status of failure.
    #[error("the host answered {0}")]
    Status(StatusCode),
    /// The answer's body is too long or broke off.
    #[error(transparent)]
    Body(#[from] ReadError),
    /// The answer's body is not the JSON that was expected.
    #[error("the answer is not as expected: {0}")]
    Unexpected(#[from] serde_json::Error),
}

/// A request to be sent.
#[derive(Debug)]
#[must_use = "nothing happens until `send`"]
pub struct Call {
    method: Method,
    uri: Result<Uri, Error>,
    headers: HeaderMap,
    body: Body,
    timeout: Duration,
    flaw: Option<Error>,
}

/// A request of any method.
pub fn request<U>(method: Method, uri: U) -> Call
where
    U: TryInto<Uri, Error: std::fmt::Display>,
{
    Call {
        method,
        uri: uri
            .try_into()
            .map_err(|error| Error::Malformed(error.to_string())),
        headers: HeaderMap::new(),
        body: Body::empty(),
        timeout: DEFAULT_TIMEOUT,
        flaw: None,
    }
}

macro_rules! verbs {
    ($($name:ident $method:ident;)*) => {
        $(
            #[doc = concat!("A ", stringify!($method), " request.")]
            pub fn $name<U>(uri: U) -> Call
            where
                U: TryInto<Uri, Error: std::fmt::Display>,
            {
                request(Method::$method, uri)
            }
        )*
    };
}

verbs! {
    get GET;
    post POST;
    put PUT;
    patch PATCH;
    delete DELETE;
}

impl Call {
    /// Adds a header.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName, Error: std::fmt::Display>,
        V: TryInto<HeaderValue, Error: std::fmt::Display>,
    {
        match (name.try_into(), value.try_into()) {
            (Ok(name), Ok(value)) => {
                self.headers.append(name, value);
            }
            (Err(error), _) => self.flaw = Some(Error::Malformed(error.to_string())),
            (_, Err(error)) => self.flaw = Some(Error::Malformed(error.to_string())),
        }
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the body to `value` as JSON, and the content type.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(bytes) => self.body = bytes.into(),
            Err(error) => self.flaw = Some(Error::Malformed(error.to_string())),
        }
        self.headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        self
    }

    /// How long to wait at each step; see [`DEFAULT_TIMEOUT`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends the request and waits for the head of the answer.
    ///
    /// # Errors
    /// If there is no answer. An answer with a status of failure is an answer: see
    /// [`Reply::error_for_status`].
    pub fn send(self) -> Result<Reply, Error> {
        self.begin()?.wait()
    }

    /// Sends the request without waiting for the answer. Requests that are begun before the first
    /// is waited for are under way at once.
    ///
    /// # Errors
    /// If the request cannot be sent as it is. That there is no answer is told by
    /// [`Pending::wait`].
    pub fn begin(self) -> Result<Pending, Error> {
        if let Some(flaw) = self.flaw {
            return Err(flaw);
        }
        let uri = self.uri?;
        let authority = uri
            .authority()
            .ok_or_else(|| Error::Malformed(format!("{uri} has no host")))?;
        let mut headers = self.headers;
        if let Some(length) = self.body.len_hint().filter(|length| *length > 0) {
            headers
                .entry(header::CONTENT_LENGTH)
                .or_insert_with(|| length.into());
        }
        let outgoing = OutgoingRequest::new(wire::fields(&headers).map_err(Error::Malformed)?);
        let refused = |what: &str| Error::Malformed(format!("{what} of {uri}"));
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            _ => return Err(refused("the scheme")),
        };
        outgoing
            .set_method(&wire::wasi_method(&self.method))
            .map_err(|()| refused("the method"))?;
        outgoing
            .set_scheme(Some(&scheme))
            .map_err(|()| refused("the scheme"))?;
        outgoing
            .set_authority(Some(authority.as_str()))
            .map_err(|()| refused("the host"))?;
        outgoing
            .set_path_with_query(uri.path_and_query().map(http::uri::PathAndQuery::as_str))
            .map_err(|()| refused("the path"))?;
        let body = outgoing.body().map_err(|()| refused("the body"))?;
        let pending = outgoing_handler::handle(outgoing, Some(options(self.timeout)?))
            .map_err(|code| failure(&code, authority.as_str()))?;
        // If the host broke off while the body was sent, its answer says why.
        let sent = wire::send(body, self.body);
        Ok(Pending {
            host: authority.to_string(),
            pending,
            sent,
        })
    }
}

/// A request that has been sent.
#[derive(Debug)]
#[must_use = "the answer is lost unless it is waited for"]
pub struct Pending {
    host: String,
    pending: FutureIncomingResponse,
    sent: io::Result<()>,
}

impl Pending {
    /// Waits for the head of the answer.
    ///
    /// # Errors
    /// As those of [`Call::send`].
    pub fn wait(self) -> Result<Reply, Error> {
        self.pending.subscribe().block();
        let reply = self
            .pending
            .get()
            .and_then(Result::ok)
            .ok_or_else(|| Error::Connection("the answer is gone".to_owned()))?
            .map_err(|code| failure(&code, &self.host))?;
        if let Err(error) = self.sent
            && reply.status() < 400
        {
            return Err(Error::Connection(error.to_string()));
        }
        let status = StatusCode::from_u16(reply.status())
            .map_err(|error| Error::Connection(error.to_string()))?;
        let headers = wire::headers(&reply.headers());
        let body = reply.consume().map_or_else(
            |()| Body::empty(),
            |body| wire::body(body, |reason| failed(Error::Connection(reason))),
        );
        Ok(Reply {
            status,
            headers,
            body,
        })
    }
}

fn options(timeout: Duration) -> Result<RequestOptions, Error> {
    let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    let options = RequestOptions::new();
    for set in [
        RequestOptions::set_connect_timeout,
        RequestOptions::set_first_byte_timeout,
        RequestOptions::set_between_bytes_timeout,
    ] {
        set(&options, Some(nanoseconds))
            .map_err(|()| Error::Malformed("the timeout is not taken".to_owned()))?;
    }
    Ok(options)
}

fn failure(code: &ErrorCode, host: &str) -> Error {
    match code {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => {
            Error::Denied(host.to_owned())
        }
        ErrorCode::DnsTimeout
        | ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseTimeout => Error::Timeout(host.to_owned()),
        other => Error::Connection(format!("{host}: {other}")),
    }
}

/// The answer to a request.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, read as it comes.
    pub body: Body,
}

impl Reply {
    /// This answer, if its status is not one of failure.
    ///
    /// # Errors
    /// [`Error::Status`] for 400 and above.
    pub fn error_for_status(self) -> Result<Self, Error> {
        if self.status.is_client_error() || self.status.is_server_error() {
            return Err(Error::Status(self.status));
        }
        Ok(self)
    }

    /// The body as a value.
    ///
    /// # Errors
    /// [`Error::Body`] or [`Error::Unexpected`].
    pub fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        Ok(serde_json::from_slice(&self.bytes()?)?)
    }

    /// The body as text.
    ///
    /// # Errors
    /// [`Error::Body`].
    pub fn text(self) -> Result<String, Error> {
        Ok(self.body.read_to_string(REPLY_LIMIT)?)
    }

    /// The body as bytes.
    ///
    /// # Errors
    /// [`Error::Body`].
    pub fn bytes(self) -> Result<Vec<u8>, Error> {
        Ok(self.body.read_to_vec(REPLY_LIMIT)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_cannot_be_sent_is_refused_before_anything_is_sent() {
        let refusal = |call: Call| call.send().unwrap_err().to_string();
        assert!(refusal(get("/path/alone")).contains("has no host"));
        assert!(refusal(get("http://a b")).contains("malformed"));
        let smuggled = get("http://a").header("x", "1\r\ny: 2");
        assert!(refusal(smuggled).contains("malformed"));
    }
}
