//! `wasi:sockets/ip-name-lookup` of both WASI versions: granted names resolve, others do not, and
//! no address comes out that could not be connected to.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::task::JoinHandle;
use wasmtime::component::{Accessor, Resource};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use crate::bindings::{Lookup, p2, p3};
use crate::ctx::{NetworkView, Outlet, ResolveError};
use crate::host::Host;
use crate::lookups::LookupError;
use crate::policy::Refusal;

/// Why a name has no addresses for this component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    NotAName,
    NotGranted,
    NotFound,
    Timeout,
    TooMany,
}

impl Outlet {
    async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, Refused> {
        let host = parse(name)?;
        if let Host::Address(address) = host {
            return Ok(vec![address]);
        }
        if !self.policy().names(&host) {
            self.record(&Refusal::NotLookedUp { host });
            return Err(Refused::NotGranted);
        }
        let _permit = self.admit().ok_or(Refused::TooMany)?;
        self.may_begin().map_err(|_| Refused::TooMany)?;
        let within = self.settings().connect_timeout;
        match self.resolve(&host, None, within).await {
            Ok(addresses) => {
                self.sockets.remember(&host, &addresses);
                Ok(addresses)
            }
            Err(ResolveError::Refused(refusal)) => {
                self.record(&refusal);
                Err(Refused::NotGranted)
            }
            Err(ResolveError::NotLookedUp(error)) => Err(match error {
                LookupError::Busy(_) => Refused::TooMany,
                LookupError::Timeout => Refused::Timeout,
                LookupError::Failed(_) => Refused::NotFound,
            }),
        }
    }
}

/// Like [`Host`]'s parser, and IPv6 addresses also without brackets.
fn parse(name: &str) -> Result<Host, Refused> {
    match name.parse::<IpAddr>() {
        Ok(address) => Ok(address.into()),
        Err(_) => name.parse().map_err(|_| Refused::NotAName),
    }
}

/// A look-up under way, or what it found.
#[expect(unreachable_pub, reason = "generated bindings re-export it")]
pub struct Addresses(State);

enum State {
    Waiting(JoinHandle<Result<Vec<IpAddr>, Refused>>),
    Found(std::vec::IntoIter<IpAddr>),
    Failed(Refused),
}

impl State {
    fn of(outcome: Result<Vec<IpAddr>, Refused>) -> Self {
        match outcome {
            Ok(found) => Self::Found(found.into_iter()),
            Err(refused) => Self::Failed(refused),
        }
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        if let State::Waiting(task) = &self.0 {
            task.abort();
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Addresses {
    async fn ready(&mut self) {
        if let State::Waiting(task) = &mut self.0 {
            self.0 = State::of(task.await.unwrap_or(Err(Refused::NotFound)));
        }
    }
}

impl From<Refused> for p2::ErrorCode {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotAName => Self::InvalidArgument,
            Refused::NotGranted => Self::AccessDenied,
            Refused::NotFound => Self::NameUnresolvable,
            Refused::Timeout | Refused::TooMany => Self::TemporaryResolverFailure,
        }
    }
}

impl p2::ip_name_lookup::Host for NetworkView<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<p2::Network>,
        name: String,
    ) -> wasmtime::Result<Result<Resource<Addresses>, p2::ErrorCode>> {
        self.table.get(&network)?;
        let outlet = self.ctx.outlet.clone();
        let task = tokio::spawn(async move { outlet.look_up(&name).await });
        Ok(Ok(self.table.push(Addresses(State::Waiting(task)))?))
    }
}

impl p2::ip_name_lookup::HostResolveAddressStream for NetworkView<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<Addresses>,
    ) -> wasmtime::Result<Result<Option<p2::IpAddress>, p2::ErrorCode>> {
        let addresses = self.table.get_mut(&stream)?;
        if let State::Waiting(task) = &mut addresses.0
            && task.is_finished()
        {
            // The task is finished, so that this only picks its outcome up.
            let outcome = wasmtime_wasi::runtime::poll_noop(std::pin::pin!(task));
            addresses.0 = State::of(match outcome {
                Some(Ok(outcome)) => outcome,
                Some(Err(_)) | None => Err(Refused::NotFound),
            });
        }
        Ok(match &mut addresses.0 {
            State::Waiting(_) => Err(p2::ErrorCode::WouldBlock),
            State::Found(found) => Ok(found.next().map(Into::into)),
            State::Failed(refused) => Err((*refused).into()),
        })
    }

    fn subscribe(
        &mut self,
        stream: Resource<Addresses>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, stream)
    }

    fn drop(&mut self, stream: Resource<Addresses>) -> wasmtime::Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}

impl From<Refused> for p3::ip_name_lookup::ErrorCode {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotAName => Self::InvalidArgument,
            Refused::NotGranted => Self::AccessDenied,
            Refused::NotFound => Self::NameUnresolvable,
            Refused::Timeout | Refused::TooMany => Self::TemporaryResolverFailure,
        }
    }
}

impl<T> p3::ip_name_lookup::HostWithStore<T> for Lookup {
    async fn resolve_addresses(
        store: &Accessor<T, Self>,
        name: String,
    ) -> wasmtime::Result<Result<Vec<p3::IpAddress>, p3::ip_name_lookup::ErrorCode>> {
        let outlet: Arc<Outlet> = store.with(|mut view| view.get().ctx.outlet.clone());
        let found = outlet.look_up(&name).await;
        Ok(found
            .map(|found| found.into_iter().map(Into::into).collect())
            .map_err(Into::into))
    }
}

impl p3::ip_name_lookup::Host for NetworkView<'_> {}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::Ipv4Addr;

    use canopy_backend::Kept;
    use canopy_ids::TenantId;

    use super::*;
    use crate::account::TenantEgress;
    use crate::ctx::NetworkCtx;
    use crate::gateway::Gateway;
    use crate::node::{Network, Resolver};
    use crate::policy::EgressPolicy;
    use crate::settings::NetworkSettings;

    struct Known;

    impl Resolver for Known {
        fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            Ok(vec![Ipv4Addr::new(93, 184, 216, 34).into()])
        }
    }

    #[tokio::test]
    async fn a_look_up_counts_among_the_requests_of_the_tenant() {
        let network = Network::with_resolver(NetworkSettings::default(), Known).expect("network");
        let tenant = TenantId::new();
        let limits = TenantEgress {
            requests_per_second: 1,
            ..TenantEgress::default()
        };
        let rules = vec!["db.example.com:5432".parse().expect("a rule")];
        let policy = Arc::new(EgressPolicy::new(rules, Arc::default()));
        let instance = || {
            let account = (tenant, limits);
            let gateway = Gateway::of(network.clone(), account, policy.clone(), None);
            NetworkCtx::new(&gateway, Kept::new(1 << 20), 32 << 10)
                .outlet
                .clone()
        };
        let found = instance().look_up("db.example.com").await;
        assert_eq!(found.map(|found| found.len()), Ok(1));
        let refused = instance().look_up("db.example.com").await;
        assert_eq!(refused, Err(Refused::TooMany));
        let not_granted = instance().look_up("other.example.com").await;
        assert_eq!(not_granted, Err(Refused::NotGranted), "nor is it counted");
    }
}
