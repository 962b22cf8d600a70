//! What applies to whom: the plan over the node's settings, and for an installation what its
//! package asks for within both.

use std::time::Duration;

use canopy_api_types::{
    InstallationLimits, Limit, LimitScope, LimitSource, LimitUnit, PlanLimits, PlanValues,
    StorageKind as Kind, TenantLimits as TenantLimitsShown,
};
use canopy_backend::{Quota, StorageQuota};
use canopy_ids::Label;
use canopy_manifest::LimitsAsked;
use canopy_runtime::{Limits, TenantEgress, TenantLimits};
use canopy_store::PlanRow;

use crate::{Action, App, AppError, AppSettings, Context, Resource};

impl App {
    /// What all installations of a tenant may use together.
    pub async fn tenant_limits(
        &self,
        context: &Context,
        tenant: Label,
    ) -> Result<TenantLimitsShown, AppError> {
        context.authorize(Action::Read, Resource::Tenant(&tenant))?;
        let tenant = self.store.tenant(tenant).await?;
        let plan = self.plan_limits(&tenant.plan).await?;
        let stored = self.stored_by_tenant(&tenant).await?;
        let outward = self.runtime.egress_usage(tenant.id);
        let cpu = self.runtime.cpu_usage(tenant.id);
        let used = |name: &str| match name {
            "storage_bytes" => Some(stored.bytes),
            "egress_connections" => Some(outward.connections as u64),
            "egress_bytes_per_day" => Some(outward.bytes_today),
            "cpu_burst_ms" => Some(millis(cpu.drawn)),
            "tenant_memory_bytes" => Some(self.runtime.memory_usage(tenant.id) as u64),
            _ => None,
        };
        Ok(TenantLimitsShown {
            limits: shown(&plan, &self.settings, LimitScope::Tenant, used),
            plan: tenant.plan,
        })
    }

    /// What one installation may use.
    pub async fn installation_limits(
        &self,
        context: &Context,
        tenant: Label,
        name: Label,
    ) -> Result<InstallationLimits, AppError> {
        context.authorize(Action::Read, Resource::Installations(&tenant))?;
        let tenant = self.store.tenant(tenant).await?;
        let row = self.store.installation(tenant.id, name).await?;
        let release = self.catalog.release(&row.package, &row.version).await?;
        let plan = self.plan_limits(&tenant.plan).await?;
        let stored = self
            .stored_by(&tenant, &row, &plan.over(&defaults(&self.settings)))
            .await?;
        let used = |name: &str| {
            let (kind, bytes) = match name {
                "key_value_bytes" => (Kind::KeyValue, true),
                "keys" => (Kind::KeyValue, false),
                "blob_bytes" => (Kind::Blobs, true),
                "objects" => (Kind::Blobs, false),
                "sql_bytes" => (Kind::Sql, true),
                "databases" => (Kind::Sql, false),
                _ => return None,
            };
            let usage = stored.kinds.iter().find(|usage| usage.kind == kind)?;
            Some(if bytes { usage.bytes } else { usage.items })
        };
        let mut limits = shown(&plan, &self.settings, LimitScope::Installation, used);
        let component = Component::new(&release.manifest.limits, &plan, &self.settings);
        for decided in component.all() {
            if let Some(limit) = limits.iter_mut().find(|limit| limit.name == decided.name) {
                limit.value = decided.value;
                limit.source = decided.source;
                limit.setting = decided.setting.map(str::to_owned);
            }
        }
        Ok(InstallationLimits {
            plan: tenant.plan,
            limits,
        })
    }

    /// The limits that the plan `name` sets.
    pub(crate) async fn plan_limits(&self, name: &str) -> Result<PlanLimits, AppError> {
        let name = name
            .parse()
            .map_err(|error| AppError::Internal(format!("the name of a plan: {error}")))?;
        of_plan(&self.store.plan(name).await?)
    }
}

/// The limits that a stored plan sets.
pub(crate) fn of_plan(row: &PlanRow) -> Result<PlanLimits, AppError> {
    let limits = serde_json::to_value(&row.limits).and_then(serde_json::from_value);
    limits.map_err(|error| AppError::Internal(format!("the limits of plan {}: {error}", row.name)))
}

