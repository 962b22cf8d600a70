//! What a manifest says against what its component really imports and exports.

use std::fmt;

use canopy_ids::{Import, InterfaceName};

use crate::error::nearest;
use crate::manifest::{Kind, Manifest};
use crate::need::Need;

/// What a component imports and exports, found by looking into it.
#[derive(Debug, Clone, Default)]
pub struct ComponentInterfaces {
    /// Every interface that it imports, with its label.
    pub imports: Vec<Import>,
    /// Every interface that it exports.
    pub exports: Vec<InterfaceName>,
}

/// One way in which a manifest and its component disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The component imports what the manifest does not declare.
    Undeclared {
        /// The import.
        import: Import,
        /// A declared need that was perhaps meant.
        nearest: Option<String>,
    },
    /// The manifest declares what the component does not import.
    NotImported {
        /// The need.
        need: String,
        /// An import that was perhaps meant.
        nearest: Option<String>,
    },
    /// The manifest declares stores, and the component imports no interface that opens one.
    StoresUnused {
        /// The first of the stores.
        store: String,
    },
    /// The manifest says that the driver serves what the component does not export.
    NotExported {
        /// The interface.
        serves: InterfaceName,
        /// An export that was perhaps meant.
        nearest: Option<InterfaceName>,
    },
    /// The component of a driver exports what the manifest does not name.
    NotServed {
        /// The export.
        export: InterfaceName,
    },
    /// The component of an app exports neither a handler of HTTP requests nor one of messages.
    NoHandler {
        /// What it exports.
        exports: Vec<InterfaceName>,
    },
    /// A subscription has no path, and the component exports no handler of messages.
    NoMessageHandler {
        /// Its topic.
        topic: String,
    },
    /// The manifest names a path, and the component exports no handler of HTTP requests.
    NotAnswered {
        /// What has the path.
        by: String,
        /// The path.
        path: String,
    },
    /// The component takes nothing but messages, and no subscription brings it any.
    NoMessages,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undeclared { import, nearest } => {
                write!(
                    f,
                    "the component imports `{import}`, which the manifest does not declare"
                )?;
                match nearest {
                    Some(near) => write!(f, "; the nearest declared need is `{near}`"),
                    None => f.write_str("; add a `[[needs]]` with that interface and a reason"),
                }
            }
            Self::NotImported { need, nearest } => {
                write!(
                    f,
                    "the manifest needs `{need}`, which the component does not import"
                )?;
                match nearest {
                    Some(near) => write!(f, "; the nearest import is `{near}`"),
                    None => f.write_str("; remove the need"),
                }
            }
            Self::StoresUnused { store } => write!(
                f,
                "the manifest declares the store `{store}`, and the component imports no interface \
                 that opens stores; remove the `[[stores]]`"
            ),
            Self::NotExported { serves, nearest } => {
                write!(
                    f,
                    "the manifest serves `{serves}`, which the component does not export"
                )?;
                match nearest {
                    Some(near) => write!(f, "; the nearest export is `{near}`"),
                    None => Ok(()),
                }
            }
            Self::NotServed { export } => write!(
                f,
                "the component exports `{export}`, which `serves.interfaces` does not name"
            ),
            Self::NoHandler { exports } => {
                f.write_str(
                    "an app must export `wasi:http/incoming-handler@0.2.x`, \
                     `wasi:http/handler@0.3.x` or `wasmcloud:messaging/handler@0.2.0`; the component \
                     exports ",
                )?;
                if exports.is_empty() {
                    return f.write_str("no interface");
                }
                let exports: Vec<_> = exports.iter().map(InterfaceName::to_string).collect();
                f.write_str(&exports.join(", "))
            }
            Self::NoMessageHandler { topic } => write!(
                f,
                "the subscription to `{topic}` has no `path`, and the component does not export \
                 `wasmcloud:messaging/handler@0.2.0`, by which it would take the messages"
            ),
            Self::NotAnswered { by, path } => write!(
                f,
                "{by} calls the path `{path}`, and the component answers no HTTP requests"
            ),
            Self::NoMessages => f.write_str(
                "the component takes nothing but messages, by `wasmcloud:messaging/handler`, and the \
                 manifest subscribes to none; add a `[[subscriptions]]` without `path`",
            ),
        }
    }
}

