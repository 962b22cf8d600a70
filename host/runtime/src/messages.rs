//! Messages, for whoever delivers them and whoever looks after them.

use std::sync::Arc;

use canopy_backend::KeyValueProvider;
use canopy_backend::queue::Queue;
use canopy_backend_logs::{Entry, Level, Log, LogContext, LogStore, Source};
use canopy_backend_queue::KeyValueQueue;
use canopy_capability_messages::{MessageSettings, MessagesCtx, Sender, Subscriptions};
use canopy_ids::RequestId;

use crate::spec::InstallationSpec;

/// The messages of a node. Clones are the same.
#[derive(Clone)]
pub struct Messages {
    queue: Arc<dyn Queue>,
    subscriptions: Subscriptions,
    settings: Arc<MessageSettings>,
    logs: LogStore,
}

impl Messages {
    /// Messages that wait in `storage`.
    pub(crate) fn new(
        storage: Arc<dyn KeyValueProvider>,
        settings: MessageSettings,
        logs: LogStore,
    ) -> Self {
        Self {
            queue: Arc::new(KeyValueQueue::new(storage, settings.queue)),
            subscriptions: Subscriptions::default(),
            settings: Arc::new(settings),
            logs,
        }
    }

    /// The queues.
    pub fn queue(&self) -> &dyn Queue {
        &*self.queue
    }

    /// Who wants which messages.
    pub fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    /// Limits.
    pub fn settings(&self) -> &MessageSettings {
        &self.settings
    }

    /// Says something about a message in the log of an installation.
    pub fn write_down(&self, spec: &InstallationSpec, request: Option<RequestId>, text: &str) {
        let mut entry = Entry::new(Level::Warn, Source::Platform, text);
        if let Some(id) = request {
            entry = entry.request(id);
        }
        self.log(spec).append(entry);
    }

    fn log(&self, spec: &InstallationSpec) -> Log {
        let context = LogContext {
            tenant: spec.tenant.name.clone(),
            app: Some(spec.name.clone()),
            driver: None,
            package: spec.component.package.clone(),
            version: spec.component.version.clone(),
        };
        self.logs.log(spec.id, context)
    }

    /// What an installation sends by.
    pub(crate) fn of(&self, spec: &InstallationSpec) -> MessagesCtx {
        MessagesCtx::new(Sender::new(
            Arc::clone(&self.queue),
            self.subscriptions.clone(),
            Arc::clone(&self.settings),
            spec.tenant.id,
            spec.name.to_string(),
            self.log(spec),
        ))
    }
}
