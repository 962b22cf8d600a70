//! Takes WebSocket connections and sends back what it gets. The text `who` is answered by the caller's
//! kind, the origin and the count of connections of the instance; `close` closes with 4001, `trap` breaks
//! down, `leave` ends without a word. At `/refuse` it takes none, and at `/deaf` it waits and reads
//! nothing.

use std::sync::atomic::{AtomicU32, Ordering};

use canopy_sdk::websocket::{Connection, Message, Opening, Socket};
use canopy_sdk::{Problem, Router, StatusCode, get, identity};

static CONNECTIONS: AtomicU32 = AtomicU32::new(0);

#[canopy_sdk::app]
fn app() -> Router {
    Router::new().route("/", get(|| "a page"))
}

#[canopy_sdk::websocket]
fn open(opening: Opening) -> Result<Connection, Problem> {
    match opening.uri.path() {
        "/refuse" => return Err(Problem::new(StatusCode::FORBIDDEN, "not today")),
        "/deaf" => {
            return Ok(Connection::new(async |socket: Socket| {
                socket.closed().await;
            }));
        }
        _ => {}
    }
    let count = CONNECTIONS.fetch_add(1, Ordering::Relaxed) + 1;
    let origin = opening.origin.unwrap_or_default();
    let who = format!("{:?} {origin} {count}", identity::caller().kind);
    let connection = Connection::new(async move |socket| serve(socket, who).await);
    let mut spoken = opening.subprotocols.into_iter();
    Ok(match spoken.find(|name| name == "echo") {
        Some(name) => connection.subprotocol(name),
        None => connection,
    })
}

async fn serve(mut socket: Socket, who: String) {
    while let Some(message) = socket.receive().await {
        let asked = match &message {
            Message::Text(text) => text.as_str(),
            Message::Binary(_) => "",
        };
        let answer = match asked {
            "who" => who.as_str().into(),
            "trap" => panic!("as asked"),
            "leave" => return,
            "close" => return socket.close(4001, "as asked").await,
            _ => message,
        };
        if socket.send(answer).await.is_err() {
            return;
        }
    }
    let close = socket.closed().await;
    eprintln!("closed with {} {}", close.code, close.reason);
}
