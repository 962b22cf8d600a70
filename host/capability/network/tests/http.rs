//! Outgoing HTTP against servers that are slow, odd or hostile.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use canopy_backend::Kept;
use canopy_capability_network::{
    EgressPolicy, Gateway, Network, NetworkCtx, NetworkSettings, Resolver, TlsIdentity,
};
use canopy_ids::RequestId;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

#[path = "http/deadlines.rs"]
mod deadlines;
#[path = "http/ending.rs"]
mod ending;
#[path = "http/framing.rs"]
mod framing;
#[path = "http/lookups.rs"]
mod lookups;
#[path = "http/pool.rs"]
mod pool;
#[path = "http/proxy.rs"]
mod proxy;
#[path = "http/quota.rs"]
mod quota;
#[path = "http/tls.rs"]
mod tls;

/// Resolves every name to the same addresses, and remembers the names.
#[derive(Clone)]
struct Fixed {
    addresses: Vec<IpAddr>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Resolver for Fixed {
    fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        self.asked.lock().expect("lock").push(name.to_owned());
        Ok(self.addresses.clone())
    }
}

fn fixed(addresses: &[&str]) -> Fixed {
    let addresses = addresses
        .iter()
        .map(|text| text.parse().expect(text))
        .collect();
    Fixed {
        addresses,
        asked: Arc::default(),
    }
}

fn policy(rules: &[&str], opened: &[&str]) -> Arc<EgressPolicy> {
    Arc::new(EgressPolicy::new(
        rules.iter().map(|text| text.parse().expect(text)).collect(),
        opened
            .iter()
            .map(|text| text.parse().expect(text))
            .collect(),
    ))
}

fn guest_of(gateway: &Gateway) -> NetworkCtx {
    NetworkCtx::new(gateway, Kept::new(1 << 20), 32 << 10)
}

/// A guest that may reach `api.example.com` and this machine.
fn guest(settings: NetworkSettings) -> NetworkCtx {
    let network = Network::with_resolver(settings, fixed(&["127.0.0.1"])).expect("network");
    guest_of(&Gateway::new(
        network,
        policy(&["api.example.com:*", "127.0.0.1:*"], &["127.0.0.0/8"]),
    ))
}

fn quick() -> NetworkSettings {
    NetworkSettings {
        connect_timeout: Duration::from_millis(500),
        total_timeout: Duration::from_millis(1_500),
        ..NetworkSettings::default()
    }
}

fn get(uri: &str) -> Request<WasiBody> {
    Request::get(uri).body(body("")).expect("request")
}

fn body(text: &str) -> WasiBody {
    Full::new(Bytes::from(text.to_owned()))
        .map_err(|never| match never {})
        .boxed_unsync()
}

async fn send(
    guest: &mut NetworkCtx,
    request: Request<WasiBody>,
    options: Option<RequestOptions>,
) -> Result<Response<WasiBody>, Error> {
    let exchange = guest.send_request(request, options, Box::new(async { Ok(()) }));
    let (response, connection) = Pin::from(exchange).await?;
    tokio::spawn(async move { Pin::from(connection).await });
    Ok(response)
}

async fn whole(guest: &mut NetworkCtx, request: Request<WasiBody>) -> Result<Bytes, Error> {
    let response = send(guest, request, None).await?;
    Ok(response.into_body().collect().await?.to_bytes())
}

/// What a server was sent.
type Seen = Arc<Mutex<Vec<String>>>;

/// A server that reads a request's head and then does as `script` says.
async fn server<F, Fut>(script: F) -> (u16, Seen)
where
    F: Fn(TcpStream) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("listener");
    let port = listener.local_addr().expect("address").port();
    let seen = Seen::default();
    let heads = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (script, heads) = (script.clone(), heads.clone());
            tokio::spawn(async move {
                let mut head = Vec::new();
                let mut piece = [0; 8192];
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read(&mut piece).await {
                        Ok(0) | Err(_) => break,
                        Ok(count) => head.extend_from_slice(&piece[..count]),
                    }
                }
                heads
                    .lock()
                    .expect("lock")
                    .push(String::from_utf8_lossy(&head).into_owned());
                script(stream).await;
            });
        }
    });
    (port, seen)
}

