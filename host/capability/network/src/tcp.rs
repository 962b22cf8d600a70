//! TCP sockets of WASI 0.3: connections outward, whose bytes and places are counted for their tenant.
//!
//! wasmtime's sockets of 0.3 keep their connection to themselves, so that nothing of it could be counted;
//! these take their place. A guest connects, and nothing else: no grant lets it listen, or bind to an
//! address of its choice. What is carried is in `tcp_streams.rs`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpSocket, TcpStream};
use wasmtime_wasi::p3::bindings::sockets::types::{ErrorCode, IpAddressFamily, IpSocketAddress};
use wasmtime_wasi::sockets::SocketAddrUse;

use crate::account::{OverQuota, Place};
use crate::ctx::Outlet;

/// Seconds between two signs of life, and signs, that Linux allows at most.
const LONGEST_KEEP_ALIVE: u64 = 32_767;
const MOST_KEEP_ALIVES: u32 = 127;

/// A socket of a guest.
pub(crate) struct Tcp {
    family: IpAddressFamily,
    state: State,
    outlet: Arc<Outlet>,
}

enum State {
    /// It is not connected.
    New { socket: TcpSocket, bound: bool },
    /// The socket is with whoever connects it.
    Connecting,
    /// It is connected.
    Connected {
        carrier: Arc<Carrier>,
        sends: bool,
        receives: bool,
    },
    /// It could not be connected.
    Failed(ErrorCode),
}

/// A connection, for whoever sends or receives.
pub(crate) struct Carrier {
    pub(crate) stream: TcpStream,
    outlet: Arc<Outlet>,
    /// What ended it, if it was the tenant's quota.
    over: OnceLock<OverQuota>,
    _place: Place,
}

impl Carrier {
    /// So many bytes were carried. `Err`: they were the last.
    pub(crate) fn count(&self, bytes: usize) -> Result<(), ErrorCode> {
        self.outlet
            .carry(bytes as u64)
            .map_err(|quota| over(*self.over.get_or_init(|| quota)))
    }

    /// What ended it, if it was the tenant's quota, whichever way the bytes went.
    pub(crate) fn over(&self) -> Option<ErrorCode> {
        self.over.get().copied().map(over)
    }
}

/// What is to be connected.
pub(crate) struct Connecting {
    socket: TcpSocket,
    address: SocketAddr,
    outlet: Arc<Outlet>,
}

/// What a guest is told whose tenant is over its quota.
pub(crate) fn over(quota: OverQuota) -> ErrorCode {
    ErrorCode::Other(Some(quota.to_string()))
}

