//! TLS: which certificate is shown, what is refused, and how files change while clients are there.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use canopy_edge::{CertificateError, Certificates, TlsSettings};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Node, Setup, get, read_all, status, until};

/// Writes a new certificate for `names` and its key as `NAME.pem` and `NAME.key`.
fn issue(folder: &Path, name: &str, names: &[&str]) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let write = |kind: &str, text: String| {
        fs::write(folder.join(name).with_extension(kind), text).expect("written");
    };
    write("key", made.signing_key.serialize_pem());
    write("pem", made.cert.pem());
}

/// A folder with the certificate `main` for `app.acme.localhost`, and one for further domains.
fn files() -> (TempDir, TlsSettings) {
    let folder = tempfile::tempdir().expect("a folder");
    issue(folder.path(), "main", &["app.acme.localhost"]);
    let domains = folder.path().join("domains");
    fs::create_dir(&domains).expect("a folder");
    let settings = TlsSettings {
        certificate: folder.path().join("main.pem"),
        key: folder.path().join("main.key"),
        domains: Some(domains),
        handshake_timeout: Duration::from_millis(500),
        check_interval: Duration::from_millis(20),
    };
    (folder, settings)
}

async fn node(settings: TlsSettings, redirect: bool) -> Node {
    Node::start(Setup {
        tls: Some((settings, redirect)),
        ..Setup::default()
    })
    .await
}

/// Connects and trusts the one certificate in `trusted`. Fails where another is shown.
async fn connect(
    node: &Node,
    name: &str,
    trusted: &Path,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(trusted).expect("a certificate");
    roots.add(certificate).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let stream = TcpStream::connect(node.tls_address.expect("TLS")).await?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

async fn exchange(stream: &mut TlsStream<TcpStream>, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut response = Vec::new();
    // A peer may close without saying so.
    let _ = stream.read_to_end(&mut response).await;
    String::from_utf8_lossy(&response).into_owned()
}

#[tokio::test]
async fn applications_answer_by_tls_and_see_that_it_was_tls() {
    let (folder, settings) = files();
    let node = node(settings, false).await;
    let trusted = folder.path().join("main.pem");
    let mut stream = connect(&node, "app.acme.localhost", &trusted, &["http/1.1"]).await;
    let response = exchange(stream.as_mut().expect("connected"), &get("/seen")).await;
    assert_eq!(status(&response), 200, "{response}");
    assert!(
        response.contains("uri: https://app.acme.localhost"),
        "{response}"
    );
    let plain = node.get("/seen").await;
    assert!(plain.contains("uri: http://app.acme.localhost"), "{plain}");

    let stream = connect(&node, "app.acme.localhost", &trusted, &["h2", "http/1.1"]).await;
    let (_, session) = stream.as_ref().expect("connected").get_ref();
    assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
}

#[tokio::test]
async fn each_name_is_shown_its_own_certificate() {
    let (folder, settings) = files();
    let domains = folder.path().join("domains");
    issue(
        &domains,
        "shop",
        &["shop.example.com", "www.shop.example.com"],
    );
    issue(&domains, "wild", &["*.wild.example"]);
    let node = node(settings, false).await;
    let (main, shop, wild) = (
        folder.path().join("main.pem"),
        domains.join("shop.pem"),
        domains.join("wild.pem"),
    );
    for (name, certificate) in [
        ("shop.example.com", &shop),
        ("www.shop.example.com", &shop),
        ("WWW.Shop.example.com", &shop),
        ("any.wild.example", &wild),
        ("app.acme.localhost", &main),
    ] {
        let shown = connect(&node, name, certificate, &[]).await;
        assert!(shown.is_ok(), "{name}: {shown:?}");
    }
    let other = connect(&node, "nobody.example", &main, &[]).await;
    let error = other.expect_err("it is shown the main one").to_string();
    assert!(error.contains("not valid for name"), "{error}");
}

#[tokio::test]
async fn changed_files_are_shown_and_open_connections_go_on() {
    let (folder, settings) = files();
    let node = node(settings, false).await;
    let trusted = folder.path().join("main.pem");
    let name = "app.acme.localhost";
    let mut open = connect(&node, name, &trusted, &[])
        .await
        .expect("connected");

    let old = folder.path().join("old.pem");
    fs::copy(&trusted, &old).expect("copied");
    issue(folder.path(), "main", &[name]);
    issue(&folder.path().join("domains"), "late", &["late.example"]);
    let late = folder.path().join("domains/late.pem");
    let shown = async || {
        connect(&node, name, &trusted, &[]).await.is_ok()
            && connect(&node, "late.example", &late, &[]).await.is_ok()
    };
    let begun = Instant::now();
    while !shown().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "never shown");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        connect(&node, name, &old, &[]).await.is_err(),
        "the old one"
    );
    assert_eq!(status(&exchange(&mut open, &get("/")).await), 200);
}

