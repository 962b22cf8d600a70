//! Connections of the WebSocket protocol: the export that takes them, and the messages on their way.
//!
//! A connection is one call, that lasts until the guest has returned and ended its stream. Messages cross
//! one at a time in either direction, so whoever is slower sets the pace.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::channel::mpsc;
use tokio::sync::oneshot;
use wasmtime::component::{
    Destination, FutureConsumer, FutureReader, Source, StreamConsumer, StreamProducer,
    StreamReader, StreamResult, VecBuffer,
};
use wasmtime::{Store, StoreContextMut};

use crate::body::{CancelOnDrop, Verdict};
use crate::call::{Call, Permit};
use crate::error::ServeError;
use crate::guest::GuestState;
use crate::installed::Installed;
use crate::instance::{Reply, Work};
use crate::pace::Pace;
use crate::runtime::Inner;
use crate::serve::Task;

mod bindings {
    #![allow(missing_docs, unused_qualifications, reason = "generated code")]

    wasmtime::component::bindgen!({
        path: "../../wit/networking/0.2.0",
        world: "canopy:networking/websockets",
        exports: { default: async | store },
    });
}

pub(crate) use bindings::{Websockets, WebsocketsPre};

/// What a component exports that takes connections.
pub(crate) const WEBSOCKET: &str = "canopy:networking/websocket@0.2.0";

use bindings::exports::canopy::networking::websocket as wit;

/// A whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketMessage {
    /// Of text.
    Text(String),
    /// Of bytes.
    Binary(Vec<u8>),
}

/// How a connection ends, or has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketClose {
    /// As in section 7.4 of RFC 6455.
    pub code: u16,
    /// In words.
    pub reason: String,
}

/// What a client asks for.
#[derive(Debug, Clone)]
pub struct SocketOpening {
    /// Path and query.
    pub path_with_query: String,
    /// Header fields, as the application is to see them.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Where the page comes from.
    pub origin: Option<String>,
    /// The subprotocols that the client speaks.
    pub subprotocols: Vec<String>,
}

/// What the client sends, on its way to the guest.
#[derive(Debug)]
pub struct SocketIncoming {
    /// The messages, until the client closes.
    pub messages: mpsc::Receiver<SocketMessage>,
    /// How it has ended.
    pub closed: oneshot::Receiver<SocketClose>,
}

/// What a guest answers who takes a connection.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) subprotocol: Option<String>,
    pub(crate) outgoing: mpsc::Receiver<SocketMessage>,
    pub(crate) closing: oneshot::Receiver<SocketClose>,
}

/// A guest's refusal to take a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketRefusal {
    /// The status of the answer.
    pub status: u16,
    /// What the client is told.
    pub detail: String,
}

/// What a guest answers.
pub(crate) type Answer = Result<Taken, SocketRefusal>;

/// Runs the guest for one connection, until it has returned, all its tasks have ended, and so has the
/// connection (`done` resolves). Its answer goes to `answer` before.
pub(crate) async fn run(
    store: &mut Store<GuestState>,
    guest: &Websockets,
    opening: SocketOpening,
    incoming: SocketIncoming,
    answer: oneshot::Sender<Answer>,
    done: oneshot::Receiver<()>,
) -> wasmtime::Result<()> {
    let opening = wit::Opening {
        path_with_query: opening.path_with_query,
        headers: opening.headers,
        origin: opening.origin,
        subprotocols: opening.subprotocols,
    };
    store
        .run_concurrent(async |accessor| -> wasmtime::Result<()> {
            let (messages, closed) = accessor.with(|mut access| -> wasmtime::Result<_> {
                let inlet = Inlet {
                    messages: incoming.messages,
                    peeked: None,
                };
                let messages = StreamReader::new(&mut access, inlet)?;
                let closed = FutureReader::new(&mut access, closed(incoming.closed))?;
                Ok((messages, closed))
            })?;
            let exported = guest.canopy_networking_websocket();
            let said = exported
                .call_open(accessor, opening, messages, closed)
                .await?;
            let said = match said {
                Ok(connection) => Ok(accessor.with(|mut access| -> wasmtime::Result<_> {
                    let (sender, outgoing) = mpsc::channel(0);
                    connection.outgoing.pipe(&mut access, Outlet { sender })?;
                    let (sender, closing) = oneshot::channel();
                    let sender = Some(sender);
                    connection.closing.pipe(&mut access, Closing { sender })?;
                    Ok(Taken {
                        subprotocol: connection.subprotocol,
                        outgoing,
                        closing,
                    })
                })?),
                Err(refusal) => Err(SocketRefusal {
                    status: refusal.status,
                    detail: refusal.detail,
                }),
            };
            // Whoever asked may be gone.
            let _ = answer.send(said);
            if done.await.is_err() {
                // It was cut, and whoever cut it ends this task.
                pending::<()>().await;
            }
            poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
            Ok(())
        })
        .await?
}

/// How the client has ended the connection: if nobody says, it broke.
async fn closed(said: oneshot::Receiver<SocketClose>) -> wasmtime::Result<wit::Close> {
    Ok(match said.await {
        Ok(SocketClose { code, reason }) => wit::Close { code, reason },
        Err(_) => wit::Close {
            code: 1006,
            reason: String::new(),
        },
    })
}

/// Gives the guest what the client sends.
struct Inlet {
    messages: mpsc::Receiver<SocketMessage>,
    /// Received for a guest that only asked whether there is something.
    peeked: Option<SocketMessage>,
}

