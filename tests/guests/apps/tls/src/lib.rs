//! Connects to the IPv4 address `?addr=` by TCP, speaks TLS with it as `&name=`, sends the body, and
//! tells what came back. With `&first=` it sends that line in clear before and waits for a line, as a
//! STARTTLS does.

use std::net::SocketAddrV4;

use bindings::wasi::io::streams::{InputStream, OutputStream, StreamError};
use bindings::wasi::sockets::instance_network::instance_network;
use bindings::wasi::sockets::network::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use bindings::wasi::sockets::tcp_create_socket::create_tcp_socket;
use bindings::wasi::tls::types::ClientHandshake;
use canopy_sdk::{IntoResponse, Query, Router, StatusCode, any};
use serde::Deserialize;

mod bindings {
    wit_bindgen::generate!({
        path: [
            "../../../../wit/deps/io-0.2.12",
            "../../../../wit/deps/clocks-0.2.12",
            "../../../../wit/deps/sockets-0.2.12",
            "../../../../wit/deps/tls-0.2.0-draft",
        ],
        inline: "
            package guests:tls;
            world guest {
                import wasi:sockets/instance-network@0.2.12;
                import wasi:sockets/tcp-create-socket@0.2.12;
                import wasi:sockets/tcp@0.2.12;
                import wasi:tls/types@0.2.0-draft;
            }
        ",
        features: ["tls"],
        generate_all,
    });
}

#[derive(Deserialize)]
struct Target {
    addr: String,
    name: String,
    first: Option<String>,
}

#[canopy_sdk::app]
fn app() -> Router {
    Router::new().route(
        "/",
        any(
            |Query(target): Query<Target>, body: String| match talk(&target, &body) {
                Ok(reply) => reply.into_response(),
                Err(error) => (StatusCode::BAD_GATEWAY, error).into_response(),
            },
        ),
    )
}

fn talk(target: &Target, message: &str) -> Result<String, String> {
    let address: SocketAddrV4 = target.addr.parse().map_err(|_| "not an address")?;
    let failed = |what: &'static str| move |error| format!("{what}: {error:?}");
    let network = instance_network();
    let socket = create_tcp_socket(IpAddressFamily::Ipv4).map_err(failed("socket"))?;
    let [a, b, c, d] = address.ip().octets();
    let remote = IpSocketAddress::Ipv4(Ipv4SocketAddress {
        port: address.port(),
        address: (a, b, c, d),
    });
    socket
        .start_connect(&network, remote)
        .map_err(failed("connect"))?;
    socket.subscribe().block();
    let (input, output) = socket.finish_connect().map_err(failed("connect"))?;
    if let Some(first) = &target.first {
        send(&output, &format!("{first}\n"))?;
        if !line(&input)?.starts_with("220") {
            return Err("the server does not go on".into());
        }
    }
    let streams = ClientHandshake::finish(ClientHandshake::new(&target.name, input, output));
    streams.subscribe().block();
    let (connection, input, output) = streams
        .get()
        .ok_or("no handshake")?
        .map_err(|()| "taken already")?
        .map_err(|error| format!("handshake: {}", error.to_debug_string()))?;
    send(&output, message)?;
    connection.close_output();
    let mut reply = Vec::new();
    loop {
        match input.blocking_read(4096) {
            Ok(piece) => reply.extend(piece),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => return Err(error.to_debug_string()),
        }
    }
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

fn send(output: &OutputStream, text: &str) -> Result<(), String> {
    output
        .blocking_write_and_flush(text.as_bytes())
        .map_err(|error| format!("write: {error:?}"))
}

fn line(input: &InputStream) -> Result<String, String> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let byte = input
            .blocking_read(1)
            .map_err(|error| format!("read: {error:?}"))?;
        line.extend(byte);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}
