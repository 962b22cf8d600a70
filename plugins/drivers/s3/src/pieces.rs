//! A stream of bytes, cut into pieces that are sent one after the other: no more than one of them is
//! ever held.

use canopy_sdk::stream::{StreamReader, StreamResult};

/// Bytes for which there is room at first.
const CHUNK: usize = 64 << 10;

/// The pieces of a stream.
pub struct Pieces {
    body: StreamReader<u8>,
    size: usize,
    ended: bool,
    /// Bytes of the pieces so far.
    pub taken: u64,
}

impl Pieces {
    /// Pieces of `size` bytes, the last of which may be shorter.
    pub fn new(body: StreamReader<u8>, size: usize) -> Self {
        Self {
            body,
            size,
            ended: false,
            taken: 0,
        }
    }

    /// The next piece; one that is shorter than the others, or empty, is the last.
    pub async fn next(&mut self) -> Vec<u8> {
        let mut piece = Vec::new();
        while piece.len() < self.size && !self.ended {
            if piece.len() == piece.capacity() {
                // Grown in few steps, and never beyond the size of a piece.
                piece.reserve_exact(piece.len().max(CHUNK).min(self.size - piece.len()));
            }
            let before = piece.len();
            let (result, read) = self.body.read(piece).await;
            piece = read;
            self.ended = matches!(result, StreamResult::Dropped) && piece.len() == before;
        }
        self.taken += piece.len() as u64;
        piece
    }

    /// Whether all has been taken.
    pub fn ended(&self) -> bool {
        self.ended
    }
}
