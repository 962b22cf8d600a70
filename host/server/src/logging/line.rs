//! A record of the log as one line of text: when, how grave, from where, what, and its fields.
//!
//! Each request writes one, so it is made for a line to cost little: texts of visible ASCII, which
//! nearly all are, pass as they are. In whatever is not, control characters are escaped, so that
//! nothing a client sends begins a line of its own or moves a terminal.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Formats records as lines.
pub(crate) struct Line {
    /// Whether the level has a colour of its own.
    pub(crate) colours: bool,
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
        let metadata = event.metadata();
        SystemTime.format_time(&mut out)?;
        let (name, colour) = level(metadata.level());
        if self.colours {
            out.write_str(colour)?;
        }
        out.write_str(name)?;
        if self.colours {
            out.write_str("\x1b[0m")?;
        }
        out.write_char(' ')?;
        out.write_str(metadata.target())?;
        out.write_char(':')?;
        let mut fields = Fields {
            out: Escaping(out.by_ref()),
            written: Ok(()),
        };
        event.record(&mut fields);
        fields.written?;
        out.write_char('\n')
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

/// Writes ` name=value` for each field, and the message without its name.
struct Fields<'a> {
    out: Escaping<'a>,
    written: fmt::Result,
}

impl Fields<'_> {
    fn field(&mut self, field: &Field, value: impl FnOnce(&mut Escaping<'_>) -> fmt::Result) {
        let out = &mut self.out;
        let name = field.name();
        self.written = self.written.and_then(|()| {
            out.0.write_char(' ')?;
            if name != "message" {
                out.0.write_str(name)?;
                out.0.write_char('=')?;
            }
            value(out)
        });
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, |out| match value.bytes().all(is_plain) {
            true => {
                out.0.write_char('"')?;
                out.0.write_str(value)?;
                out.0.write_char('"')
            }
            false => write!(out, "{value:?}"),
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.field(field, |out| write!(out, "{value:?}"));
    }
}

/// Whether a byte looks the same within quotation marks as without.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')
}

/// Escapes control characters.
struct Escaping<'a>(Writer<'a>);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return self.0.write_str(text);
        }
        for character in text.chars() {
            match character.is_control() {
                true => write!(self.0, "{}", character.escape_debug())?,
                false => self.0.write_char(character)?,
            }
        }
        Ok(())
    }
}
