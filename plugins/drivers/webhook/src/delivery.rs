//! Delivering one event: what is sent, and which answers are worth another attempt.

use canopy_sdk::client;
use serde::Serialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::signature::{Secret, signatures};

/// Bytes of the longest identifier and kind.
pub const MAX_NAME: usize = 128;

/// Bytes of the longest particulars.
pub const MAX_DATA: usize = 256 << 10;

/// An event that can be sent.
#[derive(Debug)]
pub struct Event {
    pub id: String,
    body: String,
}

/// A request as it is sent.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// What carries requests to the receiver.
pub trait Transport {
    /// Sends a request and returns the answer's status.
    fn post(&self, request: &Outgoing) -> Result<u16, client::Error>;

    /// Waits before the attempt of this number.
    fn pause(&self, attempt: u32);

    /// The time.
    fn now(&self) -> OffsetDateTime;
}

/// What came of an event that was delivered.
#[derive(Debug, PartialEq, Eq)]
pub struct Delivered {
    pub status: u16,
    pub attempts: u32,
}

/// Why an event was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The receiver's answer is final.
    #[error("the receiver refused the event by {0}")]
    Refused(u16),
    /// The receiver cannot take it now.
    #[error("after {attempts} attempts: {last}")]
    Unavailable { attempts: u32, last: String },
    /// The tenant has not granted the driver to reach the receiver, or its address is none.
    #[error("{0}")]
    Setup(client::Error),
}

#[derive(Serialize)]
struct Payload<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: String,
    data: &'a RawValue,
}

impl Event {
    /// An event of these parts; the text of the error says which is wrong.
    pub fn new(
        id: String,
        kind: &str,
        happened: OffsetDateTime,
        data: &str,
    ) -> Result<Self, String> {
        if !is_name(&id) {
            return Err(format!(
                "the identifier is not 1 to {MAX_NAME} of A-Z a-z 0-9 . _ -"
            ));
        }
        if !is_name(kind) || kind.split('.').any(str::is_empty) {
            return Err(format!(
                "the kind {kind:?} is not words with dots between them"
            ));
        }
        if data.len() > MAX_DATA {
            return Err(format!(
                "data of {} bytes are over the limit of {MAX_DATA}",
                data.len()
            ));
        }
        let data: &RawValue =
            serde_json::from_str(data).map_err(|error| format!("the data are no JSON: {error}"))?;
        let timestamp = happened
            .format(&Rfc3339)
            .map_err(|error| error.to_string())?;
        let payload = Payload {
            kind,
            timestamp,
            data,
        };
        let body = serde_json::to_string(&payload).map_err(|error| error.to_string())?;
        Ok(Self { id, body })
    }

    /// Sends this event until it is taken, finally refused, or was tried `attempts` times.
    pub fn deliver(
        &self,
        secrets: &[Secret],
        attempts: u32,
        transport: &impl Transport,
    ) -> Result<Delivered, Failure> {
        let mut attempt = 1;
        loop {
            let last = match transport.post(&self.request(secrets, transport.now())) {
                Ok(status @ 200..=299) => {
                    return Ok(Delivered {
                        status,
                        attempts: attempt,
                    });
                }
                Ok(status @ (408 | 425 | 429 | 500..)) => format!("the receiver answered {status}"),
                Ok(status) => return Err(Failure::Refused(status)),
                Err(error @ (client::Error::Denied(_) | client::Error::Malformed(_))) => {
                    return Err(Failure::Setup(error));
                }
                Err(error) => error.to_string(),
            };
            if attempt >= attempts {
                return Err(Failure::Unavailable {
                    attempts: attempt,
                    last,
                });
            }
            attempt += 1;
            transport.pause(attempt);
        }
    }

