//! Queues of messages: of each installation one, with what it has subscribed to.

use async_trait::async_trait;
use canopy_ids::MessageId;

use crate::{Scope, StorageError};

/// How much a queue takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Bytes of one message's body.
    pub message_bytes: usize,
    /// Messages of one installation that wait.
    pub waiting: u64,
    /// Messages of one installation that were given up and are kept; beyond it the oldest of them is
    /// dropped.
    pub dead: u64,
}

/// A message to be put into a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// What it is about; without `/`.
    pub topic: String,
    /// The name of the installation that sends it.
    pub sender: String,
    /// What the body is.
    pub content_type: Option<String>,
    /// The topic on which an answer is expected.
    pub reply_to: Option<String>,
    /// The body.
    pub body: Vec<u8>,
    /// When it was sent, in milliseconds since 1970.
    pub published_at: u64,
    /// When it may be delivered, in milliseconds since 1970.
    pub not_before: u64,
}

/// A message in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its identifier, the same however often it is delivered.
    pub id: MessageId,
    /// The message.
    pub message: NewMessage,
    /// How often it was delivered in vain.
    pub failures: u32,
    /// Why the last time.
    pub error: Option<String>,
    /// Whether it had been given up, and is taken up again: it was not meant to wait for anything.
    pub revived: bool,
    /// Where it is; of no meaning to others.
    pub place: String,
}

/// Messages of one topic that wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The topic.
    pub topic: String,
    /// How many there are.
    pub count: u64,
}

/// Messages that were given up, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadPage {
    /// The messages.
    pub messages: Vec<Message>,
    /// After which the next page begins; `None`: there are no more.
    pub next: Option<MessageId>,
}

/// Why an operation on a queue did not take place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The body is too long.
    #[error("a message of {actual} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its length.
        actual: usize,
        /// The limit.
        limit: usize,
    },
    /// As many messages wait as may.
    #[error("{limit} messages wait, which is as many as may")]
    Full {
        /// The limit.
        limit: u64,
    },
    /// The storage.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The queues of installations.
///
/// A message that was put is durable, and stays until [`Queue::done`], [`Queue::discard`], or more
/// than a queue keeps have been given up. Who takes messages remembers itself which it has under
/// way: what has not been told here is there again after a restart.
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// How much a queue takes.
    fn limits(&self) -> QueueLimits;
    /// Puts a message into the queue of `scope`.
    async fn put(&self, scope: Scope, message: NewMessage) -> Result<MessageId, QueueError>;
    /// Up to `limit` messages of `topic` that wait, those that may be delivered first before the
    /// others, and of those that may be at the same time, the one that was put first; only those
    /// behind the place `after`, where one is given.
    async fn waiting(
        &self,
        scope: Scope,
        topic: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Message>, QueueError>;
    /// How many messages of each topic wait, for topics of which there are some.
    async fn counts(&self, scope: Scope) -> Result<Vec<Waiting>, QueueError>;
    /// Removes a message that was delivered.
    async fn done(&self, scope: Scope, message: &Message) -> Result<(), QueueError>;
    /// Lets a message be delivered again at `not_before`. It keeps its place before those that came
    /// after it if `in_order`; else it waits behind those that may be delivered earlier.
    async fn retry(
        &self,
        scope: Scope,
        message: &Message,
        not_before: u64,
        error: &str,
        in_order: bool,
    ) -> Result<(), QueueError>;
    /// Gives a message up.
    async fn bury(&self, scope: Scope, message: &Message, error: &str) -> Result<(), QueueError>;
    /// Up to `limit` messages that were given up.
    async fn dead(
        &self,
        scope: Scope,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<DeadPage, QueueError>;
    /// A message that was given up.
    async fn dead_message(
        &self,
        scope: Scope,
        id: MessageId,
    ) -> Result<Option<Message>, QueueError>;
    /// Lets a message that was given up be delivered again, from `now` on and as if never before.
    /// `None`: there is none.
    async fn revive(
        &self,
        scope: Scope,
        id: MessageId,
        now: u64,
    ) -> Result<Option<Message>, QueueError>;
    /// Removes a message that was given up. Whether there was one.
    async fn discard(&self, scope: Scope, id: MessageId) -> Result<bool, QueueError>;
}
