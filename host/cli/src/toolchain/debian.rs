//! The guest compiler from Debian's packages, for machines whose rustup cannot download.
//!
//! Debian's testing suite carries a compiler together with its WebAssembly standard library. apt
//! runs with a state of its own and the archive's key, so that it verifies what it fetches and
//! changes nothing in the system. The compiler is newer than a stable system's C library and is
//! therefore started through its own loader.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::run;
use crate::ui::Progress;

/// The folder in the cache.
const NAME: &str = "debian-testing";
/// The suite that carries the compiler.
const SUITE: &str = "testing";
/// The packages asked for; the others come as their dependencies.
const ASKED: [&str; 2] = ["rustc", "libstd-rust-dev-wasm32"];
/// The archive's signing keys.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// How long one step of apt or dpkg may take: 192 MB at 400 kB/s.
const LIMIT: Duration = Duration::from_secs(480);

/// Where a loader and libraries lie on one architecture.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    loader: &'static str,
    libraries: &'static str,
}

/// The compiler, there or not.
pub(super) fn compiler(home: &Path) -> PathBuf {
    home.join(NAME).join("bin").join("rustc")
}

/// What this machine lacks for using Debian's packages.
pub(super) fn lacks() -> Vec<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut lacks: Vec<String> = ["apt-get", "dpkg-deb"]
        .into_iter()
        .filter(|tool| !std::env::split_paths(&path).any(|dir| dir.join(tool).is_file()))
        .map(Into::into)
        .collect();
    if !Path::new(KEYRING).is_file() {
        lacks.push(format!("{KEYRING} (package debian-archive-keyring)"));
    }
    if layout(std::env::consts::ARCH).is_none() {
        lacks.push(format!(
            "known layout of Debian's packages on {}",
            std::env::consts::ARCH
        ));
    }
    lacks
}

/// Fetches and unpacks the packages, then puts them in their place in one step.
pub(super) async fn install(home: &Path, progress: &Progress) -> Result<(), String> {
    let io = |error: std::io::Error| format!("{}: {error}", home.display());
    remove_leftovers(home).map_err(io)?;
    let staging = tempfile::Builder::new()
        .prefix("staging-")
        .tempdir_in(home)
        .map_err(io)?;
    let debs = staging.path().join("debs");
    let ready = staging.path().join("ready");
    let root = ready.join("root");
    for dir in [
        "state/lists/partial",
        "cache/archives/partial",
        "debs",
        "ready/root",
        "ready/bin",
    ] {
        std::fs::create_dir_all(staging.path().join(dir)).map_err(io)?;
    }
    let targets = [
        "indextargets",
        "--no-release-info",
        "--format",
        "$(SITE) $(RELEASE) $(COMPONENT)",
    ];
    let targets = run(Command::new("apt-get").args(targets), LIMIT).await?;
    let mirror = mirror(&targets).ok_or("apt's configuration names no mirror of Debian")?;
    let sources = format!("deb [signed-by={KEYRING}] {mirror} {SUITE} main\n");
    std::fs::write(staging.path().join("sources.list"), sources).map_err(io)?;

    progress.step("Bringing the guest compiler: reading Debian's index");
    run(apt(staging.path()).arg("update"), LIMIT).await?;
    let mut plan = apt(staging.path());
    let plan = run(
        plan.args(["install", "--yes", "--print-uris"]).args(ASKED),
        LIMIT,
    )
    .await?;
    let packages = needed(&plan);
    if packages.len() <= ASKED.len() {
        return Err(format!(
            "Debian {SUITE} at {mirror} offers no complete compiler for WebAssembly"
        ));
    }
    progress.step(format!(
        "Bringing the guest compiler: fetching {} packages (192 MB)",
        packages.len()
    ));
    run(
        apt(staging.path())
            .current_dir(&debs)
            .arg("download")
            .args(&packages),
        LIMIT,
    )
    .await?;

    progress.step("Bringing the guest compiler: unpacking (785 MB)");
    for entry in std::fs::read_dir(&debs).map_err(io)?.flatten() {
        run(
            Command::new("dpkg-deb")
                .arg("-x")
                .arg(entry.path())
                .arg(&root),
            LIMIT,
        )
        .await?;
    }
    let wrapper = ready.join("bin/rustc");
    let layout = layout(std::env::consts::ARCH)
        .ok_or("Debian's packages are not known on this architecture")?;
    write_wrapper(&wrapper, &layout).map_err(io)?;
    super::probe::version(&wrapper)
        .await
        .map_err(|error| format!("the unpacked compiler does not run: {error}"))?;

    let place = home.join(NAME);
    if place.exists() {
        std::fs::remove_dir_all(&place).map_err(io)?;
    }
    std::fs::rename(&ready, &place).map_err(io)
}

fn apt(staging: &Path) -> Command {
    let mut command = Command::new("apt-get");
    let mut option = |name: &str, value: &dyn std::fmt::Display| {
        command.arg("-o").arg(format!("{name}={value}"));
    };
    option(
        "Dir::Etc::sourcelist",
        &staging.join("sources.list").display(),
    );
    option("Dir::Etc::sourceparts", &"-");
    option("Dir::State", &staging.join("state").display());
    option("Dir::Cache", &staging.join("cache").display());
    option("Dir::State::status", &"/dev/null");
    option("APT::Install-Recommends", &"false");
    option("Acquire::Languages", &"none");
    option("Debug::NoLocking", &"1");
    command
}

