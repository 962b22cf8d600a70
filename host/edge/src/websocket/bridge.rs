//! A connection that was taken: messages from its client to the guest and back, until one of them, the
//! platform or the network ends it.
//!
//! One message at a time is on its way in either direction. While the guest has not taken the last one,
//! nothing more is read of the client; while the client does not take what is sent, nothing more is taken
//! of the guest.

use std::any::Any;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use canopy_ids::TenantId;
use canopy_runtime::{ServeError, Socket, SocketClose, SocketMessage};
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::sync::CancellationToken;
use tokio_websockets::{
    CloseCode, Error, Limits as Sizes, Message, ServerBuilder, WebSocketStream,
};

use crate::connections::CountedSlot;
use crate::record::{Outcome, Record};

/// How long either side has to end after the other has.
const FAREWELL: Duration = Duration::from_secs(5);
/// Bytes of the longest reason of a close (RFC 6455, section 5.5).
const MAX_REASON: usize = 123;

/// What holds for one connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of one message of the client.
    pub(crate) message: usize,
    /// How long a client may be silent that is asked whether it is there.
    pub(crate) idle: Duration,
}

/// A connection that a guest has taken.
pub(crate) struct Open {
    pub(crate) socket: Socket,
    /// Where the client's messages go.
    pub(crate) messages: mpsc::Sender<SocketMessage>,
    /// Where it goes how the client has ended.
    pub(crate) closed: oneshot::Sender<SocketClose>,
    pub(crate) limits: Limits,
    pub(crate) record: Record,
    /// Counts it among the tenant's.
    pub(crate) _slot: CountedSlot<TenantId>,
    /// Its place among the connections of the node and of its address.
    pub(crate) _place: Option<Arc<dyn Any + Send + Sync>>,
}

/// How a connection comes to its end.
enum End {
    /// The client has closed it.
    Client(SocketClose),
    /// The guest has ended its messages.
    Guest(SocketClose),
    /// The guest failed, or its time is over.
    Failed(ServeError),
    /// The platform ends it.
    Platform(CloseCode, &'static str),
    /// It broke.
    Gone,
}

type Connection = WebSocketStream<TokioIo<Upgraded>>;

/// Carries messages until the connection ends, or `stopping` wants it to.
pub(crate) async fn run(upgrade: OnUpgrade, mut open: Open, stopping: CancellationToken) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => TokioIo::new(upgraded),
        Err(error) => {
            tracing::debug!(request_id = %open.record.id, %error, "the protocol did not change");
            return;
        }
    };
    let sizes = Sizes::default().max_payload_len(Some(open.limits.message));
    let mut connection = ServerBuilder::new().limits(sizes).serve(upgraded);
    let end = carry(&mut connection, &mut open, &stopping).await;
    finish(connection, open, end).await;
}

async fn carry(connection: &mut Connection, open: &mut Open, stopping: &CancellationToken) -> End {
    let Open {
        socket,
        messages,
        limits,
        record,
        ..
    } = open;
    // The client's message that the guest has not taken yet.
    let mut waiting = None;
    // Whether the guest wants no more of them.
    let mut deaf = false;
    let mut heard = Instant::now();
    let beat = (limits.idle / 3).max(Duration::from_millis(1));
    let mut beats = interval_at(heard + beat, beat);
    loop {
        tokio::select! {
            () = stopping.cancelled() => {
                return End::Platform(CloseCode::GOING_AWAY, "the node is stopping");
            }
            ready = poll_fn(|context| messages.poll_ready(context)), if waiting.is_some() => {
                if let (Ok(()), Some(message)) = (&ready, waiting.take()) {
                    deaf = messages.try_send(message).is_err();
                }
                deaf |= ready.is_err();
                // Nothing could be heard of the client meanwhile.
                heard = Instant::now();
                beats.reset();
            }
            frame = connection.next(), if waiting.is_none() => {
                heard = Instant::now();
                socket.go_on();
                match frame {
                    Some(Ok(message)) => match received(message) {
                        Received::Message(message) => waiting = (!deaf).then_some(message),
                        // The answer to it is ready and has to be sent.
                        Received::Ping => if connection.flush().await.is_err() {
                            return End::Gone;
                        },
                        Received::Pong => {}
                        Received::Close(close) => return End::Client(close),
                    },
                    Some(Err(error)) => return broken(&error),
                    None => return End::Gone,
                }
            }
            message = socket.next() => match message {
                Some(message) => {
                    socket.go_on();
                    let message = frame(message);
                    record.bytes_sent += message.as_payload().len() as u64;
                    if connection.send(message).await.is_err() {
                        return End::Gone;
                    }
                }
                None => return match socket.ended().await {
                    Ok(close) => End::Guest(close),
                    Err(failure) => End::Failed(failure),
                },
            },
            now = beats.tick(), if waiting.is_none() => {
                if now.duration_since(heard) >= limits.idle {
                    return End::Platform(CloseCode::POLICY_VIOLATION, "the client is silent");
                }
                if connection.send(Message::ping("")).await.is_err() {
                    return End::Gone;
                }
            }
        }
    }
}

