//! SQL databases.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use canopy_api_types::{DatabaseName, Page, SqlJson, SqlRun};
use canopy_backend::sql::{SqlError, SqlOutcome, SqlRow, SqlRows, SqlStatement, SqlValue};
use canopy_ids::Label;

use super::{Site, quoted};
use crate::{Action, App, AppError, Context, Resource};

/// How long a client may take nothing of an answer. The statement ends then, so that nobody who
/// walks away from a terminal holds a database back.
const IDLE: Duration = Duration::from_secs(30);

/// A statement whose rows are being read.
pub struct SqlAnswer {
    columns: Vec<String>,
    rows: Box<dyn SqlRows>,
    /// What the log is told when a statement that may write has ended.
    change: Option<(Site, Context, String)>,
}

impl SqlAnswer {
    /// How long may pass between two calls of [`SqlAnswer::next`].
    pub const IDLE: Duration = IDLE;

    /// The names of the columns; none of a statement that gives no rows.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Some further rows; `None` when the statement has run to its end.
    pub async fn next(&mut self) -> Result<Option<Vec<Vec<SqlJson>>>, AppError> {
        match self.rows.next().await? {
            Some(rows) => Ok(Some(rows.into_iter().map(shown).collect())),
            None => {
                if let Some((site, context, statement)) = self.change.take() {
                    let changes = self.rows.outcome().changes;
                    site.changed(&context, &format!("{statement} changed {changes} rows"));
                }
                Ok(None)
            }
        }
    }

    /// What it did: known when [`SqlAnswer::next`] has given `None`.
    pub fn outcome(&self) -> SqlOutcome {
        self.rows.outcome()
    }
}

impl App {
    /// The databases of an installation that exist.
    pub async fn databases(
        &self,
        context: &Context,
        tenant: Label,
        installation: Label,
    ) -> Result<Page<DatabaseName>, AppError> {
        context.authorize(Action::Read, Resource::Data(&tenant))?;
        let site = self.site(tenant, installation).await?;
        let names = self.sql.databases(site.scope).await?;
        Ok(Page {
            items: names
                .into_iter()
                .map(|name| DatabaseName { name })
                .collect(),
            next_cursor: None,
        })
    }

    /// Runs a statement. What it did counts when its rows have been read to their end.
    pub async fn run_sql(
        &self,
        context: &Context,
        tenant: Label,
        installation: Label,
        run: SqlRun,
    ) -> Result<SqlAnswer, AppError> {
        let action = if run.write {
            Action::Write
        } else {
            Action::Read
        };
        context.authorize(action, Resource::Data(&tenant))?;
        let parameters = run.parameters.into_iter().enumerate();
        let parameters = parameters.map(|(at, value)| taken(at, value));
        let parameters = parameters.collect::<Result<Vec<_>, _>>()?;
        let site = self.site(tenant, installation).await?;
        let database = if run.write {
            // Making a database is for the application and its migrations.
            if !self
                .sql
                .databases(site.scope)
                .await?
                .contains(&run.database)
            {
                return Err(SqlError::NoSuchDatabase.into());
            }
            self.sql.open(site.scope, &run.database).await?
        } else {
            self.sql.open_read_only(site.scope, &run.database).await?
        };
        let said = format!(
            "statement {} on database {}",
            quoted(&run.statement),
            quoted(&run.database)
        );
        let rows = database
            .query(SqlStatement::new(run.statement, parameters))
            .await?;
        let columns = rows.columns().iter().map(|column| column.name.clone());
        Ok(SqlAnswer {
            columns: columns.collect(),
            change: run.write.then(|| (site, context.clone(), said)),
            rows,
        })
    }
}

fn shown(row: SqlRow) -> Vec<SqlJson> {
    row.into_iter()
        .map(|value| match value {
            SqlValue::Null => SqlJson::Null,
            SqlValue::Integer(number) => SqlJson::Integer(number),
            SqlValue::Real(number) if number.is_finite() => SqlJson::Real(number),
            SqlValue::Real(number) => SqlJson::Beyond {
                real: number.to_string(),
            },
            SqlValue::Text(text) => SqlJson::Text(text),
            SqlValue::Blob(bytes) => SqlJson::Bytes {
                base64: BASE64_STANDARD.encode(bytes),
            },
        })
        .collect()
}

fn taken(at: usize, value: SqlJson) -> Result<SqlValue, AppError> {
    let fault = |message: &str| AppError::field(format!("parameters[{at}]"), message);
    Ok(match value {
        SqlJson::Null => SqlValue::Null,
        SqlJson::Integer(number) => SqlValue::Integer(number),
        SqlJson::Real(number) => SqlValue::Real(number),
        SqlJson::Text(text) => SqlValue::Text(text),
        SqlJson::Bytes { base64 } => SqlValue::Blob(
            BASE64_STANDARD
                .decode(base64)
                .map_err(|_| fault("must be base64"))?,
        ),
        SqlJson::Beyond { real } => SqlValue::Real(match real.as_str() {
            "inf" => f64::INFINITY,
            "-inf" => f64::NEG_INFINITY,
            _ => return Err(fault("must be `inf` or `-inf`")),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_their_way_as_json() {
        let values = vec![
            SqlValue::Null,
            SqlValue::Integer(i64::MIN),
            SqlValue::Integer(0),
            SqlValue::Real(1.5),
            SqlValue::Real(2.0),
            SqlValue::Real(f64::INFINITY),
            SqlValue::Real(f64::NEG_INFINITY),
            SqlValue::Text("{\"base64\":\"\"}".into()),
            SqlValue::Blob(vec![0, 255]),
        ];
        let json = serde_json::to_string(&shown(values.clone())).expect("JSON");
        let read: Vec<SqlJson> = serde_json::from_str(&json).expect("the same types");
        let back: Vec<SqlValue> = read
            .into_iter()
            .enumerate()
            .map(|(at, value)| taken(at, value).expect("valid"))
            .collect();
        assert_eq!(back, values);
    }

    #[test]
    fn parameters_that_are_no_values_are_refused() {
        for json in [r#"{"base64":"!"}"#, r#"{"real":"nan"}"#] {
            let value = serde_json::from_str(json).expect("an object of ours");
            assert!(taken(0, value).is_err(), "{json}");
        }
        assert!(serde_json::from_str::<SqlJson>("[1]").is_err());
    }
}
