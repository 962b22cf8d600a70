//! One limit: so many may be in at once, the others wait in the order in which they came (`queue.rs`).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot::Sender;
use tokio::time::Instant;

use crate::queue::{Full, Queue, wait};

#[derive(Debug)]
pub(crate) struct Gate {
    shed_after: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    running: usize,
    limit: usize,
    queue: Queue<Slot>,
}

/// A place behind the gate. Dropping it passes it on to whoever waits longest.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Gate>);

impl Gate {
    pub(crate) fn new(shed_after: Duration) -> Arc<Self> {
        Arc::new(Self {
            shed_after,
            state: Mutex::new(State {
                running: 0,
                limit: 0,
                queue: Queue::new(shed_after),
            }),
        })
    }

    #[cfg(test)]
    fn running(&self) -> usize {
        self.state.lock().running
    }

    /// Enters if fewer than `limit` are in; else waits until `until`, unless `max_waiting` do so or
    /// it would be in vain. The newest caller's `limit` holds for all, so that a changed limit takes
    /// effect at once.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        limit: usize,
        max_waiting: usize,
        until: Instant,
    ) -> Result<Slot, Full> {
        let turn = {
            let mut state = self.state.lock();
            state.limit = limit;
            if state.running < limit {
                state.running += 1;
                state.queue.moved();
                return Ok(Slot(Arc::clone(self)));
            }
            if state.queue.has(max_waiting) {
                return Err(Full);
            }
            state.queue.join(until)?
        };
        let look = || self.state.lock().queue.shed(until);
        wait(turn, until, self.shed_after, look).await
    }

    /// Gives a place to `next`, and those that are free besides to those who wait. A slot sent to a
    /// waiter who has just left comes back through its own drop.
    fn pass_on(self: &Arc<Self>, mut next: Option<Sender<Slot>>) {
        while let Some(grant) = next {
            let _ = grant.send(Slot(Arc::clone(self)));
            next = self.state.lock().next();
        }
    }
}

impl State {
    /// Takes a place for whoever waits longest, if one is free.
    fn next(&mut self) -> Option<Sender<Slot>> {
        if self.running >= self.limit {
            return None;
        }
        let grant = self.queue.next()?;
        self.running += 1;
        Some(grant)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let next = {
            let mut state = self.0.state.lock();
            state.running -= 1;
            state.next()
        };
        self.0.pass_on(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test]
    async fn those_who_wait_enter_in_their_order() {
        let gate = Gate::new(LONG);
        let first = gate.enter(1, 10, soon()).await.expect("free");
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for number in 0..5 {
            let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let slot = gate.enter(1, 10, soon()).await.expect("in time");
                order.lock().push(number);
                drop(slot);
            }));
            tokio::task::yield_now().await;
        }
        drop(first);
        for task in tasks {
            task.await.expect("no panic");
        }
        assert_eq!(*order.lock(), [0, 1, 2, 3, 4]);
        assert_eq!(gate.running(), 0);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let gate = Gate::new(LONG);
        let _held = gate.enter(1, 0, soon()).await.expect("free");
        let before = Instant::now();
        assert!(gate.enter(1, 0, soon()).await.is_err());
        assert!(before.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_in_time() {
        let gate = Gate::new(LONG);
        let _held = gate.enter(1, 10, soon()).await.expect("free");
        assert!(
            gate.enter(1, 10, Instant::now() + Duration::from_secs(1))
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn one_who_left_the_queue_takes_no_place() {
        let gate = Gate::new(LONG);
        let held = gate.enter(1, 10, soon()).await.expect("free");
        let task = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(1, 10, soon()).await.map(drop) }
        });
        tokio::task::yield_now().await;
        task.abort();
        assert!(task.await.expect_err("aborted").is_cancelled());
        drop(held);
        assert_eq!(gate.running(), 0);
        gate.enter(1, 0, soon()).await.expect("free again");
    }

    #[tokio::test]
    async fn a_raised_limit_lets_those_who_wait_in() {
        let gate = Gate::new(LONG);
        let first = gate.enter(1, 10, soon()).await.expect("free");
        let task = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(1, 10, soon()).await.map(drop) }
        });
        tokio::task::yield_now().await;
        let second = gate.enter(3, 10, soon()).await.expect("the limit is 3 now");
        drop(second);
        task.await
            .expect("no panic")
            .expect("let in though the first is still there");
        drop(first);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn never_more_than_the_limit_and_none_lost() {
        let gate = Gate::new(LONG);
        let mut tasks = Vec::new();
        for number in 0..64_u64 {
            let gate = Arc::clone(&gate);
            tasks.push(tokio::spawn(async move {
                for round in 0..200_u64 {
                    let patience = Duration::from_micros((number * 31 + round * 17) % 300);
                    if let Ok(slot) = gate.enter(4, 16, Instant::now() + patience).await {
                        assert!(gate.running() <= 4);
                        tokio::task::yield_now().await;
                        drop(slot);
                    }
                }
            }));
        }
        for task in tasks {
            task.await.expect("no panic");
        }
        assert_eq!(gate.running(), 0);
        gate.enter(1, 0, soon()).await.expect("free");
    }
}
