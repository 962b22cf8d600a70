//! SQL by `spin:sqlite@3.0.0`, which has the functions of 3.1.0 that are not asynchronous, made by
//! `wit-bindgen` and `wstd`.

use bindings::spin::sqlite::sqlite::{Connection, Error as SqlError, Value};
use faces::{Asked, Outcome, sql};
use serde_json::json;
use wstd::http::{Body, Error, Request, Response};

mod bindings {
    wit_bindgen::generate!({
        inline: "
            package guests:databases;

            world databases {
                import spin:sqlite/sqlite@3.0.0;
            }

            package spin:sqlite@3.0.0 {
                interface sqlite {
                    resource connection {
                        open: static func(database: string) -> result<connection, error>;
                        execute: func(statement: string, parameters: list<value>)
                            -> result<query-result, error>;
                        last-insert-rowid: func() -> s64;
                        changes: func() -> u64;
                    }
                    variant error {
                        no-such-database,
                        access-denied,
                        invalid-connection,
                        database-full,
                        io(string),
                    }
                    record query-result {
                        columns: list<string>,
                        rows: list<row-result>,
                    }
                    record row-result {
                        values: list<value>,
                    }
                    variant value {
                        integer(s64),
                        real(f64),
                        text(string),
                        blob(list<u8>),
                        null,
                    }
                }
            }
        ",
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
    let known = ["sql", "columns", "script", "told"];
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
    let rows = rows(connection, &asked.key, &sql::parameters(asked))?;
    if asked.op == "told" {
        return Ok(json!([
            connection.changes(),
            connection.last_insert_rowid()
        ]));
    }
    Ok(rows)
}

fn rows(
    connection: &Connection,
    statement: &str,
    parameters: &[Value],
) -> Result<serde_json::Value, SqlError> {
    let result = connection.execute(statement, parameters)?;
    Ok(sql::rows(result.rows.into_iter().map(|row| row.values)))
}
