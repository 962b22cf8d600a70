//! `canopy build`: components from Rust projects.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use canopy_ids::Digest;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::project::{Project, digest};
use crate::toolchain::{TARGET, Toolchain, ensure};
use crate::ui::bytes;
use crate::{Context, Error, source};

/// Build a project's components
///
/// Compiles with cargo for wasm32-wasip2, in release mode, with a compiler that `canopy toolchain`
/// finds or brings, and puts each component where its canopy.toml says.
#[derive(Debug, clap::Args)]
pub struct Build {
    /// The project
    #[arg(default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// Build every member of the project's workspace
    #[arg(long)]
    workspace: bool,
}

/// A component that was built.
#[derive(Debug, Serialize)]
pub(super) struct Built {
    /// The package of the manifest beside it, with its version.
    pub(super) package: Option<String>,
    /// The folder of its Cargo.toml.
    pub(super) project: PathBuf,
    /// Where it lies.
    pub(super) component: PathBuf,
    size: u64,
    digest: Digest,
}

impl Build {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let built = build(context, &self.dir, self.workspace).await?;
        context.ui.result(&built, |built| {
            let lines = built.iter().map(|built| {
                let name = built.package.as_deref().unwrap_or("(no canopy.toml)");
                format!(
                    "Built {name}: {} ({}, {})",
                    built.component.display(),
                    bytes(built.size),
                    built.digest
                )
            });
            let mut text = lines.collect::<Vec<_>>().join("\n");
            if let [
                Built {
                    package: Some(_), ..
                },
            ] = built.as_slice()
            {
                text.push_str(&format!(
                    "\nNext: canopy publish {} (--create-publisher the first time)",
                    self.dir.display()
                ));
            }
            text
        });
        Ok(())
    }
}

/// Builds the project in `dir`; cargo's own words go to standard error as they come.
pub(super) async fn build(
    context: &Context,
    dir: &Path,
    workspace: bool,
) -> Result<Vec<Built>, Error> {
    if !dir.join("Cargo.toml").is_file() {
        return Err(Error::advised(
            format!("{} has no Cargo.toml", dir.display()),
            "`canopy build` builds Rust projects; build others with their own tools so that the component lies \
             where canopy.toml says, then `canopy publish`",
        ));
    }
    if source::uses_placed_sdk(dir) && source::place_sdk(dir)? {
        context.ui.note(format_args!(
            "Wrote this version's SDK to {}.",
            dir.join(source::SDK_FOLDER).display()
        ));
    }
    let toolchain = ensure(&context.ui, dir, None).await?;
    let mut built = Vec::new();
    for project in projects(&toolchain, dir, workspace).await? {
        let outputs = compile(&toolchain, &project).await?;
        for output in outputs {
            built.push(settle(&project, output)?);
        }
    }
    if built.is_empty() {
        return Err(Error::advised(
            format!("{} builds no component", dir.display()),
            "set `crate-type = [\"cdylib\"]` in the section [lib] of its Cargo.toml",
        ));
    }
    Ok(built)
}

/// The folders of the packages to build: that of `dir` itself, or every member of its workspace
/// that is not a mere library.
async fn projects(
    toolchain: &Toolchain,
    dir: &Path,
    workspace: bool,
) -> Result<Vec<PathBuf>, Error> {
    let mut cargo = toolchain.cargo(dir)?;
    cargo.args(["metadata", "--no-deps", "--format-version=1"]);
    let output = cargo.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.map_err(|error| Error::local("cargo", error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::local(
            format_args!("cargo cannot read {}", dir.display()),
            said.trim(),
        ));
    }
    let metadata = serde_json::from_slice::<Metadata>(&output.stdout);
    let metadata =
        metadata.map_err(|error| Error::local("cargo's description of the workspace", error))?;
    let own = dir
        .join("Cargo.toml")
        .canonicalize()
        .map_err(|error| Error::local(dir.display(), error))?;
    Ok(select(metadata, &own, workspace))
}

/// What cargo says about a workspace, as far as it matters here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<CargoPackage>,
}

#[derive(Deserialize)]
struct CargoPackage {
    manifest_path: PathBuf,
    targets: Vec<CargoTarget>,
}

fn select(metadata: Metadata, own: &Path, workspace: bool) -> Vec<PathBuf> {
    let is_root = |package: &CargoPackage| package.manifest_path == own;
    let only_root = !workspace && metadata.packages.iter().any(is_root);
    let wanted = metadata.packages.into_iter().filter(|package| {
        if only_root {
            is_root(package)
        } else {
            package.targets.iter().any(CargoTarget::is_output)
        }
    });
    wanted
        .filter_map(|package| Some(package.manifest_path.parent()?.to_owned()))
        .collect()
}

