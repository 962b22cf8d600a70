//! What an application gets from the platform, and that it gets only its own.

use canopy_runtime::Caller;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::Node;

#[tokio::test(flavor = "multi_thread")]
async fn identity_is_the_callers_of_this_request() {
    let node = Node::new();
    let app = node.app("identity");
    let (_, nobody) = node.get(&app, "/").await.expect("answer");
    assert!(
        nobody.contains("anonymous") && nobody.contains("acme Ltd"),
        "{nobody}"
    );
    let known = app.clone().caller(Caller::service(
        "tok_7",
        "Nightly export",
        vec!["admin".into()],
    ));
    let (_, someone) = node.get(&known, "/").await.expect("answer");
    assert!(
        someone.contains("tok_7") && someone.contains("admin"),
        "{someone}"
    );
    assert!(someone.contains(&app.id().to_string()), "{someone}");
    let (_, nobody) = node.get(&app, "/").await.expect("answer");
    assert!(!nobody.contains("tok_7"), "{nobody}");
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_is_the_installations_own() {
    let node = Node::new();
    let (one, other) = (node.app("kv-probe"), node.app("kv-probe"));
    let ask = async |app, query: &str| node.get(app, &format!("/?{query}")).await.expect("answer");
    assert_eq!(ask(&one, "op=set&key=a&value=1").await.0, 200);
    assert_eq!(ask(&one, "op=get&key=a").await.1, "\"1\"");
    assert_eq!(ask(&other, "op=get&key=a").await.1, "null");
    assert_eq!(ask(&one, "op=get&key=a&bucket=second").await.1, "null");
    assert_eq!(ask(&one, "op=increment&key=n&delta=5").await.1, "5");
    assert_eq!(ask(&one, "op=increment&key=n&delta=2").await.1, "7");
    assert_eq!(ask(&one, "op=set-many&key=x,y,z&value=1").await.0, 200);
    assert_eq!(ask(&one, "op=delete&key=y").await.0, 200);
    assert_eq!(ask(&one, "op=exists&key=y").await.1, "false");
    let (status, text) = ask(&one, "op=increment&key=text-not-number").await;
    assert_eq!((status, text.as_str()), (200, "1"));
    let (status, refused) = ask(&one, "op=get&key=a&bucket=%0Abad").await;
    assert_eq!(status, 500, "{refused}");
}

/// Answers every connection with one small HTTP response, and counts them.
pub(crate) async fn server(
    answer: &'static str,
) -> (u16, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listener");
    let port = listener.local_addr().expect("address").port();
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (port, count)
}

pub(crate) const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const ELSEWHERE: &str =
    "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn outgoing_http_reaches_what_is_granted_and_nothing_else() {
    let node = Node::new();
    let (port, count) = server(HELLO).await;
    let granted = format!("127.0.0.1:{port}");
    let url = format!("/?url=http://127.0.0.1:{port}/");
    let connections = || count.load(std::sync::atomic::Ordering::SeqCst);

    let app = node.app("fetch").egress(&[&granted], &["127.0.0.0/8"]);
    let (status, body) = node.get(&app, &url).await.expect("answer");
    assert!(status == 200 && body.contains("hello"), "{body}");
    assert_eq!(connections(), 1);

    for (rules, opened) in [
        (vec![], vec![]),
        (vec![], vec!["127.0.0.0/8"]),
        (vec![granted.as_str()], vec![]),
        (vec!["127.0.0.1:1"], vec!["127.0.0.0/8"]),
    ] {
        let app = node.app("fetch").egress(&rules, &opened);
        let (status, body) = node.get(&app, &url).await.expect("answer");
        assert!(
            status == 502 && body.contains("denied"),
            "{rules:?} {opened:?}: {body}"
        );
    }
    assert_eq!(connections(), 1, "nobody knocked");
}