/// Where no plan says anything else, and which setting says it.
pub(crate) fn defaults(settings: &AppSettings) -> PlanValues {
    let (tenant, most) = (&settings.tenant_limits, &settings.max_limits);
    let quota = &settings.storage_quota;
    PlanValues {
        concurrency: tenant.concurrency as u64,
        requests_per_second: tenant.requests_per_second.into(),
        burst: tenant.burst.into(),
        connections: tenant.connections as u64,
        weight: tenant.weight.into(),
        egress_connections: tenant.egress.connections as u64,
        egress_requests_per_second: tenant.egress.requests_per_second.into(),
        egress_bytes_per_day: tenant.egress.bytes_per_day,
        cpu_ms_per_second: millis(tenant.cpu_per_second),
        cpu_burst_ms: millis(tenant.cpu_burst),
        tenant_memory_bytes: tenant.memory_bytes as u64,
        driver_instances: most.instances as u64,
        storage_bytes: quota.tenant_bytes,
        installation_concurrency: most.concurrency as u64,
        installation_requests_per_second: most.requests_per_second.into(),
        installation_burst: most.burst.into(),
        memory_bytes: most.memory_bytes as u64,
        cpu_ms: millis(most.cpu),
        wall_ms: millis(most.wall),
        stream_ms: millis(most.stream),
        request_body_bytes: most.request_body_bytes,
        key_value_bytes: quota.key_value.bytes,
        keys: quota.key_value.items,
        blob_bytes: quota.blobs.bytes,
        objects: quota.blobs.items,
        sql_bytes: quota.sql.bytes,
        databases: quota.sql.items,
    }
}

/// The setting that is the default of a plan's limit.
fn setting_of(limit: &str) -> String {
    match limit {
        "installation_concurrency" => "limits.max.concurrency".into(),
        "driver_instances" => "limits.max.instances".into(),
        "memory_bytes" => "limits.max.memory".into(),
        "tenant_memory_bytes" => "guest.tenant_memory".into(),
        "cpu_ms" => "limits.max.cpu".into(),
        "wall_ms" => "limits.max.wall".into(),
        "stream_ms" => "limits.max.stream".into(),
        "request_body_bytes" => "limits.max.request_body".into(),
        "cpu_ms_per_second" => "plan.cpu_per_second".into(),
        "cpu_burst_ms" => "plan.cpu_burst".into(),
        other => format!("plan.{other}"),
    }
}

/// The node's maxima, which no plan can raise.
const CEILINGS: [&str; 7] = [
    "driver_instances",
    "installation_concurrency",
    "memory_bytes",
    "cpu_ms",
    "wall_ms",
    "stream_ms",
    "request_body_bytes",
];

/// Refuses limits under which nothing could run, and those that the node has no room for.
pub(crate) fn check(limits: &PlanLimits, settings: &AppSettings) -> Result<(), AppError> {
    let defaults = defaults(settings);
    for limit in PlanLimits::ALL {
        let Some(value) = limits.get(limit.name) else {
            continue;
        };
        let is_quota = limit.unit == LimitUnit::Bytes && !CEILINGS.contains(&limit.name)
            || matches!(limit.name, "keys" | "objects" | "databases");
        let least = u64::from(!is_quota || limit.name == "tenant_memory_bytes");
        // The database keeps signed numbers, and counters of requests have 32 bits.
        let most = if CEILINGS.contains(&limit.name) {
            defaults.get(limit.name).unwrap_or(u64::MAX)
        } else if is_quota {
            1 << 50
        } else {
            u32::MAX.into()
        };
        if !(least..=most).contains(&value) {
            let field = format!("limits.{}", limit.name);
            let because = if CEILINGS.contains(&limit.name) {
                format!(" (the setting `{}`)", setting_of(limit.name))
            } else {
                String::new()
            };
            let message = format!("must be from {least} to {most}{because}");
            return Err(AppError::field(field, message));
        }
    }
    Ok(())
}

