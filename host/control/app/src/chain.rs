//! The driver instances of a tenant as they are, or would be after a change, and the chains in
//! which they build on one another.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use canopy_ids::{BindingKey, DriverInstanceId, InterfaceName, Label, PackageName};
use canopy_runtime::{Bindings, DriverSpec, Provider, TenantSpec};
use canopy_store::{BindingsWrite, DriverRef, DriverRow, PageRequest, TenantRow};

use serde_json::{Map, Value};

use crate::catalog::Release;
use crate::linking::{self, Offer, Offers};
use crate::{App, AppError, AppSettings, snapshot};

/// What stands for the platform where a driver is named.
pub(crate) const PLATFORM: &str = "platform";

/// A driver instance, as far as linking needs to know it.
pub(crate) struct Link {
    pub(crate) id: DriverInstanceId,
    pub(crate) name: Label,
    pub(crate) release: Arc<Release>,
    pub(crate) bindings: BindingsWrite,
    pub(crate) config: Map<String, Value>,
    pub(crate) egress: Vec<String>,
}

/// The secrets of driver instances.
pub(crate) type Secrets = HashMap<DriverInstanceId, BTreeMap<String, String>>;

/// The driver instances of one tenant.
pub(crate) struct Fleet {
    links: BTreeMap<DriverInstanceId, Link>,
    published: Vec<(InterfaceName, PackageName)>,
    /// How many drivers deep a call may go.
    depth: usize,
}

impl App {
    /// The driver instances of `tenant` as they are.
    pub(crate) async fn fleet(&self, tenant: &TenantRow) -> Result<Fleet, AppError> {
        let everyone = PageRequest {
            limit: usize::MAX - 1,
            cursor: None,
        };
        let mut links = BTreeMap::new();
        for row in self.store.drivers(tenant.id, everyone).await?.rows {
            let release = self.catalog.release(&row.package, &row.version).await?;
            links.insert(row.id, Link::of(&row, release));
        }
        Ok(Fleet {
            links,
            published: self.store.serving(None).await?,
            depth: self.runtime.driver_depth(),
        })
    }

    /// The driver instance that `name` stands for; `None`: the platform itself.
    pub(crate) async fn provider(
        &self,
        tenant: &TenantRow,
        name: Label,
    ) -> Result<Option<DriverInstanceId>, AppError> {
        if name.as_str() == PLATFORM {
            return Ok(None);
        }
        Ok(Some(self.store.driver(tenant.id, name).await?.id))
    }

    /// Bindings by the names of drivers, with their identifiers.
    pub(crate) async fn providers(
        &self,
        tenant: &TenantRow,
        named: BTreeMap<BindingKey, Label>,
    ) -> Result<BindingsWrite, AppError> {
        let mut bindings = BindingsWrite::new();
        for (key, name) in named {
            bindings.insert(key, self.provider(tenant, name).await?);
        }
        Ok(bindings)
    }
}

/// Bindings as they are shown: by the names of drivers.
pub(crate) fn shown(bindings: &canopy_store::Bindings) -> BTreeMap<BindingKey, Label> {
    let platform = PLATFORM.parse::<Label>().ok();
    let name = |driver: &Option<DriverRef>| match driver {
        Some(driver) => Some(driver.name.clone()),
        None => platform.clone(),
    };
    let named = bindings.iter();
    named
        .filter_map(|(key, driver)| Some((key.clone(), name(driver)?)))
        .collect()
}

impl Link {
    pub(crate) fn of(row: &DriverRow, release: Arc<Release>) -> Self {
        let bindings = row.bindings.iter();
        Self {
            id: row.id,
            name: row.name.clone(),
            release,
            bindings: bindings
                .map(|(key, driver)| (key.clone(), driver.as_ref().map(|driver| driver.id)))
                .collect(),
            config: row.config.clone(),
            egress: row.egress.clone(),
        }
    }
}

impl Fleet {
    /// Puts `link` in the place of what it was.
    pub(crate) fn set(&mut self, link: Link) {
        self.links.insert(link.id, link);
    }

    fn link(&self, id: DriverInstanceId) -> Result<&Link, AppError> {
        let link = self.links.get(&id);
        link.ok_or_else(|| AppError::not_found("driver", id))
    }

    /// The version that a driver instance runs.
    pub(crate) fn release(&self, id: DriverInstanceId) -> Result<&Release, AppError> {
        Ok(&self.link(id)?.release)
    }