/// Granted or not, what leads inward is not reached: what is a host is refused for its address, by WASI
/// 0.2 and 0.3, and what could be read as two is none.
#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_private_address_gets_out() {
    let node = Node::new();
    let (port, count) = server(HELLO).await;
    let hosts = [
        "127.0.0.1",
        "[::1]",
        "0.0.0.0",
        "[::]",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "localhost",
        "localhost.",
        "LOCALHOST",
    ];
    let grants = hosts.map(|host| format!("{host}:{port}"));
    let grants: Vec<&str> = grants.iter().map(String::as_str).collect();
    let (fetch, probe) = (
        node.app("fetch").egress(&grants, &[]),
        node.app("probe-p3").egress(&grants, &[]),
    );
    for host in hosts {
        let path = format!("/fetch?{host}:{port}");
        let (_, told) = node.get(&probe, &path).await.expect("answer");
        assert!(told.contains("DestinationIpProhibited"), "{host}: {told}");
        let path = format!("/?url=http://{host}:{port}/");
        let (status, told) = node.get(&fetch, &path).await.expect("answer");
        assert!(status == 502 && told.contains("denied"), "{host}: {told}");
    }
    for app in [&fetch, &probe] {
        let log = node.log(app.id()).await;
        let refusals = log
            .iter()
            .filter(|line| line.ends_with("and the operator has not opened its network"));
        assert_eq!(refusals.count(), hosts.len(), "{log:?}");
    }
    for (host, expected) in [
        ("0x7f.1", "HttpRequestUriInvalid"),
        ("0x7f000001", "HttpRequestUriInvalid"),
        ("2130706433", "HttpRequestUriInvalid"),
        ("127.1", "HttpRequestUriInvalid"),
        ("0177.0.0.1", "HttpRequestUriInvalid"),
        ("127.0.0.1.", "HttpRequestUriInvalid"),
        ("localhost@127.0.0.1", "HttpRequestUriInvalid"),
        ("localhost.evil.test", "HttpRequestDenied"),
    ] {
        let path = format!("/fetch?{host}:{port}");
        let (_, told) = node.get(&probe, &path).await.expect("answer");
        assert!(told.contains(expected), "{host}: {told}");
        let path = format!("/?url=http://{host}:{port}/");
        let (status, told) = node.get(&fetch, &path).await.expect("answer");
        assert_eq!(status, 502, "{host}: {told}");
    }
    assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_handed_to_the_guest() {
    let node = Node::new();
    let (port, count) = server(ELSEWHERE).await;
    let rule = format!("127.0.0.1:{port}");
    let app = node.app("fetch").egress(&[&rule], &["127.0.0.0/8"]);
    let path = format!("/?url=http://{rule}/");
    let (_, body) = node.get(&app, &path).await.expect("answer");
    assert!(
        body.contains("302") && body.contains("169.254.169.254"),
        "{body}"
    );
    assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_follow_the_same_rules() {
    let node = Node::new();
    let (port, count) = server(HELLO).await;
    let rule = format!("127.0.0.1:{port}");
    let path = format!("/?addr={rule}");
    let allowed = node.app("tcp").egress(&[&rule], &["127.0.0.0/8"]);
    let (status, body) = node.post(&allowed, &path, "x").await.expect("answer");
    assert!(status == 200 && body.contains("hello"), "{body}");

    let by_name = format!("localhost:{port}");
    let named = node
        .app("tcp")
        .egress(&[&by_name], &["127.0.0.0/8", "::1/128"]);
    let (status, body) = node
        .post(&named, &format!("/?addr={by_name}"), "x")
        .await
        .expect("answer");
    assert!(status == 200 && body.contains("hello"), "{body}");
    assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 2);

    for (rules, opened, target) in [
        (vec![], vec![], rule.clone()),
        (vec![rule.as_str()], vec![], rule.clone()),
        (vec!["127.0.0.1:1"], vec!["127.0.0.0/8"], rule.clone()),
        (vec![rule.as_str()], vec!["127.0.0.0/8"], by_name.clone()),
        (vec![by_name.as_str()], vec![], by_name.clone()),
    ] {
        let app = node.app("tcp").egress(&rules, &opened);
        for path in [format!("/?addr={target}"), format!("/udp?addr={target}")] {
            let (status, body) = node.post(&app, &path, "x").await.expect("answer");
            assert_eq!(status, 502, "{rules:?} {opened:?} {path}: {body}");
        }
    }
    assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_in_the_log_with_the_rule_that_refused() {
    let node = Node::new();
    let (port, count) = server(HELLO).await;
    let rule = format!("POST http://127.0.0.1:{port}");
    let fetch = node.app("fetch").egress(&[&rule], &["127.0.0.0/8"]);
    let path = format!("/?url=http://127.0.0.1:{port}/");
    let (status, body) = node.get(&fetch, &path).await.expect("answer");
    assert!(status == 502 && body.contains("denied"), "{body}");
    let log = node.log(fetch.id()).await;
    let expected = format!(
        "refused: no grant of the tenant names `GET http://127.0.0.1:{port}`; \
         `{rule}` is for other ways"
    );
    assert!(log.contains(&expected), "{log:?}");

    let tcp = node.app("tcp").egress(&["10.0.0.5:5432"], &[]);
    let path = "/?addr=10.0.0.5:5432";
    let (status, _) = node.post(&tcp, path, "x").await.expect("answer");
    assert_eq!(status, 502);
    let log = node.log(tcp.id()).await;
    let expected = "refused: 10.0.0.5 is not a public address, and the operator has not opened \
                    its network";
    assert!(log.iter().any(|line| line == expected), "{log:?}");
    assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guest_prints_is_in_its_log_line_by_line() {
    let node = Node::new();
    let app = node.app("log-flood");
    node.get(&app, "/escapes").await.expect("answer");
    let log = node.log(app.id()).await;
    assert!(
        log.iter().any(|line| line == "to standard error"),
        "{log:?}"
    );
    assert!(
        log.iter().all(|line| !line.contains(char::is_control)),
        "{log:?}"
    );
    let (status, _) = node
        .get(&app, "/?lines=5000&bytes=1000")
        .await
        .expect("answer");
    assert_eq!(status, 200, "a flood neither traps nor blocks");
}
