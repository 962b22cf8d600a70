//! Requests through the operator's proxy.

use super::*;

/// A guest behind a proxy at `port`, on a node where no name resolves.
fn behind(port: u16) -> NetworkCtx {
    let settings = NetworkSettings {
        proxy: Some(format!("http://127.0.0.1:{port}").parse().expect("a proxy")),
        trusted_certificates: vec![AUTHORITY.to_vec()],
        ..quick()
    };
    let network = Network::with_resolver(settings, fixed(&[])).expect("network");
    let rules = policy(&["api.example.com:*", "10.0.0.5:80"], &[]);
    guest_of(&Gateway::new(network, rules))
}

#[tokio::test]
async fn without_tls_the_proxy_is_told_the_whole_address() {
    let (port, seen) = answers(HELLO).await;
    let mut guest = behind(port);
    let answer = whole(&mut guest, get("http://api.example.com/a?b")).await;
    assert_eq!(answer.expect("answer"), "hello");
    let head = seen.lock().expect("lock")[0].to_ascii_lowercase();
    assert!(
        head.starts_with("get http://api.example.com/a?b http/1.1\r\n"),
        "{head}"
    );
    assert!(head.contains("host: api.example.com\r\n"), "{head}");
}

#[tokio::test]
async fn with_tls_the_proxy_sees_where_to_and_no_more() {
    let server = tls_server().await;
    let (port, seen) = self::server(move |mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 go on\r\n\r\n").await;
        let mut onward = TcpStream::connect((Ipv4Addr::LOCALHOST, server))
            .await
            .expect("the server");
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
    })
    .await;
    let mut guest = behind(port);
    let answer = whole(&mut guest, get("https://api.example.com/secret")).await;
    assert_eq!(answer.expect("answer"), "hello");
    let head = seen.lock().expect("lock")[0].clone();
    assert_eq!(
        head,
        "CONNECT api.example.com:443 HTTP/1.1\r\nhost: api.example.com:443\r\n\r\n"
    );
}

#[tokio::test]
async fn a_proxy_is_not_asked_for_what_is_refused() {
    let (port, seen) = answers(HELLO).await;
    let mut guest = behind(port);
    for uri in [
        "http://other.example.com/",
        "http://10.0.0.5/",
        "https://169.254.169.254/",
    ] {
        let refused = whole(&mut guest, get(uri)).await;
        assert!(
            matches!(
                refused,
                Err(Error::HttpRequestDenied | Error::DestinationIpProhibited)
            ),
            "{uri}: {refused:?}"
        );
    }
    assert!(seen.lock().expect("lock").is_empty());
}

#[tokio::test]
async fn a_proxy_may_refuse() {
    for (answer, expected) in [
        ("HTTP/1.1 403 no\r\n\r\n", "HttpRequestDenied"),
        ("HTTP/1.1 502 no\r\n\r\n", "DestinationUnavailable"),
        ("SSH-2.0\r\n\r\n", "HttpProtocolError"),
    ] {
        let (port, _) = answers(answer).await;
        let refused = whole(&mut behind(port), get("https://api.example.com/")).await;
        let error = refused.expect_err(answer);
        assert_eq!(format!("{error:?}"), expected);
    }
}
