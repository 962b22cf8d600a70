//! Answers that somebody waits for.
//!
//! Whoever asks gets a topic of his own for the answer, that nobody can guess and that lasts as long as he
//! waits. The first message on it is handed to him, past the queues: it is for nobody else, and not for
//! later.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use canopy_ids::TenantId;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// What the topics of answers begin with.
const PREFIX: &str = "canopy-reply.";

type Waiting = HashMap<(TenantId, String), oneshot::Sender<Vec<u8>>>;

/// Who waits for an answer. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replies(Arc<Mutex<Waiting>>);

/// Somebody who waits.
#[derive(Debug)]
pub(crate) struct Inbox {
    replies: Replies,
    key: (TenantId, String),
    answer: oneshot::Receiver<Vec<u8>>,
}

impl Replies {
    /// Waits for an answer among the applications of `tenant`.
    pub(crate) fn open(&self, tenant: TenantId) -> Result<Inbox, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        let mut topic = PREFIX.to_owned();
        for byte in bytes {
            // Writing to a text does not fail.
            let _ = write!(topic, "{byte:02x}");
        }
        let (sender, answer) = oneshot::channel();
        let key = (tenant, topic);
        self.0.lock().insert(key.clone(), sender);
        Ok(Inbox {
            replies: self.clone(),
            key,
            answer,
        })
    }

    /// Hands an answer to who waits for it on that topic; `Err`: nobody does, and here it is again.
    pub(crate) fn answer(
        &self,
        tenant: TenantId,
        topic: &str,
        body: Vec<u8>,
    ) -> Result<(), Vec<u8>> {
        if !topic.starts_with(PREFIX) {
            return Err(body);
        }
        match self.0.lock().remove(&(tenant, topic.to_owned())) {
            Some(sender) => sender.send(body),
            None => Err(body),
        }
    }
}

impl Inbox {
    /// The topic on which the answer is to come.
    pub(crate) fn topic(&self) -> &str {
        &self.key.1
    }

    /// Waits for the answer.
    pub(crate) async fn answer(&mut self) -> Option<Vec<u8>> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.replies.0.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_goes_to_who_waits_and_to_nobody_of_another_tenant() {
        let (replies, tenant) = (Replies::default(), TenantId::new());
        let mut inbox = replies.open(tenant).expect("random numbers");
        let topic = inbox.topic().to_owned();
        let other = replies.answer(TenantId::new(), &topic, b"theirs".to_vec());
        assert_eq!(other, Err(b"theirs".to_vec()));
        assert_eq!(replies.answer(tenant, &topic, b"first".to_vec()), Ok(()));
        let second = replies.answer(tenant, &topic, b"second".to_vec());
        assert!(second.is_err(), "one answer is waited for");
        assert_eq!(inbox.answer().await.as_deref(), Some(&b"first"[..]));
    }

    #[test]
    fn who_no_longer_waits_leaves_nothing_behind() {
        let (replies, tenant) = (Replies::default(), TenantId::new());
        let inbox = replies.open(tenant).expect("random numbers");
        let topic = inbox.topic().to_owned();
        drop(inbox);
        assert!(replies.answer(tenant, &topic, Vec::new()).is_err());
        assert!(replies.0.lock().is_empty());
    }
}