async fn answers(text: &'static str) -> (u16, Seen) {
    server(move |mut stream| async move {
        let _ = stream.write_all(text.as_bytes()).await;
        let _ = stream.shutdown().await;
    })
    .await
}

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

#[tokio::test]
async fn a_request_goes_out_in_origin_form_to_the_checked_host() {
    let (port, seen) = answers(HELLO).await;
    let mut guest = guest(quick());
    let request = Request::get(format!("http://API.example.com.:{port}/a%20b?c=d"))
        .header("host", "evil.test")
        .header("connection", "upgrade")
        .header("x-canopy-tenant", "other")
        .header("x-own", "1")
        .body(body(""))
        .expect("request");
    assert_eq!(whole(&mut guest, request).await.expect("answer"), "hello");
    let head = seen.lock().expect("lock")[0].to_ascii_lowercase();
    assert!(head.starts_with("get /a%20b?c=d http/1.1\r\n"), "{head}");
    assert!(
        head.contains(&format!("host: api.example.com:{port}\r\n")),
        "{head}"
    );
    assert!(head.contains("x-own: 1"), "{head}");
    for gone in ["evil", "upgrade", "x-canopy-tenant"] {
        assert!(!head.contains(gone), "{head}");
    }
}

#[tokio::test]
async fn a_request_says_how_deep_it_is_whatever_the_guest_says() {
    let (port, seen) = answers(HELLO).await;
    let mut guest = guest(quick());
    guest.begin(RequestId::new(), Instant::now() + Duration::from_secs(5), 7);
    let request = Request::get(format!("http://api.example.com:{port}/"))
        .header("x-canopy-depth", "0")
        .body(body(""))
        .expect("request");
    whole(&mut guest, request).await.expect("answer");
    let head = seen.lock().expect("lock")[0].to_ascii_lowercase();
    assert!(head.contains("x-canopy-depth: 8\r\n"), "{head}");
    assert_eq!(head.matches("x-canopy-depth").count(), 1, "{head}");
}

#[tokio::test]
async fn headers_of_the_platform_and_of_the_connection_are_forbidden() {
    let forbidden = guest(quick()).forbidden_header_filter();
    for name in [
        "host",
        "connection",
        "transfer-encoding",
        "te",
        "upgrade",
        "x-canopy-request",
    ] {
        assert!(forbidden(&name.parse().expect(name)), "{name}");
    }
    for name in ["authorization", "content-length", "x-request-id", "cookie"] {
        assert!(!forbidden(&name.parse().expect(name)), "{name}");
    }
}

#[tokio::test]
async fn a_name_is_resolved_once_and_only_where_it_is_granted() {
    let (port, _) = answers(HELLO).await;
    let resolver = fixed(&["127.0.0.1"]);
    let network = Network::with_resolver(quick(), resolver.clone()).expect("network");
    let rules = policy(&["api.example.com:*"], &["127.0.0.0/8"]);
    let mut guest = guest_of(&Gateway::new(network, rules));
    whole(&mut guest, get(&format!("http://api.example.com:{port}/")))
        .await
        .expect("answer");
    let other = whole(
        &mut guest,
        get(&format!("http://other.example.com:{port}/")),
    )
    .await;
    assert!(matches!(other, Err(Error::HttpRequestDenied)), "{other:?}");
    assert_eq!(*resolver.asked.lock().expect("lock"), ["api.example.com"]);
}

