//! Whatever a driver serves: what it says of itself, and whether that is so.

use super::{Case, cases};
use crate::command::driver::test::bench::Bench;
use crate::command::driver::test::probe::{Stop, failed, skipped};
use crate::command::driver::test::proxy::Weather;

pub(super) const CASES: &[Case] = cases! {
    "driver/check" => check,
    "driver/check-without-grants" => without_grants,
    "driver/check-without-server" => without_server,
    "driver/check-silent-server" => silent_server,
};

const SILENT: &str = "the driver does not export canopy:driver/lifecycle";

async fn check(bench: &Bench) -> Result<(), Stop> {
    match bench.check().await? {
        None => skipped(SILENT),
        Some(Ok(())) => Ok(()),
        Some(Err(said)) => failed(format!("the driver says that it does not work: {said}")),
    }
}

/// It must not say that it works where it can reach nothing.
async fn without_grants(bench: &Bench) -> Result<(), Stop> {
    bench.proxy()?;
    if bench.check().await?.is_none() {
        return skipped(SILENT);
    }
    match bench.check_without_grants().await? {
        Some(Err(_)) => Ok(()),
        _ => failed("it says that it works, and may reach nothing"),
    }
}

async fn without_server(bench: &Bench) -> Result<(), Stop> {
    notices(bench, Weather::Refused).await
}

async fn silent_server(bench: &Bench) -> Result<(), Stop> {
    notices(bench, Weather::Silent).await
}

/// It says that it does not work while its server does not, and that it works afterwards.
async fn notices(bench: &Bench, weather: Weather) -> Result<(), Stop> {
    let proxy = bench.proxy()?;
    if bench.check().await?.is_none() {
        return skipped(SILENT);
    }
    proxy.set(weather);
    let during = bench.check().await;
    bench.works_again().await?;
    match during? {
        Some(Err(said)) if said.trim().is_empty() => failed("it does not say why it does not work"),
        Some(Err(_)) => Ok(()),
        _ => failed("it says that it works, and its server does not"),
    }
}
