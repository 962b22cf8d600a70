//! Bodies of objects on their way.

use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};

use crate::blob::BlobError;

/// Bytes that come when they are asked for. An error ends them.
pub type BlobBody = Pin<Box<dyn Stream<Item = Result<Bytes, BlobError>> + Send>>;

/// A body of bytes that are in memory.
pub fn body_of(bytes: impl Into<Bytes>) -> BlobBody {
    let bytes = bytes.into();
    Box::pin(stream::iter((!bytes.is_empty()).then_some(Ok(bytes))))
}

/// All of a body that is known to be short: more than `limit` bytes are [`BlobError::TooLarge`].
pub async fn whole_body(mut body: BlobBody, limit: u64) -> Result<Bytes, BlobError> {
    let mut whole = BytesMut::new();
    while let Some(bytes) = body.next().await {
        let bytes = bytes?;
        let length = (whole.len() + bytes.len()) as u64;
        if length > limit {
            return Err(BlobError::TooLarge {
                what: "body to be read at once",
                limit,
            });
        }
        whole.extend_from_slice(&bytes);
    }
    Ok(whole.freeze())
}