fn unspecified(family: IpAddressFamily) -> SocketAddr {
    match family {
        IpAddressFamily::Ipv4 => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddressFamily::Ipv6 => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

impl Tcp {
    /// A socket that is not connected.
    pub(crate) fn new(family: IpAddressFamily, outlet: Arc<Outlet>) -> Result<Self, ErrorCode> {
        let socket = match family {
            IpAddressFamily::Ipv4 => TcpSocket::new_v4()?,
            IpAddressFamily::Ipv6 => {
                let socket = TcpSocket::new_v6()?;
                sockopt::set_ipv6_v6only(&socket, true)?;
                socket
            }
        };
        let state = State::New {
            socket,
            bound: false,
        };
        Ok(Self {
            family,
            state,
            outlet,
        })
    }

    /// Whether the socket could be used for an address of one machine. IPv4 within IPv6 is not: there is
    /// a family for it.
    fn suits(&self, address: SocketAddr) -> bool {
        let family = match (self.family, address.ip()) {
            (IpAddressFamily::Ipv4, IpAddr::V4(ip)) => !ip.is_broadcast(),
            (IpAddressFamily::Ipv6, IpAddr::V6(ip)) => ip.to_ipv4_mapped().is_none(),
            _ => false,
        };
        family && !address.ip().is_multicast()
    }

    pub(crate) fn bind(&mut self, address: IpSocketAddress) -> Result<(), ErrorCode> {
        let address = SocketAddr::from(address);
        let suits = self.suits(address);
        let State::New { socket, bound } = &mut self.state else {
            return Err(ErrorCode::InvalidState);
        };
        if *bound {
            return Err(ErrorCode::InvalidState);
        }
        if !suits {
            return Err(ErrorCode::InvalidArgument);
        }
        if !self.outlet.allows_socket(address, SocketAddrUse::TcpBind) {
            return Err(ErrorCode::AccessDenied);
        }
        socket.bind(address)?;
        *bound = true;
        Ok(())
    }

    /// Nobody listens: the refusal is written down, and is the answer.
    pub(crate) fn listen(&mut self) -> ErrorCode {
        let State::New { .. } = &self.state else {
            return ErrorCode::InvalidState;
        };
        let address = unspecified(self.family);
        self.outlet.allows_socket(address, SocketAddrUse::TcpListen);
        ErrorCode::AccessDenied
    }

    /// Begins to connect. The outcome is told by [`Self::finish`].
    pub(crate) fn connect(&mut self, address: IpSocketAddress) -> Result<Connecting, ErrorCode> {
        let address = SocketAddr::from(address);
        let suits = self.suits(address) && !address.ip().is_unspecified() && address.port() != 0;
        let State::New { .. } = &self.state else {
            return Err(ErrorCode::InvalidState);
        };
        if !suits {
            return Err(ErrorCode::InvalidArgument);
        }
        if !self
            .outlet
            .allows_socket(address, SocketAddrUse::TcpConnect)
        {
            self.state = State::Failed(ErrorCode::AccessDenied);
            return Err(ErrorCode::AccessDenied);
        }
        match std::mem::replace(&mut self.state, State::Connecting) {
            State::New { socket, .. } => Ok(Connecting {
                socket,
                address,
                outlet: self.outlet.clone(),
            }),
            // It was one a moment ago.
            state => {
                self.state = state;
                Err(ErrorCode::InvalidState)
            }
        }
    }

    /// It is connected, or could not be.
    pub(crate) fn finish(
        &mut self,
        connected: Result<Arc<Carrier>, ErrorCode>,
    ) -> Result<(), ErrorCode> {
        match connected {
            Ok(carrier) => {
                self.state = State::Connected {
                    carrier,
                    sends: false,
                    receives: false,
                };
                Ok(())
            }
            Err(code) => {
                self.state = State::Failed(code.clone());
                Err(code)
            }
        }
    }

    /// The connection, for who sends: once.
    pub(crate) fn send(&mut self) -> Result<Arc<Carrier>, ErrorCode> {
        match &mut self.state {
            State::Connected { carrier, sends, .. } if !*sends => {
                *sends = true;
                Ok(carrier.clone())
            }
            State::Failed(code) => Err(code.clone()),
            _ => Err(ErrorCode::InvalidState),
        }
    }

    /// The connection, for who receives: once.
    pub(crate) fn receive(&mut self) -> Result<Arc<Carrier>, ErrorCode> {
        match &mut self.state {
            State::Connected {
                carrier, receives, ..
            } if !*receives => {
                *receives = true;
                Ok(carrier.clone())
            }
            State::Failed(code) => Err(code.clone()),
            _ => Err(ErrorCode::InvalidState),
        }
    }

    pub(crate) fn family(&self) -> IpAddressFamily {
        self.family
    }

    pub(crate) fn local_address(&self) -> Result<IpSocketAddress, ErrorCode> {
        Ok(match &self.state {
            State::New {
                socket,
                bound: true,
            } => socket.local_addr()?.into(),
            State::Connected { carrier, .. } => carrier.stream.local_addr()?.into(),
            State::Failed(code) => return Err(code.clone()),
            _ => return Err(ErrorCode::InvalidState),
        })
    }

    pub(crate) fn remote_address(&self) -> Result<IpSocketAddress, ErrorCode> {
        match &self.state {
            State::Connected { carrier, .. } => Ok(carrier.stream.peer_addr()?.into()),
            State::Failed(code) => Err(code.clone()),
            _ => Err(ErrorCode::InvalidState),
        }
    }

    pub(crate) fn set_backlog(&self, value: u64) -> Result<(), ErrorCode> {
        match &self.state {
            _ if value == 0 => Err(ErrorCode::InvalidArgument),
            // It is a hint for a socket that listens, which none does.
            State::New { .. } => Ok(()),
            State::Failed(code) => Err(code.clone()),
            _ => Err(ErrorCode::InvalidState),
        }
    }

    fn fd(&self) -> Result<BorrowedFd<'_>, ErrorCode> {
        match &self.state {
            State::New { socket, .. } => Ok(socket.as_fd()),
            State::Connected { carrier, .. } => Ok(carrier.stream.as_fd()),
            State::Connecting => Err(ErrorCode::InvalidState),
            State::Failed(code) => Err(code.clone()),
        }
    }

    pub(crate) fn keep_alive(&self) -> Result<bool, ErrorCode> {
        Ok(sockopt::socket_keepalive(self.fd()?)?)
    }

    pub(crate) fn set_keep_alive(&self, value: bool) -> Result<(), ErrorCode> {
        Ok(sockopt::set_socket_keepalive(self.fd()?, value)?)
    }

    /// Nanoseconds.
    pub(crate) fn keep_alive_idle(&self) -> Result<u64, ErrorCode> {
        Ok(nanoseconds(sockopt::tcp_keepidle(self.fd()?)?))
    }

    pub(crate) fn set_keep_alive_idle(&self, value: u64) -> Result<(), ErrorCode> {
        let value = seconds(value)?;
        Ok(sockopt::set_tcp_keepidle(self.fd()?, value)?)
    }

    /// Nanoseconds.
    pub(crate) fn keep_alive_interval(&self) -> Result<u64, ErrorCode> {
        Ok(nanoseconds(sockopt::tcp_keepintvl(self.fd()?)?))
    }

    pub(crate) fn set_keep_alive_interval(&self, value: u64) -> Result<(), ErrorCode> {
        let value = seconds(value)?;
        Ok(sockopt::set_tcp_keepintvl(self.fd()?, value)?)
    }

    pub(crate) fn keep_alive_count(&self) -> Result<u32, ErrorCode> {
        Ok(sockopt::tcp_keepcnt(self.fd()?)?)
    }

    pub(crate) fn set_keep_alive_count(&self, value: u32) -> Result<(), ErrorCode> {
        let value = positive(value)?.min(MOST_KEEP_ALIVES);
        Ok(sockopt::set_tcp_keepcnt(self.fd()?, value)?)
    }

    pub(crate) fn hop_limit(&self) -> Result<u8, ErrorCode> {
        match self.family {
            IpAddressFamily::Ipv4 => {
                let limit = sockopt::ip_ttl(self.fd()?)?;
                Ok(u8::try_from(limit).unwrap_or(u8::MAX))
            }
            IpAddressFamily::Ipv6 => Ok(sockopt::ipv6_unicast_hops(self.fd()?)?),
        }
    }

    pub(crate) fn set_hop_limit(&self, value: u8) -> Result<(), ErrorCode> {
        let value = positive(value)?;
        match self.family {
            IpAddressFamily::Ipv4 => Ok(sockopt::set_ip_ttl(self.fd()?, value.into())?),
            IpAddressFamily::Ipv6 => Ok(sockopt::set_ipv6_unicast_hops(self.fd()?, Some(value))?),
        }
    }

    pub(crate) fn receive_buffer(&self) -> Result<u64, ErrorCode> {
        Ok(asked(sockopt::socket_recv_buffer_size(self.fd()?)?))
    }

    pub(crate) fn set_receive_buffer(&self, value: u64) -> Result<(), ErrorCode> {
        let value = buffer(value)?;
        Ok(sockopt::set_socket_recv_buffer_size(self.fd()?, value)?)
    }

    pub(crate) fn send_buffer(&self) -> Result<u64, ErrorCode> {
        Ok(asked(sockopt::socket_send_buffer_size(self.fd()?)?))
    }

    pub(crate) fn set_send_buffer(&self, value: u64) -> Result<(), ErrorCode> {
        let value = buffer(value)?;
        Ok(sockopt::set_socket_send_buffer_size(self.fd()?, value)?)
    }
}

impl Connecting {
    /// Connects, if the tenant may have one more connection.
    pub(crate) async fn run(self) -> Result<Arc<Carrier>, ErrorCode> {
        let Self {
            socket,
            address,
            outlet,
        } = self;
        let place = outlet.open().map_err(over)?;
        let stream = socket.connect(address).await?;
        Ok(Arc::new(Carrier {
            stream,
            outlet,
            over: OnceLock::new(),
            _place: place,
        }))
    }
}

/// Refuses zero, which the interface allows nowhere.
fn positive<N: PartialEq + Default>(value: N) -> Result<N, ErrorCode> {
    match value == N::default() {
        true => Err(ErrorCode::InvalidArgument),
        false => Ok(value),
    }
}

/// A time in nanoseconds as one in whole seconds, which is what the system has.
fn seconds(nanoseconds: u64) -> Result<Duration, ErrorCode> {
    let seconds = positive(nanoseconds)?.div_ceil(1_000_000_000);
    Ok(Duration::from_secs(seconds.min(LONGEST_KEEP_ALIVE)))
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The size of a buffer that the system takes. It counts in `i32`, and twice what it was asked for.
fn buffer(size: u64) -> Result<usize, ErrorCode> {
    let most = i32::MAX / 2;
    let size = i32::try_from(positive(size)?).map_or(most, |size| size.min(most));
    Ok(usize::try_from(size).unwrap_or(usize::MAX))
}

/// The size that was asked for of a buffer: Linux has twice as much, for what it notes itself.
fn asked(size: usize) -> u64 {
    (size / 2) as u64
}
