//! Files as this crate writes them: whole or not at all, private, and nowhere else than they should.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use crate::ArchiveError;

/// Writes `bytes` to `path` so that they are there whole or not at all, also after a crash.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ArchiveError> {
    let unfinished = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        match path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|error| ArchiveError::io("writing", path, error))
}

/// A file for this user alone, empty.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}

/// Makes `dir` for this user alone, with nothing in it.
pub fn empty_dir(dir: &Path) -> Result<(), ArchiveError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(ArchiveError::io("removing", dir, error));
        }
        _ => {}
    }
    make_dir(dir)
}

pub(crate) fn make_dir(dir: &Path) -> Result<(), ArchiveError> {
    canopy_backend::files::create_dir(dir).map_err(|error| ArchiveError::io("making", dir, error))
}

/// `text` as a path below a folder, if it is one: it leads nowhere else and is spelled one way.
pub fn relative_path(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let plain = path
        .components()
        .all(|component| matches!(component, Component::Normal(_)));
    let again = path
        .components()
        .map(|component| component.as_os_str().to_str())
        .collect::<Option<Vec<_>>>()?
        .join("/");
    (plain && !text.is_empty() && again == text && !text.contains('\0')).then(|| path.to_owned())
}

/// The regular files below `dir`, with their paths relative to it, in the order of these. Anything
/// else than files and folders is an error: nobody put it there on purpose.
pub(crate) fn files_below(dir: &Path) -> Result<Vec<(String, PathBuf)>, ArchiveError> {
    let mut found = Vec::new();
    let mut folders = vec![(String::new(), dir.to_owned())];
    while let Some((prefix, folder)) = folders.pop() {
        let failed = |error| ArchiveError::io("reading", &folder, error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            let Ok(name) = entry.file_name().into_string() else {
                return Err(ArchiveError::damaged(
                    path.display().to_string(),
                    "its name is not UTF-8",
                ));
            };
            let relative = format!("{prefix}{name}");
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                folders.push((format!("{relative}/"), path));
            } else if kind.is_file() {
                found.push((relative, path));
            } else {
                return Err(ArchiveError::damaged(
                    path.display().to_string(),
                    "it is neither a file nor a folder",
                ));
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_that_stay_below_are_taken() {
        for good in ["a", "a/b.db", "storage/ten_1/key"] {
            assert!(relative_path(good).is_some(), "{good}");
        }
        for bad in [
            "", "/a", "../a", "a/../b", "a//b", "./a", "a/", "a/./b", "a\0b", ".",
        ] {
            assert!(relative_path(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn links_are_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink("/etc/hosts", folder.path().join("link")).expect("a link");
        assert!(files_below(folder.path()).is_err());
    }
}