impl<D: 'static> StreamProducer<D> for Inlet {
    type Item = wit::Message;
    type Buffer = VecBuffer<wit::Message>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, wit::Message, VecBuffer<wit::Message>>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let next = match self.peeked.take() {
            Some(message) => Poll::Ready(Some(message)),
            None => self.messages.poll_next_unpin(context),
        };
        Poll::Ready(Ok(match next {
            Poll::Ready(Some(message)) => {
                match destination.remaining(store) {
                    Some(0) => self.peeked = Some(message),
                    _ => destination.set_buffer(vec![message.into()].into()),
                }
                StreamResult::Completed
            }
            Poll::Ready(None) => StreamResult::Dropped,
            Poll::Pending if finish => StreamResult::Cancelled,
            Poll::Pending => return Poll::Pending,
        }))
    }
}

/// Takes what the guest sends.
struct Outlet {
    sender: mpsc::Sender<SocketMessage>,
}

impl<D: 'static> StreamConsumer<D> for Outlet {
    type Item = wit::Message;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        mut source: Source<'_, wit::Message>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        match self.sender.poll_ready(context) {
            Poll::Ready(Ok(())) => {}
            // The client is gone.
            Poll::Ready(Err(_)) => return Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => return Poll::Pending,
        }
        let mut message = None;
        source.read(store, &mut message)?;
        Poll::Ready(Ok(match message {
            None => StreamResult::Completed,
            Some(message) => match self.sender.try_send(message.into()) {
                Ok(()) => StreamResult::Completed,
                Err(_) => StreamResult::Dropped,
            },
        }))
    }
}

/// Takes how the guest closes.
struct Closing {
    sender: Option<oneshot::Sender<SocketClose>>,
}

impl<D: 'static> FutureConsumer<D> for Closing {
    type Item = wit::Close;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        mut source: Source<'_, wit::Close>,
        _: bool,
    ) -> Poll<wasmtime::Result<()>> {
        let mut close = None;
        source.read(store, &mut close)?;
        if let (Some(wit::Close { code, reason }), Some(sender)) = (close, self.sender.take()) {
            // A client that is gone does not mind.
            let _ = sender.send(SocketClose { code, reason });
        }
        Poll::Ready(Ok(()))
    }
}

impl From<SocketMessage> for wit::Message {
    fn from(message: SocketMessage) -> Self {
        match message {
            SocketMessage::Text(text) => Self::Text(text),
            SocketMessage::Binary(bytes) => Self::Binary(bytes),
        }
    }
}

impl From<wit::Message> for SocketMessage {
    fn from(message: wit::Message) -> Self {
        match message {
            wit::Message::Text(text) => Self::Text(text),
            wit::Message::Binary(bytes) => Self::Binary(bytes),
        }
    }
}

/// A connection that a guest has taken. Dropping it ends the guest, unless it was released.
pub struct Socket {
    taken: Taken,
    verdict: Verdict,
    pace: Pace,
    cancel: CancelOnDrop,
    /// Tells the guest's task that the connection has ended as it should.
    done: oneshot::Sender<()>,
    _permit: Permit,
}

impl Socket {
    /// The subprotocol that the guest has chosen.
    pub fn subprotocol(&self) -> Option<&str> {
        self.taken.subprotocol.as_deref()
    }

    /// The guest's next message; `None` when it has ended them, or failed.
    pub async fn next(&mut self) -> Option<SocketMessage> {
        self.taken.outgoing.next().await
    }

    /// How the guest closes, after its last message.
    pub async fn ended(&mut self) -> Result<SocketClose, ServeError> {
        match (&mut self.taken.closing).await {
            Ok(close) => Ok(close),
            Err(_) => Err(self.verdict.failure().unwrap_or(ServeError::NoResponse)),
        }
    }

    /// Something has passed in either direction, so the connection may go on.
    pub fn go_on(&self) {
        self.pace.go_on();
    }

    /// The connection has ended as it should, and the guest has ended its messages: it goes on until it
    /// returns or its time is over, and its instance may then take another connection.
    pub fn release(self) {
        release(self.cancel, self.done);
    }
}

/// Lets the guest go on to its end.
fn release(mut cancel: CancelOnDrop, done: oneshot::Sender<()>) {
    cancel.disarm();
    // A guest that has failed is gone already.
    let _ = done.send(());
}

/// Has `installed` take a connection.
pub(crate) async fn open(
    inner: &Arc<Inner>,
    installed: Arc<Installed>,
    call: Call,
    opening: SocketOpening,
    incoming: SocketIncoming,
) -> Result<Result<Socket, SocketRefusal>, ServeError> {
    if installed.sockets.is_none() {
        return Err(ServeError::NoSockets);
    }
    let (done, over) = oneshot::channel();
    let (reply, answer) = oneshot::channel();
    let task = Task::replying(inner, installed, &call, Reply::Socket(reply, over));
    let (verdict, pace) = (task.verdict.clone(), task.pace.clone());
    let work = tokio::spawn(task.run(Work::Socket(opening, incoming)));
    let cancel = CancelOnDrop::new(Some(work.abort_handle()));
    match answer.await {
        Ok(Ok(taken)) => {
            pace.go_on();
            Ok(Ok(Socket {
                taken,
                verdict,
                pace,
                cancel,
                done,
                _permit: call.permit,
            }))
        }
        Ok(Err(refusal)) => {
            release(cancel, done);
            Ok(Err(refusal))
        }
        Err(_) => Err(verdict.failure().unwrap_or(ServeError::NoResponse)),
    }
}
