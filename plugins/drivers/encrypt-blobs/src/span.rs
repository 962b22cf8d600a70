//! Which chunks have the bytes that are asked for.

use crate::chunks::{self, CHUNK, KEPT};

/// A part of a content, and of what is kept of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Where the part begins in the content.
    pub offset: u64,
    /// Bytes of the part.
    pub length: u64,
    /// The first chunk with bytes of it.
    pub first: u64,
    /// Where that one begins in what is kept, and how many bytes have all of the part.
    pub kept: (u64, u64),
}

impl Span {
    /// So many bytes from `offset` of a content of `size` bytes; nothing if they begin after its end.
    pub fn of(size: u64, offset: u64, length: u64) -> Option<Self> {
        let length = length.min(size.checked_sub(offset)?);
        // At the end of whole chunks there is nothing of the next one.
        let first = (offset / CHUNK).min(chunks::count(size) - 1);
        let after = offset.saturating_add(length).div_ceil(CHUNK).max(first + 1);
        let begin = first * KEPT;
        let end = (after * KEPT).min(chunks::kept_size(size));
        Some(Self {
            offset,
            length,
            first,
            kept: (begin, end - begin),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_chunks_of_a_part_are_read_and_no_others() {
        let size = 3 * CHUNK + 5;
        for (offset, length, first, chunks, taken) in [
            (0, u64::MAX, 0, 4, size),
            (0, 1, 0, 1, 1),
            (CHUNK - 1, 2, 0, 2, 2),
            (CHUNK, CHUNK, 1, 1, CHUNK),
            (3 * CHUNK, 9, 3, 1, 5),
            (size, 9, 3, 1, 0),
        ] {
            let span = Span::of(size, offset, length).unwrap();
            assert_eq!((span.first, span.length), (first, taken), "{offset}");
            assert_eq!(span.kept.0, first * KEPT);
            let end = ((first + chunks) * KEPT).min(chunks::kept_size(size));
            assert_eq!(span.kept.1, end - first * KEPT, "{offset}");
        }
        assert_eq!(Span::of(size, size + 1, 1), None);
        assert_eq!(Span::of(0, 0, 5).unwrap().kept, (0, 16));
        assert_eq!(Span::of(CHUNK, CHUNK, 1).unwrap().kept, (0, KEPT));
    }
}
