//! What any driver before a server owes to others: its tenants do not feel one another's servers, and
//! connections that nobody uses any more are given back.

use std::time::Duration;

use futures::future::join;

use super::{Case, cases};
use crate::command::driver::test::bench::{At, Bench};
use crate::command::driver::test::probe::{Stop, failed};
use crate::command::driver::test::proxy::Weather;

pub(super) const CASES: &[Case] = cases! {
    "faults/other-tenant" => other_tenant,
    "leaks/connections" => connections,
};

/// Calls of the other tenant while the server of the first fails in one way.
const THEIRS: usize = 5;
/// Connections that a store may keep for later, whatever it did before.
const KEPT_BY_STORE: usize = 10;
/// Calls of each application, one after the other; more than a store may have connections.
const IN_A_ROW: usize = 20;
/// How long a connection may take to end that nobody uses any more. The node looks after drivers that were
/// started anew now and then, and closes idle connections of HTTP after `egress.idle_time`.
const PATIENCE: Duration = Duration::from_secs(45);

/// While the first tenant's server fails, that of the other tenant does not.
async fn other_tenant(bench: &Bench) -> Result<(), Stop> {
    let proxy = bench.proxy()?;
    let settling = bench.settling()?;
    bench.ask(At::Other, &settling).await.done("a call")?;
    for weather in [
        Weather::Refused,
        Weather::Silent,
        Weather::Garbled,
        Weather::Cut(1),
    ] {
        proxy.set(weather);
        let mine = bench.settling()?;
        let theirs = async {
            for _ in 0..THEIRS {
                let answer = bench.ask(At::Other, &bench.settling()?).await;
                answer.done("a call of another tenant, whose server works")?;
            }
            Ok(())
        };
        let (mine, theirs) = join(bench.ask(At::First, &mine), theirs).await;
        bench.recovers().await?;
        theirs?;
        mine.defined("a call while its server fails")?.ok();
    }
    Ok(())
}

/// Connections do not add up: neither over a suite of cases, nor over calls one after the other; and a
/// driver that ended has none.
async fn connections(bench: &Bench) -> Result<(), Stop> {
    bench.proxy()?;
    bench.settling()?;
    let stores = usize::try_from(bench.given.stores).unwrap_or(usize::MAX);
    let tenants = [At::First, At::Other];
    for at in tenants {
        let most = stores.saturating_mul(KEPT_BY_STORE);
        held(bench, at, most, "after the cases before this one").await?;
    }
    for at in tenants {
        bench.restart(at).await?;
    }
    for at in tenants {
        held(bench, at, 0, "after it was started anew").await?;
    }
    for _ in 0..IN_A_ROW {
        for at in At::ALL {
            bench.ask(at, &bench.settling()?).await.done("a call")?;
        }
    }
    // In each store one for each installation that calls, and one of the driver's own.
    for (at, installations) in [(At::First, 2), (At::Other, 1)] {
        let most = stores.saturating_mul(installations + 1);
        held(bench, at, most, "after calls one after the other").await?;
    }
    Ok(())
}

/// Refuses more than so many connections while no call is under way.
async fn held(bench: &Bench, at: At, most: usize, when: &str) -> Result<(), Stop> {
    match bench.proxy_of(at)?.falls_to(most, PATIENCE).await {
        Ok(()) => Ok(()),
        Err(open) => failed(format!(
            "{when} it holds {open} connections to its server, and {most} would be enough"
        )),
    }
}