#[tokio::test]
async fn a_granted_name_that_resolves_inward_is_refused() {
    let (port, seen) = answers(HELLO).await;
    for address in [
        "127.0.0.1",
        "::ffff:127.0.0.1",
        "169.254.169.254",
        "10.0.0.1",
        "::1",
    ] {
        let network = Network::with_resolver(quick(), fixed(&[address])).expect("network");
        let mut guest = guest_of(&Gateway::new(network, policy(&["api.example.com:*"], &[])));
        let refused = whole(&mut guest, get(&format!("http://api.example.com:{port}/"))).await;
        assert!(
            matches!(refused, Err(Error::DestinationIpProhibited)),
            "{address}: {refused:?}"
        );
    }
    assert!(seen.lock().expect("lock").is_empty());
}

#[tokio::test]
async fn of_several_addresses_only_the_allowed_ones_are_tried() {
    let (port, seen) = answers(HELLO).await;
    let resolver = fixed(&["::1", "169.254.169.254", "127.0.0.1"]);
    let network = Network::with_resolver(quick(), resolver).expect("network");
    let mut guest = guest_of(&Gateway::new(
        network,
        policy(&["api.example.com:*"], &["127.0.0.1/32"]),
    ));
    whole(&mut guest, get(&format!("http://api.example.com:{port}/")))
        .await
        .expect("answer");
    assert_eq!(seen.lock().expect("lock").len(), 1);
}

#[tokio::test]
async fn uris_that_mean_two_things_are_refused() {
    let mut guest = guest(quick());
    for uri in [
        "http://user@127.0.0.1/",
        "http://127.0.0.1@api.example.com/",
        "http://127.1/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://api.example.com:0/",
        "http://api.example.com:99999/",
        "ftp://api.example.com/",
    ] {
        let Ok(request) = Request::get(uri).body(body("")) else {
            continue;
        };
        let refused = send(&mut guest, request, None).await.map(|_| ());
        assert!(refused.is_err(), "{uri}");
    }
    let connect = Request::connect("http://api.example.com/")
        .body(body(""))
        .expect("request");
    let refused = send(&mut guest, connect, None).await.map(|_| ());
    assert!(
        matches!(refused, Err(Error::HttpRequestMethodInvalid)),
        "{refused:?}"
    );
    let long = format!("http://api.example.com/{}", "a".repeat(20 << 10));
    let refused = whole(&mut guest, get(&long)).await;
    assert!(
        matches!(refused, Err(Error::HttpRequestUriTooLong)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn bodies_have_limits_both_ways() {
    let (large, _) = server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let piece = [b'x'; 4096];
        while stream.write_all(&piece).await.is_ok() {}
    })
    .await;
    let settings = NetworkSettings {
        response_body_bytes: 10_000,
        request_body_bytes: 10_000,
        ..NetworkSettings::default()
    };
    let mut guest = guest(settings);
    let uri = format!("http://127.0.0.1:{large}/");
    let refused = whole(&mut guest, get(&uri)).await;
    assert!(
        matches!(refused, Err(Error::HttpResponseBodySize(Some(10_000)))),
        "{refused:?}"
    );
    let request = Request::post(&uri)
        .body(body(&"y".repeat(20_000)))
        .expect("request");
    let refused = send(&mut guest, request, None).await.map(|_| ());
    assert!(
        matches!(refused, Err(Error::HttpRequestBodySize(Some(10_000)))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn odd_answers_are_errors() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n",
        "hello",
        "",
    ] {
        let (port, _) = answers(answer).await;
        let outcome = whole(
            &mut guest(quick()),
            get(&format!("http://127.0.0.1:{port}/")),
        )
        .await;
        assert!(outcome.is_err(), "{answer:?}: {outcome:?}");
    }
    let (port, _) = server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream
            .write_all(b"x-header: a long value of a header\r\n")
            .await
            .is_ok()
        {}
    })
    .await;
    let outcome = whole(
        &mut guest(quick()),
        get(&format!("http://127.0.0.1:{port}/")),
    )
    .await;
    assert!(outcome.is_err(), "{outcome:?}");
}

const AUTHORITY: &[u8] = include_bytes!("certificates/authority.der");
const CERTIFICATE: &[u8] = include_bytes!("certificates/server.der");
const KEY: &[u8] = include_bytes!("certificates/server.key.der");

