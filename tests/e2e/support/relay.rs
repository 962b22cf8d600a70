//! A way to a server on this machine on which answers can be cut off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Bytes that come at once from the server which make an answer one with a long body.
const LONG: usize = 16 << 10;

/// Connections to its port go to the server's.
pub(crate) struct Relay {
    pub(crate) port: u16,
    cuts: Arc<AtomicBool>,
}

impl Relay {
    /// A way to the server at `port`, whole at first. It ends with the test's runtime.
    pub(crate) async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let relay = Self {
            port: listener.local_addr().expect("bound").port(),
            cuts: Arc::default(),
        };
        let cuts = Arc::clone(&relay.cuts);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await;
                tokio::spawn(pass(client, server.expect("the server"), Arc::clone(&cuts)));
            }
        });
        relay
    }

    /// Whether a connection breaks in the middle of the first long body that comes from the server.
    pub(crate) fn cut(&self, cut: bool) {
        self.cuts.store(cut, Ordering::SeqCst);
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, cuts: Arc<AtomicBool>) {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let answers = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = from_server.read(&mut buffer).await?;
            let cut = read >= LONG && cuts.load(Ordering::SeqCst);
            to_client
                .write_all(&buffer[..if cut { LONG / 2 } else { read }])
                .await?;
            if cut || read == 0 {
                return std::io::Result::Ok(());
            }
        }
    };
    // Whichever ends first ends the connection, which is what an abrupt end looks like.
    tokio::select! {
        _ = answers => {}
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
    }
}
