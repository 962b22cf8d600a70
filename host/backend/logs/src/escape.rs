//! Guests choose the text of their records, people read them in terminals. So what moves a
//! cursor, begins a line or turns the direction of writing is stored as visible text.

use std::fmt::Write;

/// `text` on one line, without control characters, in at most `limit` bytes before the remark that
/// says how much was cut off.
pub(crate) fn escape(text: &str, limit: usize) -> String {
    let mut out = String::with_capacity(text.len().min(limit));
    for (at, c) in text.char_indices() {
        let before = out.len();
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c if misleads(c) => {
                // Writing to a String does not fail.
                let _ = write!(out, "\\u{{{:x}}}", c as u32);
            }
            c => out.push(c),
        }
        if out.len() > limit {
            out.truncate(before);
            let _ = write!(out, "… ({} more bytes cut off)", text.len() - at);
            break;
        }
    }
    out
}

fn misleads(c: char) -> bool {
    c != '\t'
        && (c.is_control()
            || matches!(
                c,
                '\u{2028}' | '\u{2029}' | '\u{61c}' | '\u{200e}' | '\u{200f}'
                    | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            ))
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn ordinary_text_stays_as_it_is() {
        for text in ["", "hello", "größe 日本語 🌳", "a\tb", "{\"a\":\"\\n\"}"] {
            assert_eq!(escape(text, 1000), text);
        }
    }

    #[test]
    fn nothing_moves_the_cursor_or_begins_a_line() {
        let text = "a\nb\rc\x1b]52;c;x\x07\u{9b}2J\u{7f}\0\u{202e}\u{2028}\u{2066}";
        let escaped = escape(text, 1000);
        assert_eq!(
            escaped,
            "a\\nb\\rc\\u{1b}]52;c;x\\u{7}\\u{9b}2J\\u{7f}\\u{0}\\u{202e}\\u{2028}\\u{2066}"
        );
        assert!(!escaped.chars().any(char::is_control));
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        assert_eq!(
            escape(&"x".repeat(300), 256),
            format!("{}… (44 more bytes cut off)", "x".repeat(256))
        );
        assert_eq!(escape("ab\x1b", 4), "ab… (1 more bytes cut off)");
        assert_eq!(escape("aé", 2), "a… (2 more bytes cut off)");
    }
}