#[test]
fn what_cannot_be_used_is_refused_by_name() {
    let (folder, settings) = files();
    let load = || Certificates::load(settings.clone()).expect_err("refused");
    issue(folder.path(), "other", &["other.example"]);
    fs::copy(folder.path().join("other.key"), &settings.key).expect("copied");
    let error = load();
    assert!(
        matches!(error, CertificateError::Mismatch { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("main.key"), "{error}");

    fs::write(&settings.key, "no key").expect("written");
    let error = load().to_string();
    assert!(
        error.contains("main.key: no private key is in it"),
        "{error}"
    );

    fs::write(&settings.certificate, "no certificate").expect("written");
    let error = load().to_string();
    assert!(
        error.contains("main.pem: no certificate is in it"),
        "{error}"
    );

    fs::remove_file(&settings.certificate).expect("removed");
    let error = load();
    assert!(matches!(error, CertificateError::Read { .. }), "{error}");
}

#[test]
fn a_bad_change_keeps_what_was_there_and_a_bad_domain_stops_no_other() {
    let (folder, settings) = files();
    let domains = folder.path().join("domains");
    issue(&domains, "good", &["good.example"]);
    fs::write(domains.join("bad.pem"), "no certificate").expect("written");
    fs::write(domains.join("bad.key"), "no key").expect("written");
    let certificates = Certificates::load(settings.clone()).expect("the main one is good");
    assert!(!certificates.refresh(), "nothing has changed");
    fs::write(&settings.certificate, "half a").expect("written");
    assert!(certificates.refresh(), "it has changed, and is reported");
    issue(folder.path(), "main", &["app.acme.localhost"]);
    assert!(certificates.refresh());
}

#[test]
fn an_expired_certificate_is_a_warning() {
    let (folder, settings) = files();
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut parameters =
        rcgen::CertificateParams::new(vec!["app.acme.localhost".into()]).expect("parameters");
    parameters.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let certificate = parameters.self_signed(&key).expect("a certificate");
    fs::write(folder.path().join("main.pem"), certificate.pem()).expect("written");
    fs::write(folder.path().join("main.key"), key.serialize_pem()).expect("written");
    Certificates::load(settings).expect("what else the node serves goes on");
}

#[tokio::test]
async fn who_does_not_shake_hands_in_time_is_closed() {
    let (_folder, settings) = files();
    let node = node(settings, false).await;
    for sent in [
        &b""[..],
        b"\x16\x03\x01",
        b"GET / HTTP/1.1\r\nHost: app.acme.localhost\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(node.tls_address.expect("TLS"))
            .await
            .expect("connected");
        stream.write_all(sent).await.expect("sent");
        let begun = Instant::now();
        let response = read_all(&mut stream).await;
        assert!(begun.elapsed() < Duration::from_secs(10), "{sent:?}");
        assert!(!response.contains("HTTP/1.1 200"), "{response}");
    }
}

#[tokio::test]
async fn plain_requests_are_sent_to_tls() {
    let (_folder, settings) = files();
    let node = node(settings, true).await;
    let port = node.tls_address.expect("TLS").port();
    let response = node.get("/a/b?c=d").await;
    assert_eq!(status(&response), 308, "{response}");
    let location = format!("location: https://app.acme.localhost:{port}/a/b?c=d\r\n");
    assert!(response.contains(&location), "{response}");
    let unknown = node.exchange(get("/").replace("acme", "globex")).await;
    assert_eq!(status(&unknown), 404, "no redirect to what is not here");
    until(|| node.edge.in_flight() == 0).await;
}
