//! The interfaces' functions.

use std::time::Duration;

use crate::bindings::{consumer, messages, types};
use crate::ctx::MessagesView;
use crate::sender::{Outgoing, PublishError, RequestError};

impl MessagesView<'_> {
    async fn send(&self, outgoing: Outgoing) -> Result<u32, PublishError> {
        match &self.ctx.sender {
            Some(sender) => sender.publish(outgoing, self.ctx.request).await,
            None => Err(PublishError::AccessDenied),
        }
    }
}

/// What a guest is told of a failure of the platform; the rest is for the operator.
fn failed(error: &str) -> String {
    tracing::error!(error, "a message could not be sent");
    "the platform failed".to_owned()
}

impl messages::Host for MessagesView<'_> {
    async fn publish(
        &mut self,
        topic: String,
        body: Vec<u8>,
        options: messages::Options,
    ) -> Result<u32, messages::Error> {
        let outgoing = Outgoing {
            topic,
            body,
            content_type: options.content_type,
            reply_to: None,
            delay: Duration::from_millis(options.delay_ms.unwrap_or(0)),
        };
        self.send(outgoing).await.map_err(|error| match error {
            PublishError::InvalidTopic => messages::Error::InvalidTopic,
            PublishError::InvalidContentType => messages::Error::InvalidContentType,
            PublishError::TooLarge(limit) => messages::Error::TooLarge(limit),
            PublishError::TooLate(most) => {
                let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
                messages::Error::TooLate(most)
            }
            PublishError::QueueFull => messages::Error::QueueFull,
            PublishError::AccessDenied => messages::Error::AccessDenied,
            PublishError::Failed(error) => messages::Error::Other(failed(&error)),
        })
    }
}

impl types::Host for MessagesView<'_> {}

impl consumer::Host for MessagesView<'_> {
    async fn request(
        &mut self,
        subject: String,
        body: Vec<u8>,
        timeout_ms: u32,
    ) -> Result<consumer::BrokerMessage, String> {
        let Some(sender) = &self.ctx.sender else {
            return Err(refused(PublishError::AccessDenied));
        };
        let within = Duration::from_millis(timeout_ms.into());
        let asked = sender.request(subject, body, within, self.ctx.request);
        match asked.await {
            Ok(reply) => Ok(consumer::BrokerMessage {
                subject: reply.topic,
                body: reply.body,
                reply_to: None,
            }),
            Err(RequestError::Publish(error)) => Err(refused(error)),
            Err(RequestError::Nobody) => Err("nobody subscribes to this subject".to_owned()),
            Err(RequestError::Timeout) => Err(format!("no answer within {timeout_ms} ms")),
        }
    }

    async fn publish(&mut self, msg: consumer::BrokerMessage) -> Result<(), String> {
        let outgoing = Outgoing {
            topic: msg.subject,
            body: msg.body,
            content_type: None,
            reply_to: msg.reply_to,
            delay: Duration::ZERO,
        };
        self.send(outgoing).await.map(drop).map_err(refused)
    }
}

/// What is said by `wasmcloud:messaging`, which has texts alone.
fn refused(error: PublishError) -> String {
    match error {
        PublishError::InvalidTopic => {
            "subject and reply-to are 1 to 128 of a-z, 0-9, `.`, `-` and `_`".to_owned()
        }
        PublishError::TooLarge(limit) => {
            format!("the body has more than the {limit} bytes that a message may have")
        }
        PublishError::QueueFull => "a subscriber has no room for more".to_owned(),
        PublishError::AccessDenied => "this component has nobody to send to".to_owned(),
        PublishError::Failed(error) => failed(&error),
        // Neither is said here.
        PublishError::InvalidContentType | PublishError::TooLate(_) => "invalid".to_owned(),
    }
}
