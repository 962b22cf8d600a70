//! TLS over a component's own sockets, by `wasi:tls`.

use std::sync::Arc;

use canopy_runtime::TlsIdentity;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::Node;

const AUTHORITY: &str =
    include_str!("../../../capability/network/tests/certificates/authority.pem");
const CERTIFICATE: &[u8] =
    include_bytes!("../../../capability/network/tests/certificates/server.der");
const KEY: &[u8] = include_bytes!("../../../capability/network/tests/certificates/server.key.der");
const CLIENTS: &[u8] = include_bytes!("../../../capability/network/tests/certificates/clients.der");
const CLIENT: &str = include_str!("../../../capability/network/tests/certificates/client.pem");
const CLIENT_KEY: &str =
    include_str!("../../../capability/network/tests/certificates/client.key.pem");

/// A server that is `api.example.com`, and sends back what it is sent, to its end. It `waits` for a
/// line in clear and answers it, before TLS begins.
async fn server(waits: bool) -> u16 {
    serve(waits, Arc::new(NoClientAuth)).await
}

/// The same, that wants a certificate of its clients, and tells how many were shown.
async fn demanding_server() -> u16 {
    let mut clients = RootCertStore::empty();
    clients
        .add(CertificateDer::from(CLIENTS.to_vec()))
        .expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(clients), provider);
    serve(false, verifier.build().expect("a verifier")).await
}

async fn serve(waits: bool, verifier: Arc<dyn ClientCertVerifier>) -> u16 {
    let key = PrivatePkcs8KeyDer::from(KEY.to_vec());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![CertificateDer::from(CERTIFICATE.to_vec())], key.into())
        .expect("certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listener");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = BufStream::new(stream);
                if waits {
                    let mut line = String::new();
                    let _ = stream.read_line(&mut line).await;
                    assert_eq!(line, "STARTTLS\n");
                    let _ = stream.write_all(b"220 go ahead\r\n").await;
                    let _ = stream.flush().await;
                }
                let mut stream = match acceptor.accept(stream).into_fallible().await {
                    Ok(stream) => stream,
                    Err((_, mut stream)) => {
                        // The client is told why.
                        let _ = stream.flush().await;
                        return;
                    }
                };
                let mut said = Vec::new();
                let _ = stream.read_to_end(&mut said).await;
                if let Some(shown) = stream.get_ref().1.peer_certificates() {
                    let shown = format!("you showed {}, ", shown.len());
                    let _ = stream.write_all(shown.as_bytes()).await;
                }
                let _ = stream.write_all(b"you said ").await;
                let _ = stream.write_all(&said).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_speaks_tls_over_its_own_socket() {
    let node = Node::new();
    for (waits, first) in [(false, ""), (true, "&first=STARTTLS")] {
        let port = server(waits).await;
        let rule = format!("tcp://127.0.0.1:{port}");
        let app = node
            .app("tls")
            .egress(&[&rule], &["127.0.0.0/8"])
            .trusting(AUTHORITY);
        let path = |name: &str| format!("/?addr=127.0.0.1:{port}&name={name}{first}");
        let answer = node.post(&app, &path("api.example.com"), "hello").await;
        assert_eq!(answer.expect("answer"), (200, "you said hello".into()));
        // The server is another one than it is asked for, or by an authority that nobody named.
        let (status, text) = node
            .post(&app, &path("other.example.com"), "hello")
            .await
            .expect("answer");
        assert!(status == 502 && text.contains("certificate"), "{text}");
        let doubting = node.app("tls").egress(&[&rule], &["127.0.0.0/8"]);
        let (status, text) = node
            .post(&doubting, &path("api.example.com"), "hello")
            .await
            .expect("answer");
        assert!(status == 502 && text.contains("certificate"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_0_3_speaks_tls_over_its_own_socket() {
    let node = Node::new();
    let port = server(false).await;
    let rule = format!("tcp://127.0.0.1:{port}");
    let make = || node.app("tls-p3").egress(&[&rule], &["127.0.0.0/8"]);
    let (doubting, app) = (make(), make().trusting(AUTHORITY));
    let path = |name: &str| format!("/?127.0.0.1:{port}&{name}");
    let (_, text) = node
        .get(&app, &path("api.example.com"))
        .await
        .expect("answer");
    assert_eq!(text, "you said hello");
    for (app, name) in [(&app, "other.example.com"), (&doubting, "api.example.com")] {
        let (_, text) = node.get(app, &path(name)).await.expect("answer");
        assert!(
            text.starts_with("failed: ") && text.contains("certificate"),
            "{text}"
        );
    }
    let (_, text) = node.get(&app, &path("no%20name")).await.expect("answer");
    assert!(text.contains("neither a DNS name nor an address"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_shows_the_certificate_of_its_owner_over_its_own_socket() {
    let node = Node::new();
    let port = demanding_server().await;
    let rule = format!("tcp://127.0.0.1:{port}");
    let known = TlsIdentity {
        roots: Some(AUTHORITY.into()),
        certificate: Some(CLIENT.into()),
        key: Some(CLIENT_KEY.into()),
    };
    for (guest, path) in [
        (
            "tls",
            format!("/?addr=127.0.0.1:{port}&name=api.example.com"),
        ),
        ("tls-p3", format!("/?127.0.0.1:{port}&api.example.com")),
    ] {
        let app = || node.app(guest).egress(&[&rule], &["127.0.0.0/8"]);
        let shown = app().speaking(known.clone());
        let answer = node.post(&shown, &path, "hello").await.expect("answer");
        assert_eq!(answer, (200, "you showed 1, you said hello".into()));
        let (_, refused) = node
            .post(&app().trusting(AUTHORITY), &path, "hello")
            .await
            .expect("answer");
        assert!(refused.contains("ertificate"), "{guest}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_drafts_of_tls_link() {
    let node = Node::new();
    for text in [
        r#"(import "wasi:tls/types@0.2.0-draft" (instance
            (export "client-handshake" (type (sub resource)))))"#,
        r#"(import "wasi:tls/client@0.3.0-draft" (instance
            (export "connector" (type (sub resource)))))"#,
    ] {
        let component = format!(
            r#"(component
                {text}
                (import "wasi:http/types@0.2.6" (instance $types
                    (export "incoming-request" (type (sub resource)))
                    (export "response-outparam" (type (sub resource)))))
                (alias export $types "incoming-request" (type $request))
                (alias export $types "response-outparam" (type $answer))
                (core module $m (func (export "f") (param i32 i32)))
                (core instance $i (instantiate $m))
                (func $f (param "request" (own $request)) (param "response-out" (own $answer))
                    (canon lift (core func $i "f")))
                (instance $e (export "handle" (func $f)))
                (export "wasi:http/incoming-handler@0.2.6" (instance $e)))"#
        );
        let app = crate::support::App::of(node.text("tls-probe", &component));
        node.runtime
            .prepare(&app.spec())
            .await
            .expect("it links with what it imports");
    }
}
