//! Delivering messages: for each subscription a lane that takes from the queue of its installation
//! and calls it, as the platform calls it by `invoke.rs`.
//!
//! A message stays in the queue until the application has taken it: by an answer of 2xx, or in its own
//! handler of messages by `ok`. Anything else is a failure: it is delivered again after a pause that doubles, and given up in the end. What admission
//! refuses is no failure of the message. A lane of one delivery at a time keeps the order: what has
//! failed holds up what is behind it. After a restart everything that is in the queue is delivered,
//! so a message may come twice.
//!
//! So many deliveries of the node are under way at once, and so many of each tenant: one whose
//! applications take long keeps others waiting with no more than its part.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use canopy_admission::Refused;
use canopy_ids::{InstallationId, MessageId, RequestId, TenantId};
use canopy_runtime::queue::{Message, QueueError};
use canopy_runtime::{
    Caller, CallerKind, Clock as _, Destination, MessageDelivery, Messages, StorageError,
    Subscription, SystemClock,
};
use http::Request;
use http::header::CONTENT_TYPE;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::Edge;
use crate::due::{Moment, Waits};
use crate::guests::Guests;
use crate::invoke::{Handing, Invocation, InvokeError};

/// Messages beyond those under way that a lane looks at.
const AHEAD: usize = 64;
/// How long a lane sleeps at most: the clock of the machine may be set meanwhile.
const LOOK: Duration = Duration::from_secs(60);
/// How long after a failure of the storage a lane looks again.
const RETRY: Duration = Duration::from_secs(5);
/// After what time a call is tried again that there was no room for.
const CROWDED: Duration = Duration::from_secs(1);
/// More of why a delivery failed is not worth its place.
const ERROR_KEPT: usize = 300;

struct Lane<G: Guests> {
    edge: Arc<Edge<G>>,
    messages: Messages,
    subscription: Arc<Subscription>,
    slots: Slots,
    stop: CancellationToken,
}

/// Leave to deliver: of a tenant, and of the node.
struct Slots {
    tenant: Arc<Semaphore>,
    node: Arc<Semaphore>,
}

/// The slots of a node.
struct AllSlots {
    node: Arc<Semaphore>,
    /// Those of each tenant, as long as it has a lane.
    tenants: HashMap<TenantId, Weak<Semaphore>>,
    of_tenant: usize,
}

impl AllSlots {
    fn of(&mut self, tenant: TenantId) -> Slots {
        let known = self.tenants.get(&tenant).and_then(Weak::upgrade);
        let own = known.unwrap_or_else(|| {
            self.tenants.retain(|_, slots| slots.strong_count() > 0);
            let own = Arc::new(Semaphore::new(self.of_tenant));
            self.tenants.insert(tenant, Arc::downgrade(&own));
            own
        });
        Slots {
            tenant: own,
            node: Arc::clone(&self.node),
        }
    }
}

/// What came of one delivery.
struct Delivered {
    id: MessageId,
    /// After what time its lane goes on, where there was no room.
    pause: Duration,
}

/// How the application took one.
enum Came {
    Taken,
    /// It was not asked, and may be after that time.
    NoRoom(Duration),
    Failed(String),
}

impl<G: Guests> Edge<G> {
    /// Delivers messages until `stop`, then lets deliveries under way end within the grace.
    pub async fn deliver(self: Arc<Self>, messages: Messages, stop: CancellationToken) {
        let settings = messages.settings();
        let mut slots = AllSlots {
            node: Arc::new(Semaphore::new(settings.concurrency.max(1))),
            tenants: HashMap::new(),
            of_tenant: settings.tenant_concurrency.max(1),
        };
        let mut changes = messages.subscriptions().changes();
        let mut lanes: HashMap<(InstallationId, String), (Arc<Subscription>, _)> = HashMap::new();
        while !stop.is_cancelled() {
            changes.mark_unchanged();
            let mut all: HashMap<_, _> = messages
                .subscriptions()
                .all()
                .into_iter()
                .map(|one| ((one.scope.installation, one.topic.clone()), one))
                .collect();
            lanes.retain(|key, (known, _)| {
                let stays = all.get(key).is_some_and(|one| Arc::ptr_eq(one, known));
                if stays {
                    all.remove(key);
                }
                stays
            });
            for (key, subscription) in all {
                let lane = Lane {
                    edge: Arc::clone(&self),
                    messages: messages.clone(),
                    subscription: Arc::clone(&subscription),
                    slots: slots.of(subscription.scope.tenant),
                    stop: stop.clone(),
                };
                let task = AbortOnDropHandle::new(tokio::spawn(Arc::new(lane).run()));
                lanes.insert(key, (subscription, task));
            }
            tokio::select! {
                () = stop.cancelled() => {}
                changed = changes.changed() => if changed.is_err() { break },
            }
        }
        let ended = futures::future::join_all(lanes.into_values().map(|(_, task)| task));
        if tokio::time::timeout(self.settings.drain_grace, ended)
            .await
            .is_err()
        {
            tracing::warn!("deliveries did not end in time; they will be made again");
        }
    }
}

