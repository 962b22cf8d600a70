//! A future that is polled again at once when it wakes itself, in place of being scheduled anew.
//!
//! The two ends of a guest's answer are polled by one task, so that each wakes the task that is
//! running. A scheduler would put it into its queue and wake another thread to take it over.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;

/// A future that wakes itself more often than this gives way to other tasks.
const TURNS: usize = 16;

/// So does one that has been running for this long.
const STINT: Duration = Duration::from_millis(1);

/// Passes wakes on, but for those that come while its future is being polled.
#[derive(Default)]
struct Quiet {
    outer: AtomicWaker,
    polling: AtomicBool,
    woken: AtomicBool,
}

impl Wake for Quiet {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, SeqCst);
        if !self.polling.load(SeqCst) {
            self.outer.wake();
        }
    }
}

/// Runs `future` so.
pub(crate) async fn quietly<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    let quiet = Arc::new(Quiet::default());
    let waker = Waker::from(quiet.clone());
    poll_fn(|outer| {
        quiet.outer.register(outer.waker());
        quiet.polling.store(true, SeqCst);
        let began = Instant::now();
        for turn in 1..=TURNS {
            quiet.woken.store(false, SeqCst);
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Poll::Ready(output);
            }
            if !quiet.woken.load(SeqCst) || turn == TURNS || began.elapsed() >= STINT {
                break;
            }
        }
        quiet.polling.store(false, SeqCst);
        // What woke it between the last look and now did not wake the task.
        if quiet.woken.load(SeqCst) {
            outer.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn wakes_itself(times: usize) -> impl Future<Output = ()> {
        let mut left = times;
        poll_fn(move |context| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }

    #[test]
    fn one_that_wakes_itself_goes_on_at_once() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        let work = pin!(wakes_itself(2));
        let mut future = pin!(quietly(work));
        let mut polls = 0;
        while future
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
        {
            // A slow machine may spend the stint between two turns; then the task is woken.
            polls += 1;
            assert_eq!(count.0.load(SeqCst), polls);
        }
    }

    #[test]
    fn one_that_never_stops_gives_way_and_is_woken() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        let work = pin!(wakes_itself(usize::MAX));
        let mut future = pin!(quietly(work));
        for polls in 1..=3 {
            let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
            assert_eq!(count.0.load(SeqCst), polls);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn wakes_from_elsewhere_arrive() {
        for _ in 0..200 {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            tokio::spawn(async move { sender.send(7) });
            assert_eq!(quietly(pin!(receiver)).await, Ok(7));
        }
    }
}
