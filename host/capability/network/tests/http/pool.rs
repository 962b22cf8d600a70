//! Connections that are kept, shared by nobody but their owner, and let go in time.

use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::sync::mpsc;

use super::*;

/// What a server has seen.
struct Watched {
    port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    /// Says that a connection has ended.
    ended: mpsc::UnboundedReceiver<()>,
}

impl Watched {
    fn counts(&self) -> (usize, usize) {
        let [connections, requests] =
            [&self.connections, &self.requests].map(|counter| counter.load(Ordering::SeqCst));
        (connections, requests)
    }

    fn uri(&self) -> String {
        format!("http://api.example.com:{}/", self.port)
    }
}

/// A server that answers `per_connection` requests on each connection and reads one more, which it
/// leaves without an answer.
async fn keeps(per_connection: usize) -> Watched {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("listener");
    let port = listener.local_addr().expect("address").port();
    let (connections, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let (tell, ended) = mpsc::unbounded_channel();
    let counters = (connections.clone(), requests.clone());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let ((connections, requests), tell) = (counters.clone(), tell.clone());
            connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut piece = [0; 8192];
                for number in 0..=per_connection {
                    let mut head = Vec::new();
                    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                        match stream.read(&mut piece).await {
                            Ok(0) | Err(_) => {
                                let _ = tell.send(());
                                return;
                            }
                            Ok(count) => head.extend_from_slice(&piece[..count]),
                        }
                    }
                    requests.fetch_add(1, Ordering::SeqCst);
                    if number < per_connection {
                        let _ = stream.write_all(HELLO.as_bytes()).await;
                    }
                }
                let _ = tell.send(());
            });
        }
    });
    Watched {
        port,
        connections,
        requests,
        ended,
    }
}

fn network(settings: NetworkSettings) -> Network {
    Network::with_resolver(settings, fixed(&["127.0.0.1"])).expect("network")
}

fn gateway(network: &Network) -> Gateway {
    let rules = policy(&["api.example.com:*"], &["127.0.0.0/8"]);
    Gateway::new(network.clone(), rules)
}

#[tokio::test]
async fn requests_of_one_owner_share_a_connection_and_of_two_do_not() {
    let server = keeps(100).await;
    let network = network(quick());
    let (one, other) = (gateway(&network), gateway(&network));
    // Of one owner also instances that are made anew for every request.
    for _ in 0..5 {
        let answer = whole(&mut guest_of(&one), get(&server.uri())).await;
        assert_eq!(answer.expect("answer"), "hello");
    }
    assert_eq!(server.counts(), (1, 5));
    let answer = whole(&mut guest_of(&other), get(&server.uri())).await;
    answer.expect("answer");
    assert_eq!(server.counts(), (2, 6));
}

#[tokio::test]
async fn a_connection_ends_with_its_owner() {
    let mut server = keeps(100).await;
    let network = network(quick());
    let owner = gateway(&network);
    let answer = whole(&mut guest_of(&owner), get(&server.uri())).await;
    answer.expect("answer");
    drop(owner);
    server.ended.recv().await.expect("closed");
}

#[tokio::test]
async fn a_response_that_was_not_read_takes_its_connection_along() {
    let mut server = keeps(100).await;
    let owner = gateway(&network(quick()));
    let mut guest = guest_of(&owner);
    let unread = send(&mut guest, get(&server.uri()), None).await;
    drop(unread.expect("response"));
    server.ended.recv().await.expect("closed");
    whole(&mut guest, get(&server.uri())).await.expect("answer");
    assert_eq!(server.counts(), (2, 2));
}

#[tokio::test]
async fn what_can_be_repeated_is_sent_again_over_a_new_connection() {
    let server = keeps(1).await;
    let owner = gateway(&network(quick()));
    let mut guest = guest_of(&owner);
    whole(&mut guest, get(&server.uri())).await.expect("answer");
    // The server takes the second request, and ends the connection.
    whole(&mut guest, get(&server.uri())).await.expect("answer");
    assert_eq!(server.counts(), (2, 3));
}

#[tokio::test]
async fn what_could_happen_twice_is_not_sent_again() {
    let server = keeps(1).await;
    let owner = gateway(&network(quick()));
    let mut guest = guest_of(&owner);
    whole(&mut guest, get(&server.uri())).await.expect("answer");
    let order = Request::post(server.uri())
        .body(body("one"))
        .expect("request");
    let failed = whole(&mut guest, order).await;
    assert!(
        matches!(failed, Err(Error::HttpResponseIncomplete)),
        "{failed:?}"
    );
    assert_eq!(server.counts(), (1, 2));
}