fn shown(
    plan: &PlanLimits,
    settings: &AppSettings,
    scope: LimitScope,
    used: impl Fn(&str) -> Option<u64>,
) -> Vec<Limit> {
    let values = plan.over(&defaults(settings));
    PlanLimits::ALL
        .iter()
        .filter(|limit| limit.scope == scope)
        .map(|limit| {
            let set = plan.get(limit.name).is_some();
            Limit {
                name: limit.name.into(),
                value: values.get(limit.name).unwrap_or_default(),
                unit: limit.unit,
                source: if set {
                    LimitSource::Plan
                } else {
                    LimitSource::Setting
                },
                setting: (!set).then(|| setting_of(limit.name)),
                used: used(limit.name),
                meaning: limit.meaning.into(),
            }
        })
        .collect()
}

/// What all installations of a tenant may use together.
pub(crate) fn of_tenant(values: &PlanValues) -> TenantLimits {
    TenantLimits {
        concurrency: size(values.concurrency),
        requests_per_second: small(values.requests_per_second),
        burst: small(values.burst),
        connections: size(values.connections),
        weight: small(values.weight),
        egress: TenantEgress {
            connections: size(values.egress_connections),
            requests_per_second: small(values.egress_requests_per_second),
            bytes_per_day: values.egress_bytes_per_day,
        },
        memory_bytes: size(values.tenant_memory_bytes),
        cpu_per_second: Duration::from_millis(values.cpu_ms_per_second),
        cpu_burst: Duration::from_millis(values.cpu_burst_ms),
    }
}

/// What a tenant may store.
pub(crate) fn quota(values: &PlanValues) -> StorageQuota {
    let quota = |bytes, items| Quota { bytes, items };
    StorageQuota {
        key_value: quota(values.key_value_bytes, values.keys),
        blobs: quota(values.blob_bytes, values.objects),
        sql: quota(values.sql_bytes, values.databases),
        tenant_bytes: values.storage_bytes,
    }
}

/// What a component may use: what its package asks for, within the plan and the node's maxima.
pub(crate) fn of_component(
    asked: &LimitsAsked,
    plan: &PlanLimits,
    settings: &AppSettings,
) -> Limits {
    let values = plan.over(&defaults(settings));
    let component = Component::new(asked, plan, settings);
    Limits {
        memory_bytes: size(component.memory.value),
        cpu: Duration::from_millis(component.cpu.value),
        wall: Duration::from_millis(component.wall.value),
        stream: Duration::from_millis(component.stream.value),
        stream_idle: settings.default_limits.stream_idle,
        concurrency: size(component.concurrency.value),
        instances: size(component.instances.value),
        request_body_bytes: component.request_body.value,
        requests_per_second: small(values.installation_requests_per_second),
        burst: small(values.installation_burst),
    }
}

/// A limit on which package, plan and node have each a say, and which of them was the least.
struct Decided {
    name: &'static str,
    value: u64,
    source: LimitSource,
    setting: Option<&'static str>,
}

struct Component {
    memory: Decided,
    cpu: Decided,
    wall: Decided,
    stream: Decided,
    concurrency: Decided,
    instances: Decided,
    request_body: Decided,
}

impl Component {
    fn new(asked: &LimitsAsked, plan: &PlanLimits, settings: &AppSettings) -> Self {
        let (default, most) = (&settings.default_limits, &settings.max_limits);
        Self {
            memory: decide(
                "memory_bytes",
                (asked.memory_bytes, plan.memory_bytes),
                ("limits.default.memory", default.memory_bytes as u64),
                ("limits.max.memory", most.memory_bytes as u64),
            ),
            cpu: decide(
                "cpu_ms",
                (asked.cpu_ms, plan.cpu_ms),
                ("limits.default.cpu", millis(default.cpu)),
                ("limits.max.cpu", millis(most.cpu)),
            ),
            wall: decide(
                "wall_ms",
                (asked.wall_ms, plan.wall_ms),
                ("limits.default.wall", millis(default.wall)),
                ("limits.max.wall", millis(most.wall)),
            ),
            stream: decide(
                "stream_ms",
                (asked.stream_ms, plan.stream_ms),
                ("limits.default.stream", millis(default.stream)),
                ("limits.max.stream", millis(most.stream)),
            ),
            concurrency: decide(
                "installation_concurrency",
                (
                    asked.concurrency.map(u64::from),
                    plan.installation_concurrency,
                ),
                ("limits.default.concurrency", default.concurrency as u64),
                ("limits.max.concurrency", most.concurrency as u64),
            ),
            instances: decide(
                "driver_instances",
                (asked.instances.map(u64::from), plan.driver_instances),
                ("limits.default.instances", default.instances as u64),
                ("limits.max.instances", most.instances as u64),
            ),
            request_body: decide(
                "request_body_bytes",
                (asked.request_body_bytes, plan.request_body_bytes),
                ("limits.default.request_body", default.request_body_bytes),
                ("limits.max.request_body", most.request_body_bytes),
            ),
        }
    }

