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

/// What becomes of a message that may be an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// Who waits for it has it.
    Handed,
    /// It is an answer, and nobody waits for it, or not any more.
    Nobody,
    /// It is none. Here it is again.
    NoAnswer(Vec<u8>),
}

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

    /// Hands an answer to who waits for it on that topic.
    pub(crate) fn answer(&self, tenant: TenantId, topic: &str, body: Vec<u8>) -> Answered {
        if !topic.starts_with(PREFIX) {
            return Answered::NoAnswer(body);
        }
        let waits = self.0.lock().remove(&(tenant, topic.to_owned()));
        match waits.map(|sender| sender.send(body)) {
            Some(Ok(())) => Answered::Handed,
            Some(Err(_)) | None => Answered::Nobody,
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
        assert_eq!(other, Answered::Nobody);
        let elsewhere = replies.answer(tenant, "orders", b"one".to_vec());
        assert_eq!(elsewhere, Answered::NoAnswer(b"one".to_vec()));
        let first = replies.answer(tenant, &topic, b"first".to_vec());
        assert_eq!(first, Answered::Handed);
        let second = replies.answer(tenant, &topic, b"second".to_vec());
        assert_eq!(second, Answered::Nobody, "one answer is waited for");
        assert_eq!(inbox.answer().await.as_deref(), Some(&b"first"[..]));
    }

    #[test]
    fn who_no_longer_waits_leaves_nothing_behind() {
        let (replies, tenant) = (Replies::default(), TenantId::new());
        let inbox = replies.open(tenant).expect("random numbers");
        let topic = inbox.topic().to_owned();
        drop(inbox);
        let late = replies.answer(tenant, &topic, Vec::new());
        assert_eq!(late, Answered::Nobody);
        assert!(replies.0.lock().is_empty());
    }
}
