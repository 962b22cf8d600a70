//! Who wants which messages. The control plane publishes it whole, as it does routes.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use canopy_backend::Scope;
use canopy_ids::TenantId;
use tokio::sync::{Notify, watch};

use crate::replies::Replies;

/// How messages come to an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// By POST to this address of the application, with the path.
    Address(String),
    /// By a call of its `wasmcloud:messaging/handler`.
    Handler,
}

/// What one installation wants of one topic.
#[derive(Debug)]
pub struct Subscription {
    /// Whose it is.
    pub scope: Scope,
    /// The topic.
    pub topic: String,
    /// Where messages are delivered.
    pub to: Destination,
    /// How many are delivered at once; one: in order.
    pub concurrency: usize,
    wake: Notify,
}

impl Subscription {
    /// A subscription that nothing has come for yet.
    pub fn new(scope: Scope, topic: String, to: Destination, concurrency: usize) -> Self {
        Self {
            scope,
            topic,
            to,
            concurrency,
            wake: Notify::new(),
        }
    }

    /// Says that there is something to deliver.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until somebody has said so.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    fn is_same(&self, other: &Self) -> bool {
        (&self.scope, &self.topic, &self.to, self.concurrency)
            == (&other.scope, &other.topic, &other.to, other.concurrency)
    }
}

type All = HashMap<TenantId, Vec<Arc<Subscription>>>;

/// All subscriptions of a node. Clones are the same.
#[derive(Debug, Clone)]
pub struct Subscriptions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    all: ArcSwap<All>,
    replies: Replies,
    changes: watch::Sender<u64>,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self(Arc::new(Inner {
            all: ArcSwap::default(),
            replies: Replies::default(),
            changes: watch::Sender::new(0),
        }))
    }
}

impl Subscriptions {
    /// Replaces all of them. Those that stay as they are stay the same.
    pub fn publish(&self, new: impl IntoIterator<Item = Subscription>) {
        let old = self.0.all.load();
        let mut all = All::new();
        let (mut count, mut kept) = (0, 0);
        for subscription in new {
            let tenant = subscription.scope.tenant;
            let before = old.get(&tenant).into_iter().flatten();
            let same = before.clone().find(|other| other.is_same(&subscription));
            kept += usize::from(same.is_some());
            count += 1;
            let subscription = same.map_or_else(|| Arc::new(subscription), Arc::clone);
            all.entry(tenant).or_default().push(subscription);
        }
        if kept == count && old.values().map(Vec::len).sum::<usize>() == count {
            return;
        }
        self.0.all.store(Arc::new(all));
        self.0.changes.send_modify(|changes| *changes += 1);
    }

    /// Those of a tenant to a topic.
    pub fn of(&self, tenant: TenantId, topic: &str) -> Vec<Arc<Subscription>> {
        let all = self.0.all.load();
        let own = all.get(&tenant).into_iter().flatten();
        own.filter(|one| one.topic == topic).cloned().collect()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Subscription>> {
        self.0.all.load().values().flatten().cloned().collect()
    }

    /// Who waits for an answer.
    pub(crate) fn replies(&self) -> &Replies {
        &self.0.replies
    }

    /// Counts how often they have changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Says that there is something to deliver to `scope` on `topic`.
    pub fn wake(&self, scope: Scope, topic: &str) {
        for subscription in self.of(scope.tenant, topic) {
            if subscription.scope == scope {
                subscription.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use canopy_ids::InstallationId;

    use super::*;

    #[test]
    fn what_stays_as_it_is_stays_the_same() {
        let scope = Scope {
            tenant: TenantId::new(),
            installation: InstallationId::new(),
        };
        let at = |path: &str| Destination::Address(format!("http://x{path}"));
        let one = |topic: &str, path: &str| Subscription::new(scope, topic.into(), at(path), 1);
        let subscriptions = Subscriptions::default();
        let changes = subscriptions.changes();
        subscriptions.publish([one("a", "/a"), one("b", "/b")]);
        let before = subscriptions.of(scope.tenant, "a");
        subscriptions.publish([one("b", "/b"), one("a", "/a")]);
        assert_eq!(*changes.borrow(), 1, "nothing has changed");
        subscriptions.publish([one("a", "/a"), one("b", "/other")]);
        assert!(Arc::ptr_eq(
            &before[0],
            &subscriptions.of(scope.tenant, "a")[0]
        ));
        assert_eq!(subscriptions.of(scope.tenant, "b")[0].to, at("/other"));
        let handled = Subscription::new(scope, "b".into(), Destination::Handler, 1);
        subscriptions.publish([one("a", "/a"), handled]);
        let to = &subscriptions.of(scope.tenant, "b")[0].to;
        assert_eq!(*to, Destination::Handler, "it is another one");
        subscriptions.publish([]);
        assert!(subscriptions.all().is_empty());
        assert_eq!(*changes.borrow(), 4);
        assert!(subscriptions.of(TenantId::new(), "a").is_empty());
    }
}
