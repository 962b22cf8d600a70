//! Putting, getting and copying objects: bytes go through in pieces.

use std::io::Read as _;

use canopy_sdk::stream::{StreamReader, StreamWriter, spawn};

use super::Outcome;
use super::store::{Quoted, Store, info, log_and_tell, note};
use crate::bindings::exports::canopy::storage::blobs::{
    Condition, Error, ObjectId, ObjectInfo, PutOptions, Range, Reading,
};
use crate::bindings::{wit_future, wit_stream};
use crate::objects::{Found, Read, Span};
use crate::pieces::Pieces;
use crate::uploads::Outcome as Upload;

/// Bytes that are read from the service and handed on at once.
const CHUNK: usize = 64 << 10;

/// Parts of one upload, by S3.
const MAX_PARTS: u32 = 10_000;

impl Store {
    /// An object of one piece is one request; of a longer one each piece is a part of an upload, of
    /// which nothing is seen until it is complete.
    pub(super) async fn put(
        &self,
        container: &str,
        name: &str,
        body: StreamReader<u8>,
        options: PutOptions,
    ) -> Result<ObjectInfo, Error> {
        let place = self.object(container, name)?;
        let headers = note(&options).headers()?;
        self.require(container)?;
        self.prove(options.condition.as_ref())?;
        let condition = Quoted::of(options.condition);
        let mut pieces = Pieces::new(body, self.settings.part_bytes);
        let first = pieces.next().await;
        if !pieces.ended() {
            let upload = self.service().begin(&place, &headers);
            let upload = upload.map_err(log_and_tell)?;
            let done = self
                .put_pieces(&place, &upload, first, pieces, options.size, &condition)
                .await;
            if let Err(error) = done {
                // Its parts cost the tenant until they go; that they stay is no more than that.
                let _ = self.service().abort(&place, &upload);
                return Err(error);
            }
        } else {
            check_size(&pieces, options.size, true)?;
            let written = self
                .service()
                .write(&place, first, &headers, condition.as_service())
                .map_err(log_and_tell)?;
            if written.is_none() {
                return Err(self.unheld(&place));
            }
        }
        Ok(info(name, self.head(container, name)?))
    }

    async fn put_pieces(
        &self,
        place: &str,
        upload: &str,
        first: Vec<u8>,
        mut pieces: Pieces,
        size: Option<u64>,
        condition: &Quoted,
    ) -> Result<(), Error> {
        let mut parts = Vec::new();
        let mut piece = first;
        for number in 1..=MAX_PARTS {
            check_size(&pieces, size, false)?;
            let part = self.service().put_part(place, upload, number, piece);
            match part.map_err(log_and_tell)? {
                Upload::Done(etag) => parts.push((number, etag)),
                _ => return Err(Error::Other("the upload of the object is gone".to_owned())),
            }
            piece = pieces.next().await;
            if piece.is_empty() {
                check_size(&pieces, size, true)?;
                return self.complete(place, upload, &parts, condition);
            }
        }
        Err(Error::TooLarge(format!(
            "the object is longer than {MAX_PARTS} parts of {} bytes, which is the limit of S3",
            self.settings.part_bytes
        )))
    }

    /// Makes the object of its parts.
    pub(super) fn complete(
        &self,
        place: &str,
        upload: &str,
        parts: &[(u32, String)],
        condition: &Quoted,
    ) -> Result<(), Error> {
        let done = self
            .service()
            .complete(place, upload, parts, condition.as_service());
        match done.map_err(log_and_tell)? {
            Upload::Done(_) => Ok(()),
            Upload::NoUpload => Err(Error::NoSuchUpload),
            Upload::WrongParts(text) => Err(Error::InvalidPart(text)),
            Upload::Unheld => Err(self.unheld(place)),
        }
    }

    pub(super) fn get(
        &self,
        container: &str,
        name: &str,
        range: Option<Range>,
    ) -> Result<Reading, Error> {
        let place = self.object(container, name)?;
        // What has no bytes cannot be asked for.
        let span = match range {
            Some(Range::Slice((_, 0)) | Range::Last(0)) => {
                return self.empty(container, name, range);
            }
            Some(Range::From(from)) => Some(Span::Between(from, None)),
            Some(Range::Slice((from, length))) => {
                Some(Span::Between(from, from.checked_add(length - 1)))
            }
            Some(Range::Last(length)) => Some(Span::Last(length)),
            None => None,
        };
        match self.service().read(&place, span).map_err(log_and_tell)? {
            Read::Found(found) => Ok(reading(name, found)),
            Read::Nothing => Err(self.missing(container)),
            Read::Beyond => self.empty(container, name, range),
        }
    }

    /// Reads nothing of an object, if the range begins in it or at its end.
    fn empty(&self, container: &str, name: &str, range: Option<Range>) -> Result<Reading, Error> {
        let head = self.head(container, name)?;
        let offset = match range {
            Some(Range::From(from) | Range::Slice((from, _))) => from,
            Some(Range::Last(_)) | None => head.size,
        };
        if offset > head.size {
            return Err(Error::InvalidRange(head.size));
        }
        let (writer, body) = wit_stream::new();
        drop(writer);
        let (end, outcome) = wit_future::new(|| Ok(()));
        drop(end);
        Ok(Reading {
            info: info(name, head),
            offset,
            length: 0,
            body,
            outcome,
        })
    }

