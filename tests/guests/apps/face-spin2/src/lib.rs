//! Keys and values by `fermyon:spin/key-value@2.0.0`, made from its published WIT by `wit-bindgen`
//! and `wstd`.

use bindings::fermyon::spin::key_value::{self, Store};
use faces::{Asked, Outcome, text};
use serde_json::json;
use wstd::http::{Body, Error, Request, Response};

mod bindings {
    wit_bindgen::generate!({
        inline: "package guests:spin2; world spin2 { import fermyon:spin/key-value@2.0.0; }",
        path: "../../../../wit/deps/fermyon-spin-2.0.0",
        generate_all,
    });
}

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let asked = Asked::read(&request.uri().to_string());
    let (status, text) = faces::answer(run(asked));
    Ok(Response::builder().status(status).body(text.into())?)
}

fn run(asked: Asked) -> Outcome<key_value::Error> {
    let Asked { key, value, .. } = &asked;
    let open = || Store::open(&asked.store);
    Some(match asked.op.as_str() {
        "get" => open().and_then(|store| store.get(key)).map(text),
        "set" => open()
            .and_then(|store| store.set(key, value))
            .map(|()| json!(null)),
        "delete" => open()
            .and_then(|store| store.delete(key))
            .map(|()| json!(null)),
        "exists" => open()
            .and_then(|store| store.exists(key))
            .map(|exists| json!(exists)),
        "list" => open()
            .and_then(|store| store.get_keys())
            .map(|keys| json!(keys)),
        _ => return None,
    })
}
