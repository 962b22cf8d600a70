//! One change at a time of what a tenant has installed.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use canopy_ids::Label;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

type Turn = tokio::sync::Mutex<()>;

/// Turns by the tenant's name. A tenant whose driver takes its time to say whether it works keeps
/// nobody else waiting.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<Label, Weak<Turn>>>);

impl Turns {
    /// Waits for the turn of whoever changes something about `tenant`.
    pub(crate) async fn of(&self, tenant: &Label) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock();
            match turns.get(tenant).and_then(Weak::upgrade) {
                Some(turn) => turn,
                None => {
                    turns.retain(|_, turn| turn.strong_count() > 0);
                    let turn = Arc::new(Turn::default());
                    turns.insert(tenant.clone(), Arc::downgrade(&turn));
                    turn
                }
            }
        };
        turn.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_are_of_one_tenant() {
        let turns = Turns::default();
        let (one, two) = (
            "one".parse().expect("a name"),
            "two".parse().expect("a name"),
        );
        let held = turns.of(&one).await;
        drop(turns.of(&two).await);
        let waiting = turns.of(&one);
        tokio::pin!(waiting);
        assert!(at_once(waiting.as_mut()).await.is_none(), "it is taken");
        drop(held);
        drop(waiting.await);
        drop(turns.of(&two).await);
        assert_eq!(
            turns.0.lock().len(),
            1,
            "turns that nobody has are forgotten"
        );
    }

    async fn at_once<F: Future + Unpin>(future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = std::future::ready(()) => None,
        }
    }
}
