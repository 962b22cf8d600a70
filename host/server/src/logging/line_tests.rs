//! Lines as they are written.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use tracing_subscriber::fmt::MakeWriter;

use super::line::{Clock, Line};

/// Keeps what is written.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Kept {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The line that `record` writes, without its time.
fn line(colours: bool, record: impl FnOnce()) -> String {
    let kept = Kept::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(kept.clone())
        .event_format(Line { colours })
        .finish();
    tracing::subscriber::with_default(subscriber, record);
    let kept = kept.0.lock().unwrap_or_else(PoisonError::into_inner);
    let text = String::from_utf8(kept.clone()).expect("text");
    let (time, rest) = text.split_at("2026-11-26T22:56:42.175406Z".len());
    assert!(time.ends_with('Z'), "{time}");
    rest.to_owned()
}

#[test]
fn a_line_has_level_target_message_and_fields() {
    let nothing: Option<&str> = None;
    let line = line(false, || {
        tracing::info!(
            target: "canopy::request",
            method = %"GET",
            host = "a.b",
            code = nothing,
            status = 200,
            ms = 1.25,
            secure = true,
            "request",
        );
    });
    let expected =
        r#"  INFO canopy::request: request method=GET host="a.b" status=200 ms=1.25 secure=true"#;
    assert_eq!(line, format!("{expected}\n"));
}

#[test]
fn nothing_begins_a_line_or_moves_a_terminal() {
    let hostile = "a\n2026 \"b\" \\ \x1b[2J \u{9b}2J é";
    let line = line(false, || {
        tracing::error!(quoted = hostile, shown = %hostile, "{hostile}");
    });
    assert!(!line.trim_end().chars().any(char::is_control), "{line:?}");
    assert_eq!(line.matches('\n').count(), 1);
    assert!(
        line.contains(r#"quoted="a\n2026 \"b\" \\ \u{1b}[2J \u{9b}2J é""#),
        "{line}"
    );
    assert!(
        line.contains(r#"shown=a\n2026 "b" \ \u{1b}[2J \u{9b}2J é"#),
        "{line}"
    );
}

#[test]
fn only_the_level_has_a_colour() {
    let line = line(true, || tracing::warn!(target: "t", a = "b", "m"));
    assert_eq!(line, "\x1b[33m  WARN\x1b[0m t: m a=\"b\"\n");
}

#[test]
fn times_are_written_to_the_microsecond_whether_or_not_the_second_is_another() {
    let mut clock = Clock::default();
    let mut at = |second: u64, micros: u32| {
        let mut line = String::new();
        let since = Duration::new(second, micros * 1_000);
        clock.write(UNIX_EPOCH + since, &mut line);
        line
    };
    assert_eq!(at(0, 7), "1970-01-01T00:00:00.000007Z");
    assert_eq!(at(1_795_863_402, 175_406), "2026-11-28T10:56:42.175406Z");
    assert_eq!(at(1_795_863_402, 0), "2026-11-28T10:56:42.000000Z");
    assert_eq!(at(1_795_863_403, 999_999), "2026-11-28T10:56:43.999999Z");
}
