//! TLS of one owner: authorities and a certificate of its own.

use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;

use super::*;

const AUTHORITY_PEM: &str = include_str!("../certificates/authority.pem");
const CLIENTS: &[u8] = include_bytes!("../certificates/clients.der");
const CLIENT: &str = include_str!("../certificates/client.pem");
const CLIENT_KEY: &str = include_str!("../certificates/client.key.pem");

/// A server that is `api.example.com` and wants a certificate of its clients. It answers with how many
/// certificates there were.
async fn demanding_server() -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut clients = RootCertStore::empty();
    clients
        .add(CertificateDer::from(CLIENTS.to_vec()))
        .expect("an authority");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(clients), provider.clone())
        .build()
        .expect("a verifier");
    let key = PrivatePkcs8KeyDer::from(KEY.to_vec());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![CertificateDer::from(CERTIFICATE.to_vec())], key.into())
        .expect("certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
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
                let shown = stream.get_ref().1.peer_certificates().map_or(0, <[_]>::len);
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{shown}");
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    port
}

/// An owner with this TLS.
fn owner(tls: TlsIdentity) -> Gateway {
    let network = Network::with_resolver(quick(), fixed(&["127.0.0.1"])).expect("network");
    let rules = policy(&["api.example.com:*"], &["127.0.0.0/8"]);
    Gateway::new(network, Arc::new(EgressPolicy::clone(&rules).speaking(tls)))
}

fn trusting() -> TlsIdentity {
    TlsIdentity {
        roots: Some(AUTHORITY_PEM.into()),
        ..TlsIdentity::default()
    }
}

#[tokio::test]
async fn an_owner_trusts_its_own_authorities_and_shows_its_own_certificate() {
    let port = demanding_server().await;
    let uri = format!("https://api.example.com:{port}/");
    let known = owner(TlsIdentity {
        certificate: Some(CLIENT.into()),
        key: Some(CLIENT_KEY.into()),
        ..trusting()
    });
    let answer = whole(&mut guest_of(&known), get(&uri)).await;
    assert_eq!(answer.expect("answer"), "1");

    let unknown = owner(trusting());
    let refused = whole(&mut guest_of(&unknown), get(&uri)).await;
    assert!(refused.is_err(), "{refused:?}");
    let doubting = owner(TlsIdentity::default());
    let refused = whole(&mut guest_of(&doubting), get(&uri)).await;
    assert!(
        matches!(refused, Err(Error::TlsCertificateError)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn tls_that_cannot_be_used_is_an_error_of_configuration() {
    let port = tls_server().await;
    let broken = owner(TlsIdentity {
        roots: Some("no certificate".into()),
        ..TlsIdentity::default()
    });
    let uri = format!("https://api.example.com:{port}/");
    let refused = whole(&mut guest_of(&broken), get(&uri)).await;
    assert!(
        matches!(refused, Err(Error::ConfigurationError)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_certificate_and_the_key_of_another_are_refused() {
    let identity = TlsIdentity {
        certificate: Some(CLIENT.into()),
        key: Some(include_str!("../certificates/server.key.pem").into()),
        ..TlsIdentity::default()
    };
    let error = identity.check().expect_err("they do not belong together");
    assert!(error.to_string().contains("key"), "{error}");
    let both = TlsIdentity {
        certificate: Some(format!("{CLIENT}{CLIENT_KEY}")),
        key: Some(format!("{CLIENT}{CLIENT_KEY}")),
        ..TlsIdentity::default()
    };
    both.check().expect("one text may hold both");
}
