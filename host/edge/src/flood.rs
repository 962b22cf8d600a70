//! Watches an HTTP/2 connection for frames that cost the node work and bring no request forward:
//! pings, settings, resets, priorities, continuations, empty data, unknown types.
//!
//! Each alone is allowed, and a client that sends thousands of them keeps a processor busy without
//! ever asking for anything that a limit would count (the "rapid reset", "ping flood" and "empty
//! frames" attacks). So they have a rate of their own on each connection. Frames are followed just
//! enough to know where each begins; what is wrong with one, the HTTP/2 implementation finds.

use std::time::Duration;

use tokio::time::Instant;

const HEADER_BYTES: usize = 9;

#[derive(Debug)]
pub(crate) struct Flood {
    per_second: u32,
    header: [u8; HEADER_BYTES],
    have: usize,
    /// Bytes of the present frame that are still to come.
    payload: usize,
    tokens: f64,
    counted_at: Instant,
}

/// More at once than in a second, for clients that give up many requests together.
const BURST_SECONDS: u32 = 5;

impl Flood {
    /// Allows `per_second` such frames in the long run, and five times as many at once.
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            per_second,
            header: [0; HEADER_BYTES],
            have: 0,
            payload: 0,
            tokens: f64::from(per_second) * f64::from(BURST_SECONDS),
            counted_at: Instant::now(),
        }
    }

    /// Reads on, behind the connection's preface; true when there are too many such frames.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let skipped = self.payload.min(bytes.len());
                self.payload -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (HEADER_BYTES - self.have).min(bytes.len());
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEADER_BYTES {
                self.have = 0;
                let [a, b, c, kind, flags, ..] = self.header;
                self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                if brings_nothing(kind, flags, self.payload) && !self.take() {
                    return true;
                }
            }
        }
        false
    }

    fn take(&mut self) -> bool {
        let now = Instant::now();
        let earned = now
            .duration_since(self.counted_at)
            .min(Duration::from_secs(60));
        self.counted_at = now;
        let rate = f64::from(self.per_second);
        let most = rate * f64::from(BURST_SECONDS);
        self.tokens = (self.tokens + earned.as_secs_f64() * rate).min(most) - 1.0;
        self.tokens >= 0.0
    }
}

fn brings_nothing(kind: u8, flags: u8, length: usize) -> bool {
    const ACK_OR_END: u8 = 1;
    match kind {
        // DATA: an empty one that ends nothing.
        0 => length == 0 && flags & ACK_OR_END == 0,
        // HEADERS, PUSH_PROMISE, GOAWAY, WINDOW_UPDATE: they have limits of their own, or come with
        // what is sent.
        1 | 5 | 7 | 8 => false,
        // SETTINGS and PING, but for the answers to ours.
        4 | 6 => flags & ACK_OR_END == 0,
        // PRIORITY, RST_STREAM, CONTINUATION, and what is not known.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).expect("short");
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        frame.extend_from_slice(payload);
        frame
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_frames_that_bring_nothing() {
        for (kind, flags, payload) in [
            (0, 0, &b""[..]),
            (2, 0, b"12345"),
            (3, 0, b"1234"),
            (4, 0, b""),
            (6, 0, b"12345678"),
            (9, 0, b"x"),
            (0xbe, 0, b"x"),
        ] {
            let mut flood = Flood::new(10);
            let frame = frame(kind, flags, payload);
            assert!((0..50).all(|_| !flood.read(&frame)), "type {kind}");
            tokio::time::advance(Duration::from_secs(1)).await;
            assert!((0..10).all(|_| !flood.read(&frame)), "type {kind}");
            assert!(flood.read(&frame), "type {kind}: one too many");
        }
    }

    #[tokio::test]
    async fn requests_bodies_and_answers_are_no_flood() {
        let mut flood = Flood::new(1);
        for (kind, flags, payload) in [
            (0, 0, &b"data"[..]),
            (0, 1, b""),
            (1, 4, b"head"),
            (4, 1, b""),
            (6, 1, b"12345678"),
            (8, 0, b"1234"),
        ] {
            let frame = frame(kind, flags, payload);
            assert!((0..10_000).all(|_| !flood.read(&frame)), "type {kind}");
        }
    }

    proptest! {
        #[test]
        fn any_division_into_reads_counts_the_same(cuts in proptest::collection::vec(0_usize..300, 0..9)) {
            let mut all = Vec::new();
            for _ in 0..6 {
                all.extend(frame(1, 4, b"some head"));
                all.extend(frame(3, 0, b"1234"));
                all.extend(frame(0, 0, &[4; 20]));
            }
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(all.len())).collect();
            cuts.extend([0, all.len()]);
            cuts.sort_unstable();
            let mut flood = Flood::new(1);
            let over = cuts.windows(2).any(|pair| flood.read(&all[pair[0]..pair[1]]));
            prop_assert!(over, "the sixth reset is one too many");
        }
    }
}
