//! Each way in which a guest fails has an answer of its own, and nobody else notices.

use crate::support::{Node, guest};

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_is_answered_and_its_backtrace_is_in_the_log() {
    let node = Node::start();
    node.serve(&guest("trap"), "guests/trap", &["acme"]);
    let answer = node.get("trap.acme", "/").await;
    assert_eq!((answer.status, answer.problem().as_str()), (500, "trap"));
    let request_id = answer.json()["request_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    assert_eq!(answer.headers["x-request-id"], request_id.as_str());
    assert!(
        !answer.body.contains("wasm backtrace"),
        "internals stay in the log"
    );
    let logs = node.run("logs trap --tenant acme").to_string();
    assert!(
        logs.contains(&request_id) && logs.contains("backtrace"),
        "{logs}"
    );
    let line = node
        .log()
        .lines()
        .find(|line| line.contains(&request_id))
        .map(str::to_owned);
    let line = line.expect("the node's log has the request");
    for fact in ["acme", "guests/trap", "0.1.0"] {
        assert!(line.contains(fact), "{fact} in {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_have_answers_of_their_own() {
    let node =
        Node::start_with("[limits.default]\ncpu = \"300ms\"\nwall = \"2s\"\nmemory = \"32MiB\"");
    for name in ["spin", "sleep", "hog", "identity"] {
        node.serve(&guest(name), &format!("guests/{name}"), &["acme"]);
    }
    for (app, path, status, problem) in [
        ("spin.acme", "/", 503, "cpu-limit"),
        ("sleep.acme", "/?ms=600000", 504, "deadline-exceeded"),
        ("hog.acme", "/allocate?mib=64", 507, "memory-limit"),
    ] {
        let answer = node.get(app, path).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (status, problem),
            "{app}"
        );
        assert_eq!(
            node.get("identity.acme", "/").await.status,
            200,
            "after {app}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_cut_short_by_a_trap_does_not_end_as_if_it_were_whole() {
    let node = Node::start();
    node.serve(&guest("late-trap"), "guests/late-trap", &["acme"]);
    let response = node
        .request(reqwest::Method::GET, "late-trap.acme", "/")
        .send()
        .await;
    let response = response.expect("the head arrives");
    assert_eq!(response.status(), 200);
    assert!(response.bytes().await.is_err(), "the cut must be visible");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_output_is_bounded_and_stays_one_record_a_line() {
    let node = Node::start();
    node.serve(&guest("log-flood"), "guests/log-flood", &["acme"]);
    assert_eq!(node.get("log-flood.acme", "/escapes").await.status, 200);
    let shown = node.cli(["logs", "log-flood", "--tenant", "acme"]);
    assert!(
        shown.stdout.contains("forged") && !shown.stdout.contains('\u{1b}'),
        "{}",
        shown.stdout
    );
    let forged = shown
        .stdout
        .lines()
        .find(|line| line.trim_start().starts_with('{'));
    assert!(forged.is_none(), "a record is one line: {}", shown.stdout);

    assert_eq!(
        node.get("log-flood.acme", "/?lines=20000&bytes=100")
            .await
            .status,
        200
    );
    let kept = std::fs::read_dir(node.data_dir().join("logs"))
        .expect("the logs")
        .flatten();
    assert!(kept.count() > 0);
}
