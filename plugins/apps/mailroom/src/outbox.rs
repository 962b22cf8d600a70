//! Sending, and the log of what became of it.
//!
//! | key | holds |
//! | --- | --- |
//! | `count` | the last identifier given; a number of the store |
//! | `message/ID` | the message and its outcome |
//!
//! A message is in the log before it is handed to the driver, as `sending`, and its outcome after.
//! One that stays `sending` was interrupted: whether it went out is not known, and so it is shown
//! as that and never sent again by itself.

use canopy_sdk::Problem;
use canopy_sdk::kv::{self, Bucket};
use mail::canopy::mail::sender;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

canopy_sdk::import!(mail: "canopy:mail/sender@0.1.0", wit = ["../../../wit/mail/0.1.0"]);

/// Entries of one page of the log.
pub const PAGE: u32 = 50;

/// What is to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// The sender that the driver is configured with, if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    pub to: Vec<String>,
    #[serde(default)]
    pub cc: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    pub subject: String,
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Outcome {
    /// Handed to the driver; nothing is known yet, or ever.
    Sending,
    /// The mail server has taken responsibility for it.
    Sent { message_id: String },
    /// It did not go out.
    Failed { reason: Reason, detail: String },
}

/// Why it did not go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    BadAddress,
    Refused,
    Unavailable,
    BadMessage,
}

impl Reason {
    /// The reason for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::BadAddress => "There is no mail to this address",
            Self::Refused => "The mail server refused it",
            Self::Unavailable => "The mail server cannot be reached or is busy; try again later",
            Self::BadMessage => "It cannot be sent as it is",
        }
    }
}

/// An entry of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    pub id: u32,
    /// RFC 3339, universal time.
    pub at: String,
    pub message: Message,
    pub outcome: Outcome,
}

/// A page of the log, the newest first, and where the next begins.
pub struct Page {
    pub entries: Vec<Entry>,
    pub next: Option<u32>,
}

/// The log and the way out.
pub struct Outbox {
    bucket: Bucket,
}

impl Outbox {
    pub fn open() -> Result<Self, kv::Error> {
        Ok(Self {
            bucket: Bucket::open("default")?,
        })
    }

    /// Sends and notes what became of it. That a message did not go out is an outcome, not an
    /// error.
    pub fn send(&self, message: Message) -> Result<Entry, Problem> {
        let count = self.bucket.increment("count", 1)?;
        let id = u32::try_from(count).map_err(|_| Problem::conflict("The log is full."))?;
        let now = OffsetDateTime::now_utc().truncate_to_second();
        let at = now.format(&Rfc3339).unwrap_or_default();
        let mut entry = Entry {
            id,
            at,
            message,
            outcome: Outcome::Sending,
        };
        self.write(&entry)?;
        entry.outcome = hand_over(&entry.message);
        self.write(&entry)?;
        Ok(entry)
    }

    pub fn entry(&self, id: u32) -> Result<Option<Entry>, kv::Error> {
        self.bucket.get(&key(id))
    }

    /// The entries with identifiers below `below`.
    pub fn page(&self, below: Option<u32>) -> Result<Page, kv::Error> {
        let top = match below {
            Some(below) => below,
            None => {
                let count = self.bucket.number("count")?.unwrap_or(0);
                u32::try_from(count).unwrap_or(u32::MAX).saturating_add(1)
            }
        };
        let bottom = top.saturating_sub(PAGE).max(1);
        let keys: Vec<String> = (bottom..top).rev().map(key).collect();
        Ok(Page {
            entries: self.bucket.get_many(&keys)?.into_iter().flatten().collect(),
            next: (bottom > 1).then_some(bottom),
        })
    }

    fn write(&self, entry: &Entry) -> Result<(), kv::Error> {
        self.bucket.set(&key(entry.id), entry)
    }
}

fn key(id: u32) -> String {
    format!("message/{id}")
}

fn hand_over(message: &Message) -> Outcome {
    let outcome = sender::send(&sender::Message {
        from: message.from.clone(),
        to: message.to.clone(),
        cc: message.cc.clone(),
        reply_to: message.reply_to.clone(),
        subject: message.subject.clone(),
        text: message.text.clone(),
        html: message.html.clone(),
    });
    let (reason, detail) = match outcome {
        Ok(message_id) => return Outcome::Sent { message_id },
        Err(sender::Error::BadAddress(text)) => (Reason::BadAddress, text),
        Err(sender::Error::Refused(text)) => (Reason::Refused, text),
        Err(sender::Error::Unavailable(text)) => (Reason::Unavailable, text),
        Err(sender::Error::BadMessage(text)) => (Reason::BadMessage, text),
    };
    Outcome::Failed { reason, detail }
}
