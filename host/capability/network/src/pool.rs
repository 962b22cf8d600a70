//! Connections to servers that are kept for the next request.
//!
//! A pool is one installation's or driver instance's own: it lies in its gateway and ends with it,
//! so that no connection, with what was said on it, ever serves another owner or tenant, another
//! configuration of TLS, or another policy. Within it a connection is known by its origin (scheme,
//! host, port) and by the address that was checked when it was made; before it is used again that
//! address is judged again.
//!
//! A connection of HTTP/1.1 carries one request after the other, one of HTTP/2 many at once. What
//! lies idle is closed after a time, the oldest first where the owner has too many, and the newest
//! where the node has.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::body::RequestBody;
use crate::host::Host;
use crate::settings::NetworkSettings;

/// How long a connection of HTTP/1.1 may take to be ready again after its last answer was read.
const SETTLE: Duration = Duration::from_millis(20);

/// What requests must have in common to share a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) tls: bool,
}

/// The side of a connection that takes requests.
pub(crate) enum Sender {
    Http1(http1::SendRequest<RequestBody>),
    Http2(http2::SendRequest<RequestBody>),
}

impl Sender {
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        match self {
            Self::Http1(sender) => sender.try_send_request(request).await,
            Self::Http2(sender) => sender.try_send_request(request).await,
        }
    }
}

/// How many connections of a node lie idle.
#[derive(Default)]
pub(crate) struct IdleCount(AtomicUsize);

/// One place among them.
struct IdleSlot(Arc<IdleCount>);

impl IdleCount {
    fn take(self: &Arc<Self>, limit: usize) -> Option<IdleSlot> {
        let one_more = |count: usize| (count < limit).then_some(count + 1);
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.is_ok().then(|| IdleSlot(self.clone()))
    }
}

impl Drop for IdleSlot {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the task of a connection and the pool both know of it.
struct State(Mutex<Use>);

struct Use {
    /// Requests that it carries.
    users: usize,
    /// Since when it has carried none, and its place among the node's.
    idle: Option<(Instant, IdleSlot)>,
    /// Nothing is sent on it any more.
    is_closed: bool,
}

impl State {
    fn new() -> Self {
        Self(Mutex::new(Use {
            users: 1,
            idle: None,
            is_closed: false,
        }))
    }

    fn close(&self) {
        let mut used = self.0.lock();
        used.is_closed = true;
        used.idle = None;
    }

    fn is_closed(&self) -> bool {
        self.0.lock().is_closed
    }

    fn idle_since(&self) -> Option<Instant> {
        self.0.lock().idle.as_ref().map(|(since, _)| *since)
    }

    /// Begins a use. `false`: it is closed.
    fn enter(&self) -> bool {
        let mut used = self.0.lock();
        if used.is_closed {
            return false;
        }
        used.users += 1;
        used.idle = None;
        true
    }

    /// Ends a use. The last one leaves the connection idle, if the node has a place for it.
    fn leave(&self, slot: Option<IdleSlot>) {
        let mut used = self.0.lock();
        used.users = used.users.saturating_sub(1);
        if used.users > 0 || used.is_closed {
            return;
        }
        match slot {
            Some(slot) => used.idle = Some((Instant::now(), slot)),
            None => used.is_closed = true,
        }
    }

    /// When to look again whether it has lain idle for too long; `None`: it has, and is closed.
    fn next_look(&self, idle_time: Duration) -> Option<Instant> {
        let mut used = self.0.lock();
        let now = Instant::now();
        let Some(since) = used.idle.as_ref().map(|(since, _)| *since) else {
            return (!used.is_closed || used.users > 0).then(|| now + idle_time);
        };
        let ends = since + idle_time;
        if ends > now {
            return Some(ends);
        }
        used.is_closed = true;
        used.idle = None;
        None
    }
}

/// A connection in the pool.
struct Kept {
    sender: Sender,
    address: SocketAddr,
    /// Then no further request begins on it, so that names are looked up again.
    until: Instant,
    state: Arc<State>,
    task: AbortHandle,
}

impl Kept {
    fn is_of_use(&self, now: Instant) -> bool {
        !self.state.is_closed() && !self.sender.is_closed() && now < self.until
    }
}

/// The connections of one owner.
pub(crate) struct Pool {
    kept: Mutex<HashMap<Origin, Vec<Kept>>>,
    node: Arc<IdleCount>,
    idle_time: Duration,
    age: Duration,
    per_owner: usize,
    per_node: usize,
}

impl Pool {
    pub(crate) fn new(settings: &NetworkSettings, node: Arc<IdleCount>) -> Self {
        Self {
            kept: Mutex::default(),
            node,
            idle_time: settings.idle_time,
            age: settings.connection_age,
            per_owner: settings.idle_per_owner,
            per_node: settings.idle_per_node,
        }
    }

