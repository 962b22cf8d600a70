//! What this capability knows, and the part of a store that it works on.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use canopy_backend::{Held, Kept, KeptFull};
use canopy_ids::RequestId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi_tls::{WasiTlsCtx, WasiTlsCtxBuilder};

use crate::account::{OverQuota, Place};
use crate::gateway::{Gateway, Meter, Shared};
use crate::host::Host;
use crate::lookups::LookupError;
use crate::policy::{EgressPolicy, Refusal};
use crate::rule::Way;
use crate::settings::{LEAST_CHUNK, NetworkSettings};
use crate::sockets::Sockets;
use crate::wasi_tls::OwnTls;

/// The ways out of one component's store.
pub struct NetworkCtx {
    tls: WasiTlsCtx,
    /// What bodies that the call makes may still keep unsent.
    buffers_left: usize,
    /// Bytes of one set of header fields.
    field_bytes: usize,
    /// What the host keeps until the call is over.
    for_call: Option<Held>,
    pub(crate) outlet: Arc<Outlet>,
}

/// The shared part, for tasks that have no access to the store.
pub(crate) struct Outlet {
    /// What the host keeps for the store.
    pub(crate) kept: Kept,
    pub(crate) gateway: Gateway,
    pub(crate) sockets: Sockets,
    deadline: parking_lot::Mutex<Option<Instant>>,
    under_way: Arc<Semaphore>,
    /// Requests and connections that the call may still make.
    left: AtomicUsize,
    /// Through how many applications of this platform the call has come.
    depth: AtomicU32,
    /// For whose request it runs.
    request: parking_lot::Mutex<Option<RequestId>>,
    /// Whether the instance has ended.
    pub(crate) ended: Arc<AtomicBool>,
}

