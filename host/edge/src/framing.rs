//! Follows HTTP/1 requests: detects those that declare their length twice, by `Content-Length` and by
//! `Transfer-Encoding`, and knows whether a body is under way.
//!
//! Two servers in a row that believe different ones can be made to disagree about where a request
//! ends, which lets one client's bytes become another's request. hyper decides for the encoding and
//! hides the length, so the refusal has to be found here, in the bytes, by following the framing
//! just enough to know which of them are heads. What this reader doesn't understand, hyper refuses;
//! it then stops looking.

/// Follows the requests of one connection.
#[derive(Debug)]
pub(crate) struct Framing {
    state: State,
    line: Vec<u8>,
    head: Head,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Body(u64),
    ChunkSize,
    Chunk(u64),
    Trailers,
    Lost,
}

#[derive(Debug, Default)]
struct Head {
    begun: bool,
    length: Option<u64>,
    encoded: bool,
}

/// More of a line is never needed: the longest name that matters is shorter, and so is a number.
const LINE_KEPT: usize = 64;

impl Framing {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Head,
            line: Vec::with_capacity(LINE_KEPT),
            head: Head::default(),
        }
    }

    /// Reads on; true when a head ended that declares its length twice.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match self.state {
                State::Lost => return false,
                State::Body(left) => {
                    let left = skip(&mut bytes, left);
                    self.state = if left == 0 {
                        State::Head
                    } else {
                        State::Body(left)
                    };
                }
                State::Chunk(left) => {
                    let left = skip(&mut bytes, left);
                    self.state = if left == 0 {
                        State::ChunkSize
                    } else {
                        State::Chunk(left)
                    };
                }
                State::Head | State::ChunkSize | State::Trailers => {
                    if self.take_line(&mut bytes) && self.end_of_line() {
                        return true;
                    }
                }
            }
        }
        false
    }

    /// Whether a request's head has been read, and its body not to the end.
    pub(crate) fn is_within_a_body(&self) -> bool {
        !matches!(self.state, State::Head | State::Lost)
    }

    /// Moves bytes up to the end of the line; false if the line goes on.
    fn take_line(&mut self, bytes: &mut &[u8]) -> bool {
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let (line, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
        *bytes = rest;
        let room = LINE_KEPT - self.line.len();
        self.line.extend_from_slice(&line[..line.len().min(room)]);
        end.is_some()
    }

    fn end_of_line(&mut self) -> bool {
        let line = self.line.trim_ascii();
        let mut twice = false;
        self.state = match self.state {
            State::Head if line.is_empty() && !self.head.begun => State::Head,
            State::Head if line.is_empty() => {
                let head = std::mem::take(&mut self.head);
                twice = head.encoded && head.length.is_some();
                match head.length {
                    _ if twice => State::Lost,
                    _ if head.encoded => State::ChunkSize,
                    Some(length) if length > 0 => State::Body(length),
                    _ => State::Head,
                }
            }
            State::Head => self.head.add(line),
            State::ChunkSize => match chunk_size(line) {
                Some(0) => State::Trailers,
                // The line end after the data counts as part of it.
                Some(size) => State::Chunk(size.saturating_add(2)),
                None => State::Lost,
            },
            State::Trailers if line.is_empty() => State::Head,
            state => state,
        };
        self.line.clear();
        twice
    }
}

impl Head {
    fn add(&mut self, line: &[u8]) -> State {
        if !self.begun {
            self.begun = true;
            return if line.starts_with(b"PRI * HTTP/2") {
                State::Lost
            } else {
                State::Head
            };
        }
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            return State::Head;
        };
        let (name, value) = (line[..colon].trim_ascii(), &line[colon + 1..]);
        if name.eq_ignore_ascii_case(b"content-length") {
            let number = std::str::from_utf8(value.trim_ascii())
                .ok()
                .and_then(|v| v.parse().ok());
            let Some(number) = number else {
                return State::Lost;
            };
            self.length = Some(number);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.encoded = true;
        }
        State::Head
    }
}

fn skip(bytes: &mut &[u8], left: u64) -> u64 {
    let skipped = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
    *bytes = &bytes[skipped..];
    left - skipped as u64
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let end = line
        .iter()
        .position(|byte| !byte.is_ascii_hexdigit())
        .unwrap_or(line.len());
    let digits = std::str::from_utf8(&line[..end]).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TWICE: &str =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n";

    #[test]
    fn found_in_either_order_and_spelling() {
        for request in [
            TWICE,
            "POST / HTTP/1.1\r\ntransfer-encoding:chunked\r\nCONTENT-LENGTH:0\r\n\r\n",
            "POST / HTTP/1.1\nTransfer-Encoding: x\nContent-Length:\t7 \n\n",
        ] {
            assert!(Framing::new().read(request.as_bytes()), "{request}");
        }
    }

    #[test]
    fn found_behind_requests_of_every_framing() {
        for before in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\nPOST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        ] {
            assert!(!Framing::new().read(before.as_bytes()), "{before}");
            assert!(
                Framing::new().read(format!("{before}{TWICE}").as_bytes()),
                "{before}"
            );
        }
    }

    #[test]
    fn a_body_that_looks_like_a_head_is_a_body() {
        let length = TWICE.len();
        let request = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{TWICE}");
        assert!(!Framing::new().read(request.as_bytes()));
        let request = format!(
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{TWICE}\r\n0\r\n\r\n"
        );
        assert!(!Framing::new().read(request.as_bytes()));
    }

    #[test]
    fn a_body_is_followed_to_its_end() {
        for (begun, rest) in [
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhell", "o"),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                "0\r\nT: 1\r\n\r\n",
            ),
        ] {
            let mut framing = Framing::new();
            assert!(!framing.is_within_a_body());
            framing.read(begun.as_bytes());
            assert!(framing.is_within_a_body(), "{begun}");
            framing.read(rest.as_bytes());
            assert!(!framing.is_within_a_body(), "{begun}{rest}");
        }
    }

    proptest! {
        #[test]
        fn any_division_into_reads_finds_the_same(cuts in proptest::collection::vec(0_usize..400, 0..12)) {
            let request = format!(
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{TWICE}"
            );
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(request.len())).collect();
            cuts.extend([0, request.len()]);
            cuts.sort_unstable();
            let mut framing = Framing::new();
            let mut found = false;
            for pair in cuts.windows(2) {
                found |= framing.read(&request.as_bytes()[pair[0]..pair[1]]);
            }
            prop_assert!(found);
        }

        #[test]
        fn no_input_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            Framing::new().read(&bytes);
        }
    }
}
