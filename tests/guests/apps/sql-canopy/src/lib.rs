//! SQL by `canopy:storage/sql@0.1.0`, made from its WIT by `wit-bindgen` and `wasip3`.

use bindings::canopy::storage::sql::{Database, Error, Value};
use faces::{Asked, Outcome, sql};
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
    if asked.op != "sql" {
        return None;
    }
    Some(operate(asked).await)
}

async fn operate(asked: Asked) -> Result<serde_json::Value, Error> {
    let parameters = sql::parameters(&asked);
    let database = Database::open(asked.store).await?;
    let result = database.query(asked.key, parameters).await?;
    let rows = result.rows.collect().await;
    result.outcome.await?;
    Ok(sql::rows(rows))
}
