//! A tenant looks after its own installations with a token of its own: limits, usage, and what its
//! applications store.

use crate::support::{Node, Output, guest};

/// A node on which acme and globex have the probe, and a token of acme with `access`.
fn node_with_token(access: &str) -> (Node, String) {
    let node = Node::start();
    node.serve(&guest("kv-probe"), "guests/kv-probe", &["acme", "globex"]);
    let line = format!("token create ada --tenant acme --access {access}");
    let token = node.run(&line)["secret"]
        .as_str()
        .expect("a secret")
        .to_owned();
    (node, token)
}

/// Runs a command line with `token`.
fn with(node: &Node, token: &str, line: &str) -> Output {
    node.cli(line.split_whitespace().chain(["--token", token]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_repairs_what_its_application_stores() {
    let (node, token) = node_with_token("data");
    let app = "kv-probe.acme";
    node.get(app, "/?op=set&key=a/b&value=broken").await;
    let got = with(&node, &token, "kv get kv-probe a/b --tenant acme");
    assert_eq!(
        (got.code, got.stdout.as_str()),
        (0, "broken"),
        "{}",
        got.stderr
    );
    let set = with(&node, &token, "kv set kv-probe a/b repaired --tenant acme");
    assert_eq!(set.code, 0, "{}", set.stderr);
    assert_eq!(node.get(app, "/?op=get&key=a/b").await.json(), "repaired");

    let file = node.data_dir().with_file_name("value.bin");
    std::fs::write(&file, [0, 159, 146, 150]).expect("written");
    let line = format!("kv set kv-probe raw --file {} -t acme", file.display());
    assert_eq!(with(&node, &token, &line).code, 0);
    let hex = with(&node, &token, "kv get kv-probe raw --hex -t acme");
    assert_eq!(hex.stdout.trim(), "009f9296");
    let back = node.data_dir().with_file_name("back.bin");
    let line = format!("kv get kv-probe raw --output {} -t acme", back.display());
    assert_eq!(with(&node, &token, &line).code, 0);
    assert_eq!(std::fs::read(back).expect("a file"), [0, 159, 146, 150]);

    let list = with(&node, &token, "kv list kv-probe -t acme --json").json();
    let keys: Vec<_> = list.as_array().expect("keys").iter().collect();
    assert_eq!(
        (&keys[0]["key"], &keys[1]["key"]),
        (&"a/b".into(), &"raw".into())
    );
    assert_eq!(
        with(&node, &token, "kv delete kv-probe raw -t acme").code,
        0
    );
    let gone = with(&node, &token, "kv get kv-probe raw -t acme");
    assert_eq!(gone.code, 4, "{}", gone.stderr);
    let log = with(&node, &token, "logs kv-probe -t acme");
    assert!(
        log.stdout.contains("was removed by ada (token tok_"),
        "{}",
        log.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_go_to_and_from_files() {
    let (node, token) = node_with_token("data");
    let file = node.data_dir().with_file_name("large.bin");
    let content: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    std::fs::write(&file, &content).expect("written");
    let run = |line: String| {
        let output = with(&node, &token, &line);
        assert_eq!(output.code, 0, "{line}: {}", output.stderr);
        output
    };
    run("blob create kv-probe scans -t acme".into());
    let put = format!("blob put kv-probe scans a/one {} -t acme", file.display());
    run(put);
    let back = node.data_dir().with_file_name("back.bin");
    let path = back.display();
    run(format!(
        "blob get kv-probe scans a/one --output {path} -t acme"
    ));
    assert!(std::fs::read(&back).expect("a file") == content);
    let list = run("blob list kv-probe scans -t acme --json".into()).json();
    assert_eq!(list[0]["bytes"], content.len());
    let usage = run("usage kv-probe -t acme --json".into()).json();
    let kinds = usage["kinds"].as_array().expect("kinds");
    let blobs = kinds.iter().find(|kind| kind["kind"] == "blobs");
    assert_eq!(blobs.expect("blobs")["items"], 1);
    run("blob delete kv-probe scans a/one -t acme".into());
    let gone = with(&node, &token, "blob head kv-probe scans a/one -t acme");
    assert_eq!(gone.code, 4, "{}", gone.stderr);
    let none = with(&node, &token, "sql kv-probe SELECT -t acme");
    assert_eq!(none.code, 4, "no database: {}", none.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_reaches_as_far_as_its_access_and_never_to_another_tenant() {
    let (node, viewer) = node_with_token("viewer");
    node.get("kv-probe.globex", "/?op=set&key=k&value=globex-only")
        .await;
    let shown = with(&node, &viewer, "installation list -t acme");
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    let limits = with(&node, &viewer, "limits -t acme");
    assert!(
        limits.stdout.contains("plan.concurrency"),
        "{}",
        limits.stdout
    );
    for line in [
        "kv list kv-probe -t acme",
        "uninstall kv-probe -t acme --yes",
        "token list -t acme",
        "tenant set acme --plan standard --display-name Mine",
        "plan list",
    ] {
        let refused = with(&node, &viewer, line);
        assert_eq!(refused.code, 3, "{line}: {}", refused.stderr);
        assert!(
            refused.stderr.contains("viewer"),
            "{line}: {}",
            refused.stderr
        );
    }
    for line in [
        "tenant show globex",
        "kv get kv-probe k -t globex",
        "logs kv-probe -t globex",
    ] {
        let refused = with(&node, &viewer, line);
        assert_eq!(refused.code, 4, "{line}: {}", refused.stderr);
        assert!(refused.stderr.contains("there is no tenant `globex`"));
        assert!(!refused.stdout.contains("globex-only"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_limits_what_an_application_stores() {
    let (node, _) = node_with_token("viewer");
    let app = "kv-probe.acme";
    node.run("plan create tiny --limit keys=1");
    node.run("tenant set acme --plan tiny");
    node.get(app, "/?op=set&key=a&value=1").await;
    node.get(app, "/?op=set&key=b&value=1").await;
    assert_eq!(node.get(app, "/?op=get&key=a").await.json(), "1");
    assert!(node.get(app, "/?op=get&key=b").await.json().is_null());
    node.run("plan set tiny --limit keys=default");
    node.get(app, "/?op=set&key=b&value=1").await;
    assert_eq!(node.get(app, "/?op=get&key=b").await.json(), "1");
    let used = node.cli(["plan", "delete", "tiny"]);
    assert_eq!(used.code, 3, "{}", used.stderr);
    assert!(used.stderr.contains("acme"), "{}", used.stderr);
    let unknown = node.cli(["tenant", "set", "acme", "--plan", "tinyy"]);
    assert!(
        unknown.stderr.contains("did you mean `tiny`"),
        "{}",
        unknown.stderr
    );
}
