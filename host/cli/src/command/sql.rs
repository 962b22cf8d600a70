//! `canopy sql`: the SQL databases that an installation stores.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use canopy_api_types::{DatabaseName, SqlJson, SqlLine, SqlRun};
use futures::StreamExt as _;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio_util::io::StreamReader;

use super::AppArg;
use crate::ui::grid;
use crate::{Context, Error, file};

/// Rows that are shown as one table; of more, the next table follows.
const TABLE_ROWS: usize = 1_000;

const HELP: &str = "\
End a statement with ; and Enter. Besides:
  .tables      list tables and views
  .schema      show how they were declared
  .databases   list the installation's databases
  .quit        leave, as Ctrl-D does";

/// Look at and repair a SQL database of an installation
#[derive(Debug, clap::Args)]
pub struct Sql {
    #[command(flatten)]
    app: AppArg,
    /// One statement [default: a prompt, or what comes by standard input]
    query: Option<String>,
    /// The database
    #[arg(long, default_value = "default")]
    database: String,
    /// A parameter of the statement, in the order of their numbers; may be repeated
    #[arg(long = "param", value_name = "VALUE")]
    parameters: Vec<String>,
    /// Let statements write
    #[arg(long)]
    write: bool,
}

impl Sql {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        if let Some(query) = &self.query {
            return self.statement(context, query).await;
        }
        if !std::io::stdin().is_terminal() {
            let text = String::from_utf8(file::read_whole(None).await?)
                .map_err(|_| Error::Usage("standard input is not text".into()))?;
            return self.statement(context, &text).await;
        }
        self.prompt(context).await
    }

    /// Reads statements and runs them until the end of input. A statement that fails is told, and
    /// the next is read.
    async fn prompt(&self, context: &Context) -> Result<(), Error> {
        let mode = if self.write {
            "statements may write"
        } else {
            "read-only; --write changes that"
        };
        context.ui.note(format_args!(
            "Database {:?} of {}, {mode}. .help lists what there is.",
            self.database, self.app.app
        ));
        let mut statement = String::new();
        loop {
            let mark = if statement.is_empty() {
                "sql> "
            } else {
                "...> "
            };
            let line = tokio::task::spawn_blocking(move || ask(mark)).await;
            let line = line.map_err(|error| Error::local("the prompt ended", error))?;
            let Some(line) = line.map_err(|error| Error::local("the prompt ended", error))? else {
                return Ok(());
            };
            let outcome = match line.trim() {
                "" if statement.is_empty() => continue,
                ".quit" | ".exit" => return Ok(()),
                ".help" => {
                    context.ui.note(HELP);
                    continue;
                }
                ".databases" => self.databases(context).await,
                ".tables" => {
                    let tables = "SELECT name, type FROM sqlite_schema WHERE type IN \
                                  ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY name";
                    self.statement(context, tables).await
                }
                ".schema" => {
                    let schema = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL";
                    self.statement(context, schema).await
                }
                text if statement.is_empty() && text.starts_with('.') => {
                    context.ui.note(format_args!("There is no {text}.\n{HELP}"));
                    continue;
                }
                text => {
                    statement.push_str(&line);
                    statement.push('\n');
                    if !text.ends_with(';') {
                        continue;
                    }
                    self.statement(context, &std::mem::take(&mut statement))
                        .await
                }
            };
            if let Err(error) = outcome {
                // A refused statement is no reason to leave.
                let _ = context.ui.fail(&error);
            }
        }
    }

    async fn databases(&self, context: &Context) -> Result<(), Error> {
        let path = self.app.path(&["sql", "databases"]);
        let names: Vec<DatabaseName> = context.client()?.list(&path, &[]).await?;
        for name in names {
            context.ui.line(&name.name);
        }
        Ok(())
    }

    async fn statement(&self, context: &Context, statement: &str) -> Result<(), Error> {
        let client = context.client()?;
        let body = SqlRun {
            database: self.database.clone(),
            statement: statement.to_owned(),
            parameters: self.parameters.iter().map(|text| parameter(text)).collect(),
            write: self.write,
        };
        let path = self.app.path(&["sql", "query"]);
        let response = client.post_stream(&path, &body).await?;
        let url = response.url().to_string();
        let pieces = response
            .bytes_stream()
            .map(|piece| piece.map_err(std::io::Error::other));
        let mut lines = BufReader::new(StreamReader::new(pieces)).lines();
        let mut printer = Printer::new(context);
        loop {
            let line = lines
                .next_line()
                .await
                .map_err(|error| Error::Unreachable {
                    url: url.clone(),
                    reason: error.to_string(),
                })?;
            let Some(line) = line else {
                let reason = "the answer ended early; what a statement wrote was taken back".into();
                return Err(Error::Unreachable { url, reason });
            };
            let line: SqlLine = serde_json::from_str(&line).map_err(|error| Error::Foreign {
                url: url.clone(),
                status: format!("a line that is no part of a result ({error})"),
            })?;
            match line {
                SqlLine::Columns(columns) => printer.columns = columns,
                SqlLine::Row(row) => printer.row(row),
                SqlLine::Done { changes, .. } => {
                    printer.end(self.write.then_some(changes));
                    return Ok(());
                }
                SqlLine::Failed(problem) => {
                    printer.end(None);
                    return Err(Error::Problem {
                        problem: Box::new(problem),
                        advice: None,
                    });
                }
            }
        }
    }
}

