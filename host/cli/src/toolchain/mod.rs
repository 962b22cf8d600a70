//! The compiler for guest components: found or brought.
//!
//! In this order: the active Rust toolchain if it has the target `wasm32-wasip2`; a compiler brought
//! earlier; rustup, if it can add the target; Debian's packages, unpacked into the cache and
//! nowhere else. What is brought lies outside the build output, so `cargo clean` does not lose it.

mod choice;
mod debian;
mod probe;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Serialize;
use tokio::process::Command;

pub(crate) use choice::Source;
use choice::{Facts, Step, plan};

use crate::Error;
use crate::ui::{Progress, Ui};

/// The target of guest components. Its output is a component, not a core module.
pub(crate) const TARGET: &str = "wasm32-wasip2";

/// A compiler for guest components.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Toolchain {
    /// Where it comes from.
    pub(crate) source: Source,
    /// The compiler's version, as it names itself.
    pub(crate) version: String,
    /// The compiler, where it is not the one on the path.
    pub(crate) rustc: Option<PathBuf>,
    /// Folders of linkers that must be on the path.
    pub(crate) linkers: Vec<PathBuf>,
}

impl Toolchain {
    /// `cargo`, set up for guests, to be run in `dir`.
    pub(crate) fn cargo(&self, dir: &Path) -> Result<Command, Error> {
        let mut command = Command::new("cargo");
        command.current_dir(dir);
        if let Some(rustc) = &self.rustc {
            command.env("RUSTC", rustc);
            // Wrappers and flags are meant for the host's compiler, which this is not.
            command
                .env_remove("RUSTC_WRAPPER")
                .env_remove("RUSTC_WORKSPACE_WRAPPER");
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs = self
            .linkers
            .iter()
            .cloned()
            .chain(std::env::split_paths(&path));
        let path = std::env::join_paths(dirs).map_err(|error| Error::local("PATH", error))?;
        command.env("PATH", path);
        Ok(command)
    }
}

/// Finds or brings the compiler for a project in `dir`. `only` limits the search to one source.
pub(crate) async fn ensure(ui: &Ui, dir: &Path, only: Option<Source>) -> Result<Toolchain, Error> {
    let home = crate::profile::cache_dir()?.join("toolchain");
    let facts = probe::facts(dir, &home).await?;
    let mut failures = Vec::new();
    for step in plan(&facts, only) {
        let outcome = match step {
            Step::Use(source) => found(&facts, source, &home).await,
            Step::Rustup => {
                let progress = ui.spinner(format!("Adding the target {TARGET} with rustup"));
                let outcome = add_with_rustup(dir).await;
                drop(progress);
                match outcome {
                    Ok(()) => found(&probe::facts(dir, &home).await?, Source::Target, &home).await,
                    Err(error) => Err(error),
                }
            }
            Step::Debian => {
                let progress =
                    ui.spinner("Bringing the guest compiler from Debian's packages (192 MB)");
                bring(&home, &facts, &progress).await
            }
            Step::Missing(what) => Err(what),
        };
        match outcome {
            Ok(toolchain) => return Ok(toolchain),
            Err(failure) => failures.push(failure),
        }
    }
    Err(Error::advised(
        format!(
            "there is no compiler for guest components:\n{}",
            failures.join("\n")
        ),
        format!(
            "install Rust with rustup (https://rustup.rs) and run `rustup target add {TARGET}`; then \
             `canopy toolchain` again"
        ),
    ))
}

async fn found(facts: &Facts, source: Source, home: &Path) -> Result<Toolchain, String> {
    let linkers = facts.linkers.clone().unwrap_or_default();
    match source {
        Source::Target if facts.has_target => Ok(Toolchain {
            source,
            version: facts.version.clone(),
            rustc: None,
            linkers: Vec::new(),
        }),
        Source::Target => Err(format!("the active toolchain still has no target {TARGET}")),
        Source::Debian => {
            let rustc = debian::compiler(home);
            let version = probe::version(&rustc).await?;
            Ok(Toolchain {
                source,
                version,
                rustc: Some(rustc),
                linkers,
            })
        }
    }
}

async fn add_with_rustup(dir: &Path) -> Result<(), String> {
    let mut command = Command::new("rustup");
    command.args(["target", "add", TARGET]).current_dir(dir);
    run(&mut command, choice::RUSTUP_LIMIT).await.map(drop)
}

/// Unpacks the packages beside their final place and moves them there whole. One process at a time
/// does so; who waited finds the work done.
async fn bring(home: &Path, facts: &Facts, progress: &Progress) -> Result<Toolchain, String> {
    let _lock = lock(home).await?;
    if probe::version(&debian::compiler(home)).await.is_err() {
        debian::install(home, progress).await?;
    }
    found(facts, Source::Debian, home).await
}

async fn lock(home: &Path) -> Result<File, String> {
    let path = home.join("lock");
    let home = home.to_owned();
    let lock = move || -> std::io::Result<File> {
        std::fs::create_dir_all(&home)?;
        let file = File::create(home.join("lock"))?;
        file.lock()?;
        Ok(file)
    };
    tokio::task::spawn_blocking(lock)
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// Runs a command to its end and returns what it printed; on failure, the last lines of what it
/// said. It is killed when the limit is over or the caller goes away.
async fn run(command: &mut Command, limit: std::time::Duration) -> Result<String, String> {
    let name = command
        .as_std()
        .get_program()
        .to_string_lossy()
        .into_owned();
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(limit, output)
        .await
        .map_err(|_| {
            format!(
                "{name} took longer than {} s and was stopped",
                limit.as_secs()
            )
        })?
        .map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = lines[lines.len().saturating_sub(3)..].join(" / ");
    Err(format!("{name} failed ({}): {last}", output.status))
}
