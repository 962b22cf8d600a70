//! From nothing to an application of one's own, by the command line alone.

use crate::support::Node;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_project_is_built_published_and_invoked() {
    let node = Node::start();
    let folder = tempfile::tempdir().expect("a folder");
    let project = folder.path().join("hello");
    let path = project.to_str().expect("UTF-8");
    node.run(&format!("new {path} --publisher newcomer"));
    node.run(&format!("build {path}"));
    node.run(&format!("publish {path} --create-publisher"));
    node.run("tenant create initech");
    node.run("install newcomer/hello --tenant initech");
    let answer = node.get("hello.initech", "/").await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_driver_project_builds_and_is_accepted() {
    let node = Node::start();
    let folder = tempfile::tempdir().expect("a folder");
    let project = folder.path().join("greeter");
    let path = project.to_str().expect("UTF-8");
    node.run(&format!(
        "new {path} --template driver --publisher newcomer"
    ));
    node.run(&format!("build {path}"));
    node.run(&format!("publish {path} --create-publisher"));
    assert_eq!(node.run("package show newcomer/greeter")["kind"], "driver");
}
