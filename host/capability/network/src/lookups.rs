//! Looking names up, on threads that do nothing else.
//!
//! Threat: the resolver of the operating system cannot be interrupted, and a guest chooses whose name
//! server it waits for. One that never answers keeps a thread for as long as the system is patient,
//! long after the guest has given up; on threads that others share, a few hundred of those look-ups
//! would be all there are.
//!
//! So each look-up has a thread of its own, and before it (1) a place of its tenant's, then (2) one of
//! the node's. Both are waited for within the time of the look-up, and held until the thread is done,
//! whether or not anybody still waits for what it finds.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::account::{Account, OverQuota};
use crate::node::Resolver;

/// Why a name was not looked up, or has no addresses.
#[derive(Debug)]
pub(crate) enum LookupError {
    /// As many look-ups as may be are under way.
    Busy(OverQuota),
    /// The resolver did not answer in time.
    Timeout,
    /// It answered that there are none, or could not be asked.
    Failed(io::Error),
}

/// The look-ups of a node.
pub(crate) struct Lookups {
    resolver: Arc<dyn Resolver>,
    places: Arc<Semaphore>,
    limit: usize,
}

impl Lookups {
    /// At most `limit` at once.
    pub(crate) fn new(resolver: impl Resolver, limit: usize) -> Self {
        Self {
            resolver: Arc::new(resolver),
            places: places(limit),
            limit,
        }
    }

    /// The addresses of `name`, looked up for the tenant of `account`.
    pub(crate) async fn look_up(
        &self,
        account: &Arc<Account>,
        name: &str,
        within: Duration,
    ) -> Result<Vec<IpAddr>, LookupError> {
        let until = Instant::now() + within;
        let limit = account.lookups_limit;
        let of_tenant = place(&account.lookups, until).await;
        let of_tenant = of_tenant.ok_or(LookupError::Busy(OverQuota::Lookups { limit }))?;
        let limit = self.limit;
        let of_node = place(&self.places, until).await;
        let of_node = of_node.ok_or(LookupError::Busy(OverQuota::NodeLookups { limit }))?;
        let (send, found) = oneshot::channel();
        let (resolver, account) = (self.resolver.clone(), account.clone());
        let name = name.to_owned();
        let look = move || {
            let found = resolver.resolve(&name);
            // The account lives as long as one of its places is taken.
            drop((of_tenant, of_node, account));
            // Whoever waited may have gone.
            let _ = send.send(found);
        };
        thread::Builder::new()
            .name("canopy-lookup".into())
            .spawn(look)
            .map_err(LookupError::Failed)?;
        match timeout_at(until, found).await {
            Ok(Ok(found)) => found.map_err(LookupError::Failed),
            Ok(Err(_)) => Err(LookupError::Failed(io::Error::other(
                "the resolver's thread ended",
            ))),
            Err(_) => Err(LookupError::Timeout),
        }
    }
}

/// Places for so many look-ups.
pub(crate) fn places(limit: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)))
}

/// Waits for a place. `None`: there was none in time.
async fn place(places: &Arc<Semaphore>, until: Instant) -> Option<OwnedSemaphorePermit> {
    match timeout_at(until, places.clone().acquire_owned()).await {
        Ok(Ok(place)) => Some(place),
        // Closed they never are.
        Ok(Err(_)) | Err(_) => None,
    }
}