/// The mirror of a whole suite, not of its updates or security fixes, which carry no other suite.
fn mirror(targets: &str) -> Option<&str> {
    targets.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (site, release, component) = (words.next()?, words.next()?, words.next()?);
        let whole = component == "main" && !release.contains(['-', '/']);
        (whole && site.contains("://") && site.trim_end_matches('/').ends_with("/debian"))
            .then_some(site)
    })
}

/// The packages among those that apt would install which the compiler needs at run time. What
/// apt adds for linking native programs is left out: the machine has its own.
fn needed(plan: &str) -> Vec<&str> {
    plan.lines()
        .filter(|line| line.starts_with('\''))
        .filter_map(|line| line.split_whitespace().nth(1)?.split('_').next())
        .filter(|name| {
            const EXACT: [&str; 14] = [
                "libbsd0",
                "libc6",
                "libedit2",
                "libffi8",
                "libgcc-s1",
                "libmd0",
                "libstd-rust-dev",
                "libstd-rust-dev-wasm32",
                "libstdc++6",
                "libtinfo6",
                "libz3-4",
                "libzstd1",
                "rustc",
                "zlib1g",
            ];
            const VERSIONED: [&str; 3] = ["libllvm", "libstd-rust-", "libxml2-"];
            EXACT.contains(name)
                || VERSIONED.iter().any(|start| {
                    name.strip_prefix(start)
                        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
                })
        })
        .collect()
}

fn layout(architecture: &str) -> Option<Layout> {
    match architecture {
        "x86_64" => Some(Layout {
            loader: "usr/lib64/ld-linux-x86-64.so.2",
            libraries: "usr/lib/x86_64-linux-gnu",
        }),
        "aarch64" => Some(Layout {
            loader: "usr/lib/ld-linux-aarch64.so.1",
            libraries: "usr/lib/aarch64-linux-gnu",
        }),
        _ => None,
    }
}

/// The script finds its neighbours from its own place, so that the folder can be moved.
fn write_wrapper(path: &Path, layout: &Layout) -> std::io::Result<()> {
    let Layout { loader, libraries } = layout;
    let mut file = std::fs::File::create(path)?;
    writeln!(
        file,
        r#"#!/bin/sh
root=$(dirname "$(dirname "$(readlink -f "$0")")")/root
exec "$root/{loader}" --argv0 rustc --library-path "$root/{libraries}" "$root/usr/bin/rustc" --sysroot "$root/usr" "$@""#
    )?;
    file.set_permissions(std::fs::Permissions::from_mode(0o755))
}

fn remove_leftovers(home: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(home)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("staging-") {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_of_the_whole_suite_is_chosen() {
        let targets = "http://m.example/debian-security bookworm-security main\n\
                       http://m.example/debian bookworm-updates main\n\
                       http://other.example/thing stable main\n\
                       https://m.example/debian bookworm main\n";
        assert_eq!(mirror(targets), Some("https://m.example/debian"));
        assert_eq!(mirror("http://m.example/ubuntu noble main\n"), None);
        assert_eq!(mirror(""), None);
    }

    #[test]
    fn only_what_the_compiler_needs_is_fetched() {
        let plan = "Reading package lists...\n\
            'http://m/rustc_1.97.1_amd64.deb' rustc_1.97.1_amd64.deb 4495 SHA256:00\n\
            'http://m/gcc_16_amd64.deb' gcc_16_amd64.deb 1 SHA256:00\n\
            'http://m/libllvm22_1%3a22_amd64.deb' libllvm22_1%3a22_amd64.deb 1 SHA256:00\n\
            'http://m/libstd-rust-1.97_1_amd64.deb' libstd-rust-1.97_1_amd64.deb 1 SHA256:00\n\
            'http://m/libstdc++6_16_amd64.deb' libstdc++6_16_amd64.deb 1 SHA256:00\n\
            'http://m/libc6-dev_2_amd64.deb' libc6-dev_2_amd64.deb 1 SHA256:00\n";
        assert_eq!(
            needed(plan),
            ["rustc", "libllvm22", "libstd-rust-1.97", "libstdc++6"]
        );
    }

    #[test]
    fn an_interrupted_attempt_is_cleared_away() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(dir.path().join("staging-abc/ready")).expect("made");
        std::fs::create_dir_all(dir.path().join(NAME)).expect("made");
        remove_leftovers(dir.path()).expect("cleared");
        assert!(!dir.path().join("staging-abc").exists() && dir.path().join(NAME).exists());
    }

    #[test]
    fn the_wrapper_is_a_program_that_finds_its_loader() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("rustc");
        write_wrapper(&path, &layout("x86_64").expect("known")).expect("written");
        let text = std::fs::read_to_string(&path).expect("read");
        assert!(
            text.starts_with("#!/bin/sh\n") && text.contains("ld-linux-x86-64.so.2"),
            "{text}"
        );
        assert_eq!(
            std::fs::metadata(&path)
                .expect("metadata")
                .permissions()
                .mode()
                & 0o111,
            0o111
        );
    }
}
