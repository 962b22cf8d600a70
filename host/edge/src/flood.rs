//! Watches an HTTP/2 connection for frames that cost the node work and bring no request forward:
//! pings, settings, resets, priorities, continuations, empty data, answers to nothing, unknown types.
//!
//! Each alone is allowed, and a client that sends thousands of them keeps a processor busy without
//! ever asking for anything that a limit would count (the "rapid reset", "ping flood" and "empty
//! frames" attacks). So they have a rate of their own on each connection. An acknowledgement is one of
//! them unless it answers what was sent, and costs more, since none is honest. A window is opened
//! for what was sent or is asked for; beyond that, opening it brings nothing either. Frames are followed just
//! enough to know where each begins; what is wrong with one, the HTTP/2 implementation finds.

use std::time::Duration;

use tokio::time::Instant;

const HEADER_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
/// The flag of an acknowledgement, and of the end of a stream.
const ACK_OR_END: u8 = 1;

/// More at once than in a second, for clients that give up many requests together.
const BURST_SECONDS: u32 = 5;
/// How many frames that bring nothing an acknowledgement counts for that answers nothing.
const UNASKED: f64 = 20.0;
/// For each frame of data, a client opens the window of the stream and that of the connection.
const WINDOWS: u32 = 2;
/// As many frames of data at once, whose windows are not yet open again, are believed of a client.
const MOST_WINDOWS: u32 = 16 << 10;

/// Follows frames in one direction.
#[derive(Debug, Default)]
struct Frames {
    header: [u8; HEADER_BYTES],
    have: usize,
    /// Bytes of the present frame that are still to come.
    payload: usize,
}

/// What the header of a frame says.
#[derive(Debug, Clone, Copy)]
struct Frame {
    kind: u8,
    flags: u8,
    length: usize,
}

impl Frames {
    /// The next frame that begins in `bytes`, which is moved behind its header.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        while !bytes.is_empty() {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            *bytes = &bytes[skipped..];
            let taken = (HEADER_BYTES - self.have).min(bytes.len());
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            *bytes = &bytes[taken..];
            if self.have == HEADER_BYTES {
                self.have = 0;
                let [a, b, c, kind, flags, ..] = self.header;
                let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.payload = length;
                return Some(Frame {
                    kind,
                    flags,
                    length,
                });
            }
        }
        None
    }
}

#[derive(Debug)]
pub(crate) struct Flood {
    per_second: u32,
    tokens: f64,
    counted_at: Instant,
    received: Frames,
    sent: Frames,
    /// Pings and settings that were sent and are not acknowledged yet.
    pings: u32,
    settings: u32,
    /// How often the client may open a window for what was sent, and what it asks for.
    windows: u32,
}

