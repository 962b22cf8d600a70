//! Messages that wait for installations, and those that were given up.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use canopy_api_types::{DeadMessage, MessageTopic, Page};
use canopy_backend::queue::{Message, QueueError};
use canopy_backend::{Clock as _, SystemClock};
use canopy_ids::{Label, MessageId};
use canopy_store::{PageRequest, StoreError};
use time::OffsetDateTime;

use crate::{Action, App, AppError, Context, Resource};

impl App {
    /// What an installation has subscribed to, and how much waits for it.
    pub async fn message_topics(
        &self,
        context: &Context,
        tenant: Label,
        installation: Label,
    ) -> Result<Page<MessageTopic>, AppError> {
        context.authorize(Action::Read, Resource::Data(&tenant))?;
        let site = self.site(tenant, installation).await?;
        let messages = self.runtime.messages();
        let running = site.log.context();
        let (package, version) = (&running.package, &running.version);
        let release = self.catalog.release(package, version).await?;
        let asked = release.manifest.subscriptions.iter();
        let mut topics: Vec<_> = asked
            .map(|asked| MessageTopic {
                topic: asked.topic.clone(),
                path: asked.path.clone(),
                concurrency: Some(asked.concurrency as u64),
                waiting: 0,
            })
            .collect();
        for waiting in messages.queue().counts(site.scope).await? {
            match topics.iter_mut().find(|one| one.topic == waiting.topic) {
                Some(topic) => topic.waiting = waiting.count,
                None => topics.push(MessageTopic {
                    topic: waiting.topic,
                    path: None,
                    concurrency: None,
                    waiting: waiting.count,
                }),
            }
        }
        Ok(Page {
            items: topics,
            next_cursor: None,
        })
    }

    /// Messages to an installation that were given up.
    pub async fn dead_messages(
        &self,
        context: &Context,
        tenant: Label,
        installation: Label,
        page: PageRequest,
    ) -> Result<Page<DeadMessage>, AppError> {
        context.authorize(Action::Read, Resource::Data(&tenant))?;
        let site = self.site(tenant, installation).await?;
        let after = page
            .cursor
            .map(|cursor| cursor.parse().map_err(|_| StoreError::InvalidCursor))
            .transpose()?;
        let queue = self.runtime.messages().queue();
        let dead = queue.dead(site.scope, after, page.limit).await?;
        Ok(Page {
            items: dead.messages.iter().map(|one| show(one, false)).collect(),
            next_cursor: dead.next.map(|id| id.to_string()),
        })
    }

    /// One message that was given up, with its body.
    pub async fn dead_message(
        &self,
        context: &Context,
        tenant: Label,
        installation: Label,
        id: MessageId,
    ) -> Result<DeadMessage, AppError> {
        context.authorize(Action::Read, Resource::Data(&tenant))?;
        let site = self.site(tenant, installation).await?;
        let queue = self.runtime.messages().queue();
        let found = queue.dead_message(site.scope, id).await?;
        let message = found.ok_or_else(|| AppError::not_found("message", id))?;
        Ok(show(&message, true))
    }

    /// Has a message that was given up delivered again, as if never before.
    pub async fn requeue_message(
        &self,
        context: &Context,
        tenant: Label,
        installation: Label,
        id: MessageId,
    ) -> Result<(), AppError> {
        context.authorize(Action::Write, Resource::Data(&tenant))?;
        let site = self.site(tenant, installation).await?;
        let messages = self.runtime.messages();
        let revived = messages
            .queue()
            .revive(site.scope, id, SystemClock.now())
            .await?;
        let message = revived.ok_or_else(|| AppError::not_found("message", id))?;
        let topic = &message.message.topic;
        messages.subscriptions().wake(site.scope, topic);
        Ok(())
    }

    /// Removes a message that was given up.
    pub async fn discard_message(
        &self,
        context: &Context,
        tenant: Label,
        installation: Label,
        id: MessageId,
    ) -> Result<(), AppError> {
        context.authorize(Action::Delete, Resource::Data(&tenant))?;
        let site = self.site(tenant, installation).await?;
        let queue = self.runtime.messages().queue();
        match queue.discard(site.scope, id).await? {
            true => Ok(()),
            false => Err(AppError::not_found("message", id)),
        }
    }
}

impl From<QueueError> for AppError {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Storage(error) => Self::Storage(error),
            error => Self::Internal(error.to_string()),
        }
    }
}

fn show(message: &Message, with_body: bool) -> DeadMessage {
    let sent = &message.message;
    let at = i128::from(sent.published_at) * 1_000_000;
    DeadMessage {
        id: message.id,
        topic: sent.topic.clone(),
        sender: sent.sender.clone(),
        content_type: sent.content_type.clone(),
        bytes: sent.body.len() as u64,
        body: with_body.then(|| STANDARD.encode(&sent.body)),
        published_at: OffsetDateTime::from_unix_timestamp_nanos(at)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH),
        attempts: message.failures,
        error: message.error.clone().unwrap_or_default(),
    }
}
