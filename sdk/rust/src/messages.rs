//! Messages between the applications of one tenant.
//!
//! Every installation that subscribes to a topic, by `[[subscriptions]]` in its manifest, gets what
//! is published there, at least once. Publishing needs `canopy:networking/messages` among the
//! manifest's needs; taking what comes needs nothing: it is a request to the path that the
//! subscription names, and [`Delivery`] says what the platform says of it.
//!
//! ```no_run
//! use canopy_sdk::messages::{self, Delivery, Message};
//! use canopy_sdk::{Json, Problem, Router, StatusCode, post};
//! use serde::{Deserialize, Serialize};
//! use std::time::Duration;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Order {
//!     number: u64,
//! }
//!
//! #[canopy_sdk::app]
//! fn app() -> Router {
//!     Router::new().route("/orders", post(create)).route("/on/order", post(book))
//! }
//!
//! fn create(Json(order): Json<Order>) -> Result<StatusCode, Problem> {
//!     messages::publish("orders.created", &order)?;
//!     let remind = Message::json(&order)?.delay(Duration::from_secs(86_400));
//!     remind.publish("orders.due")?;
//!     Ok(StatusCode::CREATED)
//! }
//!
//! /// Takes the message by an answer of 2xx; anything else has it delivered again.
//! fn book(delivery: Delivery<Json<Order>>) -> StatusCode {
//!     let Json(order) = delivery.body;
//!     println!("{} of {}: {}", delivery.id, delivery.sender, order.number);
//!     StatusCode::NO_CONTENT
//! }
//! # fn main() {}
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use canopy_sdk_core::{
    FromRequest, HeaderMap, IntoResponse, Problem, Request, Response, StatusCode, log,
};
use serde::Serialize;

use crate::bindings::canopy::networking::messages as wit;

/// Why a message was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The topic is not 1 to 128 of `a-z`, `0-9`, `.`, `-` and `_`.
    #[error("the topic is not 1 to 128 of a-z, 0-9, `.`, `-` and `_`")]
    InvalidTopic,
    /// The content type is not one.
    #[error("the content type is not one")]
    InvalidContentType,
    /// The body has more bytes than this.
    #[error("the message is longer than {0} bytes")]
    TooLarge(u64),
    /// The message is to be held back for longer than this.
    #[error("the message cannot be held back for longer than {0:?}")]
    TooLate(Duration),
    /// A subscriber has as many messages waiting as it may; those before it have got this one.
    #[error("a subscriber takes no more messages for now")]
    QueueFull,
    /// The component is a driver, which has nobody to send to.
    #[error("a driver cannot send messages")]
    AccessDenied,
    /// The platform failed; some subscribers may have got the message.
    #[error("{0}")]
    Platform(String),
    /// The value has no form in JSON.
    #[error("the message has no form in JSON: {0}")]
    Unwritable(String),
}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::InvalidTopic => Self::InvalidTopic,
            wit::Error::InvalidContentType => Self::InvalidContentType,
            wit::Error::TooLarge(limit) => Self::TooLarge(limit),
            wit::Error::TooLate(limit) => Self::TooLate(Duration::from_millis(limit)),
            wit::Error::QueueFull => Self::QueueFull,
            wit::Error::AccessDenied => Self::AccessDenied,
            wit::Error::Other(text) => Self::Platform(text),
        }
    }
}

/// A message that cannot be sent is not the caller's fault: 503, with the reason in the log alone.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        log::error!("messages: {error}");
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The application could not tell others of this. Try again.",
        )
    }
}

/// Sends `value` as JSON to every installation of the tenant that subscribes to `topic`, and returns
/// how many those are. When it returns, the message is on the disk for each of them.
///
/// # Errors
/// Why it was not sent, or not to all.
pub fn publish<T: Serialize + ?Sized>(topic: &str, value: &T) -> Result<u32, Error> {
    Message::json(value)?.publish(topic)
}

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    body: Vec<u8>,
    content_type: Option<String>,
    delay: Option<Duration>,
}

