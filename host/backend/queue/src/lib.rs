//! Queues of messages over key-value storage.
//!
//! The queue of an installation is a bucket of its own among its keys and values, with a name that
//! no guest can open. So it is durable and encrypted as they are, counts against the same quota, and
//! is backed up, exported, checked and erased with them; and whatever stores keys and values has
//! queues as well.
//!
//! ```text
//! q/TOPIC/DUE-ID   a message that waits; DUE in milliseconds, 16 hexadecimal digits
//! d/ID             a message that was given up
//! n/q, n/d         how many of each there are
//! ```
//!
//! A value is the length of a header in four bytes, the header as JSON, and the body.

mod record;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use canopy_backend::queue::{
    DeadPage, Message, NewMessage, Queue, QueueError, QueueLimits, Waiting,
};
use canopy_backend::{
    Action, Condition, KeyValue, KeyValueProvider, Operation, Scope, SetOptions, StorageError,
    Transaction,
};
use canopy_ids::MessageId;

use record::Record;

/// The bucket. A name with a control character is none that a guest or a person can open.
pub const BUCKET: &str = "\u{1}messages";

const WAITING: &str = "q/";
const DEAD: &str = "d/";
const WAITING_COUNT: &str = "n/q";
const DEAD_COUNT: &str = "n/d";

/// Keys that are looked at to count what waits.
const COUNTED: usize = 100_000;

/// Queues over key-value storage.
#[derive(Clone)]
pub struct KeyValueQueue {
    storage: Arc<dyn KeyValueProvider>,
    limits: QueueLimits,
}

impl KeyValueQueue {
    /// Queues in `storage`.
    pub fn new(storage: Arc<dyn KeyValueProvider>, limits: QueueLimits) -> Self {
        Self { storage, limits }
    }

    async fn bucket(&self, scope: Scope) -> Result<Arc<dyn KeyValue>, StorageError> {
        self.storage.open(scope, BUCKET).await
    }

    async fn transact(
        &self,
        scope: Scope,
        steps: Vec<(String, Action)>,
    ) -> Result<bool, QueueError> {
        let operations = steps.into_iter().map(|(key, action)| Operation {
            bucket: BUCKET.into(),
            key,
            action,
        });
        let outcome = self.storage.transact(scope, operations.collect()).await?;
        Ok(matches!(outcome, Transaction::Done(_)))
    }

    /// Replaces what is at `from` by what is at `to`, if it is still there.
    async fn relocate(
        &self,
        scope: Scope,
        from: &str,
        to: (String, Vec<u8>),
        counts: &[(&str, i64)],
    ) -> Result<bool, QueueError> {
        let mut steps = Vec::new();
        if from == to.0 {
            let condition = Condition::Present;
            steps.push((to.0, set(to.1, condition)));
        } else {
            steps.push((from.into(), Action::Delete(Condition::Present)));
            steps.push((to.0, set(to.1, Condition::Always)));
        }
        for (key, delta) in counts {
            steps.push(((*key).to_owned(), Action::Increment(*delta)));
        }
        self.transact(scope, steps).await
    }