    fn offer<'a>(&'a self, link: &'a Link) -> Offer<'a> {
        Offer {
            name: &link.name,
            serves: &link.release.manifest.serves,
        }
    }

    /// Whether what `bindings` lead to has `id` in it.
    pub(crate) fn reaches(&self, bindings: &BindingsWrite, id: DriverInstanceId) -> bool {
        let mut met = BTreeSet::new();
        let mut waiting: Vec<_> = bindings.values().flatten().copied().collect();
        while let Some(next) = waiting.pop() {
            if next == id {
                return true;
            }
            if met.insert(next)
                && let Some(link) = self.links.get(&next)
            {
                waiting.extend(link.bindings.values().flatten());
            }
        }
        false
    }

    /// The driver instances that build on `id`, near or far.
    pub(crate) fn builders(&self, id: DriverInstanceId) -> Vec<&Link> {
        let links = self.links.values();
        links
            .filter(|link| self.reaches(&link.bindings, id))
            .collect()
    }

    /// Checks what `release` imports against `bindings`, and every driver instance that these lead
    /// to: no circle, not too deep, and no link missing.
    pub(crate) fn check(
        &self,
        release: &Release,
        bindings: &BindingsWrite,
    ) -> Result<(), AppError> {
        self.check_links(release, bindings)?;
        let mut walk = Walk {
            fleet: self,
            path: Vec::new(),
            heights: HashMap::new(),
        };
        let height = walk.below(bindings)?;
        self.check_height(bindings, height, &walk.heights)
    }

    /// Checks one driver instance and every one that it builds on.
    pub(crate) fn check_driver(&self, id: DriverInstanceId) -> Result<(), AppError> {
        let mut walk = Walk {
            fleet: self,
            path: Vec::new(),
            heights: HashMap::new(),
        };
        let height = walk.enter(id)?;
        if height > self.depth {
            return Err(self.too_deep(id, &walk.heights));
        }
        Ok(())
    }

    fn check_links(&self, release: &Release, bindings: &BindingsWrite) -> Result<(), AppError> {
        let mut offers = Offers::new();
        for (key, id) in bindings {
            let offer = match id {
                Some(id) => Some(self.offer(self.link(*id)?)),
                None => None,
            };
            offers.insert(key.clone(), offer);
        }
        // Nobody is told to bind a driver to itself.
        let others = self.links.values();
        let others = others.filter(|link| link.release.package != release.package);
        let others: Vec<_> = others.map(|link| self.offer(link)).collect();
        linking::check(release, &offers, &others, &self.published)
    }

    fn check_height(
        &self,
        bindings: &BindingsWrite,
        height: usize,
        heights: &HashMap<DriverInstanceId, usize>,
    ) -> Result<(), AppError> {
        if height <= self.depth {
            return Ok(());
        }
        let deepest = bindings.values().flatten();
        match deepest.max_by_key(|id| heights.get(id)) {
            Some(id) => Err(self.too_deep(*id, heights)),
            None => Ok(()),
        }
    }

    /// The longest chain from `id` on, by its names.
    fn too_deep(
        &self,
        id: DriverInstanceId,
        heights: &HashMap<DriverInstanceId, usize>,
    ) -> AppError {
        let mut path = vec![id];
        while let Some(link) = path.last().and_then(|id| self.links.get(id))
            && let Some(next) = link
                .bindings
                .values()
                .flatten()
                .max_by_key(|id| heights.get(id))
        {
            path.push(*next);
        }
        AppError::ChainTooDeep {
            path: self.names(&path),
            limit: self.depth,
        }
    }

    fn names(&self, path: &[DriverInstanceId]) -> Vec<Label> {
        let links = path.iter().filter_map(|id| self.links.get(id));
        links.map(|link| link.name.clone()).collect()
    }

    /// The driver instances as they would run, without configuration, for trying whether they link.
    pub(crate) fn bindings(
        &self,
        settings: &AppSettings,
        tenant: &Arc<TenantSpec>,
        bindings: &BindingsWrite,
    ) -> Result<Bindings, AppError> {
        Making::new(self, settings, tenant, None).bindings(bindings)
    }

    /// The same of one driver instance.
    pub(crate) fn driver(
        &self,
        settings: &AppSettings,
        tenant: &Arc<TenantSpec>,
        id: DriverInstanceId,
    ) -> Result<Arc<DriverSpec>, AppError> {
        Making::new(self, settings, tenant, None).driver(id)
    }