impl Message {
    /// A message of bytes.
    #[must_use]
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            content_type: None,
            delay: None,
        }
    }

    /// A message in JSON.
    ///
    /// # Errors
    /// [`Error::Unwritable`] if `value` has no form in JSON.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        let body = serde_json::to_vec(value);
        let body = body.map_err(|error| Error::Unwritable(error.to_string()))?;
        Ok(Self::new(body).content_type("application/json"))
    }

    /// What the body is.
    #[must_use]
    pub fn content_type(mut self, kind: impl Into<String>) -> Self {
        self.content_type = Some(kind.into());
        self
    }

    /// Holds the message back for the time `delay`, in whole milliseconds.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Sends it, as [`publish`] does.
    ///
    /// # Errors
    /// As [`publish`].
    pub fn publish(&self, topic: &str) -> Result<u32, Error> {
        let delay = self.delay.map(|delay| delay.as_millis());
        let options = wit::Options {
            content_type: self.content_type.clone(),
            delay_ms: delay.map(|delay| u64::try_from(delay).unwrap_or(u64::MAX)),
        };
        Ok(wit::publish(topic, &self.body, &options)?)
    }
}

/// A message that is delivered, as a parameter of the handler of a subscription's path; its body is
/// what `T` takes of a request. A request that delivers none is answered by 403: nobody but the
/// platform delivers messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery<T> {
    /// The same however often the message is delivered.
    pub id: String,
    /// Where it was published.
    pub topic: String,
    /// The name of the installation that sent it.
    pub sender: String,
    /// How often it is delivered, from 1.
    pub attempt: u32,
    /// When it was published.
    pub published: SystemTime,
    /// The topic on which the sender expects an answer, if it does.
    pub reply_to: Option<String>,
    /// What it says.
    pub body: T,
}

impl<T: FromRequest> FromRequest for Delivery<T> {
    type Rejection = Response;

    fn from_request(request: &mut Request) -> Result<Self, Response> {
        let said = Said::of(request.headers()).ok_or_else(|| {
            let detail = "Messages are delivered here, by the platform alone.";
            Problem::new(StatusCode::FORBIDDEN, detail).into_response()
        })?;
        Ok(Self {
            id: said.id,
            topic: said.topic,
            sender: said.sender,
            attempt: said.attempt,
            published: said.published,
            reply_to: said.reply_to,
            body: T::from_request(request).map_err(IntoResponse::into_response)?,
        })
    }
}

/// What the platform says of a message, in fields that never come in from outside.
struct Said {
    id: String,
    topic: String,
    sender: String,
    attempt: u32,
    published: SystemTime,
    reply_to: Option<String>,
}

impl Said {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
        let published = text("canopy-published-at")?.parse().ok()?;
        Some(Self {
            id: text("canopy-message")?,
            topic: text("canopy-topic")?,
            sender: text("canopy-sender")?,
            attempt: text("canopy-attempt")?.parse().ok()?,
            published: UNIX_EPOCH.checked_add(Duration::from_millis(published))?,
            reply_to: text("canopy-reply-to"),
        })
    }
}

#[cfg(test)]
mod tests {
    use canopy_sdk_core::{Body, Json, http};

    use super::*;

    fn delivery(fields: &[(&str, &str)], body: &'static str) -> Request {
        let mut request =
            http::Request::post("/on/order").header("content-type", "application/json");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(Body::from(body)).unwrap()
    }

    const FIELDS: [(&str, &str); 5] = [
        ("canopy-message", "msg_1"),
        ("canopy-topic", "orders"),
        ("canopy-sender", "shop"),
        ("canopy-attempt", "2"),
        ("canopy-published-at", "1500"),
    ];

    #[test]
    fn a_delivery_says_what_the_platform_says() {
        let mut request = delivery(&FIELDS, "[1, 2]");
        let delivery = Delivery::<Json<Vec<u8>>>::from_request(&mut request).unwrap();
        assert_eq!(delivery.id, "msg_1");
        assert_eq!(delivery.topic, "orders");
        assert_eq!(delivery.sender, "shop");
        assert_eq!(delivery.attempt, 2);
        assert_eq!(delivery.published, UNIX_EPOCH + Duration::from_millis(1500));
        assert_eq!(delivery.reply_to, None);
        assert_eq!(delivery.body.0, [1, 2]);
    }

    #[test]
    fn what_the_platform_does_not_deliver_is_refused() {
        for missing in 0..FIELDS.len() {
            let mut fields = FIELDS.to_vec();
            fields.remove(missing);
            let refused = Delivery::<String>::from_request(&mut delivery(&fields, "x"));
            assert_eq!(refused.unwrap_err().status(), StatusCode::FORBIDDEN);
        }
        let refused = Delivery::<Json<Vec<u8>>>::from_request(&mut delivery(&FIELDS, "["));
        assert_eq!(refused.unwrap_err().status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn what_has_no_form_in_json_is_not_sent() {
        let keys = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(matches!(publish("topic", &keys), Err(Error::Unwritable(_))));
    }
}