/// Prints rows: as tables, or as one JSON object a line.
struct Printer<'a> {
    context: &'a Context,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl<'a> Printer<'a> {
    fn new(context: &'a Context) -> Self {
        Self {
            context,
            columns: Vec::new(),
            rows: Vec::new(),
        }
    }

    fn row(&mut self, row: Vec<SqlJson>) {
        if self.context.ui.is_json() {
            let members = self.columns.iter().cloned().zip(
                row.into_iter()
                    .map(|value| serde_json::to_value(value).unwrap_or_default()),
            );
            let object: serde_json::Map<_, _> = members.collect();
            self.context
                .ui
                .line(&serde_json::Value::Object(object).to_string());
            return;
        }
        self.rows.push(row.iter().map(cell).collect());
        if self.rows.len() >= TABLE_ROWS {
            self.print();
        }
    }

    fn print(&mut self) {
        if !self.rows.is_empty() {
            self.context.ui.line(&grid(&self.columns, &self.rows));
            self.rows.clear();
        }
    }

    fn end(mut self, changes: Option<u64>) {
        self.print();
        match changes {
            Some(changes) if self.context.ui.is_json() => {
                self.context
                    .ui
                    .line(&json!({ "changes": changes }).to_string());
            }
            Some(changes) => self
                .context
                .ui
                .note(format_args!("{changes} rows changed.")),
            None => {}
        }
    }
}

/// A line that was typed; `None` at the end of input.
fn ask(mark: &str) -> std::io::Result<Option<String>> {
    let mut out = std::io::stderr();
    out.write_all(mark.as_bytes())?;
    out.flush()?;
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line)?;
    Ok((read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// A number where it looks like one, else a text.
fn parameter(text: &str) -> SqlJson {
    if let Ok(number) = text.parse() {
        SqlJson::Integer(number)
    } else if text.starts_with(|c: char| c.is_ascii_digit() || c == '-')
        && let Ok(number) = text.parse()
    {
        SqlJson::Real(number)
    } else {
        SqlJson::Text(text.to_owned())
    }
}

/// A value in a table. Bytes are shown as SQL writes them.
fn cell(value: &SqlJson) -> String {
    match value {
        SqlJson::Null => "NULL".into(),
        SqlJson::Integer(number) => number.to_string(),
        SqlJson::Real(number) => format!("{number:?}"),
        SqlJson::Text(text) => text.clone(),
        SqlJson::Bytes { base64 } => {
            let bytes = BASE64_STANDARD.decode(base64).unwrap_or_default();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("x'{hex}'")
        }
        SqlJson::Beyond { real } => real.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbers_where_they_look_like_one() {
        for (text, value) in [
            ("42", SqlJson::Integer(42)),
            ("-1.5", SqlJson::Real(-1.5)),
            ("inf", SqlJson::Text("inf".into())),
            ("1x", SqlJson::Text("1x".into())),
            ("", SqlJson::Text(String::new())),
        ] {
            assert_eq!(parameter(text), value, "{text}");
        }
    }

    #[test]
    fn values_look_as_sql_writes_them() {
        let bytes = SqlJson::Bytes {
            base64: "AP8=".into(),
        };
        for (value, text) in [
            (SqlJson::Null, "NULL"),
            (SqlJson::Real(2.0), "2.0"),
            (bytes, "x'00ff'"),
        ] {
            assert_eq!(cell(&value), text);
        }
    }
}
