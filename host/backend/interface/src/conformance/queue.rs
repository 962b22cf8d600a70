//! What every queue does, as cases that a backend runs in its own tests:
//! `queue_conformance!(|limits| async move { QueueSuite::new(queue, folder) })`.

use std::any::Any;

use canopy_ids::{InstallationId, MessageId, TenantId};

use crate::Scope;
use crate::queue::{Message, NewMessage, Queue, QueueError, QueueLimits};

/// Makes a test of each case of the suite for the backend that `$open` gives: a function from
/// [`QueueLimits`] to a future of a [`QueueSuite`](crate::conformance::queue::QueueSuite).
#[macro_export]
macro_rules! queue_conformance {
    ($open:expr) => {
        $crate::queue_conformance!($open;
            messages_come_in_the_order_in_which_they_were_put
            a_message_that_is_held_back_comes_after_those_that_are_not
            topics_and_installations_are_apart
            what_was_delivered_is_gone
            a_message_keeps_its_place_where_order_counts
            a_message_that_is_given_up_is_kept_until_it_is_revived
            a_message_that_is_discarded_is_gone
            of_those_given_up_the_last_are_kept
            a_full_queue_takes_nothing_until_there_is_room
            a_message_over_the_limit_is_refused
        );
    };
    ($open:expr; $($case:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let open = $open;
                let suite = open($crate::conformance::queue::LIMITS).await;
                $crate::conformance::queue::$case(&suite).await;
            }
        )+
    };
}

/// Little, so that a test can fill it.
pub const LIMITS: QueueLimits = QueueLimits {
    message_bytes: 1000,
    waiting: 5,
    dead: 2,
};

/// A queue under test, and what is to go when it goes, as its folder.
pub struct QueueSuite {
    queue: Box<dyn Queue>,
    scope: Scope,
    _goes_with_it: Box<dyn Any + Send + Sync>,
}

impl QueueSuite {
    /// `queue`, opened with [`LIMITS`].
    pub fn new(queue: impl Queue, goes_with_it: impl Any + Send + Sync) -> Self {
        Self {
            queue: Box::new(queue),
            scope: Scope {
                tenant: TenantId::new(),
                installation: InstallationId::new(),
            },
            _goes_with_it: Box::new(goes_with_it),
        }
    }

    async fn put(&self, topic: &str, text: &str, not_before: u64) -> MessageId {
        let put = self.queue.put(self.scope, message(topic, text, not_before));
        put.await.expect("there is room")
    }

    async fn waiting(&self, topic: &str) -> Vec<Message> {
        let waiting = self.queue.waiting(self.scope, topic, None, 100).await;
        waiting.expect("read")
    }

    async fn texts(&self, topic: &str) -> Vec<String> {
        let waiting = self.waiting(topic).await;
        waiting.iter().map(text).collect()
    }
}

fn message(topic: &str, text: &str, not_before: u64) -> NewMessage {
    NewMessage {
        topic: topic.into(),
        sender: "shop".into(),
        content_type: Some("text/plain".into()),
        reply_to: None,
        body: text.as_bytes().to_vec(),
        published_at: 7,
        not_before,
    }
}

fn text(message: &Message) -> String {
    String::from_utf8(message.message.body.clone()).expect("text")
}

/// Of one time, the first is first, and comes back as it was.
pub async fn messages_come_in_the_order_in_which_they_were_put(suite: &QueueSuite) {
    let id = suite.put("a", "1", 10).await;
    suite.put("a", "2", 10).await;
    suite.put("a", "3", 10).await;
    assert_eq!(suite.texts("a").await, ["1", "2", "3"]);
    let first = &suite.waiting("a").await[0];
    assert_eq!((first.id, first.failures, &first.error), (id, 0, &None));
    assert_eq!(first.message, message("a", "1", 10));
    let some = suite.queue.waiting(suite.scope, "a", None, 2).await;
    let some = some.expect("read");
    assert_eq!(some.len(), 2);
    let place = Some(some[1].place.as_str());
    let behind = suite.queue.waiting(suite.scope, "a", place, 2).await;
    let behind: Vec<_> = behind.expect("read").iter().map(text).collect();
    assert_eq!(behind, ["3"]);
}

/// What may be delivered earlier comes earlier.
pub async fn a_message_that_is_held_back_comes_after_those_that_are_not(suite: &QueueSuite) {
    suite.put("a", "late", 1_000).await;
    suite.put("a", "early", 10).await;
    assert_eq!(suite.texts("a").await, ["early", "late"]);
}

/// A topic is not the beginning of another, and nobody sees another's.
pub async fn topics_and_installations_are_apart(suite: &QueueSuite) {
    suite.put("a", "1", 10).await;
    suite.put("a.b", "2", 10).await;
    suite.put("a-", "3", 10).await;
    assert_eq!(suite.texts("a").await, ["1"]);
    assert_eq!(suite.texts("a.b").await, ["2"]);
    let counts = suite.queue.counts(suite.scope).await.expect("read");
    let mut topics: Vec<_> = counts
        .iter()
        .map(|one| (one.topic.as_str(), one.count))
        .collect();
    topics.sort_unstable();
    assert_eq!(topics, [("a", 1), ("a-", 1), ("a.b", 1)]);
    let other = Scope {
        installation: InstallationId::new(),
        ..suite.scope
    };
    let others = suite
        .queue
        .waiting(other, "a", None, 9)
        .await
        .expect("read");
    assert!(others.is_empty());
}

