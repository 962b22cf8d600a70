//! SQL by `canopy:storage/sql@0.1.0`, made from its WIT by `wit-bindgen` and `wasip3`. `first` reads
//! one row and no more; `batch` runs a script as one.

use bindings::canopy::storage::sql::{Database, Error, Mode, Rows, Statement, Value};
use faces::{Asked, Outcome, sql};
use serde_json::json;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future, wit_stream};

mod bindings {
    wit_bindgen::generate!({
        inline: "package guests:databases; world databases { import canopy:storage/sql@0.1.0; }",
        path: "../../../../wit/storage/0.1.0",
        generate_all,
    });
}

faces::cells!(Value);
wasip3::http::service::export!(Component);

struct Component;

impl wasip3::exports::http::handler::Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let asked = Asked::read(&request.get_path_with_query().unwrap_or_default());
        let (status, text) = faces::answer(run(asked).await);
        let (mut writer, body) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        let (response, _) = Response::new(Fields::new(), Some(body), trailers);
        response
            .set_status_code(status)
            .map_err(|()| ErrorCode::InternalError(None))?;
        wasip3::spawn_local(async move {
            writer.write_all(text.into_bytes()).await;
        });
        Ok(response)
    }
}

async fn run(asked: Asked) -> Outcome<Error> {
    let known = ["sql", "columns", "told", "script", "first", "batch"];
    if !known.contains(&asked.op.as_str()) {
        return None;
    }
    Some(operate(asked).await)
}

async fn operate(asked: Asked) -> Result<serde_json::Value, Error> {
    let parameters = sql::parameters(&asked);
    let database = Database::open(asked.store.clone()).await?;
    Ok(match asked.op.as_str() {
        "columns" => {
            let result = database.query(asked.key, parameters).await?;
            let names = result.columns.into_iter().map(|column| column.name);
            names.collect()
        }
        "told" => {
            let outcome = database.execute(asked.key, parameters).await?;
            json!([outcome.changes, outcome.last_insert_rowid])
        }
        "script" => script(&database, &asked).await,
        "first" => {
            let mut result = database.query(asked.key, parameters).await?;
            let first = result.rows.next().await;
            drop(result);
            sql::rows(first)
        }
        "batch" => batch(&database, &asked).await,
        _ => rows(database.query(asked.key, parameters).await?).await?,
    })
}

async fn rows(result: Rows) -> Result<serde_json::Value, Error> {
    let rows = result.rows.collect().await;
    result.outcome.await?;
    Ok(sql::rows(rows))
}

/// What begins and ends a transaction are functions here, and statements in the script.
async fn script(database: &Database, asked: &Asked) -> serde_json::Value {
    let (mut steps, mut transaction) = (Vec::new(), None);
    for (statement, parameters) in sql::script(asked) {
        let step = match (statement.as_str(), transaction.take()) {
            ("BEGIN" | "BEGIN IMMEDIATE", None) => {
                let mode = match statement.as_str() {
                    "BEGIN" => Mode::Deferred,
                    _ => Mode::Immediate,
                };
                let begun = database.begin(mode).await;
                begun.map(|begun| {
                    transaction = Some(begun);
                    json!([])
                })
            }
            ("COMMIT", Some(open)) => open.commit().await.map(|()| json!([])),
            ("ROLLBACK", Some(open)) => open.rollback().await.map(|()| json!([])),
            (_, Some(open)) => {
                let step = match open.query(statement, parameters).await {
                    Ok(result) => rows(result).await,
                    Err(error) => Err(error),
                };
                transaction = Some(open);
                step
            }
            (_, None) => match database.query(statement, parameters).await {
                Ok(result) => rows(result).await,
                Err(error) => Err(error),
            },
        };
        steps.push(sql::step(step));
    }
    json!(steps)
}

async fn batch(database: &Database, asked: &Asked) -> serde_json::Value {
    let statement = |(text, parameters)| Statement { text, parameters };
    let statements = sql::script(asked).into_iter().map(statement).collect();
    match database.batch(statements).await {
        Ok(outcomes) => outcomes
            .into_iter()
            .map(|outcome| outcome.changes)
            .collect(),
        Err((index, error)) => json!({ "index": index, "error": format!("{error:?}") }),
    }
}
