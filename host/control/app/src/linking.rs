//! Who serves what a component imports: the platform, a driver, or nobody.

use std::collections::{BTreeMap, BTreeSet};

use canopy_ids::{BindingKey, Import, InterfaceName, Label, PackageName, WitPackage};
use canopy_manifest::{Kind, nearest};
use canopy_runtime::{DriverSpec, InstallationSpec, PrepareError, Runtime, platform};

use crate::catalog::Release;
use crate::{AppError, Unserved};

/// Whether the platform always serves `package` itself. These interfaces share resources with
/// each other and with everything that streams, or vouch for who is who.
pub(crate) fn is_reserved(package: &WitPackage) -> bool {
    match &*package.namespace {
        "wasi" => matches!(
            &*package.name,
            "io" | "cli" | "clocks" | "random" | "filesystem" | "sockets" | "http" | "tls"
        ),
        "canopy" => &*package.name == "tenant",
        _ => false,
    }
}

/// A driver instance that could serve a component.
pub(crate) struct Offer<'a> {
    pub(crate) name: &'a Label,
    pub(crate) serves: &'a [InterfaceName],
}

/// Who is to serve what; `None`: the platform.
pub(crate) type Offers<'a> = BTreeMap<BindingKey, Option<Offer<'a>>>;

impl Offer<'_> {
    fn covers(&self, import: &InterfaceName) -> bool {
        self.serves.iter().any(|offered| import.accepts(offered))
    }
}

/// Whether the platform serves `import` to a component of `kind` that is bound to nobody. The
/// storage that it would give to a driver is its callers'; that takes a binding.
fn serves_unbound(kind: Kind, import: &Import) -> bool {
    platform::serves_import(import)
        && (kind == Kind::App || platform::storage_of(&import.interface).is_none())
}

/// Checks that every import of `release` is served under `bindings`. `others` are the tenant's
/// driver instances and `published` what drivers there are, to name those that would help.
pub(crate) fn check(
    release: &Release,
    bindings: &Offers<'_>,
    others: &[Offer<'_>],
    published: &[(InterfaceName, PackageName)],
) -> Result<(), AppError> {
    for key in bindings.keys() {
        if is_reserved(&key.package) {
            return Err(AppError::ReservedPackage {
                package: key.package.clone(),
            });
        }
        if !release.imports.iter().any(|import| key.covers(import)) {
            let imported = release.imports.iter();
            let imported = imported.filter(|import| !is_reserved(&import.interface.package));
            return Err(AppError::NotImported {
                app: release.package.clone(),
                key: key.clone(),
                imported: imported.cloned().collect(),
            });
        }
    }
    let kind = release.manifest.kind;
    let mut unserved = Vec::new();
    let mut unbound = Vec::new();
    for import in &release.imports {
        let unserved_by = |driver: Option<&Offer<'_>>| Unserved {
            import: import.clone(),
            driver: driver.map(|offer| offer.name.clone()),
            nearest: None,
            drivers: Vec::new(),
            published: Vec::new(),
        };
        let interface = &import.interface;
        match BindingKey::choose(bindings, import).map(|(_, offer)| offer) {
            Some(Some(offer)) if offer.covers(interface) => {}
            Some(Some(offer)) => unserved.push(Unserved {
                nearest: nearest_interface(interface, offer.serves.iter()),
                ..unserved_by(Some(offer))
            }),
            Some(None) if platform::serves_import(import) => {}
            Some(None) => unserved.push(unserved_by(None)),
            None if serves_unbound(kind, import) => {}
            None if platform::serves_import(import) => unbound.push(import.clone()),
            None => {
                let helpers = others.iter().filter(|offer| offer.covers(interface));
                unserved.push(Unserved {
                    drivers: helpers.map(|offer| offer.name.clone()).collect(),
                    published: drivers_for(interface, published),
                    ..unserved_by(None)
                });
            }
        }
    }
    if !unserved.is_empty() {
        return Err(AppError::Unserved(unserved));
    }
    if !unbound.is_empty() {
        return Err(AppError::Unbound {
            driver: release.package.clone(),
            imports: unbound,
        });
    }
    Ok(())
}

/// Links an installation as it would be: that every function has the shape that its caller expects
/// is found out here and not at the first request.
pub(crate) async fn try_out(runtime: &Runtime, spec: &InstallationSpec) -> Result<(), AppError> {
    runtime.check(spec).await.map_err(cannot_link)
}

/// The same of a driver instance and all that it builds on.
pub(crate) async fn try_driver(runtime: &Runtime, spec: &DriverSpec) -> Result<(), AppError> {
    runtime.check_driver(spec).await.map_err(cannot_link)
}

/// Why a component and what it imports do not fit.
pub(crate) fn cannot_link(error: PrepareError) -> AppError {
    match error {
        PrepareError::Artifact { error, .. } => AppError::Artifact(error),
        other => AppError::CannotLink(other.to_string()),
    }
}

/// Which published drivers serve `import`.
pub(crate) fn drivers_for(
    import: &InterfaceName,
    published: &[(InterfaceName, PackageName)],
) -> Vec<PackageName> {
    let serving = published
        .iter()
        .filter(|(offered, _)| import.accepts(offered));
    let names: BTreeSet<_> = serving.map(|(_, package)| package.clone()).collect();
    names.into_iter().collect()
}

/// What is served, by the platform or by `published` drivers, and resembles `import` most.
pub(crate) fn nearest_served(
    import: &InterfaceName,
    published: &[(InterfaceName, PackageName)],
) -> Option<InterfaceName> {
    let platform = platform::interfaces();
    nearest_interface(
        import,
        platform
            .iter()
            .chain(published.iter().map(|(offered, _)| offered)),
    )
}

fn nearest_interface<'a>(
    import: &InterfaceName,
    among: impl Iterator<Item = &'a InterfaceName>,
) -> Option<InterfaceName> {
    let names: Vec<_> = among.map(InterfaceName::to_string).collect();
    let near = nearest(&import.to_string(), names.iter().map(String::as_str))?;
    near.parse().ok()
}
