//! Files and standard streams that data comes from and goes to. A file is written under another
//! name first, so that nothing half is ever under its own.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use futures::{Stream, StreamExt as _};
use tempfile::NamedTempFile;
use tokio::io::AsyncReadExt as _;

use crate::Error;
use crate::ui::tell;

/// Writes a whole file.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = begin(path)?;
    file.write_all(bytes).map_err(|error| failed(path, error))?;
    finish(file, path)
}

/// Writes what comes to a file; `step` is told how many bytes each piece had.
pub(crate) async fn write_stream<E>(
    path: &Path,
    mut pieces: impl Stream<Item = Result<bytes::Bytes, E>> + Unpin,
    mut step: impl FnMut(u64),
    broken: impl FnOnce(E) -> Error,
) -> Result<(), Error> {
    let mut file = begin(path)?;
    while let Some(piece) = pieces.next().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => return Err(broken(error)),
        };
        file.write_all(&piece)
            .map_err(|error| failed(path, error))?;
        step(piece.len() as u64);
    }
    finish(file, path)
}

/// Reads a whole file, or standard input where none is named.
pub(crate) async fn read_whole(path: Option<&Path>) -> Result<Vec<u8>, Error> {
    match path {
        Some(path) => std::fs::read(path)
            .map_err(|error| Error::local(format!("{} can't be read", path.display()), error)),
        None => {
            if std::io::stdin().is_terminal() {
                tell("Reading from standard input; end it with Ctrl-D.");
            }
            let mut bytes = Vec::new();
            tokio::io::stdin()
                .read_to_end(&mut bytes)
                .await
                .map_err(|error| Error::local("standard input can't be read", error))?;
            Ok(bytes)
        }
    }
}

fn begin(path: &Path) -> Result<NamedTempFile, Error> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(|error| failed(path, error))
}

fn finish(file: NamedTempFile, path: &Path) -> Result<(), Error> {
    file.persist(path)
        .map(drop)
        .map_err(|error| failed(path, error.error))
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::local(format!("{} can't be written", path.display()), error)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[tokio::test]
    async fn what_breaks_off_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("object");
        write_whole(&path, b"old").expect("written");
        let pieces = futures::stream::iter([Ok(Bytes::from_static(b"new")), Err("broken")]);
        let mut seen = 0;
        let outcome = write_stream(
            &path,
            pieces,
            |bytes| seen += bytes,
            |error| Error::Usage(error.into()),
        );
        assert!(outcome.await.is_err());
        assert_eq!(
            (seen, std::fs::read(&path).expect("a file")),
            (3, b"old".to_vec())
        );
        assert_eq!(
            std::fs::read_dir(folder.path()).expect("a folder").count(),
            1
        );
    }
}
