//! Queues of messages: put, delivered, tried again, given up and revived.

use std::path::Path;
use std::sync::Arc;

use canopy_backend::queue::{Message, NewMessage, Queue, QueueLimits};
use canopy_backend::{KeyValueProvider, Maintenance};
use canopy_backend_embedded::EmbeddedStorage;
use canopy_backend_queue::{BUCKET, KeyValueQueue};

use super::key_value::open_storage;
use super::{Store, Units, content, of_content, scope, text, written};

pub(super) struct QueueStore {
    storage: EmbeddedStorage,
    queue: KeyValueQueue,
}

const TOPIC: &str = "orders";
const BODY: usize = 3000;

fn message(n: u32) -> NewMessage {
    NewMessage {
        topic: TOPIC.into(),
        sender: "shop".into(),
        content_type: None,
        reply_to: None,
        body: content(n, BODY),
        published_at: 1,
        not_before: 2,
    }
}

impl QueueStore {
    async fn waiting(&self) -> Result<Vec<Message>, String> {
        self.queue
            .waiting(scope(), TOPIC, None, 1000)
            .await
            .map_err(text)
    }

    async fn dead(&self) -> Result<Vec<Message>, String> {
        let page = self.queue.dead(scope(), None, 1000).await.map_err(text)?;
        Ok(page.messages)
    }
}

/// That which step `n` put.
fn of(messages: Vec<Message>, n: u32) -> Option<Message> {
    let body = content(n, BODY);
    messages.into_iter().find(|one| one.message.body == body)
}

impl Store for QueueStore {
    const NAME: &'static str = "queue";
    const STEPS: u32 = 18;

    async fn open(dir: &Path) -> Result<Self, String> {
        let storage = open_storage(dir)?;
        let limits = QueueLimits {
            message_bytes: 1 << 20,
            waiting: 1000,
            dead: 1000,
        };
        let queue = KeyValueQueue::new(Arc::new(storage.clone()), limits);
        Ok(Self { storage, queue })
    }

    async fn step(&mut self, n: u32) -> Result<(), String> {
        match n % 6 {
            // Only what is not there is put: a message put twice is two.
            1..=3 => {
                let known = of(self.waiting().await?, n).or(of(self.dead().await?, n));
                if known.is_none() {
                    self.queue.put(scope(), message(n)).await.map_err(text)?;
                }
            }
            4 => {
                if let Some(message) = of(self.waiting().await?, n - 3) {
                    self.queue.done(scope(), &message).await.map_err(text)?;
                }
            }
            5 => {
                if let Some(message) = of(self.waiting().await?, n - 3) {
                    let buried = self.queue.bury(scope(), &message, "in vain").await;
                    buried.map_err(text)?;
                }
            }
            _ => {
                let message = of(self.waiting().await?, n - 3).ok_or("it is not there")?;
                if message.failures == 0 {
                    let retry = self.queue.retry(scope(), &message, 9, "later", false);
                    retry.await.map_err(text)?;
                }
            }
        }
        Ok(())
    }

    fn expect(n: u32, units: &mut Units) {
        let mut set = |n: u32, what: &str| {
            units.insert(
                format!("message{n}"),
                format!("{} {what}", written(n, BODY)),
            );
        };
        match n % 6 {
            1..=3 => set(n, "waits, 0 failures"),
            4 => drop(units.remove(&format!("message{}", n - 3))),
            5 => set(n - 3, "given up, 1 failures"),
            _ => set(n - 3, "waits, 1 failures"),
        }
    }

    async fn observe(&mut self) -> Result<Units, String> {
        let mut units = Units::new();
        for (messages, what) in [
            (self.waiting().await?, "waits"),
            (self.dead().await?, "given up"),
        ] {
            for one in messages {
                let found = of_content(&one.message.body);
                let n = found.rsplit(' ').next().unwrap_or_default();
                let value = format!("{found} {what}, {} failures", one.failures);
                if let Some(twice) = units.insert(format!("message{n}"), value) {
                    return Err(format!("it is there twice, also as {twice}"));
                }
            }
        }
        Ok(units)
    }

    async fn check(&mut self) -> Result<Vec<String>, String> {
        let findings = self.storage.check(scope()).await.map_err(text)?;
        let mut wrong: Vec<String> = findings.into_iter().map(|finding| finding.what).collect();
        let bucket = self.storage.open(scope(), BUCKET).await.map_err(text)?;
        for (key, count) in [
            ("n/q", self.waiting().await?.len()),
            ("n/d", self.dead().await?.len()),
        ] {
            let counted = bucket.get(key).await.map_err(text)?;
            let counted = counted.map_or("0".into(), |bytes| {
                String::from_utf8_lossy(&bytes).into_owned()
            });
            if counted != count.to_string() {
                wrong.push(format!("{key} counts {counted} and there are {count}"));
            }
        }
        Ok(wrong)
    }

    async fn close(self) {
        drop(self.queue);
        self.storage.close().await;
    }
}