    /// Those of an installation.
    fn all(self) -> [Decided; 6] {
        let Self {
            memory,
            cpu,
            wall,
            stream,
            concurrency,
            request_body,
            instances: _,
        } = self;
        [memory, cpu, wall, stream, concurrency, request_body]
    }
}

fn decide(
    name: &'static str,
    (asked, plan): (Option<u64>, Option<u64>),
    default: (&'static str, u64),
    most: (&'static str, u64),
) -> Decided {
    let mut decided = Decided {
        name,
        value: asked.unwrap_or(default.1),
        source: LimitSource::Package,
        setting: None,
    };
    if asked.is_none() {
        decided.source = LimitSource::Setting;
        decided.setting = Some(default.0);
    }
    if most.1 < decided.value {
        decided.value = most.1;
        decided.source = LimitSource::Setting;
        decided.setting = Some(most.0);
    }
    if let Some(plan) = plan
        && plan < decided.value
    {
        decided.value = plan;
        decided.source = LimitSource::Plan;
        decided.setting = None;
    }
    decided
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn small(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use canopy_tenant::HostName;

    use super::*;

    fn settings() -> AppSettings {
        AppSettings::new(HostName::from_name("localhost").expect("a name"))
    }

    #[test]
    fn the_least_of_package_plan_and_node_decides() {
        let settings = settings();
        for (asked, plan, value, source) in [
            (None, None, 128 << 20, LimitSource::Setting),
            (Some(1 << 20), None, 1 << 20, LimitSource::Package),
            (
                Some(300 << 20),
                Some(200 << 20),
                200 << 20,
                LimitSource::Plan,
            ),
            (
                Some(1 << 20),
                Some(200 << 20),
                1 << 20,
                LimitSource::Package,
            ),
            (None, Some(64 << 20), 64 << 20, LimitSource::Plan),
            (Some(1 << 40), None, 512 << 20, LimitSource::Setting),
        ] {
            let asked = LimitsAsked {
                memory_bytes: asked,
                ..LimitsAsked::default()
            };
            let plan = PlanLimits {
                memory_bytes: plan,
                ..PlanLimits::default()
            };
            let decided = Component::new(&asked, &plan, &settings).memory;
            assert_eq!((decided.value, decided.source), (value, source));
            let limits = of_component(&asked, &plan, &settings);
            assert_eq!(limits.memory_bytes as u64, value);
        }
    }

    #[test]
    fn limits_under_which_nothing_runs_are_refused_and_quotas_of_nothing_are_not() {
        let settings = settings();
        let set = |name: &str, value: u64| -> PlanLimits {
            serde_json::from_value(serde_json::json!({ name: value })).expect(name)
        };
        for limit in PlanLimits::ALL {
            assert!(check(&set(limit.name, u64::MAX), &settings).is_err());
        }
        for name in [
            "concurrency",
            "weight",
            "memory_bytes",
            "tenant_memory_bytes",
            "cpu_ms",
        ] {
            assert!(check(&set(name, 0), &settings).is_err(), "{name}");
        }
        for name in ["keys", "blob_bytes", "storage_bytes", "databases"] {
            check(&set(name, 0), &settings).expect(name);
        }
        let error = check(&set("memory_bytes", 1 << 40), &settings).expect_err("too much");
        assert!(error.to_string().contains("limits.max.memory"), "{error}");
    }
}
