//! What one installation or driver instance has of the network, whichever of its instances asks:
//! its policy, the connections that are kept, and the record of what it was refused.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use canopy_backend_logs::{Entry, Level, Log, Source};
use canopy_ids::{RequestId, TenantId};
use parking_lot::Mutex;

use crate::account::{Account, OverQuota, TenantEgress};
use crate::node::Network;
use crate::policy::{EgressPolicy, Refusal};
use crate::pool::Pool;
use crate::tls::{InvalidTls, Tls};

/// Refusals are counted by periods of this length.
const PERIOD: Duration = Duration::from_secs(60);

/// The ways out of one installation or driver instance. Clones are the same.
#[derive(Clone)]
pub struct Gateway(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) network: Network,
    pub(crate) policy: Arc<EgressPolicy>,
    pub(crate) account: Arc<Account>,
    pub(crate) pool: Arc<Pool>,
    tls: OnceLock<Result<Tls, InvalidTls>>,
    log: Option<Log>,
    refusals: Mutex<Refusals>,
}

impl Gateway {
    /// Ways out to what `policy` names, of a tenant of its own, without a record of what is refused.
    pub fn new(network: Network, policy: Arc<EgressPolicy>) -> Self {
        let tenant = (TenantId::new(), TenantEgress::default());
        Self::of(network, tenant, policy, None)
    }

    /// Ways out to what `policy` names, within what the tenant may use; `log` is told what is refused.
    pub fn of(
        network: Network,
        (tenant, limits): (TenantId, TenantEgress),
        policy: Arc<EgressPolicy>,
        log: Option<Log>,
    ) -> Self {
        let account = network.0.accounts.of(tenant, limits);
        let pool = Pool::new(&network.0.settings, network.0.idle.clone());
        Self(Arc::new(Shared {
            pool: Arc::new(pool),
            tls: OnceLock::new(),
            network,
            account,
            policy,
            log,
            refusals: Mutex::default(),
        }))
    }
}

impl Shared {
    /// How the owner speaks TLS.
    pub(crate) fn tls(&self) -> Result<&Tls, &InvalidTls> {
        let node = &self.network.0;
        let make = || Tls::new(self.policy.tls(), &node.roots, node.settings.http2);
        let tls = self.tls.get_or_init(make).as_ref();
        if let Err(error) = tls {
            self.tell(&format!("{error}"), None);
        }
        tls
    }

    /// Writes down that `refusal` was the answer, unless the log has had enough of them lately.
    pub(crate) fn record(&self, refusal: &Refusal, request: Option<RequestId>) {
        tracing::debug!("refused: {refusal}");
        self.tell(&format!("refused: {refusal}"), request);
    }

    /// Counts bytes that were carried for `request`, either way. `Err`: they were the last, and the
    /// log says so.
    pub(crate) fn carry(&self, bytes: u64, request: Option<RequestId>) -> Result<(), OverQuota> {
        self.account
            .count(bytes)
            .inspect_err(|over| self.record_quota(*over, request))
    }

    /// Writes down that the tenant is `over` its quota.
    pub(crate) fn record_quota(&self, over: OverQuota, request: Option<RequestId>) {
        self.tell(&format!("refused: {over}"), request);
    }

    fn tell(&self, message: &str, request: Option<RequestId>) {
        let Some(log) = &self.log else {
            return;
        };
        let limit = self.network.0.settings.refusal_records;
        let verdict = self.refusals.lock().count(Instant::now(), limit);
        let append = |message: &str| {
            let entry = Entry::new(Level::Warn, Source::Platform, message).context("egress");
            log.append(match request {
                Some(request) => entry.request(request),
                None => entry,
            });
        };
        if verdict.left_out > 0 {
            let left_out = verdict.left_out;
            append(&format!("{left_out} more refusals were not written down"));
        }
        if verdict.is_written {
            append(message);
        }
    }
}

/// Counts what the bodies of one request carry.
#[derive(Clone)]
pub(crate) struct Meter {
    pub(crate) gateway: Gateway,
    pub(crate) request: Option<RequestId>,
}

impl Meter {
    /// So many bytes have gone one way or the other. `Err`: they were the last.
    pub(crate) fn count(&self, bytes: u64) -> Result<(), OverQuota> {
        self.gateway.0.carry(bytes, self.request)
    }
}

/// Refusals of the present period.
#[derive(Default)]
struct Refusals {
    began: Option<Instant>,
    written: usize,
    left_out: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    /// Whether this one is written down.
    is_written: bool,
    /// How many of the last period were not.
    left_out: u64,
}

impl Refusals {
    fn count(&mut self, now: Instant, limit: usize) -> Verdict {
        let mut left_out = 0;
        if self
            .began
            .is_none_or(|began| now.duration_since(began) >= PERIOD)
        {
            left_out = std::mem::take(&mut self.left_out);
            self.began = Some(now);
            self.written = 0;
        }
        let is_written = self.written < limit;
        match is_written {
            true => self.written += 1,
            false => self.left_out += 1,
        }
        Verdict {
            is_written,
            left_out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_fills_no_log() {
        let mut refusals = Refusals::default();
        let start = Instant::now();
        let verdict = |is_written, left_out| Verdict {
            is_written,
            left_out,
        };
        assert_eq!(refusals.count(start, 2), verdict(true, 0));
        assert_eq!(refusals.count(start, 2), verdict(true, 0));
        for _ in 0..100 {
            assert_eq!(refusals.count(start, 2), verdict(false, 0));
        }
        assert_eq!(refusals.count(start + PERIOD, 2), verdict(true, 100));
        assert_eq!(refusals.count(start + PERIOD, 2), verdict(true, 0));
        assert_eq!(refusals.count(start + PERIOD, 0), verdict(false, 0));
    }
}