/// Compiles one package. Packages are compiled one by one, because cargo would give a library that
/// several of them use the features that any of them asks for, and a component would then depend on
/// what it was built together with.
async fn compile(toolchain: &Toolchain, project: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut cargo = toolchain.cargo(project)?;
    cargo.args([
        "build",
        "--release",
        "--target",
        TARGET,
        "--message-format=json-render-diagnostics",
    ]);
    let failed = |error: std::io::Error| Error::local("cargo", error);
    let mut child = cargo
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut outputs = Vec::new();
    if let Some(output) = child.stdout.take() {
        let mut lines = BufReader::new(output).lines();
        while let Some(line) = lines.next_line().await.map_err(failed)? {
            outputs.extend(component(&line, project));
        }
    }
    let status = child.wait().await.map_err(failed)?;
    if status.success() {
        return Ok(outputs);
    }
    Err(Error::advised(
        format!("cargo could not build {} ({status})", project.display()),
        format!(
            "see its messages above; the compiler was rustc {}",
            toolchain.version
        ),
    ))
}

/// A line of cargo's messages, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    target: Option<CargoTarget>,
}

#[derive(Deserialize)]
struct CargoTarget {
    kind: Vec<String>,
}

impl CargoTarget {
    /// Whether it is compiled to a component.
    fn is_output(&self) -> bool {
        self.kind
            .iter()
            .any(|kind| matches!(kind.as_str(), "cdylib" | "bin"))
    }
}

/// The component of the package in `project` that a message announces.
fn component(line: &str, project: &Path) -> Option<PathBuf> {
    let message: Message = serde_json::from_str(line).ok()?;
    let is_output = message.reason == "compiler-artifact" && message.target?.is_output();
    if !is_output || message.manifest_path.parent()? != project {
        return None;
    }
    message
        .filenames
        .into_iter()
        .find(|path| path.extension().is_some_and(|ext| ext == "wasm"))
}

/// Puts a component where its manifest says.
fn settle(project: &Path, output: PathBuf) -> Result<Built, Error> {
    let (package, component) = if Project::is_in(project) {
        let Project {
            manifest,
            component,
            ..
        } = Project::read(project)?;
        copy(&output, &component)?;
        (
            Some(format!("{}@{}", manifest.name, manifest.version)),
            component,
        )
    } else {
        (None, output)
    };
    let size = std::fs::metadata(&component)
        .map_err(|error| Error::local(component.display(), error))?
        .len();
    Ok(Built {
        package,
        digest: digest(&component)?,
        project: project.to_owned(),
        component,
        size,
    })
}

/// Copies whole or not at all; a file is not copied onto itself.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let copy = || -> std::io::Result<()> {
        if to
            .canonicalize()
            .is_ok_and(|to| from.canonicalize().is_ok_and(|from| from == to))
        {
            return Ok(());
        }
        let dir = to.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        let file = tempfile::NamedTempFile::new_in(dir)?;
        std::fs::copy(from, file.path())?;
        file.persist(to)?;
        Ok(())
    };
    copy().map_err(|error| {
        Error::local(
            format_args!("{} to {}", from.display(), to.display()),
            error,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_packages_own_component_is_taken_from_cargos_messages() {
        let message = |package: &str, kind: &str, file: &str| {
            serde_json::json!({
                "reason": "compiler-artifact", "manifest_path": format!("{package}/Cargo.toml"),
                "target": { "kind": [kind] }, "filenames": [file, "/t/shop.d"]
            })
            .to_string()
        };
        let of_p = |line: &str| component(line, Path::new("/p"));
        assert_eq!(
            of_p(&message("/p", "cdylib", "/t/shop.wasm")),
            Some("/t/shop.wasm".into())
        );
        assert_eq!(of_p(&message("/other", "cdylib", "/t/x.wasm")), None);
        assert_eq!(of_p(&message("/p", "proc-macro", "/t/x.so")), None);
        assert_eq!(of_p(&message("/p", "lib", "/t/x.rlib")), None);
        assert_eq!(of_p(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(of_p("warning: no JSON"), None);
    }

    #[test]
    fn a_workspace_is_built_but_for_its_libraries() {
        let metadata = || {
            let package = |path: &str, kind: &str| serde_json::json!({ "manifest_path": path, "targets": [{ "kind": [kind] }] });
            let packages = [
                package("/w/Cargo.toml", "cdylib"),
                package("/w/a/Cargo.toml", "cdylib"),
                package("/w/l/Cargo.toml", "lib"),
            ];
            serde_json::from_value(serde_json::json!({ "packages": packages })).expect("metadata")
        };
        assert_eq!(
            select(metadata(), Path::new("/w/Cargo.toml"), false),
            [Path::new("/w")]
        );
        let all = [PathBuf::from("/w"), PathBuf::from("/w/a")];
        assert_eq!(select(metadata(), Path::new("/w/Cargo.toml"), true), all);
        assert_eq!(
            select(metadata(), Path::new("/virtual/Cargo.toml"), false),
            all
        );
    }

    #[test]
    fn a_component_is_copied_to_a_folder_that_is_not_there_yet() {
        let dir = tempfile::tempdir().expect("a folder");
        let (from, to) = (dir.path().join("a"), dir.path().join("deep/b"));
        std::fs::write(&from, "x").expect("written");
        copy(&from, &to).expect("copied");
        copy(&to, &to).expect("left alone");
        assert_eq!(std::fs::read_to_string(to).expect("read"), "x");
    }
}
