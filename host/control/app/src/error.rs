//! Why an operation was refused or failed. The API turns each into a status and a problem document.

use canopy_backend::StorageError;
use canopy_backend::blob::BlobError;
use canopy_backend::sql::{MigrateError, SqlError};
use canopy_engine::{ArtifactError, CheckError, InspectError, LimitExceeded, Unfit};
use canopy_ids::{BindingKey, Digest, Import, InterfaceName, Label, PackageName, WitPackage};
use canopy_manifest::{ConfigFault, Difference, Kind, ManifestError};
use canopy_store::{Access, ComponentError, StoreError};
use semver::Version;

/// Why an operation was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// No valid credential was shown.
    #[error(
        "a valid token is needed: send `Authorization: Bearer TOKEN` with the operator's token or \
         one of the tenant's that has access to the API"
    )]
    Unauthenticated,
    /// The token's access does not include this.
    #[error("{}", forbidden(*.access, *.needed))]
    Forbidden {
        /// What the token has.
        access: Access,
        /// What it would need; `None`: it would have to be the operator's.
        needed: Option<Access>,
    },
    /// The plan is that of all tenants for which no other is named.
    #[error("plan `{0}` is that of tenants for which no other is named; it stays")]
    PlanStays(Label),
    /// An installation's storage, of whichever kind, refused or failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An installation's objects refused or failed.
    #[error(transparent)]
    Blobs(BlobError),
    /// An installation's SQL databases refused or failed.
    #[error(transparent)]
    Sql(SqlError),
    /// The database refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The component could not be stored or read.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// A field has a value that it must not have.
    #[error("`{field}` {message}")]
    InvalidField {
        /// The field.
        field: String,
        /// What it must be.
        message: String,
    },
    /// The manifest cannot be used.
    #[error("{0}")]
    Manifest(#[from] ManifestError),
    /// The manifest describes something else than the address it was sent to.
    #[error(
        "the manifest describes {manifest}, but was sent to the address of {address}; \
         change one of the two"
    )]
    OtherAddress {
        /// What the manifest describes.
        manifest: String,
        /// What the address names.
        address: String,
    },
    /// The uploaded bytes are not those that were announced.
    #[error("the component's digest is {found}, but {declared} was announced; upload it again")]
    OtherDigest {
        /// What was announced.
        declared: Digest,
        /// What arrived.
        found: Digest,
    },
    /// The upload is not a component.
    #[error(transparent)]
    NotAComponent(#[from] InspectError),
    /// Manifest and component disagree.
    #[error("{}", join(.0))]
    Differences(Vec<Difference>),
    /// The component imports what is not an interface.
    #[error(
        "the component imports {}, which no interface names; only interfaces can be served",
        quoted(.0)
    )]
    BareImports(Vec<String>),
    /// Imports that nobody can serve.
    #[error("{}", join(.0))]
    Unserved(Vec<Unserved>),
    /// The component is of WASI 0.3, which is switched off.
    #[error("the component exports `wasi:http/handler@0.3`, and WASI 0.3 is switched off here")]
    P3Disabled,
    /// The manifest asks for more than a package may have.
    #[error("`limits.{limit}` asks for {asked}; at most {most} can be had here")]
    LimitAsked {
        /// The limit.
        limit: &'static str,
        /// What is asked for.
        asked: u64,
        /// The most that can be had.
        most: u64,
    },
    /// The component was not compiled.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The component cannot run under its limits.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// There was no room on the node to try the component.
    #[error("the component could not be tried, as {0}; try again later")]
    NoRoom(LimitExceeded),
    /// The package is of the other kind.
    #[error("{package} is of kind {kind}; {needed}")]
    OtherKind {
        /// The package.
        package: PackageName,
        /// What it is.
        kind: Kind,
        /// What is needed instead.
        needed: &'static str,
    },
    /// The configuration does not fit the package's schema.
    #[error("the configuration does not fit {package} {version}: {}", join(.faults))]
    InvalidConfig {
        /// The package.
        package: PackageName,
        /// The version whose schema it is.
        version: Version,
        /// What is wrong.
        faults: Vec<ConfigFault>,
    },
    /// The installation or driver instance is of another package.
    #[error(
        "`{name}` is an instance of {package} and holds its data and secrets; remove it first, or \
         use another name"
    )]
    OtherPackage {
        /// Its name.
        name: Label,
        /// What it is an instance of.
        package: PackageName,
    },
    /// A binding of a package that cannot be bound.
    #[error("`{package}` cannot be bound to a driver: the platform always serves it itself")]
    ReservedPackage {
        /// The package.
        package: WitPackage,
    },
    /// A binding of what the component does not import.
    #[error("{app} does not import `{key}`; {}", importable(.imported))]
    NotImported {
        /// The application or driver.
        app: PackageName,
        /// What was to be bound.
        key: BindingKey,
        /// What could be.
        imported: Vec<Import>,
    },
    /// A driver imports storage, and no binding says whose.
    #[error(
        "{driver} imports {}, and nothing is bound to it; bind it to another driver, or to \
         `platform` for the storage of the application that calls",
        quoted(.imports)
    )]
    Unbound {
        /// The driver.
        driver: PackageName,
        /// What it imports.
        imports: Vec<Import>,
    },
    /// Something is wrong with a driver that a chain leads to.
    #[error("driver {}: {error}", chain(.path))]
    InChain {
        /// The way to it.
        path: Vec<Label>,
        /// What is wrong.
        #[source]
        error: Box<AppError>,
    },
    /// A driver says that its configuration does not work.
    #[error(
        "driver `{driver}` says: {message}; correct that, or do without asking it (`--no-check`, over \
         the API `check=false`)"
    )]
    CheckFailed {
        /// The driver instance.
        driver: Label,
        /// What is wrong, in the driver's words.
        message: String,
    },
    /// Drivers would call each other in a circle.
    #[error("drivers cannot be bound in a circle: {}", chain(.path))]
    ChainCircle {
        /// From one of them to itself.
        path: Vec<Label>,
    },
    /// A chain of drivers is longer than calls may go.
    #[error(
        "the chain {} is {} drivers deep; `driver.depth` of this node allows {limit}",
        chain(.path),
        .path.len()
    )]
    ChainTooDeep {
        /// The chain.
        path: Vec<Label>,
        /// How many drivers deep a call may go.
        limit: usize,
    },
    /// The component does not link with what it imports: names are served, shapes differ.
    #[error("{0}")]
    CannotLink(String),
    /// There is no version that a rollback could return to.
    #[error("`{name}` has no previous version to return to")]
    NoPreviousVersion {
        /// The installation.
        name: Label,
    },
    /// A version's migrations can't be applied; the installation and its databases are as before.
    #[error("{package} {version} was not installed: {error}")]
    Migration {
        /// The package.
        package: PackageName,
        /// The version.
        version: Version,
        /// Which migration, and why.
        #[source]
        error: Box<MigrateError>,
    },
    /// The log failed.
    #[error("the log could not be read: {0}")]
    Log(#[from] canopy_backend_logs::LogError),
    /// A backup, an export, an import, an erasure, a check or a rotation of keys.
    #[error(transparent)]
    Upkeep(Box<crate::UpkeepError>),
    /// The platform failed. The text is for the operator.
    #[error("{0}")]
    Internal(String),
}

