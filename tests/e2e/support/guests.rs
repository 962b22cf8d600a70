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
