//! `canopy usage` and `canopy limits`: what is stored, and what may be used.

use canopy_api_types::{
    InstallationLimits, InstallationUsage, Limit, LimitSource, LimitUnit, StorageKind,
    TenantLimits, TenantUsage,
};
use canopy_ids::Label;

use super::TenantArg;
use crate::ui::{bytes, table};
use crate::{Context, Error};

/// Characters of a bar.
const BAR: u64 = 20;

/// Show what a tenant or one of its installations stores, against what it may
#[derive(Debug, clap::Args)]
pub struct Usage {
    /// The installation [default: all]
    app: Option<Label>,
    #[command(flatten)]
    tenant: TenantArg,
}

/// Show the limits that apply to a tenant or one of its installations, and what decides each
#[derive(Debug, clap::Args)]
pub struct Limits {
    /// The installation [default: the tenant as a whole]
    app: Option<Label>,
    #[command(flatten)]
    tenant: TenantArg,
}

impl Usage {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let tenant = self.tenant.as_str();
        if let Some(app) = &self.app {
            let path = ["tenants", tenant, "installations", app.as_str(), "usage"];
            let usage: InstallationUsage = client.get(&path).await?;
            context.ui.result(&usage, |usage| stored([usage], None));
        } else {
            let usage: TenantUsage = client.get(&["tenants", tenant, "usage"]).await?;
            context.ui.result(&usage, |usage| {
                let stored = stored(&usage.installations, Some((usage.bytes, usage.bytes_limit)));
                format!(
                    "{stored}\nprocessor time since the start: {} ms, and {} ms of the platform's in its calls",
                    usage.cpu_ms, usage.host_cpu_ms
                )
            });
        }
        Ok(())
    }
}

impl Limits {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let tenant = self.tenant.as_str();
        if let Some(app) = &self.app {
            let path = ["tenants", tenant, "installations", app.as_str(), "limits"];
            let limits: InstallationLimits = client.get(&path).await?;
            context
                .ui
                .result(&limits, |limits| listed(&limits.limits, &limits.plan));
        } else {
            let limits: TenantLimits = client.get(&["tenants", tenant, "limits"]).await?;
            context
                .ui
                .result(&limits, |limits| listed(&limits.limits, &limits.plan));
        }
        Ok(())
    }
}

/// A table of what is stored; kinds of which nothing is are left out.
fn stored<'a>(
    installations: impl IntoIterator<Item = &'a InstallationUsage>,
    total: Option<(u64, u64)>,
) -> String {
    let mut rows = Vec::new();
    for usage in installations {
        for kind in &usage.kinds {
            let name = match kind.kind {
                StorageKind::KeyValue => "key-value",
                StorageKind::Blobs => "blobs",
                StorageKind::Sql => "sql",
            };
            rows.push([
                usage.installation.to_string(),
                name.to_owned(),
                format!("{} of {}", bytes(kind.bytes), bytes(kind.bytes_limit)),
                share(kind.bytes, kind.bytes_limit),
                format!("{} of {}", kind.items, kind.items_limit),
            ]);
        }
    }
    if let Some((used, limit)) = total {
        rows.push([
            "all together".into(),
            String::new(),
            format!("{} of {}", bytes(used), bytes(limit)),
            share(used, limit),
            String::new(),
        ]);
    }
    table("", ["app", "kind", "bytes", "used", "items"], rows)
}

/// A bar and a percentage.
fn share(used: u64, limit: u64) -> String {
    let ratio = |of: u64| {
        let scaled = u128::from(used) * u128::from(of) / u128::from(limit.max(1));
        u64::try_from(scaled).unwrap_or(u64::MAX)
    };
    let percent = if limit == 0 && used == 0 {
        100
    } else {
        ratio(100)
    };
    let filled = (percent * BAR / 100).min(BAR);
    // What is little is not nothing.
    let filled = if used > 0 { filled.max(1) } else { filled };
    let bar: String = (0..BAR)
        .map(|at| if at < filled { '█' } else { '·' })
        .collect();
    let percent = if used > 0 && percent == 0 {
        "<1".to_owned()
    } else {
        percent.to_string()
    };
    format!("{bar} {percent} %")
}

fn listed(limits: &[Limit], plan: &str) -> String {
    let rows = limits.iter().map(|limit| {
        let from = match (limit.source, &limit.setting) {
            (LimitSource::Plan, _) => format!("plan {plan}"),
            (LimitSource::Package, _) => "package".into(),
            (LimitSource::Setting, Some(setting)) => format!("setting {setting}"),
            (LimitSource::Setting, None) => "setting".into(),
        };
        [
            limit.name.clone(),
            amount(limit.value, limit.unit),
            limit
                .used
                .map(|used| amount(used, limit.unit))
                .unwrap_or_default(),
            from,
        ]
    });
    table("", ["limit", "value", "used", "from"], rows)
}

/// A limit as people read it.
pub(super) fn amount(value: u64, unit: LimitUnit) -> String {
    match unit {
        LimitUnit::Count => value.to_string(),
        LimitUnit::Bytes => bytes(value),
        LimitUnit::Milliseconds => format!("{value} ms"),
        LimitUnit::PerSecond => format!("{value}/s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_full_at_the_limit_and_never_empty_over_something() {
        let full = "█".repeat(20);
        assert_eq!(share(0, 10), format!("{} 0 %", "·".repeat(20)));
        assert_eq!(share(10, 10), format!("{full} 100 %"));
        assert_eq!(share(30, 10), format!("{full} 300 %"));
        assert!(share(1, 1 << 40).starts_with("█·") && share(1, 1 << 40).ends_with(" <1 %"));
        assert_eq!(
            share(0, 0),
            format!("{full} 100 %"),
            "nothing may be stored"
        );
        assert_eq!(share(u64::MAX, u64::MAX), format!("{full} 100 %"));
    }
}
