//! Ports of this machine: the demo's usual ones where they are free, so that addresses stay the same
//! from one start to the next, or any.

use std::net::{Ipv4Addr, TcpListener};

use crate::{Context, Error};

/// Where applications answer.
pub(in crate::command) const APPS: u16 = 8080;
/// Where the control API answers.
pub(in crate::command) const API: u16 = 8081;
/// Where the demo's mail server answers.
pub(in crate::command) const MAIL: u16 = 8025;
/// Where the demo's Redis answers.
pub(in crate::command) const REDIS: u16 = 8379;

/// The port that was asked for, or the usual one if it is free, or another.
pub(in crate::command) fn choose(
    context: &Context,
    asked: Option<u16>,
    usual: u16,
    option: &str,
) -> Result<u16, Error> {
    match asked {
        Some(port) if is_free(port) => Ok(port),
        Some(port) => Err(Error::advised(
            format!("port {port} is in use"),
            format!("name another with {option}"),
        )),
        None => {
            let port = free(usual)?;
            if port != usual {
                context.ui.warn(format_args!(
                    "port {usual} is in use; taking {port} (choose with {option})"
                ));
            }
            Ok(port)
        }
    }
}

/// The usual port if it is free, or another.
pub(in crate::command) fn free(usual: u16) -> Result<u16, Error> {
    if is_free(usual) {
        return Ok(usual);
    }
    any()
}

/// A free port.
pub(in crate::command) fn any() -> Result<u16, Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address
        .map(|address| address.port())
        .map_err(|error| Error::local("no port is free", error))
}

/// Listens on the usual port if it is free, or on another.
pub(in crate::command) async fn listen(
    usual: u16,
) -> Result<(tokio::net::TcpListener, u16), Error> {
    let port = free(usual)?;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    listener
        .map(|listener| (listener, port))
        .map_err(|error| Error::local(format_args!("port {port}"), error))
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_replaced_by_a_free_one() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let usual = taken.local_addr().expect("its address").port();
        let port = free(usual).expect("a port");
        assert_ne!(port, usual);
        drop(taken);
        assert_eq!(free(usual).expect("a port"), usual);
    }
}
