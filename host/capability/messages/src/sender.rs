//! Sending, under whatever name.

use std::sync::Arc;
use std::time::Duration;

use canopy_backend::queue::{NewMessage, Queue, QueueError};
use canopy_backend::{Clock as _, StorageError, SystemClock};
use canopy_backend_logs::{Entry, Level, Log, Source};
use canopy_ids::{RequestId, TenantId};

use crate::replies::Answered;
use crate::settings::MessageSettings;
use crate::subscriptions::Subscriptions;

/// Bytes of a topic.
const MAX_TOPIC: usize = 128;
/// Bytes of a content type.
const MAX_CONTENT_TYPE: usize = 200;

/// Sends messages for one installation.
#[derive(Clone)]
pub struct Sender {
    queue: Arc<dyn Queue>,
    subscriptions: Subscriptions,
    settings: Arc<MessageSettings>,
    tenant: TenantId,
    name: String,
    log: Log,
}

/// A message that is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// What it is about.
    pub topic: String,
    /// What it says.
    pub body: Vec<u8>,
    /// What the body is.
    pub content_type: Option<String>,
    /// The topic on which an answer is expected.
    pub reply_to: Option<String>,
    /// For how long it is held back.
    pub delay: Duration,
}

/// Why a message was not sent, or not to all.
#[derive(Debug)]
pub enum PublishError {
    /// The topic is not one.
    InvalidTopic,
    /// The content type is not one.
    InvalidContentType,
    /// The body has more bytes than this.
    TooLarge(u64),
    /// It is to be held back for longer than this.
    TooLate(Duration),
    /// A subscriber has no room.
    QueueFull,
    /// There is nobody to send for.
    AccessDenied,
    /// The platform failed. The text is for the operator.
    Failed(String),
}

/// Whether a text can be a topic.
fn is_topic(text: &str) -> bool {
    (1..=MAX_TOPIC).contains(&text.len())
        && text
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-_".contains(&c))
}

fn is_content_type(text: &str) -> bool {
    text.len() <= MAX_CONTENT_TYPE
        && text.contains('/')
        && text.bytes().all(|c| c.is_ascii_graphic() || c == b' ')
}

impl Sender {
    /// Sends for the installation `name` of `tenant`, whose `log` is told what was sent in vain.
    pub fn new(
        queue: Arc<dyn Queue>,
        subscriptions: Subscriptions,
        settings: Arc<MessageSettings>,
        tenant: TenantId,
        name: String,
        log: Log,
    ) -> Self {
        Self {
            queue,
            subscriptions,
            settings,
            tenant,
            name,
            log,
        }
    }

    /// Puts a message into the queue of every subscriber, during `request`. Returns how many those
    /// are. An answer goes to who waits for it; if nobody does, it is dropped and the log says so.
    pub async fn publish(
        &self,
        outgoing: Outgoing,
        request: Option<RequestId>,
    ) -> Result<u32, PublishError> {
        let Outgoing {
            topic,
            body,
            content_type,
            reply_to,
            delay,
        } = outgoing;
        if !is_topic(&topic) || reply_to.as_deref().is_some_and(|topic| !is_topic(topic)) {
            return Err(PublishError::InvalidTopic);
        }
        if content_type
            .as_deref()
            .is_some_and(|text| !is_content_type(text))
        {
            return Err(PublishError::InvalidContentType);
        }
        let limit = self.settings.queue.message_bytes;
        if body.len() > limit {
            return Err(PublishError::TooLarge(limit as u64));
        }
        if delay > self.settings.delay_most {
            return Err(PublishError::TooLate(self.settings.delay_most));
        }
        let replies = self.subscriptions.replies();
        let body = match replies.answer(self.tenant, &topic, body) {
            Answered::Handed => return Ok(1),
            Answered::Nobody => {
                self.answered_nobody(&topic, request);
                return Ok(0);
            }
            Answered::NoAnswer(body) => body,
        };
        let published_at = SystemClock.now();
        let held = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let message = NewMessage {
            sender: self.name.clone(),
            content_type,
            reply_to,
            body,
            published_at,
            not_before: published_at.saturating_add(held),
            topic,
        };
        let mut subscribers = 0;
        for subscription in self.subscriptions.of(self.tenant, &message.topic) {
            match self.queue.put(subscription.scope, message.clone()).await {
                Ok(_) => {
                    subscription.wake();
                    subscribers += 1;
                }
                // Its installation was deleted meanwhile.
                Err(QueueError::Storage(StorageError::Erased)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(subscribers)
    }

    /// Says in the log that an answer was for nobody. It is no error for who sends it: a message that
    /// fails for it would be delivered again, and its answer would come later still.
    fn answered_nobody(&self, topic: &str, request: Option<RequestId>) {
        let text = format!("an answer on `{topic}` was dropped: nobody waits for it any more");
        let entry = Entry::new(Level::Warn, Source::Platform, &text);
        self.log.append(Entry {
            request_id: request,
            ..entry
        });
    }
}

/// Why there is no answer to a question.
#[derive(Debug)]
pub enum RequestError {
    /// The question was not sent.
    Publish(PublishError),
    /// Nobody subscribes to the topic.
    Nobody,
    /// Nobody has answered in time. The question may be answered later, to nobody.
    Timeout,
}

impl From<PublishError> for RequestError {
    fn from(error: PublishError) -> Self {
        Self::Publish(error)
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The topic on which it has come.
    pub topic: String,
    /// What it says.
    pub body: Vec<u8>,
}

impl Sender {
    /// Asks the subscribers of a topic during `request`, and waits for the first answer.
    pub async fn request(
        &self,
        topic: String,
        body: Vec<u8>,
        within: Duration,
        request: Option<RequestId>,
    ) -> Result<Reply, RequestError> {
        let inbox = self.subscriptions.replies().open(self.tenant);
        let mut inbox = inbox.map_err(|error| PublishError::Failed(error.to_string()))?;
        let outgoing = Outgoing {
            topic,
            body,
            reply_to: Some(inbox.topic().to_owned()),
            ..Outgoing::default()
        };
        if self.publish(outgoing, request).await? == 0 {
            return Err(RequestError::Nobody);
        }
        match tokio::time::timeout(within, inbox.answer()).await {
            Ok(Some(body)) => Ok(Reply {
                topic: inbox.topic().to_owned(),
                body,
            }),
            Ok(None) | Err(_) => Err(RequestError::Timeout),
        }
    }
}

impl From<QueueError> for PublishError {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::TooLarge { limit, .. } => Self::TooLarge(limit as u64),
            QueueError::Full { .. }
            | QueueError::Storage(StorageError::QuotaExceeded { .. } | StorageError::NoSpace) => {
                Self::QueueFull
            }
            error => Self::Failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_a_name_without_wildcards() {
        for text in ["a", "orders.created", "a-b_c.9", &"x".repeat(128)] {
            assert!(is_topic(text), "{text}");
        }
        for text in [
            "",
            "a/b",
            "A",
            "a b",
            "orders.*",
            ">",
            "ä",
            &"x".repeat(129),
        ] {
            assert!(!is_topic(text), "{text}");
        }
    }

    #[test]
    fn a_content_type_passes_as_a_header() {
        for text in ["text/plain", "application/json; charset=utf-8"] {
            assert!(is_content_type(text), "{text}");
        }
        for text in ["", "text", "text/plain\r\nx: y", "text/ä"] {
            assert!(!is_content_type(text), "{text}");
        }
    }
}
