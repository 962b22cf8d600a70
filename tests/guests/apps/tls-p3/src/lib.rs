//! Connects to the address in the query by a socket of WASI 0.3, speaks TLS with it by the draft of
//! `wasi:tls` for 0.3, under the name behind `&`, as in `/?127.0.0.1:443&api.example.com`, says `hello`,
//! and tells what came back.

use std::net::SocketAddrV4;

use bindings::wasi::tls::client::Connector;
use bindings::wasi::tls::types::Error;
use wasip3::http::types::{ErrorCode as HttpError, Fields, Request, Response};
use wasip3::sockets::types::{
    ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket,
};
use wasip3::{wit_bindgen, wit_future, wit_stream};

mod bindings {
    wit_bindgen::generate!({
        path: "../../../../wit/deps/tls-0.3.0-draft",
        world: "wasi:tls/imports",
        generate_all,
    });
}

wasip3::http::service::export!(Component);

struct Component;

impl wasip3::exports::http::handler::Guest for Component {
    async fn handle(request: Request) -> Result<Response, HttpError> {
        let target = request.get_path_with_query().unwrap_or_default();
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let (to, name) = query.split_once('&').unwrap_or((query, ""));
        let text = match talk(to, name).await {
            Ok(text) => text,
            Err(error) => format!("failed: {error}"),
        };
        let (mut writer, body) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        let (response, _) = Response::new(Fields::new(), Some(body), trailers);
        wit_bindgen::spawn_local(async move {
            writer.write_all(text.into_bytes()).await;
        });
        Ok(response)
    }
}

fn socket(code: ErrorCode) -> String {
    format!("socket: {code:?}")
}

fn tls(error: Error) -> String {
    error.to_debug_string()
}

async fn talk(to: &str, name: &str) -> Result<String, String> {
    let address: SocketAddrV4 = to.parse().map_err(|_| "no address")?;
    let [a, b, c, d] = address.ip().octets();
    let address = IpSocketAddress::Ipv4(Ipv4SocketAddress {
        port: address.port(),
        address: (a, b, c, d),
    });
    let connection = TcpSocket::create(IpAddressFamily::Ipv4).map_err(socket)?;
    connection.connect(address).await.map_err(socket)?;

    let connector = Connector::new();
    let (mut writer, cleartext) = wit_stream::new();
    let (ciphertext, encrypted) = connector.send(cleartext);
    let sent = connection.send(ciphertext);
    let (ciphertext, received) = connection.receive();
    let (cleartext, decrypted) = connector.receive(ciphertext);
    Connector::connect(connector, name.to_owned())
        .await
        .map_err(tls)?;
    wit_bindgen::spawn_local(async move {
        writer.write_all(b"hello".to_vec()).await;
    });
    let said = cleartext.collect().await;
    decrypted.await.map_err(tls)?;
    encrypted.await.map_err(tls)?;
    sent.await.map_err(socket)?;
    received.await.map_err(socket)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}
