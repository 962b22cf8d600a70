//! Messages that wait for an installation.

use canopy_ids::MessageId;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// What an installation has subscribed to, and what waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessageTopic {
    /// The topic.
    pub topic: String,
    /// The path to which messages are posted; absent where the component takes them by its
    /// `wasmcloud:messaging/handler`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How many are delivered at once; one: in order. Absent: the version that runs does not
    /// subscribe, and what waits stays until one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u64>,
    /// How many wait.
    pub waiting: u64,
}

/// A message that was delivered in vain so often that it was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadMessage {
    /// Its identifier; the application got it as `canopy-message`.
    #[schema(value_type = String)]
    pub id: MessageId,
    /// The topic.
    pub topic: String,
    /// The installation that sent it.
    pub sender: String,
    /// What the body is, where the sender said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Bytes of the body.
    pub bytes: u64,
    /// The body, in base64; only where one message is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// When it was sent.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub published_at: OffsetDateTime,
    /// How often it was delivered in vain.
    pub attempts: u32,
    /// Why the last time.
    pub error: String,
}
