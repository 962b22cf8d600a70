//! SQL by `spin:sqlite@3.1.0`, made from its published WIT by `wit-bindgen` and `wasip3`: its
//! asynchronous functions, whose rows are a stream. `first` reads one row and no more.

use bindings::spin::sqlite::sqlite::{Connection, Error, Value};
use faces::{Asked, Outcome, sql};
use serde_json::json;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future, wit_stream};

mod bindings {
    wit_bindgen::generate!({
        inline: "package guests:databases; world databases { import spin:sqlite/sqlite@3.1.0; }",
        path: "../../../../wit/deps/spin-sqlite-3.1.0",
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
    let known = ["sql", "columns", "told", "script", "first"];
    if !known.contains(&asked.op.as_str()) {
        return None;
    }
    Some(operate(asked).await)
}

async fn operate(asked: Asked) -> Result<serde_json::Value, Error> {
    let parameters = sql::parameters(&asked);
    let connection = Connection::open_async(asked.store.clone()).await?;
    Ok(match asked.op.as_str() {
        "columns" => {
            let (columns, ..) = connection.execute_async(asked.key, parameters).await?;
            json!(columns)
        }
        "told" => {
            rows(&connection, asked.key, parameters).await?;
            let changes = connection.changes_async().await;
            json!([changes, connection.last_insert_rowid_async().await])
        }
        "script" => {
            let mut steps = Vec::new();
            for (statement, parameters) in sql::script(&asked) {
                steps.push(sql::step(rows(&connection, statement, parameters).await));
            }
            json!(steps)
        }
        "first" => {
            let (_, mut rows, _) = connection.execute_async(asked.key, parameters).await?;
            let first = rows.next().await;
            drop(rows);
            sql::rows(first.into_iter().map(|row| row.values))
        }
        _ => rows(&connection, asked.key, parameters).await?,
    })
}

async fn rows(
    connection: &Connection,
    statement: String,
    parameters: Vec<Value>,
) -> Result<serde_json::Value, Error> {
    let (_, rows, ended) = connection.execute_async(statement, parameters).await?;
    let rows = rows.collect().await;
    ended.await?;
    Ok(sql::rows(rows.into_iter().map(|row| row.values)))
}