/// Also when it is told twice.
pub async fn what_was_delivered_is_gone(suite: &QueueSuite) {
    suite.put("a", "1", 10).await;
    let first = suite.waiting("a").await.remove(0);
    for _ in 0..2 {
        let done = suite.queue.done(suite.scope, &first).await;
        done.expect("written");
    }
    assert!(suite.texts("a").await.is_empty());
    assert!(
        suite
            .queue
            .counts(suite.scope)
            .await
            .expect("read")
            .is_empty()
    );
}

/// In order, a failure holds up those behind it; else it waits behind them.
pub async fn a_message_keeps_its_place_where_order_counts(suite: &QueueSuite) {
    suite.put("a", "1", 10).await;
    suite.put("a", "2", 20).await;
    let first = suite.waiting("a").await.remove(0);
    let retry = suite.queue.retry(suite.scope, &first, 99, "no", true);
    retry.await.expect("written");
    let waiting = suite.waiting("a").await;
    assert_eq!(text(&waiting[0]), "1");
    assert_eq!(
        (waiting[0].failures, waiting[0].message.not_before),
        (1, 99)
    );
    assert_eq!(waiting[0].error.as_deref(), Some("no"));
    let retry = suite.queue.retry(suite.scope, &waiting[0], 99, "no", false);
    retry.await.expect("written");
    assert_eq!(suite.texts("a").await, ["2", "1"]);
    assert_eq!(suite.waiting("a").await[1].failures, 2);
}

/// Revived, it is as if it had never been delivered.
pub async fn a_message_that_is_given_up_is_kept_until_it_is_revived(suite: &QueueSuite) {
    let id = suite.put("a", "1", 10).await;
    let first = suite.waiting("a").await.remove(0);
    suite
        .queue
        .bury(suite.scope, &first, "never")
        .await
        .expect("written");
    assert!(suite.texts("a").await.is_empty());
    let dead = suite.queue.dead(suite.scope, None, 9).await.expect("read");
    assert_eq!(dead.messages.len(), 1);
    assert_eq!((dead.messages[0].id, dead.messages[0].failures), (id, 1));
    assert_eq!(dead.messages[0].error.as_deref(), Some("never"));
    let found = suite
        .queue
        .dead_message(suite.scope, id)
        .await
        .expect("read");
    assert_eq!(found.as_ref(), dead.messages.first());
    let revived = suite
        .queue
        .revive(suite.scope, id, 50)
        .await
        .expect("written");
    assert_eq!(revived.expect("it was there").message.topic, "a");
    let waiting = suite.waiting("a").await;
    assert_eq!((waiting[0].id, waiting[0].failures), (id, 0));
    assert_eq!(waiting[0].message.not_before, 50);
    assert!(waiting[0].revived, "it waits for nothing");
    let again = suite.queue.revive(suite.scope, id, 50).await.expect("read");
    assert_eq!(again, None);
}

/// For good.
pub async fn a_message_that_is_discarded_is_gone(suite: &QueueSuite) {
    let id = suite.put("a", "1", 10).await;
    let first = suite.waiting("a").await.remove(0);
    suite
        .queue
        .bury(suite.scope, &first, "never")
        .await
        .expect("written");
    assert!(suite.queue.discard(suite.scope, id).await.expect("written"));
    assert!(!suite.queue.discard(suite.scope, id).await.expect("read"));
    let dead = suite.queue.dead(suite.scope, None, 9).await.expect("read");
    assert!(dead.messages.is_empty());
}

/// The first that was given up makes room.
pub async fn of_those_given_up_the_last_are_kept(suite: &QueueSuite) {
    let mut ids = Vec::new();
    for text in ["1", "2", "3", "4"] {
        ids.push(suite.put("a", text, 10).await);
        let first = suite.waiting("a").await.remove(0);
        suite
            .queue
            .bury(suite.scope, &first, "never")
            .await
            .expect("written");
    }
    let first = suite.queue.dead(suite.scope, None, 1).await.expect("read");
    assert_eq!(first.messages[0].id, ids[2]);
    let rest = suite
        .queue
        .dead(suite.scope, first.next, 9)
        .await
        .expect("read");
    assert_eq!(rest.messages[0].id, ids[3]);
    assert_eq!(rest.next, None);
}

/// Whatever the topic.
pub async fn a_full_queue_takes_nothing_until_there_is_room(suite: &QueueSuite) {
    for count in 0..LIMITS.waiting {
        suite.put(&format!("t{count}"), "x", 10).await;
    }
    let full = suite.queue.put(suite.scope, message("a", "x", 10)).await;
    assert!(
        matches!(full, Err(QueueError::Full { limit: 5 })),
        "{full:?}"
    );
    let first = suite.waiting("t0").await.remove(0);
    suite
        .queue
        .done(suite.scope, &first)
        .await
        .expect("written");
    suite.put("a", "x", 10).await;
}

/// And one of the limit is not.
pub async fn a_message_over_the_limit_is_refused(suite: &QueueSuite) {
    suite.put("a", &"x".repeat(LIMITS.message_bytes), 10).await;
    let long = message("a", &"x".repeat(LIMITS.message_bytes + 1), 10);
    let refused = suite.queue.put(suite.scope, long).await;
    assert!(
        matches!(refused, Err(QueueError::TooLarge { .. })),
        "{refused:?}"
    );
}