/// An import that nobody can serve, or not the driver that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unserved {
    /// The import.
    pub import: Import,
    /// The driver that was chosen for it.
    pub driver: Option<Label>,
    /// An interface that can be served and was perhaps meant.
    pub nearest: Option<InterfaceName>,
    /// Drivers of the tenant that could serve it.
    pub drivers: Vec<Label>,
    /// Published drivers that could serve it, once the tenant has one.
    pub published: Vec<PackageName>,
}

impl std::fmt::Display for Unserved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            import,
            driver,
            nearest,
            drivers,
            published,
        } = self;
        match driver {
            Some(driver) => write!(f, "driver `{driver}` does not serve `{import}`")?,
            None => write!(f, "neither the platform nor a driver serves `{import}`")?,
        }
        if let Some(near) = nearest {
            write!(f, "; the nearest interface that is served is `{near}`")?;
        }
        if !drivers.is_empty() {
            let drivers = quoted(drivers);
            write!(
                f,
                "; bind `{}` to one of the tenant's drivers: {drivers}",
                import.key()
            )?;
        } else if !published.is_empty() {
            let published = quoted(published);
            write!(
                f,
                "; add a driver to the tenant and bind it: {published} would serve it"
            )?;
        }
        Ok(())
    }
}

impl From<CheckError> for AppError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Unfit(unfit) => Self::Unfit(unfit),
            CheckError::NoRoom(full) => Self::NoRoom(full),
        }
    }
}

impl From<BlobError> for AppError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Storage(error) => Self::Storage(error),
            error => Self::Blobs(error),
        }
    }
}

impl From<SqlError> for AppError {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::Storage(error) => Self::Storage(error),
            error => Self::Sql(error),
        }
    }
}

impl From<crate::UpkeepError> for AppError {
    fn from(error: crate::UpkeepError) -> Self {
        Self::Upkeep(Box::new(error))
    }
}

impl AppError {
    pub(crate) fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::InvalidField {
            field: field.into(),
            message: message.into(),
        }
    }

    pub(crate) fn not_found(noun: &'static str, name: impl std::fmt::Display) -> Self {
        Self::Store(StoreError::NotFound {
            noun,
            name: name.to_string(),
        })
    }
}

fn forbidden(access: Access, needed: Option<Access>) -> String {
    match needed {
        Some(needed) => format!("this token has the access `{access}`; `{needed}` is needed"),
        None => format!("this token has the access `{access}`; only the operator may do this"),
    }
}

fn join<T: std::fmt::Display>(items: &[T]) -> String {
    items
        .iter()
        .map(T::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

fn quoted<T: std::fmt::Display>(items: &[T]) -> String {
    items
        .iter()
        .map(|item| format!("`{item}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn chain(path: &[Label]) -> String {
    let names: Vec<_> = path.iter().map(|name| format!("`{name}`")).collect();
    names.join(" → ")
}

fn importable(imported: &[Import]) -> String {
    if imported.is_empty() {
        "it imports nothing that can be bound".into()
    } else {
        format!("what it imports and can be bound is {}", quoted(imported))
    }
}
