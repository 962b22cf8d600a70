//! HTTP as attackers write it: bytes on a socket.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// What came back, to the end of the connection.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// 0 if no answer came.
    pub(crate) status: u16,
    pub(crate) text: String,
}

/// How long any answer may take, of a machine that is loaded and slow.
const PATIENCE: Duration = Duration::from_secs(60);

impl Reply {
    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let status = text
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok());
        Self {
            status: status.unwrap_or(0),
            text,
        }
    }

    /// As much of the body as has come, whether with a length or in pieces, as that of a guest which the
    /// machine kept waiting.
    pub(crate) fn body(&self) -> String {
        let (head, mut rest) = self.parts();
        let head = head.to_ascii_lowercase();
        if !head
            .lines()
            .any(|line| line == "transfer-encoding: chunked")
        {
            return rest.to_owned();
        }
        let mut body = String::new();
        while let Some((length, after)) = rest.split_once("\r\n") {
            let length = usize::from_str_radix(length, 16).unwrap_or(0);
            let Some(piece) = after.get(..length).filter(|piece| !piece.is_empty()) else {
                break;
            };
            body.push_str(piece);
            let after = &after[length..];
            rest = after.strip_prefix("\r\n").unwrap_or(after);
        }
        body
    }

    /// The head, and what came after it.
    fn parts(&self) -> (&str, &str) {
        let parts = self.text.split_once("\r\n\r\n");
        parts.unwrap_or((&self.text, ""))
    }

    /// Whether the body has come to its end, by the length or by the last chunk.
    pub(crate) fn is_whole(&self) -> bool {
        let (head, body) = self.parts();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse::<usize>().ok())?
        });
        match length {
            Some(length) => body.len() == length,
            None => body.ends_with("0\r\n\r\n"),
        }
    }

    /// The code of the problem document that this is.
    pub(crate) fn code(&self) -> &str {
        let rest = self.text.split_once("urn:canopy:problem:");
        rest.and_then(|(_, rest)| rest.split('"').next())
            .unwrap_or("")
    }

    #[track_caller]
    pub(crate) fn must_be(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code()), (status, code), "{self:?}");
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown: String = self.text.chars().take(600).collect();
        write!(f, "{} bytes: {shown:?}", self.text.len())
    }
}

pub(crate) fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

pub(crate) async fn connect_from(source: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((source, 0)))?;
    socket.connect(to).await
}

/// Sends `request` from an address of the loopback network and reads until the connection ends.
pub(crate) async fn request_from(source: Ipv4Addr, to: SocketAddr, request: &[u8]) -> Reply {
    let exchange = async {
        let mut stream = connect_from(source, to).await?;
        // The node may refuse before everything is written, and close.
        let _ = stream.write_all(request).await;
        std::io::Result::Ok(read_all(&mut stream).await)
    };
    match tokio::time::timeout(PATIENCE, exchange).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => Reply {
            status: 0,
            text: format!("not connected: {error}"),
        },
        Err(_) => Reply {
            status: 0,
            text: "no answer in time".to_owned(),
        },
    }
}

/// Sends `request` on a connection that stays, and reads its answer.
pub(crate) async fn exchange(stream: &mut TcpStream, request: &[u8]) -> Reply {
    let exchange = async {
        stream.write_all(request).await?;
        let mut bytes = Vec::new();
        loop {
            let read = stream.read_buf(&mut bytes).await?;
            let reply = Reply::of(&bytes);
            if read == 0 || (reply.status != 0 && reply.is_whole()) {
                return std::io::Result::Ok(reply);
            }
        }
    };
    match tokio::time::timeout(PATIENCE, exchange).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => Reply {
            status: 0,
            text: format!("broken off: {error}"),
        },
        Err(_) => Reply {
            status: 0,
            text: "no answer in time".to_owned(),
        },
    }
}

/// Reads until the connection ends, however it does.
pub(crate) async fn read_all(stream: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    Reply::of(&bytes)
}

/// Whether the node closes the connection within `time`.
pub(crate) async fn closes_within(stream: &mut TcpStream, time: Duration) -> bool {
    tokio::time::timeout(time, read_all(stream)).await.is_ok()
}
