//! Does what its path says, by WASI 0.3: `/count` how many requests this instance has had,
//! `/caller` who asks, `/echo` the request's body piece by piece, `/trap`, `/late-trap` after a
//! piece of the body, `/spin`, `/sleep?MS`, `/background?MS` goes on so long after its answer,
//! `/fetch?AUTHORITY` gets `/` of another server, `/refuse` answers with an error code.

use std::cell::Cell;

use bindings::canopy::tenant::identity;
use wasip3::clocks::monotonic_clock;
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Scheme};
use wasip3::{wit_bindgen, wit_future, wit_stream};

mod bindings {
    wit_bindgen::generate!({
        path: "../../../../wit/tenant/0.1.0",
        world: "canopy:tenant/imports",
    });
}

wasip3::http::service::export!(Probe);

struct Probe;

thread_local! {
    static COUNT: Cell<u32> = const { Cell::new(0) };
}

const MS: u64 = 1_000_000;

impl wasip3::exports::http::handler::Guest for Probe {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        COUNT.set(COUNT.get() + 1);
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target.as_str(), ""));
        let number = || query.parse::<u64>().unwrap_or(0);
        match path {
            "/count" => Ok(text(COUNT.get().to_string())),
            "/caller" => Ok(text(identity::current_caller().subject)),
            "/echo" => {
                let (_, done) = wit_future::new(|| Ok(()));
                let (body, trailers) = Request::consume_body(request, done);
                let (response, _) = Response::new(Fields::new(), Some(body), trailers);
                Ok(response)
            }
            "/trap" => panic!("this guest gives up on purpose"),
            "/late-trap" => Ok(late_trap()),
            "/spin" => loop {
                COUNT.set(std::hint::black_box(COUNT.get().wrapping_add(1)));
            },
            "/sleep" => {
                monotonic_clock::wait_for(number() * MS).await;
                Ok(text("awake".to_owned()))
            }
            "/background" => {
                let wait = number() * MS;
                wit_bindgen::spawn_local(async move {
                    monotonic_clock::wait_for(wait).await;
                    println!("the background is done");
                });
                Ok(text("answered".to_owned()))
            }
            "/fetch" => fetch(query).await,
            _ => Err(ErrorCode::InternalError(Some("no such path".to_owned()))),
        }
    }
}

fn text(text: String) -> Response {
    let (mut writer, body) = wit_stream::new();
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (response, _) = Response::new(Fields::new(), Some(body), trailers);
    wit_bindgen::spawn_local(async move {
        writer.write_all(text.into_bytes()).await;
    });
    response
}

fn late_trap() -> Response {
    let (mut writer, body) = wit_stream::new();
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (response, _) = Response::new(Fields::new(), Some(body), trailers);
    wit_bindgen::spawn_local(async move {
        writer.write_all(vec![b'x'; 1000]).await;
        panic!("this guest gives up in the middle on purpose");
    });
    response
}

async fn fetch(authority: &str) -> Result<Response, ErrorCode> {
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (request, _) = Request::new(Fields::new(), None, trailers, None);
    let set = request
        .set_scheme(Some(&Scheme::Http))
        .and_then(|()| request.set_authority(Some(authority)))
        .and_then(|()| request.set_path_with_query(Some("/")));
    if set.is_err() {
        return Err(ErrorCode::HttpRequestUriInvalid);
    }
    let answer = match client::send(request).await {
        Ok(answer) => answer,
        Err(error) => return Ok(text(format!("{error:?}"))),
    };
    let (_, done) = wit_future::new(|| Ok(()));
    let (body, trailers) = Response::consume_body(answer, done);
    let (response, _) = Response::new(Fields::new(), Some(body), trailers);
    Ok(response)
}
