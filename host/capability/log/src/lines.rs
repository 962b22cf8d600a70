//! Splitting a byte stream into lines of bounded length.

use std::borrow::Cow;

/// The longest line in bytes; a longer one is written as several.
pub const MAX_LINE: usize = 8 << 10;

/// Bytes of a line that has not ended yet.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Takes the next bytes and hands on each line that they end, without its line break.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(&str)) {
        while !bytes.is_empty() {
            let room = MAX_LINE - self.pending.len();
            let window = &bytes[..bytes.len().min(room)];
            if let Some(end) = window.iter().position(|byte| *byte == b'\n') {
                self.pending.extend_from_slice(&window[..end]);
                bytes = &bytes[end + 1..];
                self.emit(self.pending.len(), &mut line);
            } else {
                self.pending.extend_from_slice(window);
                bytes = &bytes[window.len()..];
                if self.pending.len() == MAX_LINE {
                    self.emit(cut(&self.pending), &mut line);
                }
            }
        }
    }

    /// Hands on what is left of a line without an end.
    pub(crate) fn finish(&mut self, mut line: impl FnMut(&str)) {
        if !self.pending.is_empty() {
            self.emit(self.pending.len(), &mut line);
        }
    }

    fn emit(&mut self, length: usize, line: &mut impl FnMut(&str)) {
        let text: Cow<'_, str> = String::from_utf8_lossy(&self.pending[..length]);
        line(text.strip_suffix('\r').unwrap_or(&text));
        self.pending.drain(..length);
    }
}

/// Where to cut a full line so that no character is torn.
fn cut(bytes: &[u8]) -> usize {
    let begins_character = |byte: u8| byte & 0xc0 != 0x80;
    let tail = bytes.len().saturating_sub(3);
    let last = (tail..bytes.len())
        .rev()
        .find(|index| begins_character(bytes[*index]));
    match last {
        Some(index) if index > 0 && std::str::from_utf8(&bytes[index..]).is_err() => index,
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pieces: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for piece in pieces {
            lines.push(piece, |line| out.push(line.to_owned()));
        }
        lines.finish(|line| out.push(line.to_owned()));
        out
    }

    #[test]
    fn lines_end_where_they_end() {
        assert_eq!(split(&[b"a\nb\r\n\nc"]), ["a", "b", "", "c"]);
        assert_eq!(split(&[b"a", b"b", b"\n", b"c\nd"]), ["ab", "c", "d"]);
        assert!(split(&[b""]).is_empty());
    }

    #[test]
    fn what_is_not_text_is_replaced() {
        assert_eq!(split(&[b"a\xffb\n"]), ["a\u{fffd}b"]);
    }

    #[test]
    fn a_line_without_end_is_bounded_and_whole() {
        let flood = vec![b'x'; MAX_LINE * 3 + 5];
        let out = split(&[&flood]);
        assert_eq!(
            out.iter().map(String::len).collect::<Vec<_>>(),
            [MAX_LINE, MAX_LINE, MAX_LINE, 5]
        );
    }

    #[test]
    fn a_character_is_not_torn_by_the_cut() {
        let mut flood = vec![b'x'; MAX_LINE - 1];
        flood.extend_from_slice("é and more\n".as_bytes());
        let out = split(&[&flood]);
        assert_eq!(out[0].len(), MAX_LINE - 1);
        assert_eq!(out[1], "é and more");
    }

    #[test]
    fn a_character_may_arrive_in_pieces() {
        let text = "€\n".as_bytes();
        assert_eq!(split(&[&text[..1], &text[1..2], &text[2..]]), ["€"]);
    }
}
