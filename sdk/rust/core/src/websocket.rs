//! WebSocket connections; with the feature `wasi-0-3`.
//!
//! A function that bears the attribute [`#[websocket]`](macro@crate::websocket) takes connections
//! beside the requests that the [`Router`](crate::Router) answers, or refuses them by a
//! [`Problem`]. The platform speaks the protocol: messages come and go whole.
//!
//! ```no_run
//! use canopy_sdk::websocket::{Connection, Message, Opening, Socket};
//! use canopy_sdk::{Problem, Router, StatusCode, get};
//!
//! #[canopy_sdk::app]
//! fn app() -> Router {
//!     Router::new().route("/", get(|| "Connect by WebSocket."))
//! }
//!
//! #[canopy_sdk::websocket]
//! fn echo(opening: Opening) -> Result<Connection, Problem> {
//!     if opening.is_foreign() {
//!         return Err(Problem::new(StatusCode::FORBIDDEN, "Only our own pages may connect."));
//!     }
//!     Ok(Connection::new(async |mut socket: Socket| {
//!         while let Some(message) = socket.receive().await {
//!             if message == Message::Text("bye".to_owned()) {
//!                 return socket.close(1000, "as asked").await;
//!             }
//!             if socket.send(message).await.is_err() {
//!                 return;
//!             }
//!         }
//!     }))
//! }
//! # fn main() {}
//! ```
//!
//! A function that sends when something happens and not when it is asked takes the two directions
//! apart by [`Socket::split`]. An instance takes one connection at a time. Whatever has to be told
//! to several goes through storage or messages.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::extract::is_foreign;
use crate::stream::{FutureReader, FutureWriter, StreamReader, StreamWriter, spawn};
use crate::{HeaderMap, HeaderName, HeaderValue, Problem, StatusCode, Uri};

use self::bindings::exports::canopy::networking::websocket as wit;

/// Generated bindings of what a component exports that takes connections.
#[doc(hidden)]
pub mod bindings {
    #![allow(
        missing_docs,
        unreachable_pub,
        unsafe_code,
        unused_qualifications,
        clippy::all,
        reason = "generated code"
    )]

    wit_bindgen::generate!({
        path: "../../../wit/networking/0.2.0",
        world: "canopy:networking/websockets",
        pub_export_macro: true,
        export_macro_name: "export_websockets",
        generate_all,
    });
}

/// Exports `$open` as the component's `canopy:networking/websocket`.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_websocket {
    ($open:ident) => {
        #[allow(unsafe_code, reason = "generated code")]
        const _: () = {
            use bindings::exports::canopy::networking::websocket as wit;
            use $crate::stream::{FutureReader, StreamReader};
            use $crate::websocket::bindings;

            struct Component;

            impl wit::Guest for Component {
                async fn open(
                    opening: wit::Opening,
                    incoming: StreamReader<wit::Message>,
                    closed: FutureReader<wit::Close>,
                ) -> Result<wit::Connection, wit::Refusal> {
                    $crate::__private::open($open, opening, incoming, closed)
                }
            }

            bindings::export_websockets!(
                Component with_types_in bindings
            );
        };
    };
}

/// A whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Of text.
    Text(String),
    /// Of bytes.
    Binary(Vec<u8>),
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes)
    }
}

/// How the client has ended a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// As in section 7.4 of RFC 6455; 1006 if the client has said nothing.
    pub code: u16,
    /// In the client's words.
    pub reason: String,
}

/// The client does not take messages any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection has ended")]
pub struct Gone;

/// What a client asks for. Who it is is told by [`identity`](crate::identity), as for a request.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Path and query.
    pub uri: Uri,
    /// The header.
    pub headers: HeaderMap,
    /// Where the page comes from that has opened the connection.
    pub origin: Option<String>,
    /// The subprotocols that the client speaks, the one that it would like best first.
    pub subprotocols: Vec<String>,
}

impl Opening {
    /// Whether a page of another site opens the connection.
    ///
    /// Threat: a browser lets any page open a connection anywhere, with the cookies of its user. An
    /// application that relies on cookies refuses those of other sites, as
    /// [`SameOrigin`](crate::extract::SameOrigin) does for requests.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        is_foreign(&self.uri, &self.headers)
    }
}

type Ended = Pin<Box<dyn Future<Output = ()>>>;

/// A connection that the application takes.
pub struct Connection {
    subprotocol: Option<String>,
    carry: Box<dyn FnOnce(Socket) -> Ended>,
}

impl Connection {
    /// A connection for which `carry` is run. When it returns, the connection is closed.
    pub fn new<F>(carry: F) -> Self
    where
        F: AsyncFnOnce(Socket) + 'static,
    {
        Self {
            subprotocol: None,
            carry: Box::new(|socket| Box::pin(async move { carry(socket).await })),
        }
    }

    /// Speaks `name`, which must be among those that the client speaks.
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocol = Some(name.into());
        self
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("subprotocol", &self.subprotocol)
            .finish_non_exhaustive()
    }
}

/// An open connection. Dropping it closes it with the code 1000.
#[derive(Debug)]
pub struct Socket {
    sender: Sender,
    receiver: Receiver,
}

impl Socket {
    /// The client's next message; `None` when it has closed the connection or is gone.
    pub async fn receive(&mut self) -> Option<Message> {
        self.receiver.receive().await
    }

