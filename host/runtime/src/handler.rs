//! Messages by `wasmcloud:messaging/handler`: the export that takes them, called once for each.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::oneshot;
use wasmtime::Store;

use crate::call::Call;
use crate::error::ServeError;
use crate::guest::GuestState;
use crate::installed::Installed;
use crate::instance::{Reply, Work};
use crate::quiet::quietly;
use crate::run::Run;
use crate::runtime::Inner;
use crate::serve::Task;

mod bindings {
    #![allow(missing_docs, unused_qualifications, reason = "generated code")]

    wasmtime::component::bindgen!({
        path: "../../wit/deps/wasmcloud-messaging-0.2.0",
        inline: "
            package canopy:generated;
            world handles {
                export wasmcloud:messaging/handler@0.2.0;
            }
        ",
        exports: { default: async },
    });
}

pub(crate) use bindings::{Handles, HandlesPre};

use bindings::wasmcloud::messaging::types::BrokerMessage;

/// What a component exports that takes messages.
pub(crate) const HANDLER: &str = "wasmcloud:messaging/handler@0.2.0";

/// A message for an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageDelivery {
    /// The topic on which it was sent.
    pub topic: String,
    /// What it says.
    pub body: Vec<u8>,
    /// The topic on which an answer is expected.
    pub reply_to: Option<String>,
}

/// What a guest answers: it has taken the message, or why not, in its own words.
pub(crate) type Answer = Result<(), String>;

/// Runs the guest for one message, to its end.
pub(crate) async fn run(
    store: &mut Store<GuestState>,
    guest: &Handles,
    message: MessageDelivery,
    answer: oneshot::Sender<Answer>,
) -> wasmtime::Result<()> {
    let MessageDelivery {
        topic,
        body,
        reply_to,
    } = message;
    let message = BrokerMessage {
        subject: topic,
        body,
        reply_to,
    };
    let exported = guest.wasmcloud_messaging_handler();
    let said = exported.call_handle_message(store, &message).await?;
    // Whoever asked may be gone.
    let _ = answer.send(said);
    Ok(())
}

/// Has `installed` take a message. Dropping the future ends the guest.
pub(crate) async fn deliver(
    inner: &Arc<Inner>,
    installed: Arc<Installed>,
    call: Call,
    message: MessageDelivery,
) -> Result<Answer, ServeError> {
    if installed.messages.is_none() {
        return Err(ServeError::NoMessages);
    }
    let (reply, mut answer) = oneshot::channel();
    let task = Task::replying(inner, installed, &call, Reply::Message(reply));
    let verdict = task.verdict.clone();
    let mut run = Run::new(task.run(Work::Message(message)));
    let ended = pin!(poll_fn(|context| run.poll(context)));
    quietly(ended).await;
    match (verdict.failure(), answer.try_recv()) {
        (None, Ok(answer)) => Ok(answer),
        (failure, _) => Err(failure.unwrap_or(ServeError::NoResponse)),
    }
}