    /// The service copies by itself; on a condition, which it does not take with that, the bytes go
    /// through here.
    pub(super) fn copy(
        &self,
        source: &ObjectId,
        target: &ObjectId,
        condition: Option<Condition>,
    ) -> Result<ObjectInfo, Error> {
        let from = self.object(&source.container, &source.name)?;
        let to = self.object(&target.container, &target.name)?;
        self.require(&target.container)?;
        if let Some(condition) = condition {
            self.copy_through(&from, source, &to, condition)?;
        } else if from == to {
            // The service refuses to copy an object onto itself.
            self.head(&source.container, &source.name)?;
        } else {
            let copied = self.service().copy(&from, &to).map_err(log_and_tell)?;
            if !copied {
                return Err(self.missing(&source.container));
            }
        }
        Ok(info(
            &target.name,
            self.head(&target.container, &target.name)?,
        ))
    }

    fn copy_through(
        &self,
        from: &str,
        source: &ObjectId,
        to: &str,
        condition: Condition,
    ) -> Result<(), Error> {
        self.prove(Some(&condition))?;
        let condition = Quoted::of(Some(condition));
        let found = match self.service().read(from, None).map_err(log_and_tell)? {
            Read::Found(found) => found,
            Read::Nothing | Read::Beyond => return Err(self.missing(&source.container)),
        };
        let headers = found.head.note.headers()?;
        let size = self.settings.part_bytes as u64;
        let mut body = found.body;
        let mut piece = Vec::new();
        let mut read = |piece: &mut Vec<u8>| {
            piece.clear();
            let taken = (&mut body).take(size).read_to_end(piece);
            taken.map_err(|error| Error::Other(format!("the S3 service broke off: {error}")))
        };
        read(&mut piece)?;
        if found.length <= size {
            let written = self
                .service()
                .write(to, piece, &headers, condition.as_service());
            return match written.map_err(log_and_tell)? {
                Some(_) => Ok(()),
                None => Err(self.unheld(to)),
            };
        }
        let upload = self.service().begin(to, &headers).map_err(log_and_tell)?;
        let mut parts = Vec::new();
        let done = loop {
            let number = u32::try_from(parts.len() + 1).unwrap_or(u32::MAX);
            let bytes = std::mem::take(&mut piece);
            match self.service().put_part(to, &upload, number, bytes) {
                Ok(Upload::Done(etag)) => parts.push((number, etag)),
                Ok(_) => break Err(Error::Other("the upload of the object is gone".to_owned())),
                Err(failure) => break Err(log_and_tell(failure)),
            }
            match read(&mut piece) {
                Ok(0) => break self.complete(to, &upload, &parts, &condition),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        if done.is_err() {
            // As above.
            let _ = self.service().abort(to, &upload);
        }
        done
    }
}

/// Refuses a body that is longer than announced, or, when it has ended, shorter.
fn check_size(pieces: &Pieces, size: Option<u64>, whole: bool) -> Result<(), Error> {
    match size {
        Some(size) if pieces.taken > size || whole && pieces.taken < size => Err(Error::WrongSize),
        _ => Ok(()),
    }
}

/// What the application reads from, while the bytes follow from the service.
fn reading<B: std::io::Read + 'static>(name: &str, found: Found<B>) -> Reading {
    let (writer, body) = wit_stream::new();
    let (end, outcome): (_, Outcome) = wit_future::new(|| {
        Err(Error::Other(
            "the driver ended before the object".to_owned(),
        ))
    });
    let (length, bytes) = (found.length, found.body);
    spawn(async move {
        let outcome = pump(bytes, length, writer).await;
        // It fails if nobody waits for it any more; then nobody misses it.
        let _ = end.write(outcome).await;
    });
    Reading {
        info: info(name, found.head),
        offset: found.offset,
        length,
        body,
        outcome,
    }
}

/// Hands on what `bytes` yields, which should be `length`.
async fn pump(
    bytes: impl std::io::Read,
    length: u64,
    mut writer: StreamWriter<u8>,
) -> Result<(), Error> {
    let mut bytes = bytes.take(length);
    let mut left = length;
    while left > 0 {
        let mut chunk = vec![0; CHUNK];
        let read = bytes.read(&mut chunk).map_err(|error| {
            Error::Other(format!(
                "the S3 service broke off while it gave the object: {error}"
            ))
        })?;
        if read == 0 {
            return Err(Error::Other(
                "the S3 service gave less of the object than it said".to_owned(),
            ));
        }
        chunk.truncate(read);
        left -= read as u64;
        if !writer.write_all(chunk).await.is_empty() {
            // Nobody reads on.
            return Ok(());
        }
    }
    Ok(())
}
