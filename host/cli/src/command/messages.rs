//! `canopy messages`: what waits for an installation, and messages that were given up.

use canopy_api_types::{DeadMessage, MessageTopic};
use canopy_ids::MessageId;

use super::AppArg;
use crate::ui::{bytes, fields, moment, table};
use crate::{Context, Error};

/// Look at the messages that wait for an installation, and take up again those that were given up
#[derive(Debug, clap::Subcommand)]
pub enum Messages {
    /// List what an installation has subscribed to, and how many messages wait
    List(AppArg),
    /// List messages that were given up
    Dead(AppArg),
    /// Show a message that was given up, with its body
    Show(Which),
    /// Have messages that were given up delivered again
    Requeue {
        #[command(flatten)]
        app: AppArg,
        /// The message
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<MessageId>,
        /// All of them
        #[arg(long)]
        all: bool,
    },
    /// Remove a message that was given up
    Discard(Which),
}

/// A message that was given up.
#[derive(Debug, clap::Args)]
pub struct Which {
    #[command(flatten)]
    app: AppArg,
    /// The message
    id: MessageId,
}

impl Messages {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        match self {
            Self::List(app) => {
                let topics: Vec<MessageTopic> = client.list(&app.path(&["messages"]), &[]).await?;
                context.ui.result(&topics, |topics| {
                    let rows = topics.iter().map(|topic| {
                        [
                            topic.topic.clone(),
                            destination(topic),
                            topic
                                .concurrency
                                .map(|count| count.to_string())
                                .unwrap_or_default(),
                            topic.waiting.to_string(),
                        ]
                    });
                    table(
                        "No subscriptions. A package asks for them by [[subscriptions]] in its manifest.",
                        ["topic", "delivered to", "at once", "waiting"],
                        rows,
                    )
                });
            }
            Self::Dead(app) => {
                let path = app.path(&["messages", "dead"]);
                let dead: Vec<DeadMessage> = client.list(&path, &[]).await?;
                context.ui.result(&dead, |dead| {
                    let rows = dead.iter().map(|message| {
                        [
                            message.id.to_string(),
                            message.topic.clone(),
                            message.sender.clone(),
                            moment(message.published_at),
                            message.attempts.to_string(),
                            message.error.clone(),
                        ]
                    });
                    table(
                        "No message was given up.",
                        ["id", "topic", "from", "sent", "attempts", "error"],
                        rows,
                    )
                });
            }
            Self::Show(which) => {
                let id = which.id.to_string();
                let path = which.app.path(&["messages", "dead", &id]);
                let message: DeadMessage = client.get(&path).await?;
                context.ui.result(&message, |message| {
                    fields([
                        ("id", message.id.to_string()),
                        ("topic", message.topic.clone()),
                        ("from", message.sender.clone()),
                        ("sent", moment(message.published_at)),
                        ("attempts", message.attempts.to_string()),
                        ("error", message.error.clone()),
                        ("type", message.content_type.clone().unwrap_or_default()),
                        ("size", bytes(message.bytes)),
                        ("base64", message.body.clone().unwrap_or_default()),
                    ])
                });
            }
            Self::Requeue { app, id, all } => {
                let mut ids: Vec<MessageId> = id.into_iter().collect();
                if all {
                    let path = app.path(&["messages", "dead"]);
                    let dead: Vec<DeadMessage> = client.list(&path, &[]).await?;
                    ids.extend(dead.iter().map(|message| message.id));
                }
                for id in &ids {
                    let id = id.to_string();
                    let path = app.path(&["messages", "dead", &id, "requeue"]);
                    client.post_only(&path, &serde_json::json!({})).await?;
                }
                let count = ids.len();
                context
                    .ui
                    .result(&serde_json::json!({ "requeued": ids }), |_| match count {
                        1 => "One message is delivered again.".into(),
                        count => format!("{count} messages are delivered again."),
                    });
            }
            Self::Discard(which) => {
                let id = which.id.to_string();
                let path = which.app.path(&["messages", "dead", &id]);
                client.delete(&path).await?;
                context
                    .ui
                    .result(&serde_json::json!({ "discarded": id }), |_| {
                        format!("Message {id} is gone.")
                    });
            }
        }
        Ok(())
    }
}

/// Where the messages of a topic are delivered.
fn destination(topic: &MessageTopic) -> String {
    match (&topic.path, topic.concurrency) {
        (Some(path), _) => path.clone(),
        (None, Some(_)) => "its handler".into(),
        (None, None) => "nobody".into(),
    }
}