    /// A driver instance as it runs, or would, with configuration and secrets.
    pub(crate) fn live_driver(
        &self,
        settings: &AppSettings,
        tenant: &Arc<TenantSpec>,
        id: DriverInstanceId,
        secrets: &Secrets,
    ) -> Result<Arc<DriverSpec>, AppError> {
        Making::new(self, settings, tenant, Some(secrets)).driver(id)
    }

    /// `id` and all that it builds on.
    pub(crate) fn chain(&self, id: DriverInstanceId) -> BTreeSet<DriverInstanceId> {
        let mut met = BTreeSet::new();
        let mut waiting = vec![id];
        while let Some(next) = waiting.pop() {
            if met.insert(next)
                && let Some(link) = self.links.get(&next)
            {
                waiting.extend(link.bindings.values().flatten());
            }
        }
        met
    }

    pub(crate) fn name(&self, id: DriverInstanceId) -> Result<&Label, AppError> {
        Ok(&self.link(id)?.name)
    }
}

/// Descriptions of driver instances, each made once.
struct Making<'a> {
    fleet: &'a Fleet,
    settings: &'a AppSettings,
    tenant: &'a Arc<TenantSpec>,
    /// `None`: without configuration, for trying whether they link.
    secrets: Option<&'a Secrets>,
    made: HashMap<DriverInstanceId, Arc<DriverSpec>>,
}

impl<'a> Making<'a> {
    fn new(
        fleet: &'a Fleet,
        settings: &'a AppSettings,
        tenant: &'a Arc<TenantSpec>,
        secrets: Option<&'a Secrets>,
    ) -> Self {
        Self {
            fleet,
            settings,
            tenant,
            secrets,
            made: HashMap::new(),
        }
    }

    fn bindings(&mut self, bindings: &BindingsWrite) -> Result<Bindings, AppError> {
        let mut specs = Bindings::new();
        for (key, id) in bindings {
            let provider = match id {
                Some(id) => Provider::Driver(self.driver(*id)?),
                None => Provider::Platform,
            };
            specs.insert(key.clone(), provider);
        }
        Ok(specs)
    }

    fn driver(&mut self, id: DriverInstanceId) -> Result<Arc<DriverSpec>, AppError> {
        if let Some(spec) = self.made.get(&id) {
            return Ok(Arc::clone(spec));
        }
        let link = self.fleet.link(id)?;
        let component = match self.secrets {
            None => snapshot::bare(self.settings, &link.release)?,
            Some(secrets) => {
                let nothing = BTreeMap::new();
                let secrets = secrets.get(&id).unwrap_or(&nothing);
                let settings = (&link.config, secrets, &*link.egress);
                snapshot::configured(self.settings, &link.release, settings)?
            }
        };
        let spec = Arc::new(DriverSpec {
            id,
            name: link.name.clone(),
            generation: 0,
            tenant: Arc::clone(self.tenant),
            component,
            bindings: self.bindings(&link.bindings)?,
        });
        self.made.insert(id, Arc::clone(&spec));
        Ok(spec)
    }
}

/// A way through the chains, each driver instance looked at once.
struct Walk<'a> {
    fleet: &'a Fleet,
    path: Vec<DriverInstanceId>,
    /// How many drivers deep a call into each goes.
    heights: HashMap<DriverInstanceId, usize>,
}

impl Walk<'_> {
    fn below(&mut self, bindings: &BindingsWrite) -> Result<usize, AppError> {
        let mut height = 0;
        for id in bindings.values().flatten() {
            height = height.max(self.enter(*id)?);
        }
        Ok(height)
    }

    fn enter(&mut self, id: DriverInstanceId) -> Result<usize, AppError> {
        if let Some(at) = self.path.iter().position(|before| *before == id) {
            let mut circle = self.path.split_off(at);
            circle.push(id);
            let path = self.fleet.names(&circle);
            return Err(AppError::ChainCircle { path });
        }
        if let Some(height) = self.heights.get(&id) {
            return Ok(*height);
        }
        let link = self.fleet.link(id)?;
        self.path.push(id);
        let checked = self.fleet.check_links(&link.release, &link.bindings);
        checked.map_err(|error| AppError::InChain {
            path: self.fleet.names(&self.path),
            error: Box::new(error),
        })?;
        let height = 1 + self.below(&link.bindings)?;
        self.path.pop();
        self.heights.insert(id, height);
        Ok(height)
    }
}
