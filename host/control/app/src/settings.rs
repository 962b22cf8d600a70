//! The limits of the control plane and what it must know of the node.

use std::sync::Arc;
use std::time::Duration;

use canopy_backend::StorageQuota;
use canopy_runtime::{Limits, OperatorEgress, TenantLimits};
use canopy_tenant::HostName;
use ipnet::IpNet;

use crate::{ScheduleSettings, UnbindSettings, UpkeepSettings};

/// What the control plane must know of the node, and its limits.
#[derive(Debug, Clone, PartialEq)]
pub struct AppSettings {
    /// Applications are at `APP.TENANT.` and this.
    pub base: HostName,
    /// The scheme and port of applications' addresses, as in `http` and `Some(8080)`.
    pub scheme: String,
    /// The port of applications' addresses; `None` for the scheme's own.
    pub port: Option<u16>,
    /// Networks beside the public Internet that the operator has opened.
    pub opened_networks: Arc<[IpNet]>,
    /// What the operator allows and denies to all installations and drivers.
    pub operator_egress: Arc<OperatorEgress>,
    /// Whether WASI 0.3 components can run here.
    pub p3_enabled: bool,
    /// What a package gets that asks for nothing.
    pub default_limits: Limits,
    /// What a package may ask for, and a plan may allow, at most. Asking for more is refused. Of
    /// requests a second it is what an installation has where the plan says nothing else.
    pub max_limits: Limits,
    /// What a tenant's installations may use together where its plan says nothing else. Defaults:
    /// 128 requests at once, 5,000 a second with bursts of 10,000, 2,048 connections, weight 100,
    /// 2 s of CPU time a second with bursts of 60 s.
    pub tenant_limits: TenantLimits,
    /// What may be stored where the plan says nothing else. Defaults: 1 GiB in 1,000,000 keys,
    /// 10 GiB in 1,000,000 objects, 1 GiB in 8 databases, 20 GiB of a tenant in all.
    pub storage_quota: StorageQuota,
    /// Backups, exports, imports, erasures and jobs.
    pub upkeep: UpkeepSettings,
    /// Scheduled calls.
    pub schedules: ScheduleSettings,
    /// How drivers are told that a binding has ended.
    pub unbind: UnbindSettings,
    /// Versions that are validated and compiled at once; further ones wait. Default 4.
    pub publications: usize,
    /// CPU time of a component when it is tried at publish, or that of its calls where that is less.
    /// Default 1 s; beyond it the component is refused.
    pub trial_cpu: Duration,
    /// Bytes of one configuration as JSON. Default 64 KiB.
    pub config_bytes: usize,
    /// Bytes of one secret. Default 64 KiB.
    pub secret_bytes: usize,
    /// Egress rules of one installation or driver instance. Default 128.
    pub egress_rules: usize,
    /// Custom domains of one installation. Default 32.
    pub domains: usize,
    /// Attributes of one tenant. Default 64.
    pub attributes: usize,
    /// Roles of one service token. Default 32.
    pub roles: usize,
}

impl AppSettings {
    /// The defaults for applications at `base`.
    pub fn new(base: HostName) -> Self {
        Self {
            base,
            scheme: "http".into(),
            port: Some(8080),
            opened_networks: Arc::default(),
            operator_egress: Arc::default(),
            p3_enabled: true,
            default_limits: Limits::default(),
            max_limits: Limits {
                memory_bytes: 512 << 20,
                cpu: Duration::from_secs(30),
                wall: Duration::from_secs(300),
                stream: Duration::from_secs(3600),
                stream_idle: Duration::from_secs(60),
                concurrency: 1_000,
                instances: 16,
                request_body_bytes: 1 << 30,
                requests_per_second: 2_000,
                burst: 4_000,
            },
            tenant_limits: TenantLimits::default(),
            storage_quota: StorageQuota::default(),
            upkeep: UpkeepSettings::default(),
            schedules: ScheduleSettings::default(),
            unbind: UnbindSettings::default(),
            publications: 4,
            trial_cpu: Duration::from_secs(1),
            config_bytes: 64 << 10,
            secret_bytes: 64 << 10,
            egress_rules: 128,
            domains: 32,
            attributes: 64,
            roles: 32,
        }
    }

    /// Where an application answers: `http://APP.TENANT.BASE:PORT`.
    pub(crate) fn url(&self, host: &str) -> String {
        match self.port {
            Some(port) => format!("{}://{host}:{port}", self.scheme),
            None => format!("{}://{host}", self.scheme),
        }
    }
}