#[tokio::test]
async fn a_request_is_repeated_once_at_most() {
    let server = keeps(0).await;
    let owner = gateway(&network(quick()));
    let failed = whole(&mut guest_of(&owner), get(&server.uri())).await;
    assert!(failed.is_err(), "{failed:?}");
    assert_eq!(server.counts(), (1, 1), "a new connection is not stale");
}

#[tokio::test]
async fn what_lies_idle_is_closed_in_time() {
    let mut server = keeps(100).await;
    let owner = gateway(&network(NetworkSettings {
        idle_time: Duration::from_millis(50),
        ..quick()
    }));
    let mut guest = guest_of(&owner);
    whole(&mut guest, get(&server.uri())).await.expect("answer");
    server.ended.recv().await.expect("closed");
    whole(&mut guest, get(&server.uri())).await.expect("answer");
    assert_eq!(server.counts(), (2, 2));
}

#[tokio::test]
async fn an_owner_keeps_so_many_and_the_node_so_many() {
    let (mut first, second, mut third) = (keeps(100).await, keeps(100).await, keeps(100).await);
    let network = network(NetworkSettings {
        idle_per_owner: 1,
        idle_per_node: 1,
        ..quick()
    });
    let owner = gateway(&network);
    let mut guest = guest_of(&owner);
    whole(&mut guest, get(&first.uri())).await.expect("answer");
    // The node has no further place, neither for this owner nor for another.
    let other = gateway(&network);
    whole(&mut guest_of(&other), get(&third.uri()))
        .await
        .expect("answer");
    third.ended.recv().await.expect("closed");
    drop(other);

    let roomy = self::network(NetworkSettings {
        idle_per_owner: 1,
        ..quick()
    });
    let owner = gateway(&roomy);
    let mut guest = guest_of(&owner);
    whole(&mut guest, get(&first.uri())).await.expect("answer");
    whole(&mut guest, get(&second.uri())).await.expect("answer");
    first.ended.recv().await.expect("the older one is closed");
}

#[tokio::test]
async fn none_is_kept_where_none_is_to_be() {
    let mut server = keeps(100).await;
    let owner = gateway(&network(NetworkSettings {
        idle_per_owner: 0,
        ..quick()
    }));
    let mut guest = guest_of(&owner);
    for _ in 0..2 {
        whole(&mut guest, get(&server.uri())).await.expect("answer");
        server.ended.recv().await.expect("closed");
    }
    assert_eq!(server.counts(), (2, 2));
}

/// A server of HTTP/2 that answers with the version, the host and the path that it was asked for.
async fn http2_server() -> (u16, Arc<AtomicUsize>) {
    let acceptor = acceptor(&[b"h2"]);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("listener");
    let port = listener.local_addr().expect("address").port();
    let connections = Arc::<AtomicUsize>::default();
    let counter = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let told = service_fn(|request: Request<Incoming>| async move {
                    let text = format!("{:?} {}", request.version(), request.uri());
                    Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(text))))
                });
                let _ =
                    hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
                        .serve_connection(hyper_util::rt::TokioIo::new(stream), told)
                        .await;
            });
        }
    });
    (port, connections)
}

#[tokio::test]
async fn many_requests_at_once_share_one_connection_of_http2() {
    let (port, connections) = http2_server().await;
    let owner = gateway(&network(NetworkSettings {
        trusted_certificates: vec![AUTHORITY.to_vec()],
        ..quick()
    }));
    let mut guest = guest_of(&owner);
    let uri = format!("https://api.example.com:{port}/a?b=c");
    let expected = format!("HTTP/2.0 {uri}");
    let first = whole(&mut guest, get(&uri)).await.expect("answer");
    assert_eq!(first, expected);
    let (mut one, mut two) = (guest_of(&owner), guest_of(&owner));
    let open = send(&mut guest, get(&uri), None).await.expect("response");
    let (one, two) = tokio::join!(whole(&mut one, get(&uri)), whole(&mut two, get(&uri)));
    assert_eq!(one.expect("answer"), expected);
    assert_eq!(two.expect("answer"), expected);
    drop(open);
    whole(&mut guest, get(&uri)).await.expect("answer");
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn http2_is_not_offered_where_the_operator_does_not_want_it() {
    let port = tls_server().await;
    let owner = gateway(&network(NetworkSettings {
        trusted_certificates: vec![AUTHORITY.to_vec()],
        http2: false,
        ..quick()
    }));
    let uri = format!("https://api.example.com:{port}/");
    let answer = whole(&mut guest_of(&owner), get(&uri)).await;
    assert_eq!(answer.expect("answer"), "hello");
}
