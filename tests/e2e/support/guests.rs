//! Where the guests are. `tests/run` has built them with `canopy build`.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the repository")
}

fn project(folder: &str, name: &str) -> PathBuf {
    ["apps", "drivers"]
        .iter()
        .map(|kind| repository().join(folder).join(kind).join(name))
        .find(|path| path.join("canopy.toml").is_file())
        .unwrap_or_else(|| panic!("no guest {name} in {folder}"))
}

/// The project folder of a guest of `tests/guests`.
pub(crate) fn guest(name: &str) -> PathBuf {
    project("tests/guests", name)
}

/// The project folder of a sample of `plugins`.
pub(crate) fn plugin(name: &str) -> PathBuf {
    project("plugins", name)
}

/// A project that publishes a guest, which is of version 0.1.0, as another version.
pub(crate) fn version_of(name: &str, version: &str, folder: &Path) -> PathBuf {
    let project = folder.join(format!("{name}-{version}"));
    std::fs::create_dir_all(&project).expect("a folder");
    let manifest = std::fs::read_to_string(guest(name).join("canopy.toml")).expect("a manifest");
    let manifest = manifest.replace("version = \"0.1.0\"", &format!("version = \"{version}\""));
    let component = format!(
        "target/wasm32-wasip2/release/{}.wasm",
        name.replace('-', "_")
    );
    let copy = project.join(&component);
    std::fs::create_dir_all(copy.parent().expect("a folder")).expect("folders");
    std::fs::copy(guest(name).join("../..").join(component), copy).expect("a built guest");
    std::fs::write(project.join("canopy.toml"), manifest).expect("a manifest");
    project
}

/// What the world of the guest in Python names, each after what it needs.
const PYTHON_WIT: [&str; 10] = [
    "io-0.2.12",
    "clocks-0.2.12",
    "random-0.2.12",
    "filesystem-0.2.12",
    "sockets-0.2.12",
    "cli-0.2.12",
    "http-0.2.12",
    "keyvalue-0.2.0-draft",
    "io-0.2.2",
    "blobstore-0.2.0-draft",
];

/// The guest in Python, made by componentize-py in a folder of its own.
pub(crate) fn python_guest() -> TempDir {
    let python = std::env::var("TEST_PYTHON")
        .expect("TEST_PYTHON names a Python with componentize-py; `tests/run` sets it");
    let project = repository().join("tests/guests/python/face");
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["app.py", "world.wit", "canopy.toml"] {
        std::fs::copy(project.join(file), folder.path().join(file)).expect("copied");
    }
    let mut command = Command::new(Path::new(&python).with_file_name("componentize-py"));
    for package in PYTHON_WIT {
        command
            .arg("-d")
            .arg(repository().join("wit/deps").join(package));
    }
    command.arg("-d").arg(folder.path().join("world.wit"));
    command.args(["-w", "guests:python/face", "componentize", "app", "-p"]);
    command.arg(folder.path());
    command.arg("-o").arg(folder.path().join("face.wasm"));
    let made = command.output().expect("componentize-py runs");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "componentize-py: {said}");
    folder
}
