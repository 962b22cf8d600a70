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
