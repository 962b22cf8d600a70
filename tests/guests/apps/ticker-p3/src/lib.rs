//! Sends server-sent events by WASI 0.3, `?ms=` apart, as long as somebody takes them.

use wasip3::clocks::monotonic_clock;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_bindgen, wit_future, wit_stream};

wasip3::http::service::export!(Ticker);

struct Ticker;

const MS: u64 = 1_000_000;

impl wasip3::exports::http::handler::Guest for Ticker {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let apart = target
            .split_once("ms=")
            .and_then(|(_, ms)| ms.parse::<u64>().ok())
            .unwrap_or(100);
        let (mut writer, body) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        let headers = Fields::new();
        let kind = b"text/event-stream".to_vec();
        headers
            .append("content-type", &kind)
            .map_err(|_| ErrorCode::InternalError(None))?;
        let (response, _) = Response::new(headers, Some(body), trailers);
        wit_bindgen::spawn_local(async move {
            for count in 1_u64.. {
                let event = format!("id: {count}\ndata: tick\n\n");
                if !writer.write_all(event.into_bytes()).await.is_empty() {
                    return;
                }
                monotonic_clock::wait_for(apart * MS).await;
            }
        });
        Ok(response)
    }
}
