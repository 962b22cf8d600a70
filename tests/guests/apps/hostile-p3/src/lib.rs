//! Takes `?COUNT&MS` of the host by WASI 0.3 and holds it for so long: `/pin-fields` header fields,
//! `/pin-waits` calls that wait, `/pin-streams` streams and futures, `/pin-values` writes of 1 MiB that are
//! under way at once, `/pin-nothing` nothing.

use bindings::canopy::storage::key_value::{SetOptions, Store};
use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{spawn_local, wit_future, wit_stream};

mod bindings {
    wit_bindgen::generate!({
        inline: "package guests:hostile; world hostile { import canopy:storage/key-value@0.1.0; }",
        path: "../../../../wit/storage/0.1.0",
        generate_all,
    });
}

wasip3::http::service::export!(Component);

struct Component;

impl wasip3::exports::http::handler::Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, "0&0"));
        let (count, ms) = query.split_once('&').expect("a number of things and of ms");
        let count: u32 = count.parse().expect("a number");
        let time = ms.parse::<u64>().expect("a number of ms") * 1_000_000;
        match path {
            "/pin-fields" => {
                let held: Vec<_> = (0..count).map(|_| full_fields()).collect();
                wait_for(time).await;
                drop(held);
            }
            "/pin-waits" => {
                for _ in 0..count {
                    spawn_local(wait_for(time));
                }
                wait_for(time).await;
            }
            "/pin-streams" => {
                let pair = |_| {
                    (
                        wit_stream::new::<u8>(),
                        wit_future::new::<Result<(), ErrorCode>>(|| Ok(())),
                    )
                };
                let held: Vec<_> = (0..count).map(pair).collect();
                wait_for(time).await;
                drop(held);
            }
            "/pin-values" => {
                values(count).await;
                wait_for(time).await;
            }
            _ => wait_for(time).await,
        }
        let (mut writer, body) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        let (response, _) = Response::new(Fields::new(), Some(body), trailers);
        spawn_local(async move {
            writer.write_all(b"held".to_vec()).await;
        });
        Ok(response)
    }
}

/// As large as the host lets it be: field after field, each smaller than the one before.
fn full_fields() -> Fields {
    let fields = Fields::new();
    let mut bytes = 10 << 10;
    while bytes > 8 {
        if fields.append("x-pin", &vec![b'x'; bytes]).is_err() {
            bytes /= 2;
        }
    }
    fields
}

/// Begins so many writes and waits for none of them.
async fn values(count: u32) {
    let store = std::rc::Rc::new(Store::open(String::new()).await.expect("a store"));
    for number in 0..count {
        let store = store.clone();
        spawn_local(async move {
            let options = SetOptions {
                ttl_ms: None,
                condition: None,
            };
            let value = vec![b'x'; 1 << 20];
            let _ = store.set((number % 8).to_string(), value, options).await;
        });
    }
}
