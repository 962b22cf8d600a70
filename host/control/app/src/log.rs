//! Logs of installations and driver instances.

use canopy_api_types::{LogLevel, LogPage, LogRecord, LogSource};
use canopy_backend_logs::{Level, LogOwner, LogRange, LogSubscription, Source};
use canopy_ids::Label;

use crate::{Action, App, AppError, Context, Resource};

/// Whose log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// An installation's.
    Installation(Label),
    /// A driver instance's.
    Driver(Label),
}

/// Which records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogQuery {
    /// The oldest after this one, at most so many.
    After(u64, usize),
    /// The last, at most so many.
    Tail(usize),
}

/// A log that is followed.
pub struct LogFollow {
    first: Vec<LogRecord>,
    subscription: LogSubscription,
}

impl LogFollow {
    /// Waits for the next records. `None`: the log has ended, since its owner was deleted or the
    /// node stops.
    pub async fn next(&mut self) -> Result<Option<Vec<LogRecord>>, AppError> {
        if !self.first.is_empty() {
            return Ok(Some(std::mem::take(&mut self.first)));
        }
        let records = self.subscription.next().await?;
        Ok(records.map(|records| records.into_iter().map(record).collect()))
    }
}

impl App {
    /// Reads a page of a log.
    pub async fn log(
        &self,
        context: &Context,
        tenant: Label,
        target: LogTarget,
        query: LogQuery,
    ) -> Result<LogPage, AppError> {
        context.authorize(Action::Read, Resource::Installations(&tenant))?;
        let owner = self.log_owner(tenant, target).await?;
        self.read_log(owner, query).await
    }

    /// Reads a log and goes on with what is written to it from then on.
    pub async fn follow_log(
        &self,
        context: &Context,
        tenant: Label,
        target: LogTarget,
        query: LogQuery,
    ) -> Result<LogFollow, AppError> {
        context.authorize(Action::Read, Resource::Installations(&tenant))?;
        let owner = self.log_owner(tenant, target).await?;
        let (first, after) = match query {
            LogQuery::After(after, _) => (Vec::new(), after),
            // Of no record at all one is read all the same, to know where the log ends.
            LogQuery::Tail(count) => {
                let page = self.read_log(owner, LogQuery::Tail(count.max(1))).await?;
                let first = if count == 0 { Vec::new() } else { page.items };
                (first, page.next_after)
            }
        };
        Ok(LogFollow {
            first,
            subscription: self.logs.subscribe(owner, after),
        })
    }

    async fn read_log(&self, owner: LogOwner, query: LogQuery) -> Result<LogPage, AppError> {
        let (range, limit) = match query {
            LogQuery::After(after, limit) => (LogRange::After(after), limit),
            LogQuery::Tail(limit) => (LogRange::Last, limit),
        };
        let page = self.logs.read(owner, range, limit).await?;
        if page.damaged > 0 {
            tracing::warn!(%owner, lines = page.damaged, "lines of a log could not be read");
        }
        let items = page.records.into_iter().map(record).collect();
        Ok(LogPage {
            items,
            next_after: page.last,
        })
    }

    async fn log_owner(&self, tenant: Label, target: LogTarget) -> Result<LogOwner, AppError> {
        let tenant = self.store.tenant(tenant).await?.id;
        Ok(match target {
            LogTarget::Installation(name) => self.store.installation(tenant, name).await?.id.into(),
            LogTarget::Driver(name) => self.store.driver(tenant, name).await?.id.into(),
        })
    }
}

fn record(record: canopy_backend_logs::LogRecord) -> LogRecord {
    let message = match record.context {
        Some(context) => format!("{context}: {}", record.message),
        None => record.message,
    };
    LogRecord {
        seq: record.seq,
        time: record.time,
        level: match record.level {
            Level::Trace => LogLevel::Trace,
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
            Level::Critical => LogLevel::Critical,
        },
        source: match record.source {
            Source::Stdout => LogSource::Stdout,
            Source::Stderr => LogSource::Stderr,
            Source::Logging => LogSource::Logging,
            Source::Platform => LogSource::Platform,
        },
        message,
        request_id: record.request_id.map(|id| id.to_string()),
        version: record.writer.version.to_string(),
    }
}