    /// The signature is made for each attempt: receivers take no old ones.
    fn request(&self, secrets: &[Secret], now: OffsetDateTime) -> Outgoing {
        let timestamp = now.unix_timestamp();
        let headers = vec![
            ("content-type", "application/json".to_owned()),
            ("webhook-id", self.id.clone()),
            ("webhook-timestamp", timestamp.to_string()),
            (
                "webhook-signature",
                signatures(secrets, &self.id, timestamp, &self.body),
            ),
        ];
        Outgoing {
            headers,
            body: self.body.clone(),
        }
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use time::macros::datetime;

    use super::*;

    /// Answers what it is told, one after the other, and keeps what it got.
    struct Receiver {
        answers: RefCell<Vec<Result<u16, client::Error>>>,
        got: RefCell<Vec<Outgoing>>,
        pauses: RefCell<Vec<u32>>,
    }

    impl Receiver {
        fn new(answers: impl IntoIterator<Item = Result<u16, client::Error>>) -> Self {
            let mut answers: Vec<_> = answers.into_iter().collect();
            answers.reverse();
            Self {
                answers: RefCell::new(answers),
                got: RefCell::default(),
                pauses: RefCell::default(),
            }
        }
    }

    impl Transport for Receiver {
        fn post(&self, request: &Outgoing) -> Result<u16, client::Error> {
            self.got.borrow_mut().push(request.clone());
            self.answers.borrow_mut().pop().expect("no further attempt")
        }

        fn pause(&self, attempt: u32) {
            self.pauses.borrow_mut().push(attempt);
        }

        fn now(&self) -> OffsetDateTime {
            let later = self.got.borrow().len();
            datetime!(2026-01-02 03:04:05 UTC) + time::Duration::seconds(later as i64)
        }
    }

    fn event() -> Event {
        let happened = datetime!(2026-01-02 03:00:00 UTC);
        Event::new(
            "evt_1".to_owned(),
            "invoice.paid",
            happened,
            "{\"n\": 1.50}",
        )
        .unwrap()
    }

    fn secrets() -> Vec<Secret> {
        vec![Secret::read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()]
    }

    fn deliver(receiver: &Receiver) -> Result<Delivered, Failure> {
        event().deliver(&secrets(), 3, receiver)
    }

    #[test]
    fn an_event_is_sent_as_it_is_with_its_identifier() {
        let receiver = Receiver::new([Ok(204)]);
        assert_eq!(
            deliver(&receiver).unwrap(),
            Delivered {
                status: 204,
                attempts: 1
            }
        );
        let got = receiver.got.borrow();
        assert_eq!(
            got[0].body,
            "{\"type\":\"invoice.paid\",\"timestamp\":\"2026-01-02T03:00:00Z\",\"data\":{\"n\": 1.50}}"
        );
        assert!(got[0].headers.contains(&("webhook-id", "evt_1".to_owned())));
        assert!(
            got[0]
                .headers
                .contains(&("webhook-timestamp", "1767323045".to_owned()))
        );
    }

    #[test]
    fn what_may_pass_is_tried_again_under_the_same_identifier() {
        for passing in [408, 425, 429, 500, 502, 503] {
            let receiver = Receiver::new([
                Ok(passing),
                Err(client::Error::Timeout("t".into())),
                Ok(200),
            ]);
            assert_eq!(
                deliver(&receiver).unwrap(),
                Delivered {
                    status: 200,
                    attempts: 3
                }
            );
            let got = receiver.got.borrow();
            let header = |n: usize, name: &str| {
                got[n]
                    .headers
                    .iter()
                    .find(|(one, _)| *one == name)
                    .unwrap()
                    .1
                    .clone()
            };
            assert_eq!(header(0, "webhook-id"), header(2, "webhook-id"));
            assert_ne!(
                header(0, "webhook-timestamp"),
                header(2, "webhook-timestamp")
            );
            assert_ne!(
                header(0, "webhook-signature"),
                header(2, "webhook-signature")
            );
            assert_eq!(*receiver.pauses.borrow(), [2, 3]);
        }
    }

    #[test]
    fn what_is_final_is_not_tried_again() {
        for last in [301, 400, 401, 404, 410, 422] {
            let receiver = Receiver::new([Ok(last)]);
            assert!(matches!(deliver(&receiver), Err(Failure::Refused(status)) if status == last));
        }
        let denied = Receiver::new([Err(client::Error::Denied("host".into()))]);
        assert!(matches!(deliver(&denied), Err(Failure::Setup(_))));
    }

    #[test]
    fn a_receiver_that_stays_away_is_given_up() {
        let receiver = Receiver::new([
            Ok(503),
            Ok(503),
            Err(client::Error::Connection("gone".into())),
        ]);
        let Err(Failure::Unavailable { attempts: 3, last }) = deliver(&receiver) else {
            panic!("given up");
        };
        assert!(last.contains("gone"), "{last}");
    }

    #[test]
    fn events_that_are_none_are_refused() {
        let now = datetime!(2026-01-01 00:00:00 UTC);
        let refused = |id: &str, kind: &str, data: &str| {
            Event::new(id.to_owned(), kind, now, data).unwrap_err()
        };
        assert!(refused("", "a", "1").contains("identifier"));
        assert!(refused("a\r\nx: y", "a", "1").contains("identifier"));
        assert!(refused("a", "a..b", "1").contains("kind"));
        assert!(refused("a", "a\"", "1").contains("kind"));
        assert!(refused("a", "b", "{").contains("JSON"));
        assert!(refused("a", "b", "1}, {").contains("JSON"));
        assert!(refused("a", "b", &format!("\"{}\"", "x".repeat(MAX_DATA))).contains("limit"));
    }
}
