//! Connects to `?addr=` by TCP, sends the body and tells what came back; `/udp` sends one datagram
//! instead.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};

use canopy_sdk::{IntoResponse, Query, Response, Router, StatusCode, any};
use serde::Deserialize;

#[derive(Deserialize)]
struct Target {
    addr: String,
}

#[canopy_sdk::app]
fn app() -> Router {
    Router::new()
        .route(
            "/",
            any(|Query(target): Query<Target>, body: String| answer(tcp(&target.addr, &body))),
        )
        .route(
            "/udp",
            any(|Query(target): Query<Target>, body: String| answer(udp(&target.addr, &body))),
        )
}

fn tcp(addr: &str, message: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(addr)?;
    stream.write_all(message.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut reply = Vec::new();
    stream.take(64 << 10).read_to_end(&mut reply)?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

fn udp(addr: &str, message: &str) -> io::Result<String> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let sent = socket.send_to(message.as_bytes(), addr)?;
    Ok(format!("{sent} bytes sent"))
}

fn answer(outcome: io::Result<String>) -> Response {
    match outcome {
        Ok(text) => text.into_response(),
        Err(error) => (
            StatusCode::BAD_GATEWAY,
            format!("{:?}: {error}", error.kind()),
        )
            .into_response(),
    }
}
