//! Where the guests are. `tests/run` has built them with `canopy build`.

use std::path::{Path, PathBuf};

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
