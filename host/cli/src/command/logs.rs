//! `canopy logs`: the log of an installation or a driver.

use std::fmt::Write as _;

use canopy_api_types::{LogLevel, LogPage, LogRecord, LogSource};
use futures::StreamExt as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio_util::io::StreamReader;

use super::Target;
use crate::ui::{moment, printable};
use crate::{Context, Error};

/// Show the log of an installation or a driver
#[derive(Debug, clap::Args)]
pub struct Logs {
    #[command(flatten)]
    target: Target,
    /// Go on printing what is written from now on
    #[arg(long, short)]
    follow: bool,
    /// Only the last records
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 100)]
    tail: u32,
    /// Only what follows this record, by its number; --tail does not count then
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
}

impl Logs {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let path = self.target.path(&["logs"]);
        let mut query = vec![match self.after {
            Some(after) => ("after", after.to_string()),
            None => ("tail", self.tail.to_string()),
        }];
        if !self.follow {
            let page: LogPage = client.query(&path, &query).await?;
            if page.items.is_empty() {
                context
                    .ui
                    .note(format_args!("The log of {} is empty.", self.target.name));
            }
            if context.ui.is_json() || !page.items.is_empty() {
                context.ui.result(&page, |page| {
                    page.items.iter().map(human).collect::<Vec<_>>().join("\n")
                });
            }
            return Ok(());
        }
        query.push(("follow", "true".into()));
        let response = client.stream(&path, &query).await?;
        let url = response.url().to_string();
        let body = response
            .bytes_stream()
            .map(|piece| piece.map_err(std::io::Error::other));
        let mut lines = BufReader::new(StreamReader::new(body)).lines();
        loop {
            match lines.next_line().await {
                Ok(Some(line)) if line.is_empty() => {}
                Ok(Some(line)) => match serde_json::from_str::<LogRecord>(&line) {
                    Ok(record) => print_record(context, &record),
                    Err(error) => {
                        let status = format!("a line that is no log record ({error})");
                        return Err(Error::Foreign { url, status });
                    }
                },
                Ok(None) => {
                    let reason = "the node ended the log; it may be stopping".into();
                    return Err(Error::Unreachable { url, reason });
                }
                Err(error) => {
                    return Err(Error::Unreachable {
                        url,
                        reason: error.to_string(),
                    });
                }
            }
        }
    }
}

fn print_record(context: &Context, record: &LogRecord) {
    if context.ui.is_json() {
        context
            .ui
            .line(&serde_json::to_string(record).unwrap_or_default());
    } else {
        context.ui.line(&human(record));
    }
}

fn human(record: &LogRecord) -> String {
    let level = match record.level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
        LogLevel::Critical => "critical",
    };
    let source = match record.source {
        LogSource::Stdout => "stdout",
        LogSource::Stderr => "stderr",
        LogSource::Logging => "logging",
        LogSource::Platform => "platform",
    };
    let mut text = format!(
        "{} {level:<8} {source:<8} {}",
        moment(record.time),
        printable(&record.message)
    );
    if let Some(id) = &record.request_id {
        let _ = write!(text, "  [{}]", printable(id));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_without_escape_sequences() {
        let record: LogRecord = serde_json::from_value(serde_json::json!({
            "seq": 1, "time": "2026-01-02T03:04:05.678Z", "level": "warn", "source": "stderr",
            "message": "a\nb\u{1b}[2J", "request_id": "r-1", "version": "1.0.0"
        }))
        .expect("a record");
        assert_eq!(
            human(&record),
            "2026-01-02 03:04:05Z warn     stderr   a\u{fffd}b\u{fffd}[2J  [r-1]"
        );
    }
}