impl<G: Guests> Lane<G> {
    async fn run(self: Arc<Self>) {
        let mut calls: JoinSet<Delivered> = JoinSet::new();
        let mut under_way = HashSet::new();
        let mut waits = Waits::default();
        let mut pause = Duration::ZERO;
        while !self.stop.is_cancelled() {
            let wait = match pause.is_zero() {
                false => pause,
                true => match self.begin(&mut calls, &mut under_way, &mut waits).await {
                    Ok(wait) => wait,
                    Err(QueueError::Storage(StorageError::Erased)) => return,
                    Err(error) => {
                        let (scope, topic) = (self.subscription.scope, &self.subscription.topic);
                        tracing::error!(%scope, topic, %error, "a queue could not be read");
                        RETRY
                    }
                },
            };
            pause = Duration::ZERO;
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = self.subscription.woken() => {}
                () = tokio::time::sleep(wait) => {}
                Some(ended) = calls.join_next() => match ended {
                    Ok(delivered) => {
                        under_way.remove(&delivered.id);
                        pause = delivered.pause;
                        if pause.is_zero() {
                            waits.forget(delivered.id);
                        }
                    }
                    // Only a panic ends one so; what it was doing is in the queue.
                    Err(_) => under_way.clear(),
                },
            }
        }
        while calls.join_next().await.is_some() {}
    }

    /// Begins what may be begun. Returns after what time there may be more.
    async fn begin(
        self: &Arc<Self>,
        calls: &mut JoinSet<Delivered>,
        under_way: &mut HashSet<MessageId>,
        waits: &mut Waits,
    ) -> Result<Duration, QueueError> {
        let Subscription {
            scope,
            topic,
            concurrency,
            ..
        } = &*self.subscription;
        let at_once = (*concurrency).max(1);
        let (queue, settings) = (self.messages.queue(), self.messages.settings());
        let now = Moment {
            wall: SystemClock.now(),
            steady: Instant::now(),
        };
        waits.begin(now);
        let look = match (at_once, waits.looks_at_all()) {
            (1, false) => 1,
            _ => under_way.len() + AHEAD,
        };
        let mut next = LOOK;
        let mut after = None;
        loop {
            let page = queue.waiting(*scope, topic, after.as_deref(), look).await?;
            let is_last = page.len() < look;
            after = page.last().map(|message| message.place.clone());
            for message in page {
                if under_way.contains(&message.id) {
                    continue;
                }
                if under_way.len() >= at_once {
                    return Ok(next);
                }
                let left = waits.left(&message, settings, now);
                if left.is_zero() {
                    under_way.insert(message.id);
                    calls.spawn(Arc::clone(self).deliver(message));
                    continue;
                }
                next = next.min(left);
                // It failed, and holds up what is behind it.
                if at_once == 1 && message.failures > 0 {
                    return Ok(next);
                }
            }
            if is_last {
                waits.saw_all();
            }
            if is_last || !waits.looks_at_all() {
                return Ok(next);
            }
        }
    }

    /// Delivers one message, and tells the queue what came of it.
    async fn deliver(self: Arc<Self>, message: Message) -> Delivered {
        let id = message.id;
        let pause = match self.call(&message).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::error!(message = %id, %error, "that a message was delivered could not be written down");
                RETRY
            }
        };
        Delivered { id, pause }
    }

    async fn call(&self, message: &Message) -> Result<Duration, QueueError> {
        let Subscription {
            scope, concurrency, ..
        } = &*self.subscription;
        let (scope, in_order) = (*scope, *concurrency <= 1);
        let queue = self.messages.queue();
        // Closed they never are. The tenant's comes first, so that of the node's no more than that
        // many are waited for.
        let _part = self.slots.tenant.acquire().await;
        let _slot = self.slots.node.acquire().await;
        let (request_id, came) = self.deliver_once(message).await;
        let failure = match came {
            Came::Taken => {
                queue.done(scope, message).await?;
                return Ok(Duration::ZERO);
            }
            Came::NoRoom(pause) => return Ok(pause),
            Came::Failed(failure) => failure,
        };
        let failure: String = failure.chars().take(ERROR_KEPT).collect();
        let settings = self.messages.settings();
        let retry = settings.retry(message.failures);
        match retry {
            Some(wait) => {
                let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                let again = SystemClock.now().saturating_add(wait);
                queue
                    .retry(scope, message, again, &failure, in_order)
                    .await?;
            }
            None => queue.bury(scope, message, &failure).await?,
        }
        self.write_down(message, request_id, &failure, retry);
        Ok(Duration::ZERO)
    }

    /// Has the application take the message in the way that it has subscribed.
    async fn deliver_once(&self, message: &Message) -> (Option<RequestId>, Came) {
        let installation = self.subscription.scope.installation;
        let caller = caller(message);
        match &self.subscription.to {
            Destination::Address(url) => {
                let request = match request(url, message) {
                    Ok(request) => request,
                    Err(error) => return (None, Came::Failed(error.to_string())),
                };
                let answered = self.edge.invoke(Invocation {
                    installation,
                    caller,
                    request,
                });
                let answered = answered.await;
                let came = match answered.outcome {
                    Ok(status) if status.is_success() => Came::Taken,
                    Ok(status) => Came::Failed(format!("the answer was {}", status.as_u16())),
                    Err(error) => error.into(),
                };
                (Some(answered.request_id), came)
            }
            Destination::Handler => {
                let sent = &message.message;
                let handed = self.edge.hand_over(Handing {
                    installation,
                    caller,
                    message: MessageDelivery {
                        topic: sent.topic.clone(),
                        body: sent.body.clone(),
                        reply_to: sent.reply_to.clone(),
                    },
                });
                let handed = handed.await;
                let came = handed.outcome.map_or_else(Came::from, |()| Came::Taken);
                (Some(handed.request_id), came)
            }
        }
    }

    /// Says in the installation's log that a delivery failed, and what follows.
    fn write_down(
        &self,
        message: &Message,
        request: Option<RequestId>,
        failure: &str,
        retry: Option<Duration>,
    ) {
        let snapshot = self.edge.routes.current();
        let Some(route) = snapshot.installation(self.subscription.scope.installation) else {
            return;
        };
        let follows = match retry {
            Some(wait) => format!("it is delivered again in {} s", wait.as_secs_f64().ceil()),
            None => "it is given up".to_owned(),
        };
        let text = format!(
            "message {} on `{}`, attempt {} of {}: {failure}; {follows}",
            message.id,
            message.message.topic,
            message.failures.saturating_add(1),
            self.messages.settings().attempts,
        );
        self.messages.write_down(&route.spec, request, &text);
    }
}

