//! What stands between a driver and its server while it is tested: passes bytes on, or does what
//! networks and servers do on bad days.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::Error;

/// Bytes that are passed on at once.
const PIECE: usize = 16 << 10;
/// How long it waits between two attempts to listen again on its port.
const REBIND_PAUSE: Duration = Duration::from_millis(20);

/// What it does with connections and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    /// Passes everything on.
    Fair,
    /// Nobody listens.
    Refused,
    /// Connections are taken, and nothing is ever answered.
    Silent,
    /// Every piece of an answer comes so late.
    Slow(Duration),
    /// Answers are as long as they were and mean nothing.
    Garbled,
    /// Of the next piece of an answer so many bytes come, then the connection breaks.
    Cut(usize),
}

#[derive(Debug, Clone, Copy)]
struct State {
    weather: Weather,
    /// Connections of an earlier era are broken.
    era: u64,
}

/// One of the connections that are open.
struct Counted(Arc<watch::Sender<usize>>);

impl Counted {
    fn new(open: &Arc<watch::Sender<usize>>) -> Self {
        open.send_modify(|open| *open += 1);
        Self(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

/// A listening proxy; it ends when dropped.
pub(super) struct Proxy {
    port: u16,
    state: watch::Sender<State>,
    /// How many connections are open.
    open: Arc<watch::Sender<usize>>,
    /// Set by whatever is not fair weather.
    disturbed: AtomicBool,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Listens on a free port of the loopback address, in front of `server` (`HOST:PORT`).
    pub(super) async fn start(server: String) -> Result<Self, Error> {
        let failed = |error| Error::local("the proxy in front of the server", error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (state, states) = watch::channel(State {
            weather: Weather::Fair,
            era: 0,
        });
        let open = Arc::new(watch::Sender::new(0));
        let ways = Ways {
            server,
            open: Arc::clone(&open),
        };
        let task = tokio::spawn(listen(listener, address, ways, states));
        Ok(Self {
            port: address.port(),
            state,
            open,
            disturbed: AtomicBool::new(false),
            _task: AbortOnDropHandle::new(task),
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Changes the weather for connections that are open and those to come.
    pub(super) fn set(&self, weather: Weather) {
        self.disturbed.store(true, Ordering::Relaxed);
        self.state.send_modify(|state| {
            state.weather = weather;
            if weather == Weather::Refused {
                state.era += 1;
            }
        });
    }

    /// Whether connections have seen anything but fair weather since [`Self::calm`].
    pub(super) fn is_disturbed(&self) -> bool {
        self.disturbed.load(Ordering::Relaxed)
    }

    /// Has fair weather, on new connections.
    pub(super) fn calm(&self) {
        self.set(Weather::Fair);
        self.break_all();
        self.disturbed.store(false, Ordering::Relaxed);
    }

    /// Waits until no more than so many connections are open; after `patience`, says how many are.
    pub(super) async fn falls_to(&self, most: usize, patience: Duration) -> Result<(), usize> {
        let mut open = self.open.subscribe();
        let fallen = tokio::time::timeout(patience, open.wait_for(|open| *open <= most));
        match fallen.await {
            Ok(_) => Ok(()),
            Err(_) => Err(*self.open.borrow()),
        }
    }

    /// Breaks all connections that are open.
    pub(super) fn break_all(&self) {
        self.disturbed.store(true, Ordering::Relaxed);
        self.state.send_modify(|state| state.era += 1);
    }
}

/// Where connections lead, and what counts them.
#[derive(Clone)]
struct Ways {
    server: String,
    open: Arc<watch::Sender<usize>>,
}

/// Takes connections for as long as the weather lets it.
async fn listen(
    listener: TcpListener,
    address: SocketAddr,
    ways: Ways,
    mut states: watch::Receiver<State>,
) {
    let mut listener = Some(listener);
    loop {
        let refused = states.borrow_and_update().weather == Weather::Refused;
        if refused {
            drop(listener.take());
            if states.changed().await.is_err() {
                return;
            }
            continue;
        }
        let open = match listener.take() {
            Some(open) => open,
            None => match TcpListener::bind(address).await {
                Ok(open) => open,
                Err(_) => {
                    tokio::time::sleep(REBIND_PAUSE).await;
                    continue;
                }
            },
        };
        tokio::select! {
            accepted = open.accept() => if let Ok((client, _)) = accepted {
                // One that came before the weather changed is refused as well.
                let State { weather, era } = *states.borrow();
                if weather != Weather::Refused {
                    tokio::spawn(pass(client, ways.clone(), states.clone(), era));
                }
            },
            changed = states.changed() => if changed.is_err() {
                return;
            },
        }
        listener = Some(open);
    }
}

/// Passes one connection on until one side or the weather ends it.
async fn pass(client: TcpStream, ways: Ways, mut states: watch::Receiver<State>, era: u64) {
    let _counted = Counted::new(&ways.open);
    let Ok(server) = TcpStream::connect(ways.server).await else {
        return;
    };
    // A connection without it would wait for the acknowledgement of small pieces.
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return;
    }
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let questions = async {
        let mut piece = vec![0; PIECE];
        while let Ok(length @ 1..) = from_client.read(&mut piece).await {
            if to_server.write_all(&piece[..length]).await.is_err() {
                return;
            }
        }
    };
    let mut weather = states.clone();
    let answers = async {
        let mut piece = vec![0; PIECE];
        while let Ok(length @ 1..) = from_server.read(&mut piece).await {
            let now = weather.borrow().weather;
            let Some(length) = spoil(now, &mut piece[..length]).await else {
                continue;
            };
            let sent = to_client.write_all(&piece[..length]).await;
            if sent.is_err() || matches!(now, Weather::Cut(_)) {
                return;
            }
        }
        // That a server closes a connection is a word of it, too.
        let silent = |state: &State| state.weather == Weather::Silent;
        let _ = weather.wait_for(|state| !silent(state)).await;
    };
    tokio::select! {
        () = questions => {}
        () = answers => {}
        _ = states.wait_for(|state| state.era != era) => {}
    }
}

/// Makes of an answer's piece what the weather makes of it, and says how much of it is left; `None`:
/// it is lost.
async fn spoil(weather: Weather, piece: &mut [u8]) -> Option<usize> {
    match weather {
        Weather::Fair | Weather::Refused => Some(piece.len()),
        Weather::Silent => None,
        Weather::Slow(late) => {
            tokio::time::sleep(late).await;
            Some(piece.len())
        }
        Weather::Garbled => {
            piece.fill(0xa5);
            Some(piece.len())
        }
        Weather::Cut(bytes) => Some(piece.len().min(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets, and a proxy in front of it.
    async fn echo() -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        Proxy::start(address.to_string()).await.expect("a proxy")
    }

    async fn connect(proxy: &Proxy) -> std::io::Result<TcpStream> {
        TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await
    }

    /// What comes back of `hello`, until there is all of it or nothing more.
    async fn answer(stream: &mut TcpStream) -> Vec<u8> {
        let mut answer = Vec::new();
        if stream.write_all(b"hello").await.is_err() {
            return answer;
        }
        while answer.len() < 5 {
            match stream.read_buf(&mut answer).await {
                Ok(1..) => {}
                _ => break,
            }
        }
        answer
    }

    #[tokio::test]
    async fn what_is_sent_passes_and_a_broken_connection_ends() {
        let proxy = echo().await;
        let mut stream = connect(&proxy).await.expect("connected");
        assert_eq!(answer(&mut stream).await, b"hello");
        proxy.break_all();
        assert_eq!(answer(&mut stream).await, b"");
        let mut stream = connect(&proxy).await.expect("connected again");
        assert_eq!(answer(&mut stream).await, b"hello");
    }

    #[tokio::test]
    async fn answers_are_spoiled_as_the_weather_has_it() {
        let proxy = echo().await;
        let mut stream = connect(&proxy).await.expect("connected");
        proxy.set(Weather::Garbled);
        assert_eq!(answer(&mut stream).await, [0xa5; 5]);
        proxy.set(Weather::Slow(Duration::from_millis(10)));
        assert_eq!(answer(&mut stream).await, b"hello");
        proxy.set(Weather::Cut(2));
        assert_eq!(answer(&mut stream).await, b"he");
        proxy.set(Weather::Silent);
        let mut stream = connect(&proxy).await.expect("connected");
        let silence = tokio::time::timeout(Duration::from_millis(200), answer(&mut stream));
        assert!(silence.await.is_err());
    }

    #[tokio::test]
    async fn connections_are_counted_until_they_end() {
        let proxy = echo().await;
        let patience = Duration::from_secs(10);
        let (mut one, mut two) = (
            connect(&proxy).await.expect("connected"),
            connect(&proxy).await.expect("connected"),
        );
        for stream in [&mut one, &mut two] {
            assert_eq!(answer(stream).await, b"hello");
        }
        assert_eq!(proxy.falls_to(1, Duration::ZERO).await, Err(2));
        drop(one);
        assert_eq!(proxy.falls_to(1, patience).await, Ok(()));
        proxy.break_all();
        assert_eq!(proxy.falls_to(0, patience).await, Ok(()));
    }

    #[tokio::test]
    async fn nobody_listens_until_somebody_does_again() {
        let proxy = echo().await;
        let mut stream = connect(&proxy).await.expect("connected");
        proxy.set(Weather::Refused);
        assert_eq!(answer(&mut stream).await, b"");
        while connect(&proxy).await.is_ok() {
            tokio::task::yield_now().await;
        }
        proxy.set(Weather::Fair);
        let mut stream = loop {
            match connect(&proxy).await {
                Ok(stream) => break stream,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        assert_eq!(answer(&mut stream).await, b"hello");
    }
}
