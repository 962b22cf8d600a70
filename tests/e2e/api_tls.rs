//! The control API by TLS, and the command line that asks it.

use crate::support::{Certificate, Node};

#[test]
fn the_api_answers_by_tls_to_whoever_trusts_its_authority() {
    let certificate = Certificate::of("localhost");
    let file = |name: &str| certificate.file(name).to_str().expect("UTF-8").to_owned();
    let (pem, key) = (file("server.crt"), file("server.key"));
    let node = Node::start_with(&format!("[api.tls]\ncertificate = {pem:?}\nkey = {key:?}"));
    let address = node.api_url("").replace("http://", "https://");
    let url = address.replace("127.0.0.1", "localhost");
    let (own, other) = (
        file("authority.crt"),
        Certificate::of("localhost").file("authority.crt"),
    );
    let other = other.to_str().expect("UTF-8").to_owned();

    let made = node.cli(["--url", &url, "--ca", &own, "tenant", "create", "acme"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let own_variable = [("CANOPY_CA", own.as_str())];
    let listed = node.cli_with(["--url", &url, "--json", "tenant", "list"], &own_variable);
    assert!(
        listed.json().to_string().contains("acme"),
        "{}",
        listed.stdout
    );

    for (arguments, why) in [
        (&["--url", &url][..], "nobody vouches for it"),
        (&["--url", &url, "--ca", &other], "another authority"),
        (&["--url", &address, "--ca", &own], "another name"),
        (&[], "without TLS"),
        (&["--url", &url, "--ca", &key], "no certificate"),
        (&["--url", &url, "--ca", "/nowhere.pem"], "no file"),
    ] {
        let refused = node.cli(arguments.iter().copied().chain(["tenant", "list"]));
        assert_ne!(refused.code, 0, "{why}");
        assert!(!refused.stdout.contains("acme"), "{why}");
    }

    // What `login` remembers is for that node.
    let login = node.cli(["--url", &url, "--ca", &own, "login"]);
    assert_eq!(login.code, 0, "{}", login.stderr);
    let listed = node.cli(["--url", &url, "tenant", "list"]);
    assert_eq!(listed.code, 0, "{}", listed.stderr);
    assert_ne!(node.cli(["--url", &address, "tenant", "list"]).code, 0);
}

/// What `openssl req -x509` makes unless it is told otherwise: a certificate that nobody else vouches for, and
/// that says it is an authority's.
#[test]
fn a_certificate_that_says_it_is_an_authoritys_is_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (pem, key) = (file("api.pem"), file("api.key"));
    let names = vec!["localhost".to_owned()];
    let mut own = rcgen::CertificateParams::new(names).expect("parameters");
    own.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pair = rcgen::KeyPair::generate().expect("a key");
    let write = |own: &rcgen::CertificateParams| {
        let certificate = own.self_signed(&pair).expect("a certificate");
        std::fs::write(&pem, certificate.pem()).expect("written");
    };
    write(&own);
    std::fs::write(&key, pair.serialize_pem()).expect("written");
    let mut node = Node::start_with(&format!("[api.tls]\ncertificate = {pem:?}\nkey = {key:?}"));
    let url = node
        .api_url("")
        .replace("http://127.0.0.1", "https://localhost");
    let list = |node: &Node, more: &[&str]| {
        let line = ["--url", &url, "tenant", "list"];
        node.cli(line.iter().chain(more))
    };
    for more in [&["--ca", &pem][..], &[]] {
        let refused = list(&node, more);
        assert_eq!(refused.code, 5, "{}", refused.stderr);
        for said in [
            "an authority's (CA:TRUE)",
            "basicConstraints=critical,CA:FALSE",
        ] {
            assert!(refused.stderr.contains(said), "{}", refused.stderr);
        }
    }

    // As is said there.
    own.is_ca = rcgen::IsCa::ExplicitNoCa;
    write(&own);
    assert!(node.terminate().success());
    node.start_again();
    let listed = list(&node, &["--ca", &pem]);
    assert_eq!(listed.code, 0, "{}", listed.stderr);
    let unknown = list(&node, &[]);
    assert_eq!(unknown.code, 5, "{}", unknown.stderr);
    assert!(
        unknown.stderr.contains("vouches for its certificate"),
        "{}",
        unknown.stderr
    );
}