/// Dropped first of all that belongs to an instance: what it has not sent to the end by then is broken
/// off, and does not pass for the whole.
pub struct Ending(Arc<AtomicBool>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl NetworkCtx {
    /// One instance's part of the ways out of `gateway`. `kept` is the account of its store, and a set
    /// of header fields has at most `field_bytes`.
    pub fn new(gateway: &Gateway, kept: Kept, field_bytes: usize) -> Self {
        let settings = &gateway.0.network.0.settings;
        let under_way = settings.concurrent.min(Semaphore::MAX_PERMITS);
        let tls = WasiTlsCtxBuilder::new().provider(Box::new(OwnTls(gateway.clone())));
        Self {
            tls: tls.build(),
            buffers_left: settings.body_buffer_bytes,
            field_bytes,
            for_call: None,
            outlet: Arc::new(Outlet {
                kept,
                sockets: Sockets::default(),
                deadline: parking_lot::Mutex::new(None),
                under_way: Arc::new(Semaphore::new(under_way)),
                left: AtomicUsize::new(settings.per_call),
                depth: AtomicU32::new(0),
                request: parking_lot::Mutex::new(None),
                ended: Arc::default(),
                gateway: gateway.clone(),
            }),
        }
    }

    /// What tells that the instance ends, by being dropped before its streams are.
    pub fn ending(&self) -> Ending {
        Ending(self.outlet.ended.clone())
    }

    /// A call begins, for `request`, that must be over at `deadline` and came through `depth`
    /// applications of this platform; its own requests tell the next one that it is one deeper.
    pub fn begin(&mut self, request: RequestId, deadline: Instant, depth: u32) {
        self.buffers_left = self.outlet.settings().body_buffer_bytes;
        self.for_call = None;
        *self.outlet.request.lock() = Some(request);
        self.outlet.depth.store(depth, Ordering::Relaxed);
        *self.outlet.deadline.lock() = Some(deadline);
        self.outlet
            .left
            .store(self.outlet.settings().per_call, Ordering::Relaxed);
    }

    /// The account in which header fields count, and how large a set of them may be.
    pub(crate) fn field_limits(&self) -> (Kept, usize) {
        (self.outlet.kept.clone(), self.field_bytes)
    }

    /// Counts what the host keeps until the call is over.
    pub(crate) fn keep_for_call(&mut self, bytes: usize) -> Result<(), KeptFull> {
        if bytes == 0 {
            return Ok(());
        }
        match &self.for_call {
            Some(held) => held.grow(bytes),
            None => {
                self.for_call = Some(self.outlet.kept.keep(bytes)?);
                Ok(())
            }
        }
    }

    /// How much a body of WASI 0.3 takes at once: a fourth of what all may keep, divided among those
    /// that are under way.
    pub(crate) fn shared_chunk(&self) -> usize {
        let settings = self.outlet.settings();
        let most = settings.body_chunk_bytes;
        let under_way = settings
            .concurrent
            .saturating_sub(self.outlet.under_way.available_permits());
        let chunk = settings.body_buffer_bytes / (4 * (under_way + 1));
        chunk.clamp(LEAST_CHUNK.min(most), most)
    }

    /// How much the next body takes at once, where it keeps `chunks` of those: a fourth of what is
    /// left for all, so that few bodies have all the room they want, and many have some.
    pub(crate) fn next_chunk(&mut self, chunks: usize) -> usize {
        let most = self.outlet.settings().body_chunk_bytes;
        let chunk = (self.buffers_left / (4 * chunks)).clamp(LEAST_CHUNK.min(most), most);
        self.buffers_left = self.buffers_left.saturating_sub(chunks * chunk);
        chunk
    }

    /// TLS over streams of the component's own.
    pub fn tls(&mut self) -> &mut WasiTlsCtx {
        &mut self.tls
    }

    /// Gives the component sockets that reach what the policy names. One that names nothing refuses
    /// each address too, so that the refusal is written down.
    pub fn configure(&self, wasi: &mut WasiCtxBuilder) {
        let outlet = self.outlet.clone();
        wasi.allow_tcp(true)
            .allow_udp(true)
            .allow_ip_name_lookup(false)
            .socket_addr_check(move |address, purpose| {
                let allowed = outlet.allows_socket(address, purpose);
                Box::pin(async move { allowed })
            });
    }
}

/// Why the addresses of a host cannot be had.
#[derive(Debug)]
pub(crate) enum ResolveError {
    Refused(Refusal),
    NotLookedUp(LookupError),
}

impl Outlet {
    pub(crate) fn settings(&self) -> &NetworkSettings {
        &self.gateway.0.network.0.settings
    }

    pub(crate) fn policy(&self) -> &EgressPolicy {
        &self.gateway.0.policy
    }

    /// Writes down that `refusal` was the answer.
    pub(crate) fn record(&self, refusal: &Refusal) {
        let request = *self.request.lock();
        self.gateway.0.record(refusal, request);
    }

    /// Whether the tenant may make another request, look-up or socket.
    pub(crate) fn may_begin(&self) -> Result<(), OverQuota> {
        self.gateway
            .0
            .account
            .begin()
            .inspect_err(|over| self.record_quota(*over))
    }

    /// Whether the call and the tenant may make another socket, which is counted.
    pub(crate) fn may_make_socket(&self) -> bool {
        self.count() && self.may_begin().is_ok()
    }

    /// A place among the tenant's open connections.
    pub(crate) fn open(&self) -> Result<Place, OverQuota> {
        self.gateway
            .0
            .account
            .open()
            .inspect_err(|over| self.record_quota(*over))
    }

    /// Counts bytes that a socket has carried, either way. `Err`: they were the last, and the log says
    /// so.
    pub(crate) fn carry(&self, bytes: u64) -> Result<(), OverQuota> {
        self.gateway.0.carry(bytes, *self.request.lock())
    }

    /// Counts what the bodies of a request carry.
    pub(crate) fn meter(&self) -> Meter {
        Meter {
            gateway: self.gateway.clone(),
            request: *self.request.lock(),
        }
    }

    fn record_quota(&self, over: OverQuota) {
        self.gateway.0.record_quota(over, *self.request.lock());
    }

    /// When a request that begins now must be over.
    pub(crate) fn deadline(&self) -> Instant {
        let latest = Instant::now() + self.settings().total_timeout;
        self.deadline
            .lock()
            .map_or(latest, |deadline| deadline.min(latest))
    }

    /// How deep a request is that the call makes.
    pub(crate) fn next_depth(&self) -> u32 {
        self.depth.load(Ordering::Relaxed).saturating_add(1)
    }

    /// Takes one of the requests and connections that the call may make. `None`: all are taken.
    pub(crate) fn admit(&self) -> Option<OwnedSemaphorePermit> {
        let permit = self.under_way.clone().try_acquire_owned().ok()?;
        self.count().then_some(permit)
    }

    /// Counts one of the requests, look-ups and sockets that the call may make.
    pub(crate) fn count(&self) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
            .is_ok()
    }

    /// The addresses of `host` that may be connected to, at that port where one is given; at least
    /// one.
    pub(crate) async fn resolve(
        &self,
        host: &Host,
        at: Option<(u16, Way<'_>)>,
        within: Duration,
    ) -> Result<Vec<IpAddr>, ResolveError> {
        let found = match host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self
                .addresses_of_name(name, within)
                .await
                .map_err(ResolveError::NotLookedUp)?,
        };
        let mut refusal = None;
        let mut addresses = Vec::new();
        for address in found {
            let address = address.to_canonical();
            let verdict = match at {
                Some((port, way)) => self.policy().check_destination(address, port, way),
                None => self.policy().check_address(address),
            };
            match verdict {
                Ok(()) if !addresses.contains(&address) => addresses.push(address),
                Ok(()) => {}
                Err(refused) => refusal = Some(refused),
            }
        }
        match (addresses.is_empty(), refusal) {
            (false, _) => Ok(addresses),
            (true, Some(refusal)) => Err(ResolveError::Refused(refusal)),
            (true, None) => {
                let none = std::io::ErrorKind::NotFound.into();
                Err(ResolveError::NotLookedUp(LookupError::Failed(none)))
            }
        }
    }

    /// All addresses of `name`. That there were too many look-ups is written down.
    pub(crate) async fn addresses_of_name(
        &self,
        name: &str,
        within: Duration,
    ) -> Result<Vec<IpAddr>, LookupError> {
        let Shared {
            network, account, ..
        } = &*self.gateway.0;
        let found = network.0.lookups.look_up(account, name, within).await;
        if let Err(LookupError::Busy(over)) = &found {
            self.record_quota(*over);
        }
        found
    }

    /// Whether a socket may be used so; a refusal is written down.
    pub(crate) fn allows_socket(&self, address: SocketAddr, purpose: SocketAddrUse) -> bool {
        match self.sockets.check(self.policy(), address, purpose) {
            Ok(()) => true,
            Err(refusal) => {
                // What strangers send to a socket is not the guest's doing.
                if !matches!(purpose, SocketAddrUse::UdpReceive) {
                    self.record(&refusal);
                }
                false
            }
        }
    }
}

/// The part of a store that this capability works on.
pub struct NetworkView<'a> {
    /// The ways out.
    pub ctx: &'a mut NetworkCtx,
    /// Where look-ups under way are.
    pub table: &'a mut ResourceTable,
}
