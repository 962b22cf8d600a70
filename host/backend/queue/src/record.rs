//! How a message is kept.

use canopy_backend::StorageError;
use canopy_backend::queue::{Message, NewMessage};
use canopy_ids::MessageId;
use serde::{Deserialize, Serialize};

/// A message but for its place.
pub(crate) struct Record {
    header: Header,
    body: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    id: MessageId,
    topic: String,
    sender: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply_to: Option<String>,
    published_at: u64,
    not_before: u64,
    #[serde(default)]
    failures: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    revived: bool,
}

impl Record {
    pub(crate) fn new(id: MessageId, message: NewMessage) -> Self {
        Self::from(Message {
            id,
            message,
            failures: 0,
            error: None,
            revived: false,
            place: String::new(),
        })
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        // Strings, numbers and options of them are always JSON.
        let header = serde_json::to_vec(&self.header).unwrap_or_default();
        let length = u32::try_from(header.len()).unwrap_or(u32::MAX);
        let mut value = Vec::with_capacity(4 + header.len() + self.body.len());
        value.extend(length.to_le_bytes());
        value.extend(header);
        value.extend(self.body);
        value
    }

    pub(crate) fn decode(value: &[u8], key: &str) -> Result<Self, StorageError> {
        let damaged = || StorageError::Damaged(format!("the message at `{key}`"));
        let (length, rest) = value.split_first_chunk().ok_or_else(damaged)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| damaged())?;
        let (header, body) = rest.split_at_checked(length).ok_or_else(damaged)?;
        Ok(Self {
            header: serde_json::from_slice(header).map_err(|_| damaged())?,
            body: body.to_vec(),
        })
    }

    pub(crate) fn at(self, place: String) -> Message {
        let Header {
            id,
            topic,
            sender,
            content_type,
            reply_to,
            published_at,
            not_before,
            failures,
            error,
            revived,
        } = self.header;
        Message {
            id,
            message: NewMessage {
                topic,
                sender,
                content_type,
                reply_to,
                body: self.body,
                published_at,
                not_before,
            },
            failures,
            error,
            revived,
            place,
        }
    }
}

impl From<Message> for Record {
    fn from(message: Message) -> Self {
        let Message {
            id,
            message,
            failures,
            error,
            revived,
            place: _,
        } = message;
        let NewMessage {
            topic,
            sender,
            content_type,
            reply_to,
            body,
            published_at,
            not_before,
        } = message;
        Self {
            header: Header {
                id,
                topic,
                sender,
                content_type,
                reply_to,
                published_at,
                not_before,
                failures,
                error,
                revived,
            },
            body,
        }
    }
}
