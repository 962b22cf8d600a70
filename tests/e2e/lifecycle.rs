//! Publish, install, upgrade, roll back, configure, uninstall.

use crate::support::{Node, guest, version_of};

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_goes_forward_and_back() {
    let node = Node::start();
    let folder = tempfile::tempdir().expect("a folder");
    node.publish(&version_of("identity", "1.0.0", folder.path()));
    node.run("tenant create acme --display-name Acme");
    node.run("install guests/identity --tenant acme");
    let version =
        async || node.get("identity.acme", "/").await.json()["installation"]["version"].clone();
    assert_eq!(version().await, "1.0.0");

    node.publish(&version_of("identity", "1.1.0", folder.path()));
    assert_eq!(
        version().await,
        "1.0.0",
        "publishing changes no installation"
    );
    node.run("upgrade identity --tenant acme");
    assert_eq!(version().await, "1.1.0");
    node.run("rollback identity --tenant acme");
    assert_eq!(version().await, "1.0.0");

    node.run("uninstall identity --tenant acme --yes");
    assert_eq!(node.get("identity.acme", "/").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_answer_with_their_exit_codes() {
    let node = Node::start();
    let code = |line: &str| node.cli(line.split_whitespace()).code;
    assert_eq!(code("tenant list"), 0);
    assert_eq!(code("tenant show nobody"), 4);
    assert_eq!(code("tenant create Not_A_Name"), 2);
    assert_eq!(code("tenant frobnicate"), 2);
    assert_eq!(code("install guests/absent --tenant nobody"), 4);
    assert_eq!(code("status --url http://127.0.0.1:1"), 5);
    assert_eq!(code("status --token canopy_op_wrong"), 3);

    let refused = node.cli(["tenant", "show", "nobody", "--json"]);
    assert!(refused.stderr.contains("nobody"), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_reach_the_application_and_secrets_are_never_shown() {
    let node = Node::start();
    node.serve(&guest("config-probe"), "guests/config-probe", &["acme"]);
    node.run("config set config-probe --tenant acme greeting=hello");
    assert_eq!(
        node.get("config-probe.acme", "/?key=greeting").await.json(),
        "hello"
    );
    assert!(
        node.get("config-probe.acme", "/?key=absent")
            .await
            .json()
            .is_null()
    );

    let canary = "canary-6f1c0b";
    let set = node.cli([
        "secret",
        "set",
        "config-probe",
        &format!("token={canary}"),
        "--tenant",
        "acme",
    ]);
    assert_eq!(set.code, 0, "{}", set.stderr);
    assert_eq!(
        node.get("config-probe.acme", "/?key=token").await.json(),
        canary
    );
    let shown = node.run("package list").to_string()
        + &node
            .cli([
                "config",
                "get",
                "config-probe",
                "--tenant",
                "acme",
                "--json",
            ])
            .stdout
        + &node.cli(["tenant", "show", "acme", "--json"]).stdout
        + &node.log();
    assert!(!shown.contains(canary));
    for file in files_below(&node.data_dir()) {
        let bytes = std::fs::read(&file).expect("a file");
        let found = bytes
            .windows(canary.len())
            .any(|window| window == canary.as_bytes());
        assert!(!found, "{} holds the secret in the clear", file.display());
    }

    let unknown = node.cli([
        "config",
        "set",
        "config-probe",
        "--tenant",
        "acme",
        "greetin=x",
    ]);
    assert_eq!(unknown.code, 3);
    assert!(
        unknown.stderr.contains("greeting"),
        "names the nearest known: {}",
        unknown.stderr
    );
}

fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_below(&path))
        } else {
            files.push(path)
        }
    }
    files
}
