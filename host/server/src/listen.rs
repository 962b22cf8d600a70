//! Listening, with room for those that come while the node is busy.
//!
//! What connects waits in the system until it is accepted. With the 128 places that a listener has by
//! habit, a burst of clients fills them in an instant in which the node is not on the processor. Of those
//! beyond it the system knows nothing: they try again after a second, then after three, or take themselves
//! for connected and wait for ever.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpSocket};

/// Listens at `address`, which is what `setting` says. So many connections wait to be accepted, or as
/// many as the system allows.
pub(crate) fn listen(
    setting: &str,
    address: SocketAddr,
    backlog: u32,
) -> anyhow::Result<TcpListener> {
    let listening = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // Or the address could not be used for a while after a node has ended.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(backlog)
    };
    listening().with_context(|| format!("setting `{setting}`: cannot listen at {address}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::future::join_all;
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_burst_waits_to_be_accepted() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = listen("listen", any, 1_000).expect("listening");
        let address = listener.local_addr().expect("its address");
        // Half a second is less than after which one that was turned away tries again.
        let come =
            (0..400).map(|_| timeout(Duration::from_millis(500), TcpStream::connect(address)));
        let connected = join_all(come).await;
        assert!(connected.iter().all(|one| matches!(one, Ok(Ok(_)))));
        for _ in &connected {
            let next = timeout(Duration::from_secs(5), listener.accept()).await;
            next.expect("it has come").expect("accepted");
        }
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = listen("listen", any, 16).expect("listening");
        let taken = first.local_addr().expect("its address");
        let refused = listen("api_listen", taken, 16).expect_err("taken");
        let said = format!("{refused:#}");
        assert!(
            said.contains("`api_listen`") && said.contains(&taken.to_string()),
            "{said}"
        );
    }
}
