//! What has to fit into what: requests of the node, and what one tenant may have, into the pool.

use super::{Settings, SettingsError};

/// So many tenants that have all they may do not fill the pool.
const TENANTS: u64 = 2;

/// Most of the pool is for those who need much of it.
const MOST_RESERVE: usize = 50;

/// Refuses a node that lets in more requests than its pool has room for, and one on which a single
/// tenant could take most of the pool, or not enough of it for one component.
pub(super) fn check(settings: &Settings) -> Result<(), SettingsError> {
    let pool = &settings.engine.pool;
    let tenant = &settings.runtime.tenant_slots;
    let requests = settings.admission.node_concurrency as u64;
    if settings.runtime.pool_reserve_percent > MOST_RESERVE {
        return Err(SettingsError::Value {
            key: "guest.pool_reserve_percent",
            message: format!("it must be at most {MOST_RESERVE}"),
        });
    }
    for (other, than) in [
        ("engine.pool.instances", pool.instances),
        ("engine.pool.memories", pool.memories),
        ("engine.pool.stacks", pool.stacks),
    ] {
        let most = u64::from(than);
        within(
            ("admission.node_concurrency", requests),
            0..=most,
            (other, most),
        )?;
    }
    for (key, value, (part, least), (whole, most)) in [
        (
            "guest.tenant_instances",
            tenant.instances,
            ("guest.tenant_instances", 1),
            ("engine.pool.instances", pool.instances),
        ),
        (
            "guest.tenant_memories",
            tenant.memories,
            (
                "engine.pool.memories_per_component",
                pool.memories_per_component,
            ),
            ("engine.pool.memories", pool.memories),
        ),
        (
            "guest.tenant_tables",
            tenant.tables,
            (
                "engine.pool.tables_per_component",
                pool.tables_per_component,
            ),
            ("engine.pool.tables", pool.tables),
        ),
    ] {
        let (value, least, most) = (value as u64, u64::from(least), u64::from(most));
        within((key, value), least..=u64::MAX, (part, least))?;
        within((key, value), 0..=most / TENANTS, (whole, most))?;
    }
    Ok(())
}

/// Whether `value` is in `range`, which comes of what `other` is.
fn within(
    (key, value): (&'static str, u64),
    range: std::ops::RangeInclusive<u64>,
    (other, than): (&'static str, u64),
) -> Result<(), SettingsError> {
    let bound = if value < *range.start() {
        format!("least {}", range.start())
    } else if value > *range.end() {
        format!("most {}", range.end())
    } else {
        return Ok(());
    };
    Err(SettingsError::Room {
        key,
        value,
        bound,
        other,
        than,
    })
}
