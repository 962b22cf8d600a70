//! Bytes on their way: encrypted in, decrypted out, a chunk at a time.

use std::pin::pin;
use std::task::Poll;

use canopy_sdk::log;
use canopy_sdk::stream::{StreamReader, StreamResult, StreamWriter, spawn};

use crate::bindings::canopy::storage::blobs as beneath;
use crate::bindings::exports::canopy::storage::blobs::{Error, ObjectInfo, PutOptions, Reading};
use crate::bindings::{wit_future, wit_stream};
use crate::chunks::{self, CHUNK, Chunks, KEPT};
use crate::described;
use crate::note::Note;
use crate::span::Span;

/// Bytes that are put together as they come.
struct Source {
    bytes: StreamReader<u8>,
    ended: bool,
}

impl Source {
    fn of(bytes: StreamReader<u8>) -> Self {
        Self {
            bytes,
            ended: false,
        }
    }

    /// The next `length` bytes, or fewer at the end.
    async fn take(&mut self, length: usize) -> Vec<u8> {
        let mut taken = Vec::with_capacity(length);
        while taken.len() < length && !self.ended {
            let before = taken.len();
            let (result, read) = self.bytes.read(taken).await;
            taken = read;
            self.ended = matches!(result, StreamResult::Dropped) && taken.len() == before;
        }
        taken
    }
}

/// Puts `body`, which should have `size` bytes if that is known, encrypted by the key of `note`.
pub async fn put(
    container: String,
    name: String,
    body: StreamReader<u8>,
    size: Option<u64>,
    kept: PutOptions,
    note: &Note,
) -> Result<ObjectInfo, Error> {
    let (writer, reader) = wit_stream::new();
    let mut pump = Some(Box::pin(seal(body, size, Chunks::of(&note.key), writer)));
    let mut unfinished = None;
    let mut call = pin!(beneath::put(container, name, reader, kept));
    let put = std::future::poll_fn(|context| {
        if let Some(pumping) = &mut pump
            && let Poll::Ready((outcome, writer)) = pumping.as_mut().poll(context)
        {
            pump = None;
            if let Err(error) = outcome {
                // Kept open until the call is gone: an end would make a part the whole.
                unfinished = Some(writer);
                return Poll::Ready(Err(error));
            }
        }
        call.as_mut().poll(context)
    });
    let put = put.await;
    drop(unfinished);
    put
}

/// Encrypts all of `body` into `writer`, which is given back if it may not end yet.
async fn seal(
    body: StreamReader<u8>,
    size: Option<u64>,
    chunks: Chunks,
    mut writer: StreamWriter<u8>,
) -> (Result<(), Error>, Option<StreamWriter<u8>>) {
    let length = usize::try_from(CHUNK).unwrap_or(usize::MAX);
    let mut source = Source::of(body);
    let mut content = source.take(length).await;
    let (mut number, mut taken) = (0, 0);
    loop {
        taken += content.len() as u64;
        let next = match content.len() == length {
            true => source.take(length).await,
            false => Vec::new(),
        };
        // A last chunk of its own only for what has none.
        let last = next.is_empty();
        let wrong = |size| taken > size || last && taken < size;
        if size.is_some_and(wrong) {
            return (Err(Error::WrongSize), Some(writer));
        }
        let Ok(sealed) = chunks.seal(number, last, &content) else {
            return (
                Err(Error::TooLarge("the object is too long".to_owned())),
                Some(writer),
            );
        };
        // Who does not read on says why by what the call returns.
        let unread = !writer.write_all(sealed).await.is_empty();
        if last || unread {
            return (Ok(()), None);
        }
        (content, number) = (next, number + 1);
    }
}

/// What the application reads from, while the chunks are decrypted.
pub fn get(reading: Reading, note: Note, size: u64, span: Span) -> Reading {
    let (writer, body) = wit_stream::new();
    let (end, outcome) = wit_future::new(|| {
        Err(Error::Other(
            "the driver ended before the object".to_owned(),
        ))
    });
    let (bytes, beneath_outcome) = (reading.body, reading.outcome);
    let chunks = Chunks::of(&note.key);
    spawn(async move {
        let outcome = match open(bytes, &chunks, size, span, writer).await {
            // The cause is what the driver beneath says.
            Err(Cut::Short) => match beneath_outcome.await {
                Err(error) => Err(error),
                Ok(()) => Err(damaged()),
            },
            Err(Cut::Changed) => Err(damaged()),
            Ok(()) => Ok(()),
        };
        // It fails if nobody waits for it any more; then nobody misses it.
        let _ = end.write(outcome).await;
    });
    Reading {
        info: described(reading.info, size, note),
        offset: span.offset,
        length: span.length,
        body,
        outcome,
    }
}

/// Why a content is not given to its end.
enum Cut {
    Short,
    Changed,
}

async fn open(
    bytes: StreamReader<u8>,
    chunks: &Chunks,
    size: u64,
    span: Span,
    mut writer: StreamWriter<u8>,
) -> Result<(), Cut> {
    let whole = usize::try_from(KEPT).unwrap_or(usize::MAX);
    let mut source = Source::of(bytes);
    let count = chunks::count(size);
    let (mut skipped, mut left) = (span.offset - span.first * CHUNK, span.length);
    let mut number = span.first;
    // Of an empty content the one chunk is looked at, too.
    while left > 0 || number == span.first && size == 0 {
        let last = number + 1 == count;
        let kept = source.take(whole).await;
        if kept.len() < whole && !last || kept.is_empty() {
            return Err(Cut::Short);
        }
        let mut content = chunks
            .open(number, last, &kept)
            .map_err(|chunks::Changed| Cut::Changed)?;
        let from = usize::try_from(skipped)
            .unwrap_or(usize::MAX)
            .min(content.len());
        content.drain(..from);
        content.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        (skipped, left) = (0, left - content.len() as u64);
        if !content.is_empty() && !writer.write_all(content).await.is_empty() {
            // Nobody reads on.
            return Ok(());
        }
        if last && left > 0 {
            return Err(Cut::Changed);
        }
        number += 1;
    }
    Ok(())
}

fn damaged() -> Error {
    log::error!("an object is not what was written: it was damaged, changed, or exchanged");
    Error::Damaged
}