impl From<InvokeError> for Came {
    fn from(error: InvokeError) -> Self {
        match error {
            InvokeError::NotInstalled => Self::NoRoom(CROWDED),
            InvokeError::Refused(
                Refused::Busy { retry_after, .. } | Refused::TooFast { retry_after, .. },
            ) => Self::NoRoom(retry_after.max(CROWDED)),
            error => Self::Failed(error.to_string()),
        }
    }
}

/// The message as a request to `url`.
fn request(url: &str, message: &Message) -> Result<Request<Bytes>, http::Error> {
    let sent = &message.message;
    let kind = sent.content_type.as_deref();
    let mut request = Request::post(url)
        .header(CONTENT_TYPE, kind.unwrap_or("application/octet-stream"))
        .header("canopy-topic", &sent.topic)
        .header("canopy-message", message.id.to_string())
        .header("canopy-attempt", message.failures.saturating_add(1))
        .header("canopy-sender", &sent.sender)
        .header("canopy-published-at", sent.published_at);
    if let Some(topic) = &sent.reply_to {
        request = request.header("canopy-reply-to", topic);
    }
    request.body(Bytes::from(sent.body.clone()))
}

fn caller(message: &Message) -> Arc<Caller> {
    let sender = message.message.sender.clone();
    Arc::new(Caller {
        kind: CallerKind::App,
        display_name: sender.clone(),
        subject: sender,
        roles: Vec::new(),
        claims: vec![("message".into(), message.id.to_string())],
    })
}
