//! Uses sockets of WASI 0.3 as its path says, towards the address in the query, as in
//! `/tcp?127.0.0.1:80&1000`: `/tcp` sends so many bytes and receives to the end, `/udp` sends a datagram
//! of so many and receives one, `/hold` connects twice, `/options` sets what a socket has, `/drop` lets go
//! of what it would receive and waits for `go` by what it sends. It tells what came of it.

use std::net::SocketAddrV4;

use wasip3::http::types::{ErrorCode as HttpError, Fields, Request, Response};
use wasip3::sockets::types::{
    ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket, UdpSocket,
};
use wasip3::wit_bindgen::StreamResult;
use wasip3::{wit_bindgen, wit_future, wit_stream};

wasip3::http::service::export!(Component);

struct Component;

impl wasip3::exports::http::handler::Guest for Component {
    async fn handle(request: Request) -> Result<Response, HttpError> {
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target.as_str(), ""));
        let (to, count) = query.split_once('&').unwrap_or((query, "0"));
        let count = count.parse().unwrap_or(0);
        let told = match path {
            "/tcp" => tcp(to, count).await,
            "/udp" => udp(to, count).await,
            "/hold" => hold(to).await,
            "/options" => options(to).await,
            "/drop" => let_go(to).await,
            _ => Ok("no such path".to_owned()),
        };
        let text = told.unwrap_or_else(|code| format!("failed: {code:?}"));
        let (mut writer, body) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        let (response, _) = Response::new(Fields::new(), Some(body), trailers);
        wit_bindgen::spawn_local(async move {
            writer.write_all(text.into_bytes()).await;
        });
        Ok(response)
    }
}

fn address(text: &str) -> IpSocketAddress {
    let address: SocketAddrV4 = text.parse().expect("an address");
    let [a, b, c, d] = address.ip().octets();
    IpSocketAddress::Ipv4(Ipv4SocketAddress {
        port: address.port(),
        address: (a, b, c, d),
    })
}

async fn connected(to: &str) -> Result<TcpSocket, ErrorCode> {
    let socket = TcpSocket::create(IpAddressFamily::Ipv4)?;
    socket.connect(address(to)).await?;
    Ok(socket)
}

async fn tcp(to: &str, count: usize) -> Result<String, ErrorCode> {
    let socket = connected(to).await?;
    let (mut writer, data) = wit_stream::new();
    let sent = socket.send(data);
    wit_bindgen::spawn_local(async move {
        writer.write_all(vec![b'x'; count]).await;
    });
    let (mut incoming, received) = socket.receive();
    let mut bytes = 0;
    loop {
        let (status, piece) = incoming.read(Vec::with_capacity(8192)).await;
        bytes += piece.len();
        if !matches!(status, StreamResult::Complete(_)) {
            break;
        }
    }
    let again = socket.receive().1.await;
    let (sent, received) = (sent.await, received.await);
    Ok(format!(
        "sent: {sent:?}; received {bytes}: {received:?}; again: {again:?}"
    ))
}

async fn udp(to: &str, count: usize) -> Result<String, ErrorCode> {
    let socket = UdpSocket::create(IpAddressFamily::Ipv4)?;
    socket.send(vec![b'x'; count], Some(address(to))).await?;
    let (data, _) = socket.receive().await?;
    Ok(format!("received {}", data.len()))
}

async fn hold(to: &str) -> Result<String, ErrorCode> {
    let _first = connected(to).await?;
    let second = connected(to).await;
    Ok(format!("second: {:?}", second.map(drop)))
}

async fn options(to: &str) -> Result<String, ErrorCode> {
    let socket = TcpSocket::create(IpAddressFamily::Ipv4)?;
    let unbound = socket.get_local_address();
    let listening = TcpSocket::create(IpAddressFamily::Ipv4)?.listen().map(drop);
    let bound = TcpSocket::create(IpAddressFamily::Ipv4)?.bind(address("127.0.0.1:0"));
    socket.bind(address("0.0.0.0:0"))?;
    socket.set_keep_alive_enabled(true)?;
    socket.set_keep_alive_idle_time(1_500_000_000)?;
    socket.set_keep_alive_interval(7_000_000_000)?;
    socket.set_keep_alive_count(3)?;
    socket.set_hop_limit(42)?;
    socket.set_receive_buffer_size(16 << 10)?;
    socket.set_send_buffer_size(16 << 10)?;
    let zero = socket.set_hop_limit(0);
    let early = socket.receive().1.await;
    socket.connect(address(to)).await?;
    let twice = socket.connect(address(to)).await;
    let remote = format!("{:?}", socket.get_remote_address()?) == format!("{:?}", address(to));
    Ok(format!(
        "unbound: {:?}; listening: {listening:?}; bound: {bound:?}; zero: {zero:?}; early: {early:?}; \
         twice: {twice:?}; {} {} {} {} {} {} {}; remote: {remote}; local: {}",
        unbound.map(drop),
        socket.get_keep_alive_enabled()?,
        socket.get_keep_alive_idle_time()?,
        socket.get_keep_alive_interval()?,
        socket.get_keep_alive_count()?,
        socket.get_hop_limit()?,
        socket.get_receive_buffer_size()?,
        socket.get_send_buffer_size()?,
        socket.get_local_address().is_ok(),
    ))
}

async fn let_go(to: &str) -> Result<String, ErrorCode> {
    let socket = connected(to).await?;
    drop(socket.receive());
    let (writer, data) = wit_stream::new();
    let sent = socket.send(data);
    drop((writer, socket));
    Ok(format!("sent: {:?}", sent.await))
}
