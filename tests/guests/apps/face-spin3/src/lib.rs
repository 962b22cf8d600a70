//! Keys and values by `spin:key-value@3.0.0`, made from its published WIT by `wit-bindgen` and
//! `wasip3`.

use bindings::spin::key_value::key_value::{Error, Store};
use faces::{Asked, Outcome, text};
use serde_json::json;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_future, wit_stream};

mod bindings {
    wit_bindgen::generate!({
        inline: "package guests:spin3; world spin3 { import spin:key-value/key-value@3.0.0; }",
        path: "../../../../wit/deps/spin-key-value-3.0.0",
        generate_all,
    });
}

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
    let known = ["get", "set", "delete", "exists", "list"];
    if !known.contains(&asked.op.as_str()) {
        return None;
    }
    Some(operate(asked).await)
}

async fn operate(asked: Asked) -> Result<serde_json::Value, Error> {
    let store = Store::open(asked.store).await?;
    Ok(match asked.op.as_str() {
        "get" => text(store.get(asked.key).await?),
        "set" => json!(store.set(asked.key, asked.value).await?),
        "delete" => json!(store.delete(asked.key).await?),
        "exists" => json!(store.exists(asked.key).await?),
        _ => {
            let (keys, ended) = store.get_keys().await;
            let keys = keys.collect().await;
            ended.await?;
            json!(keys)
        }
    })
}
