//! Takes WebSocket connections and sends back what it gets, by WASI 0.3. The text `who` is answered by
//! the caller's kind, the origin and the count of connections of the instance; `close` closes with 4001,
//! `trap` breaks down, `leave` ends without a word. At `/refuse` it takes none, and at `/deaf` it waits
//! and reads nothing.

use std::sync::atomic::{AtomicU32, Ordering};

use bindings::canopy::tenant::identity;
use bindings::exports::canopy::networking::websocket::{
    Close, Connection, Guest, Message, Opening, Refusal,
};
use bindings::{wit_future, wit_stream};
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wit_bindgen::{FutureReader, StreamReader};

mod bindings {
    wit_bindgen::generate!({
        inline: "package guests:socket; world socket {
            include canopy:networking/websockets@0.2.0;
            import canopy:tenant/identity@0.1.0;
        }",
        path: ["../../../../wit/networking/0.2.0", "../../../../wit/tenant/0.1.0"],
        generate_all,
    });
}

wasip3::http::service::export!(Component);
#[allow(unsafe_code, reason = "generated code")]
const _: () = {
    bindings::export!(Component with_types_in bindings);
};

struct Component;

static CONNECTIONS: AtomicU32 = AtomicU32::new(0);

impl wasip3::exports::http::handler::Guest for Component {
    async fn handle(_: Request) -> Result<Response, ErrorCode> {
        let (mut writer, body) = wasip3::wit_stream::new();
        let (_, trailers) = wasip3::wit_future::new(|| Ok(None));
        let (response, _) = Response::new(Fields::new(), Some(body), trailers);
        wit_bindgen::spawn_local(async move {
            writer.write_all(b"a page".to_vec()).await;
        });
        Ok(response)
    }
}

impl Guest for Component {
    async fn open(
        opening: Opening,
        incoming: StreamReader<Message>,
        closed: FutureReader<Close>,
    ) -> Result<Connection, Refusal> {
        if opening.path_with_query == "/refuse" {
            return Err(Refusal {
                status: 403,
                detail: "not today".to_owned(),
            });
        }
        let count = CONNECTIONS.fetch_add(1, Ordering::Relaxed) + 1;
        let origin = opening.origin.unwrap_or_default();
        let who = format!("{:?} {origin} {count}", identity::current_caller().kind);
        let mut spoken = opening.subprotocols.into_iter();
        let subprotocol = spoken.find(|name| name == "echo");
        let (mut writer, outgoing) = wit_stream::new();
        let (close, closing) = wit_future::new(|| Close {
            code: 1000,
            reason: String::new(),
        });
        let deaf = opening.path_with_query == "/deaf";
        let mut incoming = incoming;
        wit_bindgen::spawn_local(async move {
            if deaf {
                closed.await;
                return;
            }
            while let Some(message) = incoming.next().await {
                let asked = match &message {
                    Message::Text(text) => text.as_str(),
                    Message::Binary(_) => "",
                };
                let answer = match asked {
                    "who" => Message::Text(who.clone()),
                    "trap" => panic!("as asked"),
                    "leave" => return,
                    "close" => {
                        let reason = "as asked".to_owned();
                        let code = 4001;
                        // A client that is gone does not mind.
                        let _ = close.write(Close { code, reason }).await;
                        return;
                    }
                    _ => message,
                };
                if writer.write_one(answer).await.is_some() {
                    return;
                }
            }
            let Close { code, reason } = closed.await;
            eprintln!("closed with {code} {reason}");
        });
        Ok(Connection {
            subprotocol,
            outgoing,
            closing,
        })
    }
}
