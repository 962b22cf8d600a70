//! What of a document's content is searched for: the text of texts.

/// Bytes at the beginning of a content that are looked at.
pub const LOOKED_AT: u64 = 256 << 10;

/// The text in `bytes`, the beginning of a content; empty if it is not a text.
pub fn text(bytes: &[u8]) -> String {
    // A character may be cut in two at the end.
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return String::new(),
    };
    if text.contains('\0') {
        return String::new();
    }
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// At most [`LOOKED_AT`] bytes of `text`.
pub fn bounded(text: &str) -> &str {
    let mut end = text
        .len()
        .min(usize::try_from(LOOKED_AT).unwrap_or(usize::MAX));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_from_other_contents() {
        assert_eq!(text("Grüße\nan alle".as_bytes()), "Grüße an alle");
        assert_eq!(text(&"Grü".as_bytes()[..3]), "Gr", "cut within a character");
        assert_eq!(text(b"\x89PNG\r\n"), "");
        assert_eq!(text(b"a\0b"), "");
        assert_eq!(text(b""), "");
    }
}