    async fn count(&self, scope: Scope, key: &str) -> Result<u64, QueueError> {
        let value = self.bucket(scope).await?.get(key).await?;
        let text = value.as_deref().map(String::from_utf8_lossy);
        Ok(text.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// Drops those that were given up first while there are more than are kept.
    async fn make_room(&self, scope: Scope) -> Result<(), QueueError> {
        while self.count(scope, DEAD_COUNT).await? > self.limits.dead {
            let page = self.bucket(scope).await?.list(DEAD, None, 1).await?;
            let Some(oldest) = page.keys.into_iter().next() else {
                return Ok(());
            };
            let steps = vec![
                (oldest, Action::Delete(Condition::Present)),
                (DEAD_COUNT.into(), Action::Increment(-1)),
            ];
            self.transact(scope, steps).await?;
        }
        Ok(())
    }
}

fn set(value: Vec<u8>, condition: Condition) -> Action {
    Action::Set {
        value,
        options: SetOptions {
            ttl: None,
            condition,
        },
    }
}

fn place(message: &NewMessage, id: MessageId) -> String {
    let NewMessage {
        topic, not_before, ..
    } = message;
    format!("{WAITING}{topic}/{not_before:016x}-{id}")
}

#[async_trait]
impl Queue for KeyValueQueue {
    fn limits(&self) -> QueueLimits {
        self.limits
    }

    async fn put(&self, scope: Scope, message: NewMessage) -> Result<MessageId, QueueError> {
        let (actual, limit) = (message.body.len(), self.limits.message_bytes);
        if actual > limit {
            return Err(QueueError::TooLarge { actual, limit });
        }
        if self.count(scope, WAITING_COUNT).await? >= self.limits.waiting {
            let limit = self.limits.waiting;
            return Err(QueueError::Full { limit });
        }
        let id = MessageId::new();
        let key = place(&message, id);
        let value = Record::new(id, message).encode();
        let steps = vec![
            (key, set(value, Condition::Always)),
            (WAITING_COUNT.into(), Action::Increment(1)),
        ];
        self.transact(scope, steps).await?;
        Ok(id)
    }

    async fn waiting(
        &self,
        scope: Scope,
        topic: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Message>, QueueError> {
        let bucket = self.bucket(scope).await?;
        let prefix = format!("{WAITING}{topic}/");
        let mut messages = Vec::new();
        let mut after = after.map(str::to_owned);
        while messages.len() < limit {
            let page = bucket
                .list_entries(&prefix, after.as_deref(), limit - messages.len())
                .await?;
            for (key, entry) in page.entries {
                messages.push(Record::decode(&entry.value, &key)?.at(key));
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(messages)
    }

    async fn counts(&self, scope: Scope) -> Result<Vec<Waiting>, QueueError> {
        let bucket = self.bucket(scope).await?;
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut after = None;
        let mut seen = 0;
        loop {
            let page = bucket.list(WAITING, after.as_deref(), COUNTED).await?;
            seen += page.keys.len();
            for key in &page.keys {
                let topic = key.split('/').nth(1).unwrap_or_default();
                *counts.entry(topic.to_owned()).or_default() += 1;
            }
            after = page.next;
            if after.is_none() || seen >= COUNTED {
                break;
            }
        }
        Ok(counts
            .into_iter()
            .map(|(topic, count)| Waiting { topic, count })
            .collect())
    }

    async fn done(&self, scope: Scope, message: &Message) -> Result<(), QueueError> {
        let steps = vec![
            (message.place.clone(), Action::Delete(Condition::Present)),
            (WAITING_COUNT.into(), Action::Increment(-1)),
        ];
        self.transact(scope, steps).await?;
        Ok(())
    }

    async fn retry(
        &self,
        scope: Scope,
        message: &Message,
        not_before: u64,
        error: &str,
        in_order: bool,
    ) -> Result<(), QueueError> {
        let mut new = message.clone();
        new.message.not_before = not_before;
        new.failures += 1;
        new.error = Some(error.to_owned());
        let key = match in_order {
            true => message.place.clone(),
            false => place(&new.message, message.id),
        };
        let value = Record::from(new).encode();
        self.relocate(scope, &message.place, (key, value), &[])
            .await?;
        Ok(())
    }

    async fn bury(&self, scope: Scope, message: &Message, error: &str) -> Result<(), QueueError> {
        let mut new = message.clone();
        new.failures += 1;
        new.error = Some(error.to_owned());
        let to = (format!("{DEAD}{}", message.id), Record::from(new).encode());
        let counts = [(WAITING_COUNT, -1), (DEAD_COUNT, 1)];
        self.relocate(scope, &message.place, to, &counts).await?;
        self.make_room(scope).await
    }

    async fn dead(
        &self,
        scope: Scope,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<DeadPage, QueueError> {
        let after = after.map(|id| format!("{DEAD}{id}"));
        let bucket = self.bucket(scope).await?;
        let page = bucket.list_entries(DEAD, after.as_deref(), limit).await?;
        let mut messages = Vec::with_capacity(page.entries.len());
        for (key, entry) in page.entries {
            messages.push(Record::decode(&entry.value, &key)?.at(key));
        }
        let next = page.next.and(messages.last().map(|message| message.id));
        Ok(DeadPage { messages, next })
    }

    async fn dead_message(
        &self,
        scope: Scope,
        id: MessageId,
    ) -> Result<Option<Message>, QueueError> {
        let key = format!("{DEAD}{id}");
        let value = self.bucket(scope).await?.get(&key).await?;
        let record = value
            .map(|value| Record::decode(&value, &key))
            .transpose()?;
        Ok(record.map(|record| record.at(key)))
    }

    async fn revive(
        &self,
        scope: Scope,
        id: MessageId,
        now: u64,
    ) -> Result<Option<Message>, QueueError> {
        let Some(mut message) = self.dead_message(scope, id).await? else {
            return Ok(None);
        };
        let from = message.place.clone();
        message.message.not_before = now;
        message.failures = 0;
        message.error = None;
        message.revived = true;
        message.place = place(&message.message, id);
        let to = (
            message.place.clone(),
            Record::from(message.clone()).encode(),
        );
        let counts = [(WAITING_COUNT, 1), (DEAD_COUNT, -1)];
        let done = self.relocate(scope, &from, to, &counts).await?;
        Ok(done.then_some(message))
    }

    async fn discard(&self, scope: Scope, id: MessageId) -> Result<bool, QueueError> {
        let steps = vec![
            (format!("{DEAD}{id}"), Action::Delete(Condition::Present)),
            (DEAD_COUNT.into(), Action::Increment(-1)),
        ];
        self.transact(scope, steps).await
    }
}
