//! PostgreSQL by `spin:postgres@4.0.0`, which has the functions of 4.2.0 that are not asynchronous, made
//! from its published WIT by `wit-bindgen` and `wstd`: `?op=query` and `?op=execute` as `postgres-spin`
//! has them.

use bindings::spin::postgres::postgres::{Connection, Error as SqlError, ParameterValue};
use faces::Asked;
use serde_json::{Value, json};
use wstd::http::{Body, Error, Request, Response};

mod bindings {
    wit_bindgen::generate!({
        inline: "package guests:databases; world databases { import spin:postgres/postgres@4.0.0; }",
        path: "../../../../wit/deps/spin-postgres-4.0.0",
        additional_derives: [serde::Serialize, serde::Deserialize],
        generate_all,
    });
}

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let asked = Asked::read(&request.uri().to_string());
    let (status, answer) = match operate(&asked) {
        Ok(answer) => (200, answer),
        Err(error) => (500, json!(error)),
    };
    Ok(Response::builder()
        .status(status)
        .body(answer.to_string().into())?)
}

fn operate(asked: &Asked) -> Result<Value, SqlError> {
    let parameters: Vec<ParameterValue> = serde_json::from_slice(&asked.value).unwrap_or_default();
    let connection = Connection::open(&asked.store)?;
    Ok(match asked.op.as_str() {
        "query" => json!(connection.query(&asked.key, &parameters)?),
        "execute" => json!(connection.execute(&asked.key, &parameters)?),
        _ => return Err(SqlError::Other("it has no such operation".to_owned())),
    })
}
