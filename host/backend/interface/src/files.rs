//! Folders and small files as backends use them: private, and there whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// What a folder is renamed to before its files are removed, so that a removal that was cut short
/// never leaves half of it under its name.
const ERASED_PREFIX: &str = ".erased-";

/// Makes `dir`, and those above it, for this user alone, and puts their names on the disk: what is
/// in a folder that a power failure took is lost, however well it was synchronised. No error if it
/// exists.
pub fn create_dir(dir: &Path) -> io::Result<()> {
    let above = dir
        .ancestors()
        .take_while(|dir| !dir.as_os_str().is_empty());
    let missing: Vec<&Path> = above.take_while(|dir| !dir.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    for made in missing.into_iter().rev() {
        match made.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent)?,
            _ => sync_dir(Path::new("."))?,
        }
    }
    Ok(())
}

/// Puts the names in `dir` on the disk.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Puts `bytes` into the file `path`, for this user alone, in place of what it held. After a crash
/// it holds the old bytes or the new ones; when this has returned, the new ones.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a file without a name",
        ));
    };
    let mut unfinished = name.to_owned();
    unfinished.push(".new");
    let unfinished = parent.join(unfinished);
    let written = write_new(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, path));
    if let Err(error) = written {
        // What is left of it is nobody's; the error is what counts.
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    sync_dir(parent)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Removes `dir` and all in it. From the first moment on it is not there under its name, also
/// after a crash. No error if it does not exist.
pub fn erase_dir(dir: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name().and_then(|n| n.to_str()))
    else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a folder without a name",
        ));
    };
    let erased = parent.join(format!("{ERASED_PREFIX}{name}"));
    remove(&erased)?;
    match fs::rename(dir, &erased) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed?,
    }
    sync_dir(parent)?;
    remove(&erased)
}

/// An empty folder beside `dir`, in which to gather what is to take its place by [`replace_dir`].
/// What a crash leaves of it goes with [`finish_erasures`].
pub fn incoming_dir(dir: &Path) -> io::Result<PathBuf> {
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name().and_then(|n| n.to_str()))
    else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a folder without a name",
        ));
    };
    let incoming = parent.join(format!("{ERASED_PREFIX}incoming-{name}"));
    remove(&incoming)?;
    create_dir(&incoming)?;
    Ok(incoming)
}

/// Puts the folder `incoming` in place of `dir`, whose files are removed. At every moment, also after
/// a crash, `dir` is the one or the other as a whole. What is in `incoming` has to be on the disk.
pub fn replace_dir(incoming: &Path, dir: &Path) -> io::Result<()> {
    create_dir(dir)?;
    renameat_with(CWD, incoming, CWD, dir, RenameFlags::EXCHANGE)?;
    dir.parent().map_or(Ok(()), sync_dir)?;
    remove(incoming)
}

/// Finishes the removals in `dir` that were cut short.
pub fn finish_erasures(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(ERASED_PREFIX))
        {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("a folder");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<_> = entries
            .map(|entry| name(entry).to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn folders_are_private() {
        let root = tempfile::tempdir().expect("a folder");
        let dir = root.path().join("a/b");
        create_dir(&dir).expect("made");
        create_dir(&dir).expect("made already");
        let mode = fs::metadata(&dir).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_replaced_file_is_private_and_leaves_nothing_beside_it() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("file");
        fs::write(root.path().join("file.new"), "cut short by a crash").expect("written");
        for text in ["first", "2nd"] {
            replace_file(&path, text.as_bytes()).expect("replaced");
            assert_eq!(fs::read_to_string(&path).expect("read"), text);
        }
        let mode = fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(names(root.path()), ["file"]);
        assert!(replace_file(&root.path().join("absent/file"), b"").is_err());
    }

    #[test]
    fn erasing_leaves_nothing_and_touches_nothing_else() {
        let root = tempfile::tempdir().expect("a folder");
        for name in ["a", "b"] {
            create_dir(&root.path().join(name).join("sub")).expect("made");
            fs::write(root.path().join(name).join("sub/file"), "x").expect("written");
        }
        erase_dir(&root.path().join("a")).expect("erased");
        erase_dir(&root.path().join("a")).expect("erased already");
        assert_eq!(names(root.path()), ["b"]);
    }

    #[test]
    fn a_folder_is_replaced_as_a_whole_and_leaves_nothing_beside_it() {
        let root = tempfile::tempdir().expect("a folder");
        let dir = root.path().join("a");
        for text in ["first", "second"] {
            let incoming = incoming_dir(&dir).expect("made");
            fs::write(incoming.join(text), text).expect("written");
            replace_dir(&incoming, &dir).expect("replaced");
            assert_eq!(names(&dir), [text]);
            assert_eq!(names(root.path()), ["a"]);
        }
        assert!(replace_dir(&root.path().join("absent"), &dir).is_err());
        assert_eq!(names(&dir), ["second"], "what cannot be replaced stays");
    }

    #[test]
    fn what_a_crash_left_of_an_incoming_folder_goes() {
        let root = tempfile::tempdir().expect("a folder");
        let dir = root.path().join("a");
        fs::write(incoming_dir(&dir).expect("made").join("old"), "x").expect("written");
        let again = incoming_dir(&dir).expect("made again");
        assert_eq!(names(&again), Vec::<String>::new());
        finish_erasures(root.path()).expect("finished");
        assert_eq!(names(root.path()), Vec::<String>::new());
    }

    #[test]
    fn an_erasure_that_was_cut_short_is_finished() {
        let root = tempfile::tempdir().expect("a folder");
        create_dir(&root.path().join(".erased-a")).expect("made");
        fs::write(root.path().join(".erased-a/file"), "x").expect("written");
        create_dir(&root.path().join("a")).expect("made");
        erase_dir(&root.path().join("a")).expect("erased");
        create_dir(&root.path().join(".erased-b")).expect("made");
        finish_erasures(root.path()).expect("finished");
        assert_eq!(names(root.path()), Vec::<String>::new());
    }
}
