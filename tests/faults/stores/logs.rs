//! Logs: a record that can be read survives the end of the process. A power failure may cost the
//! newest ones, and never leaves a damaged log.

use std::path::Path;

use canopy_backend_logs::{Entry, Level, Log, LogContext, LogRange, LogSettings, LogStore, Source};

use super::{Store, Units, content, of_content, scope, text, written};

pub(super) struct LogsStore {
    store: LogStore,
    log: Log,
}

/// So long that files are begun anew, and none has to go.
const LENGTH: usize = 700;

impl LogsStore {
    async fn messages(&self) -> Result<(Vec<String>, usize), String> {
        let (mut messages, mut damaged, mut after) = (Vec::new(), 0, 0);
        loop {
            let range = LogRange::After(after);
            let page = self.store.read(scope().installation, range, 1000).await;
            let page = page.map_err(text)?;
            damaged += page.damaged;
            messages.extend(page.records.into_iter().map(|record| record.message));
            after = page.last;
            if !page.more {
                return Ok((messages, damaged));
            }
        }
    }
}

impl Store for LogsStore {
    const NAME: &'static str = "logs";
    const STEPS: u32 = 20;
    const SURVIVES_POWER: bool = false;

    async fn open(dir: &Path) -> Result<Self, String> {
        let settings = LogSettings {
            file_bytes: 4096,
            ..LogSettings::default()
        };
        let store = LogStore::open(dir.join("logs"), settings).map_err(text)?;
        let context = LogContext {
            tenant: "acme".parse().expect("a name"),
            app: Some("notes".parse().expect("a name")),
            driver: None,
            package: "acme/notes".parse().expect("a package"),
            version: semver::Version::new(1, 0, 0),
        };
        let log = store.log(scope().installation, context);
        Ok(Self { store, log })
    }

    async fn step(&mut self, n: u32) -> Result<(), String> {
        let message = String::from_utf8(content(n, LENGTH)).expect("text");
        self.log
            .append(Entry::new(Level::Info, Source::Stdout, &message));
        match self.messages().await?.0.contains(&message) {
            true => Ok(()),
            false => Err("it is not in the log".into()),
        }
    }

    fn expect(n: u32, units: &mut Units) {
        units.insert(format!("record{n}"), written(n, LENGTH));
    }

    async fn observe(&mut self) -> Result<Units, String> {
        let unit = |message: String| {
            let found = of_content(message.as_bytes());
            let n = found.rsplit(' ').next().unwrap_or_default();
            (format!("record{n}"), found)
        };
        // What the log itself says of records that it could not write is not of a step.
        let of_steps = |message: &String| !message.contains("were dropped");
        let messages = self.messages().await?.0.into_iter().filter(of_steps);
        Ok(messages.map(unit).collect())
    }

    async fn check(&mut self) -> Result<Vec<String>, String> {
        let damaged = self.messages().await?.1;
        Ok(match damaged {
            0 => Vec::new(),
            _ => vec![format!("{damaged} records are damaged")],
        })
    }

    async fn close(self) {}
}