    /// Sends a message, as soon as the client takes it.
    ///
    /// # Errors
    /// [`Gone`] if the client takes nothing any more.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), Gone> {
        self.sender.send(message).await
    }

    /// Closes the connection after what was sent; see [`Sender::close`].
    pub async fn close(self, code: u16, reason: &str) {
        self.sender.close(code, reason).await;
    }

    /// How the client has ended the connection; waits until it has. Messages that are still to come
    /// are dropped.
    pub async fn closed(self) -> Close {
        let Self { sender, receiver } = self;
        let close = receiver.closed().await;
        // Until then it could have been sent to.
        drop(sender);
        close
    }

    /// The two directions, to be used at the same time.
    #[must_use]
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

/// Sends to the client. Dropping it closes the connection with the code 1000.
pub struct Sender {
    outgoing: StreamWriter<wit::Message>,
    closing: FutureWriter<wit::Close>,
}

impl Sender {
    /// Sends a message, as soon as the client takes it.
    ///
    /// # Errors
    /// [`Gone`] if the client takes nothing any more.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), Gone> {
        let message = match message.into() {
            Message::Text(text) => wit::Message::Text(text),
            Message::Binary(bytes) => wit::Message::Binary(bytes),
        };
        match self.outgoing.write_one(message).await {
            None => Ok(()),
            Some(_) => Err(Gone),
        }
    }

    /// Closes the connection after what was sent. The code is 1000, 1001, 1003, 1007 to 1014 or 3000
    /// to 4999, anything else is sent as 1011; of the reason 123 bytes are sent.
    pub async fn close(self, code: u16, reason: &str) {
        let reason = reason.to_owned();
        // A client that is gone does not mind.
        let _ = self.closing.write(wit::Close { code, reason }).await;
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

/// Receives of the client.
pub struct Receiver {
    incoming: StreamReader<wit::Message>,
    closed: FutureReader<wit::Close>,
}

impl Receiver {
    /// The client's next message; `None` when it has closed the connection or is gone.
    pub async fn receive(&mut self) -> Option<Message> {
        Some(match self.incoming.next().await? {
            wit::Message::Text(text) => Message::Text(text),
            wit::Message::Binary(bytes) => Message::Binary(bytes),
        })
    }

    /// How the client has ended the connection; waits until it has. Messages that are still to come
    /// are dropped.
    pub async fn closed(self) -> Close {
        drop(self.incoming);
        let wit::Close { code, reason } = self.closed.await;
        Close { code, reason }
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

/// Asks `take` whether it takes the connection, and runs what it takes it with.
#[doc(hidden)]
pub fn open(
    take: impl FnOnce(Opening) -> Result<Connection, Problem>,
    opening: wit::Opening,
    incoming: StreamReader<wit::Message>,
    closed: FutureReader<wit::Close>,
) -> Result<wit::Connection, wit::Refusal> {
    let taken = read(opening)
        .and_then(take)
        .map_err(|problem| wit::Refusal {
            status: problem.status().as_u16(),
            detail: problem.to_string(),
        })?;
    let (writer, outgoing) = bindings::wit_stream::new();
    let (close, closing) = bindings::wit_future::new(|| wit::Close {
        code: 1000,
        reason: String::new(),
    });
    let socket = Socket {
        sender: Sender {
            outgoing: writer,
            closing: close,
        },
        receiver: Receiver { incoming, closed },
    };
    spawn((taken.carry)(socket));
    Ok(wit::Connection {
        subprotocol: taken.subprotocol,
        outgoing,
        closing,
    })
}

fn read(opening: wit::Opening) -> Result<Opening, Problem> {
    let uri = opening
        .path_with_query
        .parse()
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("The address: {error}.")))?;
    let mut headers = HeaderMap::with_capacity(opening.headers.len());
    for (name, value) in opening.headers {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_maybe_shared(value),
        ) {
            headers.append(name, value);
        }
    }
    Ok(Opening {
        uri,
        headers,
        origin: opening.origin,
        subprotocols: opening.subprotocols,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(path: &str, headers: &[(&str, &str)]) -> Result<Opening, Problem> {
        let field = |(name, value): &(&str, &str)| ((*name).to_owned(), value.as_bytes().to_vec());
        read(wit::Opening {
            path_with_query: path.to_owned(),
            headers: headers.iter().map(field).collect(),
            origin: None,
            subprotocols: Vec::new(),
        })
    }

    #[test]
    fn an_opening_is_read_as_a_request_is() {
        let taken = opening("/chat?room=1", &[("cookie", "a=b"), ("no field", "x")]).unwrap();
        assert_eq!(taken.uri.query(), Some("room=1"));
        assert_eq!(taken.headers["cookie"], "a=b");
        assert_eq!(taken.headers.len(), 1);
        let refused = opening("no path", &[]).unwrap_err();
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn connections_that_pages_of_other_sites_open_are_told_apart() {
        let host = ("host", "books.acme.localhost:8080");
        for (fields, foreign) in [
            (vec![host], false),
            (
                vec![host, ("origin", "http://books.acme.localhost:8080")],
                false,
            ),
            (vec![host, ("origin", "http://evil.example")], true),
            (vec![host, ("sec-fetch-site", "cross-site")], true),
        ] {
            assert_eq!(
                opening("/", &fields).unwrap().is_foreign(),
                foreign,
                "{fields:?}"
            );
        }
    }
}
