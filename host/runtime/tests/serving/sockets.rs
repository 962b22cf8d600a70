//! Connections that stay open: which instances take them, and what becomes of those.

use std::time::{Duration, Instant};

use canopy_ids::RequestId;
use canopy_runtime::{
    Call, RuntimeSettings, Socket, SocketClose, SocketIncoming, SocketMessage, SocketOpening,
};
use futures::SinkExt;
use futures::channel::mpsc;
use tokio::sync::oneshot;

use crate::support::{App, Node};

/// A client that has connected.
struct Client {
    socket: Socket,
    messages: mpsc::Sender<SocketMessage>,
    closed: oneshot::Sender<SocketClose>,
    /// Resolves when the guest is done with it.
    over: oneshot::Receiver<()>,
}

impl Client {
    async fn connect(node: &Node, app: &App) -> Self {
        let (messages, incoming) = mpsc::channel(0);
        let (closed, closing) = oneshot::channel();
        let incoming = SocketIncoming {
            messages: incoming,
            closed: closing,
        };
        let opening = SocketOpening {
            path_with_query: "/".to_owned(),
            headers: Vec::new(),
            origin: None,
            subprotocols: Vec::new(),
        };
        let (permit, over) = oneshot::channel::<()>();
        let deadline = Instant::now() + Duration::from_secs(20);
        let call = Call::new(RequestId::new(), app.caller.clone(), deadline).holding(permit);
        let spec = app.spec();
        let taken = node.runtime.open_socket(&spec, call, opening, incoming);
        Self {
            socket: taken.await.expect("an answer").expect("a connection"),
            messages,
            closed,
            over,
        }
    }

    async fn ask(&mut self, text: &str) -> SocketMessage {
        let sent = self.messages.send(SocketMessage::Text(text.to_owned()));
        sent.await.expect("taken");
        self.socket.next().await.expect("an answer")
    }

    /// Closes as the protocol has it, and waits for the guest's end.
    async fn close(mut self) {
        drop(self.messages);
        let close = SocketClose {
            code: 1000,
            reason: String::new(),
        };
        self.closed.send(close).expect("the guest is told");
        assert_eq!(self.socket.next().await, None);
        self.socket.release();
        // Dropped, and not sent.
        self.over.await.expect_err("the permit");
    }

    /// Goes away.
    async fn cut(self) {
        drop((self.messages, self.closed, self.socket));
        self.over.await.expect_err("the permit");
    }
}

fn who(count: u32) -> SocketMessage {
    SocketMessage::Text(format!("CallerKind::Anonymous  {count}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_takes_another_connection_after_one_that_was_closed_and_not_after_one_that_was_cut()
 {
    let settings = RuntimeSettings {
        reuse_requests: 3,
        reuse_idle: Duration::from_secs(60),
        ..RuntimeSettings::default()
    };
    let node = Node::with(settings, |_| {});
    let app = node.app("socket");
    for count in [1, 2, 3, 1] {
        let mut client = Client::connect(&node, &app).await;
        assert_eq!(client.ask("who").await, who(count));
        client.close().await;
    }
    let mut client = Client::connect(&node, &app).await;
    assert_eq!(client.ask("who").await, who(2));
    client.cut().await;
    let mut client = Client::connect(&node, &app).await;
    assert_eq!(client.ask("who").await, who(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_wait_for_connections_make_room_for_whoever_needs_it() {
    let settings = RuntimeSettings {
        reuse_idle: Duration::from_secs(60),
        ..RuntimeSettings::default()
    };
    let node = Node::with(settings, |engine| engine.pool.instances = 2);
    let app = node.app("socket");
    let clients = [
        Client::connect(&node, &app).await,
        Client::connect(&node, &app).await,
    ];
    for client in clients {
        client.close().await;
    }
    let other = node.app("hello-p2-wstd");
    assert_eq!(node.get(&other, "/").await.expect("answer").0, 200);
}
