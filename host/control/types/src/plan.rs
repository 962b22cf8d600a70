//! Plans: what tenants that are on one may use.

use canopy_ids::Label;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// The plan of tenants for which no other is named.
pub const STANDARD_PLAN: &str = "standard";

/// In what a limit is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LimitUnit {
    /// A plain number.
    Count,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// So many a second.
    PerSecond,
}

/// To whom a limit of a plan applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitScope {
    /// To all installations of the tenant together.
    Tenant,
    /// To each installation alone.
    Installation,
}

/// What is to be known of a limit that a plan can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanLimit {
    /// Its name.
    pub name: &'static str,
    /// In what it is counted.
    pub unit: LimitUnit,
    /// To whom it applies.
    pub scope: LimitScope,
    /// What it limits.
    pub meaning: &'static str,
}

macro_rules! limits {
    ($($name:ident: $unit:ident of $scope:ident, $meaning:literal;)*) => {
        /// The limits that a plan sets. What is absent is the node's setting.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub struct PlanLimits {
            $(#[doc = $meaning]
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub $name: Option<u64>,)*
        }

        /// The limits that apply where a plan has been laid over the node's settings.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct PlanValues {
            $(#[doc = $meaning]
            pub $name: u64,)*
        }

        impl PlanLimits {
            /// All limits that a plan can set.
            pub const ALL: &[PlanLimit] = &[$(PlanLimit {
                name: stringify!($name),
                unit: LimitUnit::$unit,
                scope: LimitScope::$scope,
                meaning: $meaning,
            }),*];

            /// The limit of this name, if it is set; `None` also for a name that there is not.
            pub fn get(&self, name: &str) -> Option<u64> {
                match name {
                    $(stringify!($name) => self.$name,)*
                    _ => None,
                }
            }

            /// These limits, and the values of `others` where none is set.
            pub fn over(&self, others: &PlanValues) -> PlanValues {
                PlanValues {
                    $($name: self.$name.unwrap_or(others.$name),)*
                }
            }
        }

        impl PlanValues {
            /// The value of the limit of this name.
            pub fn get(&self, name: &str) -> Option<u64> {
                match name {
                    $(stringify!($name) => Some(self.$name),)*
                    _ => None,
                }
            }
        }
    };
}

limits! {
    concurrency: Count of Tenant,
        "Requests under way at once.";
    requests_per_second: PerSecond of Tenant,
        "Requests a second in the long run.";
    burst: Count of Tenant,
        "Requests that are let in at once after a quiet time.";
    connections: Count of Tenant,
        "Connections of clients, open at once.";
    weight: Count of Tenant,
        "The share of a busy node, compared with the weights of other tenants.";
    egress_connections: Count of Tenant,
        "Outgoing requests under way and connections of sockets, at once.";
    egress_requests_per_second: PerSecond of Tenant,
        "Outgoing requests and new sockets a second.";
    egress_bytes_per_day: Bytes of Tenant,
        "Bytes of outgoing requests, their responses and sockets, in a day (UTC).";
    cpu_ms_per_second: Milliseconds of Tenant,
        "Processor time of all calls together, each second in the long run; 1000 is one core.";
    cpu_burst_ms: Milliseconds of Tenant,
        "Processor time of all calls together, at once after a quiet time.";
    tenant_memory_bytes: Bytes of Tenant,
        "Memory of all instances together, drivers included.";
    driver_instances: Count of Tenant,
        "Stores of one driver at once, whatever its package asks for.";
    storage_bytes: Bytes of Tenant,
        "What is stored, of all kinds and by all installations.";
    installation_concurrency: Count of Installation,
        "Requests under way at once.";
    installation_requests_per_second: PerSecond of Installation,
        "Requests a second in the long run.";
    installation_burst: Count of Installation,
        "Requests that are let in at once after a quiet time.";
    memory_bytes: Bytes of Installation,
        "Memory of one instance, whatever its package asks for.";
    cpu_ms: Milliseconds of Installation,
        "Processor time of one call, whatever the package asks for.";
    wall_ms: Milliseconds of Installation,
        "Time from a request's arrival to the end of its response, whatever the package asks for.";
    stream_ms: Milliseconds of Installation,
        "Time from a request's arrival to the end of a response that streams, whatever the package asks for.";
    request_body_bytes: Bytes of Installation,
        "Body of one request, whatever the package asks for.";
    key_value_bytes: Bytes of Installation,
        "Keys and values.";
    keys: Count of Installation,
        "Keys.";
    blob_bytes: Bytes of Installation,
        "Objects.";
    objects: Count of Installation,
        "Objects.";
    sql_bytes: Bytes of Installation,
        "SQL databases.";
    databases: Count of Installation,
        "SQL databases.";
}

/// Creates or replaces a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanPut {
    /// What people call it.
    pub display_name: String,
    /// The limits that it sets.
    #[serde(default)]
    pub limits: PlanLimits,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// Its name.
    #[schema(value_type = String)]
    pub name: Label,
    /// What people call it.
    pub display_name: String,
    /// The limits that it sets.
    pub limits: PlanLimits,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
    /// When it was changed last.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: OffsetDateTime,
    /// Grows with every change; the ETag.
    pub revision: u64,
}

/// What decides a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LimitSource {
    /// The tenant's plan.
    Plan,
    /// The package, which asks for it.
    Package,
    /// A setting of the node.
    Setting,
}

/// One limit as it applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Limit {
    /// Its name, as in a plan.
    pub name: String,
    /// Its value.
    pub value: u64,
    /// In what it is counted.
    pub unit: LimitUnit,
    /// What decides it.
    pub source: LimitSource,
    /// The setting, where one decides it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setting: Option<String>,
    /// How much of it is used now, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// What it limits.
    pub meaning: String,
}

/// What all installations of a tenant may use together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TenantLimits {
    /// The plan that it is on.
    pub plan: String,
    /// The limits.
    pub limits: Vec<Limit>,
}

/// What one installation may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstallationLimits {
    /// The tenant's plan.
    pub plan: String,
    /// The limits.
    pub limits: Vec<Limit>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_can_be_set_and_read_by_its_name() {
        for (at, limit) in PlanLimits::ALL.iter().enumerate() {
            let value = at as u64 + 1;
            let text = format!("{{\"{}\":{value}}}", limit.name);
            let limits: PlanLimits = serde_json::from_str(&text).expect(limit.name);
            assert_eq!(limits.get(limit.name), Some(value));
            assert_eq!(serde_json::to_string(&limits).expect("JSON"), text);
        }
        assert_eq!(PlanLimits::default().get("no_such"), None);
        assert!(serde_json::from_str::<PlanLimits>("{\"kyes\":1}").is_err());
    }
}