/// TLS of `api.example.com` by a certificate of the tests' own authority.
fn acceptor(protocols: &[&[u8]]) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivatePkcs8KeyDer::from(KEY.to_vec());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(CERTIFICATE.to_vec())], key.into())
        .expect("certificate");
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// A server of HTTP/1.1 that is `api.example.com`.
async fn tls_server() -> u16 {
    let acceptor = acceptor(&[b"http/1.1"]);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("listener");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(HELLO.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    port
}

#[tokio::test]
async fn a_server_is_believed_by_its_certificate_for_the_name_that_was_granted() {
    let port = tls_server().await;
    let settings = NetworkSettings {
        trusted_certificates: vec![AUTHORITY.to_vec()],
        ..quick()
    };
    let mut trusting = guest(settings);
    let answer = whole(
        &mut trusting,
        get(&format!("https://api.example.com:{port}/")),
    )
    .await;
    assert_eq!(answer.expect("answer"), "hello");

    let by_address = whole(&mut trusting, get(&format!("https://127.0.0.1:{port}/"))).await;
    assert!(
        matches!(by_address, Err(Error::TlsCertificateError)),
        "{by_address:?}"
    );

    let mut doubting = guest(quick());
    let refused = whole(
        &mut doubting,
        get(&format!("https://api.example.com:{port}/")),
    )
    .await;
    assert!(
        matches!(refused, Err(Error::TlsCertificateError)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_server_without_tls_is_refused_as_such() {
    let (port, _) = answers(HELLO).await;
    let refused = whole(
        &mut guest(quick()),
        get(&format!("https://127.0.0.1:{port}/")),
    )
    .await;
    assert!(
        matches!(
            refused,
            Err(Error::TlsProtocolError | Error::ConnectionTimeout)
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_trusted_certificate_that_is_none_is_named() {
    let settings = NetworkSettings {
        trusted_certificates: vec![AUTHORITY.to_vec(), b"text".to_vec()],
        ..NetworkSettings::default()
    };
    let Err(error) = Network::new(settings) else {
        panic!("accepted")
    };
    assert!(error.to_string().contains("certificate 2"), "{error}");
}

#[tokio::test]
async fn requests_at_once_and_per_call_are_counted() {
    let open = Arc::new(AtomicUsize::new(0));
    let counter = open.clone();
    let (port, _) = server(move |mut stream| {
        let counter = counter.clone();
        async move {
            counter.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nx").await;
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    })
    .await;
    let settings = NetworkSettings {
        concurrent: 2,
        per_call: 5,
        ..quick()
    };
    let mut guest = guest(settings);
    let uri = format!("http://127.0.0.1:{port}/");
    let first = send(&mut guest, get(&uri), None).await.expect("response");
    let second = send(&mut guest, get(&uri), None).await.expect("response");
    let third = send(&mut guest, get(&uri), None).await.map(|_| ());
    assert!(
        matches!(third, Err(Error::ConnectionLimitReached)),
        "{third:?}"
    );
    drop((first, second));
    for _ in 0..3 {
        send(&mut guest, get(&uri), None).await.expect("response");
    }
    let sixth = send(&mut guest, get(&uri), None).await.map(|_| ());
    assert!(
        matches!(sixth, Err(Error::ConnectionLimitReached)),
        "{sixth:?}"
    );
    guest.begin(RequestId::new(), Instant::now() + Duration::from_secs(5), 0);
    send(&mut guest, get(&uri), None)
        .await
        .expect("another call may");
    assert_eq!(open.load(Ordering::SeqCst), 6);
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_refuses() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("listener");
    let port = listener.local_addr().expect("address").port();
    drop(listener);
    let refused = whole(
        &mut guest(quick()),
        get(&format!("http://127.0.0.1:{port}/")),
    )
    .await;
    assert!(
        matches!(refused, Err(Error::ConnectionRefused)),
        "{refused:?}"
    );
}
