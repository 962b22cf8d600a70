//! A record of the log as one line of text: when, how grave, from where, what, and its fields.
//!
//! Each request writes one, so it is made for a line to cost little: it is put together in a buffer of
//! the thread, numbers and texts of visible ASCII, which nearly all are, without the machinery of
//! formatting. In whatever is not, control characters are escaped, so that nothing a client sends
//! begins a line of its own or moves a terminal.

use std::cell::Cell;
use std::fmt::{self, Debug, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Formats records as lines.
pub(crate) struct Line {
    /// Whether the level has a colour of its own.
    pub(crate) colours: bool,
}

/// What a thread uses again for each line.
#[derive(Default)]
struct Buffer {
    line: String,
    clock: Clock,
}

thread_local! {
    static BUFFER: Cell<Buffer> = Cell::default();
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // Taken and given back, so that nothing is borrowed while fields write themselves.
        let mut buffer = BUFFER.take();
        let Buffer { line, clock } = &mut buffer;
        line.clear();
        clock.write(SystemTime::now(), line);
        let metadata = event.metadata();
        let (name, colour) = level(metadata.level());
        if self.colours {
            line.push_str(colour);
        }
        line.push_str(name);
        if self.colours {
            line.push_str("\x1b[0m");
        }
        line.push(' ');
        line.push_str(metadata.target());
        line.push(':');
        let mut fields = Fields {
            line,
            written: Ok(()),
        };
        event.record(&mut fields);
        let written = fields.written;
        line.push('\n');
        let written = written.and_then(|()| out.write_str(line));
        BUFFER.set(buffer);
        written
    }
}

fn level(level: &Level) -> (&'static str, &'static str) {
    match *level {
        Level::ERROR => (" ERROR", "\x1b[31m"),
        Level::WARN => ("  WARN", "\x1b[33m"),
        Level::INFO => ("  INFO", "\x1b[32m"),
        Level::DEBUG => (" DEBUG", "\x1b[34m"),
        Level::TRACE => (" TRACE", "\x1b[35m"),
    }
}

/// Writes times, as `2026-11-26T22:56:42.175406Z`, and keeps the second that it wrote last.
#[derive(Default)]
pub(crate) struct Clock {
    second: u64,
    /// Up to the second.
    text: String,
}

impl Clock {
    pub(crate) fn write(&mut self, now: SystemTime, line: &mut String) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if self.text.is_empty() || self.second != since.as_secs() {
            self.second = since.as_secs();
            self.text = i64::try_from(self.second)
                .ok()
                .and_then(|second| jiff::Timestamp::from_second(second).ok())
                .unwrap_or_default()
                .to_string();
            self.text.pop();
        }
        line.push_str(&self.text);
        line.push('.');
        // With a digit ahead, so that zeros are written too.
        line.push_str(&itoa::Buffer::new().format(1_000_000 + since.subsec_micros())[1..]);
        line.push('Z');
    }
}

/// Writes ` name=value` for each field, and the message without its name.
struct Fields<'a> {
    line: &'a mut String,
    written: fmt::Result,
}

impl Fields<'_> {
    fn name(&mut self, field: &Field) {
        self.line.push(' ');
        let name = field.name();
        if name != "message" {
            self.line.push_str(name);
            self.line.push('=');
        }
    }

    fn plain(&mut self, field: &Field, value: &str) {
        self.name(field);
        self.line.push_str(value);
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if value.bytes().all(is_plain) {
            self.name(field);
            self.line.push('"');
            self.line.push_str(value);
            self.line.push('"');
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, itoa::Buffer::new().format(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, itoa::Buffer::new().format(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, if value { "true" } else { "false" });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.name(field);
        let written = write!(Escaping(self.line), "{value:?}");
        self.written = self.written.and(written);
    }
}

/// Whether a byte looks the same within quotation marks as without.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')
}

/// Escapes control characters.
struct Escaping<'a>(&'a mut String);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            self.0.push_str(text);
            return Ok(());
        }
        for character in text.chars() {
            match character.is_control() {
                true => write!(self.0, "{}", character.escape_debug())?,
                false => self.0.push(character),
            }
        }
        Ok(())
    }
}