    /// A connection to `origin` that can be used again, and whose address `is_allowed`.
    pub(crate) async fn take(
        self: &Arc<Self>,
        origin: &Origin,
        is_allowed: impl Fn(SocketAddr) -> bool,
    ) -> Option<Lease> {
        loop {
            let kept = self.next(origin, &is_allowed)?;
            let mut lease = self.lease(origin.clone(), kept);
            if lease.settles().await {
                return Some(lease);
            }
        }
    }

    fn next(&self, origin: &Origin, is_allowed: impl Fn(SocketAddr) -> bool) -> Option<Kept> {
        let mut origins = self.kept.lock();
        let kept = origins.get_mut(origin)?;
        let now = Instant::now();
        kept.retain(|kept| {
            let stays = kept.is_of_use(now) && is_allowed(kept.address);
            if !stays {
                kept.state.close();
            }
            stays
        });
        let found = loop {
            let Some(last) = kept.last() else { break None };
            if let Sender::Http2(sender) = &last.sender {
                let shared = Kept {
                    sender: Sender::Http2(sender.clone()),
                    address: last.address,
                    until: last.until,
                    state: last.state.clone(),
                    task: last.task.clone(),
                };
                if shared.state.enter() {
                    break Some(shared);
                }
                kept.pop();
            } else if let Some(own) = kept.pop()
                && own.state.enter()
            {
                break Some(own);
            }
        };
        if kept.is_empty() {
            origins.remove(origin);
        }
        found
    }

    fn lease(self: &Arc<Self>, origin: Origin, kept: Kept) -> Lease {
        Lease {
            pool: Arc::downgrade(self),
            origin,
            kept: Some(kept),
            was_used: true,
        }
    }

    /// Takes a new connection in, and runs it: `connection` ends when the connection does.
    pub(crate) fn admit<F>(
        self: &Arc<Self>,
        origin: Origin,
        address: SocketAddr,
        sender: Sender,
        connection: F,
    ) -> Lease
    where
        F: Future<Output = Result<(), hyper::Error>> + Send + 'static,
    {
        let state = Arc::new(State::new());
        let (of_task, idle_time) = (state.clone(), self.idle_time);
        let task = tokio::spawn(async move {
            run(connection, &of_task, idle_time).await;
            of_task.close();
        });
        let kept = Kept {
            until: Instant::now() + self.age,
            task: task.abort_handle(),
            sender,
            address,
            state,
        };
        if let Sender::Http2(sender) = &kept.sender {
            let shared = Kept {
                sender: Sender::Http2(sender.clone()),
                address,
                until: kept.until,
                state: kept.state.clone(),
                task: kept.task.clone(),
            };
            self.keep(origin.clone(), shared);
        }
        let mut lease = self.lease(origin, kept);
        lease.was_used = false;
        lease
    }

    fn give_back(&self, origin: &Origin, kept: Kept) {
        let slot = match kept.is_of_use(Instant::now()) && self.per_owner > 0 {
            true => self.node.take(self.per_node),
            false => None,
        };
        kept.state.leave(slot);
        match (kept.state.is_closed(), kept.sender.is_http2()) {
            (true, _) => self.forget_closed(origin),
            (false, true) => {}
            (false, false) => self.keep(origin.clone(), kept),
        }
    }

    fn forget_closed(&self, origin: &Origin) {
        let mut origins = self.kept.lock();
        if let Some(kept) = origins.get_mut(origin) {
            kept.retain(|kept| !kept.state.is_closed());
            if kept.is_empty() {
                origins.remove(origin);
            }
        }
    }

    fn keep(&self, origin: Origin, kept: Kept) {
        if self.per_owner == 0 {
            return;
        }
        let mut origins = self.kept.lock();
        let now = Instant::now();
        origins.entry(origin).or_default().push(kept);
        let mut count = 0;
        origins.retain(|_, kept| {
            kept.retain(|kept| kept.is_of_use(now));
            count += kept.len();
            !kept.is_empty()
        });
        while count > self.per_owner {
            let oldest = origins
                .iter()
                .flat_map(|(origin, kept)| kept.iter().map(move |kept| (origin, kept)))
                .filter_map(|(origin, kept)| Some((kept.state.idle_since()?, origin, &kept.state)))
                .min_by_key(|(since, ..)| *since)
                .map(|(_, origin, state)| (origin.clone(), state.clone()));
            let Some((origin, state)) = oldest else {
                // The rest is in use, and shared.
                break;
            };
            state.close();
            if let Some(kept) = origins.get_mut(&origin) {
                kept.retain(|kept| !kept.state.is_closed());
            }
            count -= 1;
        }
    }
}

/// Runs a connection until it ends or has lain idle for too long.
async fn run(
    connection: impl Future<Output = Result<(), hyper::Error>>,
    state: &State,
    idle_time: Duration,
) {
    tokio::pin!(connection);
    while let Some(look) = state.next_look(idle_time) {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!("an outgoing connection broke: {error}");
                }
                return;
            }
            () = sleep_until(look) => {}
        }
    }
}

