//! Who serves what a component imports: the platform, a driver, or nobody.

use std::collections::{BTreeMap, BTreeSet};

use canopy_ids::{InterfaceName, Label, PackageName, WitPackage};
use canopy_manifest::nearest;
use canopy_runtime::{InstallationSpec, PrepareError, Runtime, platform};

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

/// A driver instance that could serve an application.
pub(crate) struct Offer<'a> {
    pub(crate) name: &'a Label,
    pub(crate) serves: &'a [InterfaceName],
}

impl Offer<'_> {
    fn covers(&self, import: &InterfaceName) -> bool {
        self.serves.iter().any(|offered| import.accepts(offered))
    }
}

/// Checks that every import of `app` is served under `bindings`. `others` are the tenant's driver
/// instances and `published` what drivers there are, to name those that would help.
pub(crate) fn check(
    app: &Release,
    bindings: &BTreeMap<WitPackage, Offer<'_>>,
    others: &[Offer<'_>],
    published: &[(InterfaceName, PackageName)],
) -> Result<(), AppError> {
    for package in bindings.keys() {
        if is_reserved(package) {
            return Err(AppError::ReservedPackage {
                package: package.clone(),
            });
        }
        if app.imports_of(package).next().is_none() {
            let imported = app.imports.iter().map(|import| import.package.clone());
            let imported: BTreeSet<_> = imported.filter(|package| !is_reserved(package)).collect();
            return Err(AppError::NotImported {
                app: app.package.clone(),
                package: package.clone(),
                imported: imported.into_iter().collect(),
            });
        }
    }
    let unserved: Vec<_> = app
        .imports
        .iter()
        .filter_map(|import| match bindings.get(&import.package) {
            Some(offer) if offer.covers(import) => None,
            Some(offer) => Some(Unserved {
                import: import.clone(),
                driver: Some(offer.name.clone()),
                nearest: nearest_interface(import, offer.serves.iter()),
                drivers: Vec::new(),
                published: Vec::new(),
            }),
            None if platform::serves(import) => None,
            None => {
                let helpers = others.iter().filter(|offer| offer.covers(import));
                Some(Unserved {
                    import: import.clone(),
                    driver: None,
                    nearest: None,
                    drivers: helpers.map(|offer| offer.name.clone()).collect(),
                    published: drivers_for(import, published),
                })
            }
        })
        .collect();
    if unserved.is_empty() {
        Ok(())
    } else {
        Err(AppError::Unserved(unserved))
    }
}

/// Links an installation as it would be: that every function has the shape that its caller expects
/// is found out here and not at the first request.
pub(crate) async fn try_out(runtime: &Runtime, spec: &InstallationSpec) -> Result<(), AppError> {
    runtime.check(spec).await.map_err(|error| match error {
        PrepareError::Artifact { error, .. } => AppError::Artifact(error),
        other => AppError::CannotLink(other.to_string()),
    })
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
