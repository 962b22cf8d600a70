//! Bodies between their streams and segments, a few chunks at a time.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use canopy_backend::StorageError;
use canopy_backend::blob::{BlobBody, BlobError};
use futures::{StreamExt, stream};
use tokio::sync::OwnedSemaphorePermit;

use crate::account::Account;
use crate::index::Piece;
use crate::segment::{self, CHUNK, ReadError, SegmentReader, SegmentWriter};
use crate::store::{Pin, Store};

/// Bytes of a body that are collected before they are encrypted and written.
const BATCH: usize = 4 * CHUNK;

/// What a body may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// The most that it may have, and what that is a limit of.
    pub(crate) limit: u64,
    /// What it must have.
    pub(crate) size: Option<u64>,
    /// Bytes whose place it takes.
    pub(crate) replaced: u64,
}

/// A body that is in a file which has no name yet.
pub(crate) struct Incoming {
    pub(crate) writer: SegmentWriter,
    pub(crate) reserved: Reserved,
    /// One of the writes that may go on at once.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Room in the quota that is given back.
pub(crate) struct Reserved {
    account: Arc<Account>,
    bytes: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.account.release(self.bytes);
    }
}

/// What an error of a file is to the caller.
pub(crate) fn io_failed(error: io::Error) -> BlobError {
    BlobError::Storage(match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageError::NoSpace,
        _ => StorageError::Failed(error.to_string()),
    })
}

/// Runs what waits for the disk.
pub(crate) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(BlobError::failed)?
}

/// Writes all of `body`.
pub(crate) async fn receive(
    store: &Arc<Store>,
    mut body: BlobBody,
    bounds: Bounds,
) -> Result<Incoming, BlobError> {
    if bounds.size.is_some_and(|size| size > bounds.limit) {
        return Err(too_large(bounds.limit));
    }
    let permit = store.writes.clone().try_acquire_owned().map_err(|_| {
        let limit = store.settings.limits.concurrent_writes;
        StorageError::Busy(format!("{limit} bodies are being written"))
    })?;
    let mut reserved = Reserved {
        account: store.account.clone(),
        bytes: 0,
    };
    let mut writer = store
        .aside(|store| SegmentWriter::create(&store.folder, &store.file_key()?).map_err(io_failed))
        .await?;
    let (mut batch, mut received) = (BytesMut::new(), 0);
    loop {
        let bytes = body.next().await.transpose()?;
        let ended = bytes.is_none();
        if let Some(bytes) = bytes {
            received += bytes.len() as u64;
            match bounds.size {
                Some(expected) if received > expected => {
                    return Err(BlobError::WrongSize {
                        expected,
                        actual: received,
                    });
                }
                _ if received > bounds.limit => return Err(too_large(bounds.limit)),
                _ => {}
            }
            // Room is needed for what is more than it replaces, whatever the quota has become.
            let grown = received.saturating_sub(bounds.replaced);
            if grown > reserved.bytes {
                store.account.reserve(grown - reserved.bytes)?;
                reserved.bytes = grown;
            }
            batch.extend_from_slice(&bytes);
        }
        if batch.len() >= BATCH || (ended && !batch.is_empty()) {
            let full = batch.split().freeze();
            writer = store
                .aside(move |_| {
                    writer.write(&full).map_err(io_failed)?;
                    Ok(writer)
                })
                .await?;
        }
        if ended {
            break;
        }
    }
    match bounds.size {
        Some(expected) if expected != received => Err(BlobError::WrongSize {
            expected,
            actual: received,
        }),
        _ => Ok(Incoming {
            writer,
            reserved,
            permit,
        }),
    }
}

fn too_large(limit: u64) -> BlobError {
    BlobError::TooLarge {
        what: "object",
        limit,
    }
}

/// One of the readings that may go on at once.
pub(crate) fn begin_reading(store: &Store) -> Result<OwnedSemaphorePermit, StorageError> {
    store.reads.clone().try_acquire_owned().map_err(|_| {
        let limit = store.settings.limits.concurrent_reads;
        StorageError::Busy(format!("{limit} bodies are being read"))
    })
}

/// The bytes from `start` to `end` of what `pieces` hold in order.
pub(crate) fn send(
    pin: Pin,
    permit: OwnedSemaphorePermit,
    pieces: &[Piece],
    (start, end): (u64, u64),
) -> BlobBody {
    let mut parts = Vec::new();
    let mut at = 0;
    for piece in pieces {
        let within = (
            start.clamp(at, at + piece.size) - at,
            end.clamp(at, at + piece.size) - at,
        );
        at += piece.size;
        if within.0 < within.1 {
            parts.push((*piece, within));
        }
    }
    let sending = Sending {
        pin,
        _permit: permit,
        parts: parts.into_iter(),
        current: None,
    };
    Box::pin(stream::try_unfold(sending, |mut sending| {
        let store = sending.pin.store().clone();
        let next = move |_: &Arc<Store>| {
            let bytes = sending.next().map_err(|error| sending.failed(error))?;
            Ok(bytes.map(|bytes| (bytes, sending)))
        };
        async move { store.aside(next).await }
    }))
}

/// A body on its way out. Its files stay until it is dropped.
struct Sending {
    pin: Pin,
    _permit: OwnedSemaphorePermit,
    parts: std::vec::IntoIter<(Piece, (u64, u64))>,
    current: Option<SegmentReader>,
}

impl Sending {
    fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            if let Some(reader) = &mut self.current
                && let Some(bytes) = reader.next()?
            {
                return Ok(Some(bytes));
            }
            let Some((piece, within)) = self.parts.next() else {
                return Ok(None);
            };
            self.current = Some(open(self.pin.store(), &piece, within)?);
        }
    }

    fn failed(&self, error: ReadError) -> BlobError {
        let installation = self.pin.store().scope;
        match error {
            ReadError::Damaged(what) => {
                tracing::error!(%installation, what, "an object is damaged");
                BlobError::Damaged
            }
            ReadError::Failed(text) => BlobError::failed(text),
        }
    }
}

/// Begins to read a part of a segment.
pub(crate) fn open(
    store: &Store,
    piece: &Piece,
    within: (u64, u64),
) -> Result<SegmentReader, ReadError> {
    SegmentReader::open(
        &store.folder,
        piece.id,
        piece.size,
        piece.hash,
        within,
        |version| match store.keys() {
            Ok(keys) => Ok(keys.file_key_of(version, store.scope, segment::PURPOSE)),
            Err(error) => Err(ReadError::Failed(error.to_string())),
        },
    )
}
