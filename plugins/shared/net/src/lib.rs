//! TCP connections with a time limit on everything that waits, in the clear or by TLS, which may also
//! begin in the middle.
//!
//! The standard library's connections do not give away their streams, and TLS is spoken by the
//! platform over those. Whom it trusts is said by the driver's `[network.tls]`.

mod bindings;

use std::io::{self, Read, Write};
use std::time::Duration;

use bindings::wasi::clocks::monotonic_clock::subscribe_duration;
use bindings::wasi::io::poll::{Pollable, poll};
use bindings::wasi::io::streams::{InputStream, OutputStream, StreamError};
use bindings::wasi::sockets::instance_network::instance_network;
use bindings::wasi::sockets::ip_name_lookup::resolve_addresses;
use bindings::wasi::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use bindings::wasi::sockets::tcp::TcpSocket;
use bindings::wasi::sockets::tcp_create_socket::create_tcp_socket;
use bindings::wasi::tls::types::{ClientConnection, ClientHandshake};

/// A connection. What belongs to something else stands before it, and goes before it.
#[derive(Debug)]
pub struct Stream {
    input: InputStream,
    output: OutputStream,
    tls: Option<ClientConnection>,
    socket: TcpSocket,
    timeout: Duration,
}

impl Stream {
    /// Tries the addresses of the host one after the other. Connecting, and each step of reading and
    /// writing later, takes `timeout` at most.
    ///
    /// # Errors
    /// Of the last address; `PermissionDenied` for what the tenant has not granted.
    pub fn connect(host: &str, port: u16, timeout: Duration) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
        for address in addresses(host, timeout)? {
            match Self::connect_to(address, port, timeout) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn connect_to(address: IpAddress, port: u16, timeout: Duration) -> io::Result<Self> {
        let (family, remote) = match address {
            IpAddress::Ipv4(address) => {
                let remote = Ipv4SocketAddress { port, address };
                (IpAddressFamily::Ipv4, IpSocketAddress::Ipv4(remote))
            }
            IpAddress::Ipv6(address) => {
                let remote = Ipv6SocketAddress {
                    port,
                    flow_info: 0,
                    address,
                    scope_id: 0,
                };
                (IpAddressFamily::Ipv6, IpSocketAddress::Ipv6(remote))
            }
        };
        let socket = create_tcp_socket(family).map_err(refused)?;
        socket
            .start_connect(&instance_network(), remote)
            .map_err(refused)?;
        let (input, output) = loop {
            match socket.finish_connect() {
                Err(ErrorCode::WouldBlock) => wait(&socket.subscribe(), timeout)?,
                connected => break connected.map_err(refused)?,
            }
        };
        Ok(Self {
            input,
            output,
            tls: None,
            socket,
            timeout,
        })
    }

    /// The same connection by TLS, once the server has proved that it is `name`.
    ///
    /// # Errors
    /// If it cannot, or does not speak TLS, in the platform's words.
    pub fn secure(self, name: &str) -> io::Result<Self> {
        let Self {
            input,
            output,
            tls: None,
            socket,
            timeout,
        } = self
        else {
            return Err(io::Error::other("this is TLS already"));
        };
        let begun = ClientHandshake::finish(ClientHandshake::new(name, input, output));
        wait(&begun.subscribe(), timeout)?;
        let done = begun.get().and_then(Result::ok);
        let done = done.ok_or_else(|| io::Error::other("the handshake is gone"))?;
        let (connection, input, output) = done.map_err(|error| {
            let text = format!("no TLS with {name}: {}", error.to_debug_string());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        Ok(Self {
            input,
            output,
            tls: Some(connection),
            socket,
            timeout,
        })
    }
}

/// The addresses of a host name, or the one that it is.
fn addresses(host: &str, timeout: Duration) -> io::Result<Vec<IpAddress>> {
    let found = resolve_addresses(&instance_network(), host).map_err(refused)?;
    let mut addresses = Vec::new();
    loop {
        match found.resolve_next_address() {
            Ok(Some(address)) => addresses.push(address),
            Ok(None) => return Ok(addresses),
            Err(ErrorCode::WouldBlock) => wait(&found.subscribe(), timeout)?,
            Err(code) => return Err(refused(code)),
        }
    }
}

/// Waits until something is ready, or for too long.
fn wait(ready: &Pollable, timeout: Duration) -> io::Result<()> {
    let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    let timer = subscribe_duration(nanoseconds);
    if poll(&[ready, &timer]).contains(&0) {
        return Ok(());
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn refused(code: ErrorCode) -> io::Error {
    let kind = match code {
        ErrorCode::AccessDenied => io::ErrorKind::PermissionDenied,
        ErrorCode::ConnectionRefused => io::ErrorKind::ConnectionRefused,
        ErrorCode::ConnectionReset => io::ErrorKind::ConnectionReset,
        ErrorCode::ConnectionAborted => io::ErrorKind::ConnectionAborted,
        ErrorCode::RemoteUnreachable => io::ErrorKind::HostUnreachable,
        ErrorCode::Timeout => io::ErrorKind::TimedOut,
        ErrorCode::NameUnresolvable | ErrorCode::PermanentResolverFailure => {
            return io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
        }
        code => return io::Error::other(code.name()),
    };
    kind.into()
}

fn broken(error: StreamError) -> io::Error {
    match error {
        StreamError::Closed => io::ErrorKind::BrokenPipe.into(),
        StreamError::LastOperationFailed(error) => match error.to_debug_string() {
            text if text.contains("ConnectionReset") => io::ErrorKind::ConnectionReset.into(),
            text => io::Error::other(text),
        },
    }
}

/// What an error of a connection means, for people.
#[must_use]
pub fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "the tenant has not granted this driver to reach it".to_owned()
        }
        io::ErrorKind::ConnectionRefused => "the connection was refused".to_owned(),
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset => "it closed the connection".to_owned(),
        _ => error.to_string(),
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.input.read(buffer.len() as u64) {
                Ok(bytes) if bytes.is_empty() => wait(&self.input.subscribe(), self.timeout)?,
                Ok(bytes) => {
                    buffer[..bytes.len()].copy_from_slice(&bytes);
                    return Ok(bytes.len());
                }
                Err(StreamError::Closed) => return Ok(0),
                Err(error) => return Err(broken(error)),
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        loop {
            match self.output.check_write().map_err(broken)? {
                0 => wait(&self.output.subscribe(), self.timeout)?,
                room => {
                    let length = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
                    self.output.write(&bytes[..length]).map_err(broken)?;
                    return Ok(length);
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush().map_err(broken)?;
        while self.output.check_write().map_err(broken)? == 0 {
            wait(&self.output.subscribe(), self.timeout)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_by_what_can_be_done_about_them() {
        for (code, told) in [
            (ErrorCode::AccessDenied, "has not granted"),
            (ErrorCode::ConnectionRefused, "was refused"),
            (ErrorCode::Timeout, "in time"),
            (ErrorCode::NameUnresolvable, "no address"),
        ] {
            let text = describe(&refused(code));
            assert!(text.contains(told), "{code:?}: {text}");
        }
        let ended = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert!(describe(&ended).contains("closed"), "{ended}");
    }
}
