//! Encodings of mail: base64 (RFC 4648), quoted-printable (RFC 2045), words in headers (RFC 2047).

/// The longest encoded word (RFC 2047, section 2).
const MAX_WORD: usize = 75;

/// The longest line of quoted-printable, without its end.
const MAX_LINE: usize = 76;

/// Base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .chain([0, 0].iter())
            .take(3)
            .fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        for position in 0..4 {
            text.push(match position <= group.len() {
                true => char::from(DIGITS[bits >> (18 - 6 * position) & 63]),
                false => '=',
            });
        }
    }
    text
}

/// `text` for the unstructured value of a header: as it is if it is plain ASCII, else as encoded
/// words, each of whole characters, with folds between them.
pub fn header_text(text: &str) -> String {
    let plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && !text.contains("=?");
    if plain {
        return fold(text);
    }
    words(text)
}

/// `text` for a display name before an address.
pub fn phrase(text: &str) -> String {
    if !text.is_ascii() || text.contains("=?") {
        return words(text);
    }
    let is_atoms = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~ ".contains(c));
    if is_atoms {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn words(text: &str) -> String {
    const OPEN: &str = "=?UTF-8?B?";
    const CLOSE: &str = "?=";
    let room = (MAX_WORD - OPEN.len() - CLOSE.len()) / 4 * 3;
    let mut pieces = vec![String::new()];
    for character in text.chars() {
        let full = pieces
            .last()
            .is_none_or(|piece| piece.len() + character.len_utf8() > room);
        if full {
            pieces.push(String::new());
        }
        if let Some(piece) = pieces.last_mut() {
            piece.push(character);
        }
    }
    pieces
        .iter()
        .map(|piece| format!("{OPEN}{}{CLOSE}", base64(piece.as_bytes())))
        .collect::<Vec<_>>()
        .join("\r\n ")
}

/// Breaks a long value at spaces; a line of a header has at most 998 characters and should have
/// fewer than 78.
fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let mut column = 0;
    for (index, word) in text.split(' ').enumerate() {
        if index > 0 {
            // A line must not consist of white space alone, so a break needs a word after it.
            if column + word.len() > 66 && !word.is_empty() {
                folded.push_str("\r\n");
                column = 0;
            }
            folded.push(' ');
        }
        folded.push_str(word);
        column += word.len() + 1;
    }
    folded
}

/// `text` as quoted-printable. Line ends of any kind become CRLF.
pub fn quoted_printable(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let mut out = String::new();
        let bytes = line.as_bytes();
        for (index, byte) in bytes.iter().enumerate() {
            let last = index + 1 == bytes.len();
            let token = match byte {
                b' ' | b'\t' if !last => char::from(*byte).to_string(),
                b'!'..=b'~' if *byte != b'=' => char::from(*byte).to_string(),
                other => format!("={other:02X}"),
            };
            // A soft break takes one column.
            let limit = if last { MAX_LINE } else { MAX_LINE - 1 };
            if out.len() + token.len() > limit {
                out.push('=');
                lines.push(std::mem::take(&mut out));
            }
            out.push_str(&token);
        }
        lines.push(out);
    }
    lines.join("\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xff, 0xfb, 0xef]), "//vv");
    }

    #[test]
    fn words_are_short_and_of_whole_characters() {
        let encoded = header_text(&"Grüße aus Köln ".repeat(20));
        for line in encoded.split("\r\n") {
            let word = line.trim_start();
            assert!(word.len() <= MAX_WORD, "{line}");
            assert!(
                word.starts_with("=?UTF-8?B?") && word.ends_with("?="),
                "{line}"
            );
        }
        assert_eq!(header_text("Ü"), "=?UTF-8?B?w5w=?=");
        assert_eq!(header_text("plain"), "plain");
        assert!(header_text("=?UTF-8?B?faked?=").starts_with("=?UTF-8?B?PT9"));
    }

    #[test]
    fn no_line_break_of_a_value_survives() {
        for text in ["a\r\nBcc: x@y.z", "a\nb", "a\rb", "a\u{0}b"] {
            let encoded = header_text(text);
            assert!(
                encoded.starts_with("=?UTF-8?B?") && !encoded.contains("Bcc"),
                "{encoded}"
            );
        }
    }

    #[test]
    fn long_values_are_folded_before_words() {
        let folded = header_text(&"word ".repeat(60));
        assert!(
            folded
                .split("\r\n")
                .all(|line| line.len() < 78 && !line.trim().is_empty())
        );
        assert_eq!(folded.replace("\r\n", ""), "word ".repeat(60));
    }

    #[test]
    fn names_are_quoted_where_they_must() {
        assert_eq!(phrase("Ada Lovelace"), "Ada Lovelace");
        assert_eq!(phrase("Lovelace, Ada"), "\"Lovelace, Ada\"");
        assert_eq!(phrase("a \"b\" \\"), "\"a \\\"b\\\" \\\\\"");
        assert_eq!(phrase("Ädä"), "=?UTF-8?B?w4Rkw6Q=?=");
    }

    #[test]
    fn quoted_printable_keeps_lines_short_and_ends_visible() {
        assert_eq!(
            quoted_printable("a=b\nü \r\n\tx\t"),
            "a=3Db\r\n=C3=BC=20\r\n\tx=09"
        );
        let long = quoted_printable(&"ü".repeat(200));
        assert!(long.split("\r\n").all(|line| line.len() <= MAX_LINE));
        let joined: String = long.replace("=\r\n", "");
        assert_eq!(joined, "=C3=BC".repeat(200));
        assert_eq!(quoted_printable(&"x".repeat(76)).len(), 76);
        assert_eq!(
            quoted_printable(&"x".repeat(77)),
            format!("{}=\r\nxx", "x".repeat(75))
        );
    }
}
