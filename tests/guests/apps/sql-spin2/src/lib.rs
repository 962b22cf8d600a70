//! SQL by `fermyon:spin/sqlite@2.0.0`, made from its published WIT by `wit-bindgen` and `wstd`.

use bindings::fermyon::spin::sqlite::{Connection, Error as SqlError, Value};
use faces::{Asked, Outcome, sql};
use serde_json::json;
use wstd::http::{Body, Error, Request, Response};

mod bindings {
    wit_bindgen::generate!({
        inline: "package guests:spin2; world spin2 { import fermyon:spin/sqlite@2.0.0; }",
        path: "../../../../wit/deps/fermyon-spin-2.0.0",
        generate_all,
    });
}

faces::cells!(Value);

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let asked = Asked::read(&request.uri().to_string());
    let (status, text) = faces::answer(run(&asked));
    Ok(Response::builder().status(status).body(text.into())?)
}

fn run(asked: &Asked) -> Outcome<SqlError> {
    let known = ["sql", "columns", "script"];
    known
        .contains(&asked.op.as_str())
        .then(|| operate(asked, &Connection::open(&asked.store)?))
}

fn operate(asked: &Asked, connection: &Connection) -> Result<serde_json::Value, SqlError> {
    if asked.op == "script" {
        let step = |(statement, parameters): (String, Vec<Value>)| {
            sql::step(rows(connection, &statement, &parameters))
        };
        return Ok(sql::script(asked).into_iter().map(step).collect());
    }
    if asked.op == "columns" {
        let result = connection.execute(&asked.key, &sql::parameters(asked))?;
        return Ok(json!(result.columns));
    }
    rows(connection, &asked.key, &sql::parameters(asked))
}

fn rows(
    connection: &Connection,
    statement: &str,
    parameters: &[Value],
) -> Result<serde_json::Value, SqlError> {
    let result = connection.execute(statement, parameters)?;
    Ok(sql::rows(result.rows.into_iter().map(|row| row.values)))
}
