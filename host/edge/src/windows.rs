//! How much clients may send of bodies ahead of whoever takes them, over HTTP/2.
//!
//! Threat: what is sent within a window is kept in memory until an application takes it, and a client
//! decides on how many connections it sends. So what all windows come to has a bound. Every connection
//! may have the least that the protocol allows. The rest is given to those that come while there is
//! some: to each up to so many times its even share of what is left, so that those who come first,
//! however many they are, do not have all of it.

use std::sync::Arc;

use parking_lot::Mutex;

/// What a client may send before it is told of any other window (RFC 9113, section 6.9.2).
const LEAST: usize = 65_535;
/// The largest window there is (section 6.9.1).
const LARGEST: usize = (1 << 31) - 1;
/// What one connection may have, in even shares of what is left.
const SHARES: usize = 16;

/// The windows of all connections of a door.
#[derive(Debug)]
pub(crate) struct Windows {
    most: usize,
    left: Mutex<Left>,
}

#[derive(Debug)]
struct Left {
    /// Bytes beyond the least for every connection.
    bytes: usize,
    /// Connections that have not come.
    connections: usize,
}

/// The window of one connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Window {
    windows: Arc<Windows>,
    more: usize,
}

impl Windows {
    /// Windows of up to `most`, and of `all` together, for so many connections at most. Below the
    /// least for each of them `all` does not go.
    pub(crate) fn new(most: usize, all: usize, connections: usize) -> Arc<Self> {
        Arc::new(Self {
            most: most.min(LARGEST),
            left: Mutex::new(Left {
                bytes: all.saturating_sub(connections.saturating_mul(LEAST)),
                connections,
            }),
        })
    }

    /// A window for one more connection.
    pub(crate) fn open(self: &Arc<Self>) -> Window {
        let mut left = self.left.lock();
        let share = left.bytes / left.connections.max(1);
        let more = self.most.saturating_sub(LEAST);
        let more = more.min(share.saturating_mul(SHARES)).min(left.bytes);
        left.bytes -= more;
        left.connections = left.connections.saturating_sub(1);
        Window {
            windows: Arc::clone(self),
            more,
        }
    }
}

impl Window {
    /// Bytes that the client may send over the connection.
    pub(crate) fn connection(&self) -> u32 {
        u32::try_from(LEAST + self.more).unwrap_or(u32::MAX >> 1)
    }

    /// Bytes that it may send on one stream of it: half as many, so that one request whose body
    /// nobody takes does not hold up the others.
    pub(crate) fn stream(&self) -> u32 {
        self.connection() / 2
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let mut left = self.windows.left.lock();
        left.bytes += self.more;
        left.connections += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn sum(windows: &[Window]) -> usize {
        windows.iter().map(|one| one.connection() as usize).sum()
    }

    #[test]
    fn all_together_keep_to_the_bound() {
        let windows = Windows::new(MIB, 200 * MIB, 1000);
        let open: Vec<_> = (0..1000).map(|_| windows.open()).collect();
        assert!(sum(&open) <= 200 * MIB, "{}", sum(&open));
        assert_eq!(open[0].connection() as usize, MIB);
        assert!(open.iter().all(|one| one.connection() as usize >= LEAST));
    }

    #[test]
    fn many_that_come_first_leave_something_to_the_next() {
        let windows = Windows::new(MIB, 1024 * MIB, 8192);
        let _many: Vec<_> = (0..1024).map(|_| windows.open()).collect();
        assert!(windows.open().connection() as usize > 2 * LEAST);
    }

    #[test]
    fn what_is_closed_can_be_opened_again() {
        let windows = Windows::new(MIB, 100 * MIB, 100);
        for _ in 0..1000 {
            assert_eq!(windows.open().connection() as usize, MIB);
        }
    }

    #[test]
    fn less_than_the_least_cannot_be_had() {
        let windows = Windows::new(1, 1, 1000);
        let window = windows.open();
        assert_eq!(window.connection() as usize, LEAST);
        let windows = Windows::new(usize::MAX, usize::MAX, 1);
        assert_eq!(windows.open().connection() as usize, LARGEST);
    }
}