impl Flood {
    /// Allows `per_second` such frames in the long run, and five times as many at once.
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            per_second,
            tokens: f64::from(per_second) * f64::from(BURST_SECONDS),
            counted_at: Instant::now(),
            received: Frames::default(),
            sent: Frames::default(),
            pings: 0,
            settings: 0,
            windows: 0,
        }
    }

    /// Reads on, behind the connection's preface; true when there are too many such frames.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) -> bool {
        while let Some(frame) = self.received.next(&mut bytes) {
            let cost = self.cost(frame);
            if cost > 0.0 && !self.take(cost) {
                return true;
            }
        }
        false
    }

    /// Follows what is sent to the client; whether data is.
    pub(crate) fn written(&mut self, mut bytes: &[u8]) -> bool {
        let mut data = false;
        while let Some(frame) = self.sent.next(&mut bytes) {
            let acknowledges = frame.flags & ACK_OR_END != 0;
            match frame.kind {
                DATA => {
                    data = true;
                    self.expect_windows();
                }
                PING if !acknowledges => self.pings += 1,
                SETTINGS if !acknowledges => self.settings += 1,
                _ => {}
            }
        }
        data
    }

    fn expect_windows(&mut self) {
        self.windows = (self.windows + WINDOWS).min(MOST_WINDOWS);
    }

    /// How many frames that bring nothing this one counts for.
    fn cost(&mut self, frame: Frame) -> f64 {
        let flagged = frame.flags & ACK_OR_END != 0;
        let expected = match frame.kind {
            DATA => return f64::from(frame.length == 0 && !flagged),
            HEADERS => {
                self.expect_windows();
                return 0.0;
            }
            PING if flagged => &mut self.pings,
            SETTINGS if flagged => &mut self.settings,
            WINDOW_UPDATE => &mut self.windows,
            // PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, CONTINUATION, and what is
            // not known.
            _ => return 1.0,
        };
        if let Some(left) = expected.checked_sub(1) {
            *expected = left;
            return 0.0;
        }
        if frame.kind == WINDOW_UPDATE {
            1.0
        } else {
            UNASKED
        }
    }

    fn take(&mut self, cost: f64) -> bool {
        let now = Instant::now();
        let earned = now
            .duration_since(self.counted_at)
            .min(Duration::from_secs(60));
        self.counted_at = now;
        let rate = f64::from(self.per_second);
        let most = rate * f64::from(BURST_SECONDS);
        self.tokens = (self.tokens + earned.as_secs_f64() * rate).min(most) - cost;
        self.tokens >= 0.0
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
            (7, 0, b"12345678"),
            (8, 0, b"1234"),
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

    #[tokio::test(start_paused = true)]
    async fn answers_to_nothing_are_a_flood_sooner() {
        for (kind, payload) in [(PING, &b"12345678"[..]), (SETTINGS, b"")] {
            let mut flood = Flood::new(10);
            let answer = frame(kind, ACK_OR_END, payload);
            assert!((0..2).all(|_| !flood.read(&answer)), "type {kind}");
            assert!(flood.read(&answer), "type {kind}: the third");
        }
    }

    #[tokio::test]
    async fn requests_and_bodies_are_no_flood() {
        let mut flood = Flood::new(1);
        for (kind, flags, payload) in [(0, 0, &b"data"[..]), (0, 1, b""), (1, 4, b"head")] {
            let frame = frame(kind, flags, payload);
            assert!((0..10_000).all(|_| !flood.read(&frame)), "type {kind}");
        }
    }

    #[tokio::test]
    async fn answers_to_what_was_sent_are_no_flood() {
        for (sent, answers, answer) in [
            (frame(PING, 0, b"12345678"), 1, frame(PING, 1, b"12345678")),
            (frame(SETTINGS, 0, b""), 1, frame(SETTINGS, 1, b"")),
            (frame(DATA, 0, b"data"), 2, frame(WINDOW_UPDATE, 0, b"1234")),
        ] {
            let mut flood = Flood::new(1);
            for _ in 0..10_000 {
                assert_eq!(flood.written(&sent), sent[3] == DATA);
                assert!((0..answers).all(|_| !flood.read(&answer)), "{answer:?}");
            }
            assert!((0..20).any(|_| flood.read(&answer)), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_client_that_opens_windows_for_each_request_is_no_flood() {
        let mut flood = Flood::new(1);
        for _ in 0..10_000 {
            assert!(!flood.read(&frame(HEADERS, 5, b"head")));
            assert!(!flood.read(&frame(WINDOW_UPDATE, 0, b"1234")));
        }
    }

    #[tokio::test]
    async fn answers_are_not_saved_up_without_end() {
        let mut flood = Flood::new(1);
        let sent = frame(DATA, 0, b"data");
        for _ in 0..1_000_000 {
            flood.written(&sent);
        }
        let open = frame(WINDOW_UPDATE, 0, b"1234");
        let read = (0..1_000_000).position(|_| flood.read(&open));
        assert!(read.is_some_and(|read| read < 20_000), "{read:?}");
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

        #[test]
        fn any_division_into_writes_finds_the_same(cuts in proptest::collection::vec(0_usize..300, 0..9)) {
            let mut all = Vec::new();
            for _ in 0..6 {
                all.extend(frame(PING, 0, b"12345678"));
                all.extend(frame(DATA, 0, &[6; 20]));
            }
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(all.len())).collect();
            cuts.extend([0, all.len()]);
            cuts.sort_unstable();
            let mut flood = Flood::new(1);
            for pair in cuts.windows(2) {
                flood.written(&all[pair[0]..pair[1]]);
            }
            prop_assert_eq!((flood.pings, flood.windows), (6, 12));
        }
    }
}
