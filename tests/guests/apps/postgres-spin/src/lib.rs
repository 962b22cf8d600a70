//! PostgreSQL by `spin:postgres@4.2.0`, made from its published WIT by `wit-bindgen` and `wasip3`:
//! `?op=&store=ADDRESS&key=STATEMENT&value=PARAMETERS` runs a statement, its parameters and what comes
//! of it being the interface's own values as JSON. `query` and `execute` are the synchronous functions,
//! `query-async` and `execute-async` the others; `first` reads one row and no more, `nested` runs the
//! statement `&other=` for each row, `script` runs the statements of `&value=` on one connection,
//! `builder` shows the certificate `&value=` first, and `many` opens `&from=` connections at once.

use bindings::spin::postgres::postgres::{
    Connection, ConnectionBuilder, DbValue, Error, ParameterValue,
};
use faces::Asked;
use serde_json::{Value, json};
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future, wit_stream};

mod bindings {
    wit_bindgen::generate!({
        inline: "package guests:databases; world databases { import spin:postgres/postgres@4.2.0; }",
        path: "../../../../wit/deps/spin-postgres-4.2.0",
        additional_derives: [serde::Serialize, serde::Deserialize],
        generate_all,
    });
}

wasip3::http::service::export!(Component);

struct Component;

impl wasip3::exports::http::handler::Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let asked = Asked::read(&request.get_path_with_query().unwrap_or_default());
        let (status, answer) = match operate(asked).await {
            Ok(answer) => (200, answer),
            Err(error) => (500, json!(error)),
        };
        let (mut writer, body) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        let (response, _) = Response::new(Fields::new(), Some(body), trailers);
        response
            .set_status_code(status)
            .map_err(|()| ErrorCode::InternalError(None))?;
        wasip3::spawn_local(async move {
            writer.write_all(answer.to_string().into_bytes()).await;
        });
        Ok(response)
    }
}

async fn operate(asked: Asked) -> Result<Value, Error> {
    let parameters =
        || -> Vec<ParameterValue> { serde_json::from_slice(&asked.value).unwrap_or_default() };
    let (address, statement) = (asked.store.clone(), asked.key.clone());
    Ok(match asked.op.as_str() {
        "query" => json!(Connection::open(&address)?.query(&statement, &parameters())?),
        "execute" => json!(Connection::open(&address)?.execute(&statement, &parameters())?),
        "execute-async" => {
            let connection = Connection::open_async(address).await?;
            json!(connection.execute_async(statement, parameters()).await?)
        }
        "query-async" => {
            let connection = Connection::open_async(address).await?;
            let (columns, rows, ended) = connection.query_async(statement, parameters()).await?;
            // The rows follow all the same.
            drop(connection);
            let rows = rows.collect().await;
            json!({ "columns": columns, "rows": rows, "ended": ended.await })
        }
        "first" => {
            let connection = Connection::open_async(address).await?;
            let (_, mut rows, ended) = connection.query_async(statement, parameters()).await?;
            let first = rows.next().await;
            drop(rows);
            ended.await?;
            let one = connection.query_async("SELECT 1::int4".to_owned(), Vec::new());
            let (_, rows, _) = one.await?;
            json!([first, rows.collect().await])
        }
        "nested" => nested(&asked).await?,
        "script" => script(&asked)?,
        "builder" => {
            let builder = ConnectionBuilder::new(&address);
            builder.set_ca_root(&asked.text())?;
            let one = builder.build()?.query(&statement, &[])?;
            let other = builder.build_async().await?.query(&statement, &[])?;
            json!([one.rows, other.rows])
        }
        "many" => {
            let mut open = Vec::new();
            while (open.len() as u64) < asked.from {
                open.push(Connection::open(&address)?);
            }
            json!(open.len())
        }
        _ => return Err(Error::Other("it has no such operation".to_owned())),
    })
}

/// What the inner statement gives for each row's number, read while the rows of the outer one follow.
async fn nested(asked: &Asked) -> Result<Value, Error> {
    let connection = Connection::open_async(asked.store.clone()).await?;
    let outer = connection.query_async(asked.key.clone(), Vec::new());
    let (_, mut rows, ended) = outer.await?;
    let mut inner = Vec::new();
    while let Some(row) = rows.next().await {
        let [DbValue::Int32(number)] = row[..] else {
            return Err(Error::Other("not one number".to_owned()));
        };
        let number = vec![ParameterValue::Int32(number)];
        let (_, rows, ended) = connection.query_async(asked.other.clone(), number).await?;
        inner.extend(rows.collect().await.into_iter().flatten());
        ended.await?;
    }
    ended.await?;
    Ok(json!(inner))
}

fn script(asked: &Asked) -> Result<Value, Error> {
    let connection = Connection::open(&asked.store)?;
    let statements: Vec<(String, Vec<ParameterValue>)> =
        serde_json::from_slice(&asked.value).unwrap_or_default();
    let step = |(statement, parameters): (String, Vec<ParameterValue>)| {
        let rows = connection.query(&statement, &parameters);
        rows.map(|rows| rows.rows)
    };
    Ok(json!(statements.into_iter().map(step).collect::<Vec<_>>()))
}