impl Manifest {
    /// Every difference between this manifest and the component `found`.
    pub fn compare(&self, found: &ComponentInterfaces) -> Vec<Difference> {
        let mut differences = Vec::new();
        for import in &found.imports {
            let declared = self.needs.iter().any(|need| need.covers(import));
            if !declared && (import.label.is_some() || !is_baseline(&import.interface)) {
                let names: Vec<_> = self.needs.iter().map(Need::to_string).collect();
                let near = nearest(&import.to_string(), names.iter().map(String::as_str));
                differences.push(Difference::Undeclared {
                    import: import.clone(),
                    nearest: near.map(str::to_owned),
                });
            }
        }
        for need in &self.needs {
            if !found.imports.iter().any(|import| need.covers(import)) {
                let need = need.to_string();
                // What every component has is never what was meant.
                let imports = found.imports.iter();
                let imports = imports.filter(|import| !is_baseline(&import.interface));
                let names: Vec<_> = imports.map(Import::to_string).collect();
                let near = nearest(&need, names.iter().map(String::as_str));
                differences.push(Difference::NotImported {
                    nearest: near.map(str::to_owned),
                    need,
                });
            }
        }
        if let Some(store) = self.stores.first()
            && !found
                .imports
                .iter()
                .any(|import| opens_stores(&import.interface))
        {
            differences.push(Difference::StoresUnused {
                store: store.name.clone(),
            });
        }
        match self.kind {
            Kind::App => self.compare_called(found, &mut differences),
            Kind::Driver => self.compare_served(found, &mut differences),
        }
        differences
    }

    /// What calls an app finds an export of it.
    fn compare_called(&self, found: &ComponentInterfaces, differences: &mut Vec<Difference>) {
        let answers = found.exports.iter().any(answers_requests);
        let takes = found.exports.iter().any(is_message_handler);
        if !answers && !takes {
            differences.push(Difference::NoHandler {
                exports: found.exports.clone(),
            });
            return;
        }
        let mut handled = self.subscriptions.iter().filter(|one| one.path.is_none());
        match handled.next() {
            Some(one) if !takes => differences.push(Difference::NoMessageHandler {
                topic: one.topic.clone(),
            }),
            None if !answers => differences.push(Difference::NoMessages),
            _ => {}
        }
        if answers {
            return;
        }
        let subscriptions = self.subscriptions.iter().filter_map(|one| {
            let by = format!("the subscription to `{}`", one.topic);
            Some((by, one.path.clone()?))
        });
        let schedules = self.schedules.iter();
        let schedules =
            schedules.map(|one| (format!("the schedule `{}`", one.name), one.path.clone()));
        let paths = subscriptions.chain(schedules);
        differences.extend(paths.map(|(by, path)| Difference::NotAnswered { by, path }));
    }

    fn compare_served(&self, found: &ComponentInterfaces, differences: &mut Vec<Difference>) {
        for serves in &self.serves {
            if !found.exports.contains(serves) {
                differences.push(Difference::NotExported {
                    serves: serves.clone(),
                    nearest: nearest_interface(&serves.to_string(), &found.exports),
                });
            }
        }
        for export in &found.exports {
            if !self.serves.contains(export) && !is_command(export) && !is_lifecycle(export) {
                differences.push(Difference::NotServed {
                    export: export.clone(),
                });
            }
        }
    }
}

fn nearest_interface(text: &str, among: &[InterfaceName]) -> Option<InterfaceName> {
    let names: Vec<_> = among.iter().map(InterfaceName::to_string).collect();
    nearest(text, names.iter().map(String::as_str)).and_then(|name| name.parse().ok())
}

/// Whether a component may import `interface` without declaring a need: what every toolchain's
/// components import, and what grants nothing by being there.
pub fn is_baseline(interface: &InterfaceName) -> bool {
    let package = &interface.package;
    match &*package.namespace {
        "wasi" => matches!(
            &*package.name,
            "io" | "cli"
                | "clocks"
                | "random"
                | "filesystem"
                | "sockets"
                | "tls"
                | "http"
                | "logging"
                | "config"
        ),
        "canopy" => &*package.name == "tenant",
        _ => false,
    }
}

/// Whether a component opens stores of keys and values by `interface`.
fn opens_stores(interface: &InterfaceName) -> bool {
    let package = &interface.package;
    match (&*package.namespace, &*package.name) {
        ("wasi", "keyvalue") | ("spin", "key-value") => true,
        ("canopy", "storage") | ("fermyon", "spin") => &*interface.interface == "key-value",
        _ => false,
    }
}

/// `wasi:http`, by which a component answers requests.
pub fn answers_requests(export: &InterfaceName) -> bool {
    let is_http = &*export.package.namespace == "wasi" && &*export.package.name == "http";
    let Some(version) = &export.version else {
        return false;
    };
    is_http
        && match &*export.interface {
            "incoming-handler" => (version.major, version.minor) == (0, 2),
            "handler" => (version.major, version.minor) == (0, 3),
            _ => false,
        }
}

/// `wasmcloud:messaging/handler`, by which a component takes messages.
fn is_message_handler(export: &InterfaceName) -> bool {
    export.to_string() == "wasmcloud:messaging/handler@0.2.0"
}

/// `canopy:driver`, whose interfaces are for the platform and not for applications.
pub fn is_lifecycle(export: &InterfaceName) -> bool {
    let package = &export.package;
    (&*package.namespace, &*package.name) == ("canopy", "driver")
        && matches!(&*export.interface, "lifecycle" | "bindings")
}

/// `wasi:cli/run`, which toolchains export from anything with a `main`.
fn is_command(export: &InterfaceName) -> bool {
    let package = &export.package;
    (&*package.namespace, &*package.name, &*export.interface) == ("wasi", "cli", "run")
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
