//! Everything that the request path needs to know, read in one transaction.

use std::collections::{BTreeMap, HashMap};

use canopy_ids::{DriverInstanceId, InstallationId, TenantId};
use rusqlite::Connection;

use crate::binding::{self, Owners};
use crate::seal::Sealer;
use crate::sql::{RowExt, all, one};
use crate::{
    DriverRow, InstallationRow, PlanRow, Store, StoreError, TenantRow, TokenRow, VersionRow,
    driver, installation, package, plan, tenant, token, tombstone,
};

/// The state of the platform at one revision.
#[derive(Debug, Clone)]
pub struct World {
    /// Of the last change in it.
    pub revision: u64,
    /// All plans by name.
    pub plans: HashMap<String, PlanRow>,
    /// All tenants by identifier.
    pub tenants: HashMap<TenantId, TenantRow>,
    /// All installations. Of the secrets the names only; see `secrets`.
    pub installations: Vec<InstallationRow>,
    /// All driver instances, without who uses them.
    pub drivers: Vec<DriverRow>,
    /// Every version that one of them runs.
    pub versions: Vec<VersionRow>,
    /// All tokens of tenants.
    pub tokens: Vec<TokenRow>,
    /// All secrets, by owner.
    pub secrets: HashMap<String, BTreeMap<String, String>>,
}

impl Store {
    /// Reads everything.
    pub async fn world(&self) -> Result<World, StoreError> {
        self.read(read).await
    }
}

fn read(db: &Connection, sealer: &Sealer) -> Result<World, StoreError> {
    let revision = one(db, "SELECT revision FROM counter", [], |row| row.number(0))?
        .ok_or_else(|| StoreError::Corrupt("the counter is missing".into()))?;
    let plans = all(db, "SELECT * FROM plan", [], plan::read)?;
    let mut tenants = all(db, "SELECT * FROM tenant", [], tenant::read)?;
    // Who is on the way out answers no more; what is his is left out with him.
    let buried = tombstone::tenants(db)?;
    tenants.retain(|tenant| !buried.contains(&tenant.id));
    let mut installations = all(
        db,
        "SELECT * FROM installation ORDER BY id",
        [],
        installation::read,
    )?;
    let index: HashMap<InstallationId, usize> = installations
        .iter()
        .enumerate()
        .map(|(at, row)| (row.id, at))
        .collect();

    for (owner, key, driver) in binding::every(db, Owners::Installations)? {
        if let Some(at) = index.get(&owner) {
            installations[*at].bindings.insert(key, driver);
        }
    }
    let mut drivers = all(db, "SELECT * FROM driver ORDER BY id", [], driver::read)?;
    let places: HashMap<DriverInstanceId, usize> = drivers
        .iter()
        .enumerate()
        .map(|(at, row)| (row.id, at))
        .collect();
    for (owner, key, driver) in binding::every(db, Owners::Drivers)? {
        if let Some(at) = places.get(&owner) {
            drivers[*at].bindings.insert(key, driver);
        }
    }
    let domains = all(db, "SELECT * FROM domain ORDER BY domain", [], |row| {
        Ok((
            row.parse::<InstallationId>("installation")?,
            row.get("domain")?,
        ))
    })?;
    for (owner, domain) in domains {
        if let Some(at) = index.get(&owner) {
            installations[*at].domains.push(domain);
        }
    }

    let mut secrets: HashMap<String, BTreeMap<String, String>> = HashMap::new();
    let sealed = all(db, "SELECT owner, key, sealed FROM secret", [], |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, Vec<u8>>(2)?,
        ))
    })?;
    for (owner, key, sealed) in sealed {
        let (key, text) = installation::open(sealer, &owner, key, &sealed)?;
        secrets.entry(owner).or_default().insert(key, text);
    }
    Ok(World {
        revision,
        plans: plans
            .into_iter()
            .map(|row| (row.name.to_string(), row))
            .collect(),
        tenants: tenants.into_iter().map(|row| (row.id, row)).collect(),
        installations,
        drivers,
        versions: package::versions_in_use(db)?,
        tokens: all(
            db,
            "SELECT * FROM token WHERE tenant IS NOT NULL",
            [],
            token::read,
        )?,
        secrets,
    })
}
