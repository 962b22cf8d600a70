//! Servers that stall, and until when they are waited for.

use super::*;

/// How a stalling server ends: by which error, and in time.
async fn ends(request: impl Future<Output = Result<Bytes, Error>>) -> Error {
    let start = Instant::now();
    let outcome = request.await;
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    outcome.expect_err("a stalling server gives no answer")
}

#[tokio::test]
async fn every_stall_ends_at_the_deadline() {
    let (silent, _) = server(|stream| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let (informational, _) = server(|mut stream| async move {
        while stream
            .write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            .await
            .is_ok()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let (drip, _) = server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let mut guest = guest(quick());
    for port in [silent, informational, drip] {
        let error = ends(whole(&mut guest, get(&format!("http://127.0.0.1:{port}/")))).await;
        assert!(matches!(error, Error::HttpResponseTimeout), "{error:?}");
    }
    // A server that takes the connection and never answers the TLS handshake.
    let error = ends(whole(
        &mut guest,
        get(&format!("https://127.0.0.1:{silent}/")),
    ))
    .await;
    assert!(matches!(error, Error::ConnectionTimeout), "{error:?}");
}

#[tokio::test]
async fn a_guest_may_ask_for_less_time_and_for_none() {
    let (silent, _) = server(|stream| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let mut guest = guest(quick());
    for timeout in [Duration::ZERO, Duration::from_millis(50)] {
        let options = RequestOptions {
            connect_timeout: None,
            first_byte_timeout: Some(timeout),
            between_bytes_timeout: Some(timeout),
        };
        let start = Instant::now();
        let request = get(&format!("http://127.0.0.1:{silent}/"));
        let outcome = send(&mut guest, request, Some(options)).await.map(|_| ());
        assert!(
            matches!(outcome, Err(Error::ConnectionReadTimeout)),
            "{outcome:?}"
        );
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}

#[tokio::test]
async fn the_deadline_of_the_call_goes_first() {
    let (silent, _) = server(|stream| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let mut guest = guest(NetworkSettings::default());
    guest.begin(
        RequestId::new(),
        Instant::now() + Duration::from_millis(300),
        0,
    );
    let error = ends(whole(
        &mut guest,
        get(&format!("http://127.0.0.1:{silent}/")),
    ))
    .await;
    assert!(matches!(error, Error::HttpResponseTimeout), "{error:?}");
}
