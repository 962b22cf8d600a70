//! Work of milliseconds, beside the threads that others wait for.
//!
//! Threat: guests that compute keep the runtime's threads, and everybody's sockets and timers with
//! them. So the thread that does such work gives all else that it does for the runtime to another
//! thread first. Who may compute at all, and when, is decided before (`share.rs`).

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

use crate::timeslice::GivesWay;

/// Does `work`, where the runtime has threads for that, without keeping any of them.
pub fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(|| {
            let _gives_way = GivesWay::begin();
            work()
        }),
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn the_only_thread_serves_others_meanwhile() {
        let done = tokio::spawn(async {
            aside(|| {
                let (sender, receiver) = channel();
                tokio::spawn(async move { sender.send(7) });
                receiver.recv()
            })
        });
        assert_eq!(done.await.expect("no panic"), Ok(7));
    }

    #[tokio::test]
    async fn where_there_is_no_other_thread_it_is_done_all_the_same() {
        assert_eq!(aside(|| 7), 7);
    }
}