/// The use of a connection for one request and its response. Where it ends before the response
/// has, the connection is of no further use.
pub(crate) struct Lease {
    pool: Weak<Pool>,
    origin: Origin,
    kept: Option<Kept>,
    was_used: bool,
}

impl Lease {
    /// Whether the connection has carried a request before.
    pub(crate) fn was_used(&self) -> bool {
        self.was_used
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.kept
            .as_ref()
            .is_some_and(|kept| kept.sender.is_http2())
    }

    /// The connection, where it is of this request alone, to end it by.
    pub(crate) fn connection(&self) -> Option<AbortHandle> {
        let kept = self.kept.as_ref()?;
        (!kept.sender.is_http2()).then(|| kept.task.clone())
    }

    /// Whether it is ready for a request, or will be at once.
    async fn settles(&mut self) -> bool {
        match self.kept.as_mut().map(|kept| &mut kept.sender) {
            Some(Sender::Http1(sender)) => {
                matches!(timeout(SETTLE, sender.ready()).await, Ok(Ok(())))
            }
            Some(Sender::Http2(sender)) => {
                matches!(timeout(SETTLE, sender.ready()).await, Ok(Ok(())))
            }
            None => false,
        }
    }

    /// Sends a request. What is in the error has not been sent, not even in part.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, (Option<hyper::Error>, Option<RequestBody>)> {
        let Some(kept) = &mut self.kept else {
            return Err((None, Some(request.into_body())));
        };
        kept.sender.send(request).await.map_err(|mut error| {
            let unsent = error.take_message().map(Request::into_body);
            (Some(error.into_error()), unsent)
        })
    }

    /// The response has been read to its end: the next request may use the connection.
    pub(crate) fn finish(&mut self) {
        if let Some(kept) = self.kept.take()
            && let Some(pool) = self.pool.upgrade()
        {
            pool.give_back(&self.origin, kept);
        }
    }

    /// No further request uses the connection; those that it carries go on.
    pub(crate) fn spoil(&mut self) {
        if let Some(kept) = &self.kept {
            kept.state.close();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(kept) = self.kept.take() else {
            return;
        };
        match (kept.sender.is_http2(), self.pool.upgrade()) {
            // The stream of the request ends with its body; the others go on.
            (true, Some(pool)) => pool.give_back(&self.origin, kept),
            (true, None) => {}
            (false, _) => {
                kept.state.close();
                kept.task.abort();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper_util::rt::TokioIo;

    use super::*;

    /// A connection to nobody, as if it had just answered.
    async fn used(pool: &Arc<Pool>, origin: &Origin) -> tokio::io::DuplexStream {
        let (near, far) = tokio::io::duplex(1 << 10);
        let (sender, connection) = http1::handshake(TokioIo::new(near)).await.expect("HTTP");
        let address = "93.184.216.34:80".parse().expect("an address");
        let sender = Sender::Http1(sender);
        pool.admit(origin.clone(), address, sender, connection)
            .finish();
        far
    }

    #[tokio::test]
    async fn an_address_that_is_no_longer_allowed_is_not_used_again() {
        let node = Arc::<IdleCount>::default();
        let pool = Arc::new(Pool::new(&NetworkSettings::default(), node.clone()));
        let origin = Origin {
            host: "api.example.com".parse().expect("a host"),
            port: 80,
            tls: false,
        };
        let _server = used(&pool, &origin).await;
        assert_eq!(node.0.load(Ordering::Relaxed), 1);
        let lease = pool.take(&origin, |_| true).await.expect("a connection");
        assert!(lease.was_used());
        assert_eq!(node.0.load(Ordering::Relaxed), 0);
        assert!(pool.take(&origin, |_| true).await.is_none(), "it is in use");
        drop(lease);

        let _server = used(&pool, &origin).await;
        let elsewhere = Origin {
            tls: true,
            ..origin.clone()
        };
        assert!(pool.take(&elsewhere, |_| true).await.is_none());
        assert!(pool.take(&origin, |_| false).await.is_none());
        assert_eq!(node.0.load(Ordering::Relaxed), 0, "it is closed");
        assert!(pool.take(&origin, |_| true).await.is_none());
    }
}