/// Says farewell to both sides, and writes down what came of it.
async fn finish(mut connection: Connection, open: Open, end: End) {
    let Open {
        mut socket,
        messages,
        closed,
        mut record,
        ..
    } = open;
    drop(messages);
    let well = matches!(end, End::Client(_) | End::Guest(_));
    let (frame, told) = match end {
        End::Client(close) => {
            record.outcome = Outcome::Complete;
            (None, Some(close))
        }
        End::Guest(close) => {
            record.outcome = Outcome::Complete;
            (Some(farewell(&close)), None)
        }
        End::Failed(failure) => {
            record.outcome = Outcome::BrokenOff;
            record.failure(&failure);
            let (code, reason) = match failure {
                ServeError::Wall { .. }
                | ServeError::StreamIdle { .. }
                | ServeError::StreamEnd { .. } => (CloseCode::GOING_AWAY, "its time is over"),
                _ => (CloseCode::INTERNAL_SERVER_ERROR, "the application failed"),
            };
            (Some(Message::close(Some(code), reason)), None)
        }
        End::Platform(code, reason) => {
            record.outcome = Outcome::BrokenOff;
            let close = SocketClose {
                code: code.into(),
                reason: reason.to_owned(),
            };
            (Some(Message::close(Some(code), reason)), Some(close))
        }
        End::Gone => return,
    };
    if let Some(told) = told {
        // A guest that does not ask is not told.
        let _ = closed.send(told);
    }
    let to_client = async {
        // What was queued is sent with it; a client that is gone needs none.
        if let Some(frame) = frame
            && connection.send(frame).await.is_err()
            && connection.flush().await.is_err()
        {
            return;
        }
        while let Some(Ok(_)) = connection.next().await {}
        // Whatever is left of the connection ends with this.
        let _ = connection.close().await;
    };
    let by_guest = async { while socket.next().await.is_some() {} };
    let (_, guest) = futures::join!(timeout(FAREWELL, to_client), timeout(FAREWELL, by_guest));
    if well && guest.is_ok() {
        socket.release();
    }
}

fn frame(message: SocketMessage) -> Message {
    match message {
        SocketMessage::Text(text) => Message::text(text),
        SocketMessage::Binary(bytes) => Message::binary(bytes),
    }
}

/// What a client can send.
enum Received {
    Message(SocketMessage),
    Ping,
    Pong,
    Close(SocketClose),
}

fn received(message: Message) -> Received {
    if let Some((code, reason)) = message.as_close() {
        return Received::Close(SocketClose {
            code: code.into(),
            reason: reason.to_owned(),
        });
    }
    if let Some(text) = message.as_text() {
        return Received::Message(SocketMessage::Text(text.to_owned()));
    }
    if message.is_binary() {
        let bytes = message.into_payload().to_vec();
        return Received::Message(SocketMessage::Binary(bytes));
    }
    match message.is_ping() {
        true => Received::Ping,
        false => Received::Pong,
    }
}

/// What an error of the connection means for its end. What the client is told of its own faults may be
/// on its way already.
fn broken(error: &Error) -> End {
    match error {
        Error::PayloadTooLong { .. } => {
            End::Platform(CloseCode::MESSAGE_TOO_BIG, "the message is over the limit")
        }
        Error::Protocol(_) => End::Platform(CloseCode::PROTOCOL_ERROR, "the protocol was not kept"),
        _ => End::Gone,
    }
}

/// How a guest closes, as far as it may say so (section 7.4).
fn farewell(close: &SocketClose) -> Message {
    let code = match close.code {
        1000 | 1001 | 1003 | 1007..=1014 | 3000..=4999 => CloseCode::try_from(close.code).ok(),
        _ => None,
    };
    let mut end = close.reason.len().min(MAX_REASON);
    while !close.reason.is_char_boundary(end) {
        end -= 1;
    }
    let code = code.unwrap_or(CloseCode::INTERNAL_SERVER_ERROR);
    Message::close(Some(code), &close.reason[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(code: u16, reason: &str) -> (u16, String) {
        let frame = farewell(&SocketClose {
            code,
            reason: reason.to_owned(),
        });
        let (code, reason) = frame.as_close().expect("a close");
        (code.into(), reason.to_owned())
    }

    #[test]
    fn a_guest_closes_with_what_it_may_say() {
        assert_eq!(sent(1000, "done"), (1000, "done".to_owned()));
        assert_eq!(sent(4001, ""), (4001, String::new()));
        for code in [0, 999, 1004, 1005, 1006, 1015, 2000, 2999, 5000] {
            assert_eq!(sent(code, "").0, 1011, "{code}");
        }
        let (_, reason) = sent(1000, &"ü".repeat(100));
        assert_eq!(reason, "ü".repeat(61));
    }
}
