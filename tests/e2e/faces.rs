//! One behaviour for all the names by which components reach the same keys and values: the same
//! script runs through a component of each, one after the other in one installation, and each reads
//! what all others have written.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Node, guest};

/// The components, each a version of the same package, and what its interface has besides reading,
/// writing and listing.
const FACES: [(&str, &str, &[&str]); 5] = [
    ("face-draft", "0.1.0", &["increment"]),
    ("face-draft2", "0.2.0", &["increment", "swap"]),
    ("face-spin2", "0.3.0", &[]),
    ("face-spin3", "0.4.0", &[]),
    ("face-canopy", "0.5.0", &["increment", "swap"]),
];
const APP: &str = "faces.acme";

async fn ask(node: &Node, query: &str) -> Value {
    let answer = node.get(APP, &format!("/?{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {answer:?}");
    answer.json()
}

async fn refusal(node: &Node, query: &str) -> String {
    let answer = node.get(APP, &format!("/?{query}")).await;
    assert_eq!(answer.status, 500, "{query}: {answer:?}");
    answer.body
}

fn node_with_all_faces() -> Node {
    let node = Node::start();
    for (name, ..) in FACES {
        node.publish(&guest(name));
    }
    node.run("tenant create acme");
    node.run("install guests/faces --tenant acme");
    node
}

fn run_as(node: &Node, version: &str) {
    node.run(&format!("upgrade faces {version} --tenant acme"));
}

async fn behaves(node: &Node, name: &str, extras: &[&str]) {
    let key = format!("{name}/k");
    assert!(ask(node, &format!("op=get&key={key}")).await.is_null());
    assert_eq!(ask(node, &format!("op=exists&key={key}")).await, false);
    ask(node, &format!("op=set&key={key}&value=one")).await;
    ask(node, &format!("op=set&key={key}&value=by {name}")).await;
    assert_eq!(
        ask(node, &format!("op=get&key={key}")).await,
        format!("by {name}")
    );
    assert_eq!(ask(node, &format!("op=exists&key={key}")).await, true);

    ask(node, &format!("op=set&key={name}/gone&value=x")).await;
    ask(node, &format!("op=delete&key={name}/gone")).await;
    ask(node, &format!("op=delete&key={name}/gone")).await;
    assert_eq!(
        ask(node, &format!("op=exists&key={name}/gone")).await,
        false
    );

    ask(node, &format!("op=set&key={name}/empty&value=")).await;
    assert_eq!(ask(node, &format!("op=get&key={name}/empty")).await, "");

    assert!(
        ask(node, &format!("op=get&key={key}&store=second"))
            .await
            .is_null()
    );
    ask(node, &format!("op=set&key={name}&value=apart&store=second")).await;

    for op in ["increment", "swap"] {
        let query = format!("op={op}&key={name}/{op}&value=new&delta=3");
        let answer = node.get(APP, &format!("/?{query}")).await;
        let expected = if extras.contains(&op) { 200 } else { 501 };
        assert_eq!(answer.status, expected, "{name} {op}: {answer:?}");
    }
    if extras.contains(&"increment") {
        assert_eq!(
            ask(node, &format!("op=increment&key={name}/increment&delta=4")).await,
            7
        );
        assert_eq!(
            ask(node, &format!("op=get&key={name}/increment")).await,
            "7"
        );
        let refused = refusal(node, &format!("op=increment&key={key}&delta=1")).await;
        assert!(
            refused
                .to_lowercase()
                .replace(' ', "")
                .contains("notanumber"),
            "{refused}"
        );
    }
    if extras.contains(&"swap") {
        let swap = format!("op=swap&key={name}/swap&value=newer");
        assert_eq!(ask(node, &swap).await, false, "it is there");
        assert_eq!(ask(node, &format!("{swap}&expected=new")).await, true);
        assert_eq!(ask(node, &format!("op=get&key={name}/swap")).await, "newer");
    }

    let undeclared = refusal(node, "op=get&key=k&store=undeclared").await;
    assert!(undeclared.contains("NoSuchStore"), "{undeclared}");
    let long = "k".repeat(5_000);
    let refused = refusal(node, &format!("op=set&key={long}&value=x")).await;
    assert!(refused.contains("over the limit"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_by_one_name_is_read_by_every_other() {
    let node = node_with_all_faces();
    for (name, version, extras) in FACES {
        run_as(&node, version);
        behaves(&node, name, extras).await;
    }
    let mut expected = BTreeSet::new();
    for (name, _, extras) in FACES {
        expected.extend([format!("{name}/k"), format!("{name}/empty")]);
        expected.extend(extras.iter().map(|op| format!("{name}/{op}")));
    }
    for (reader, version, _) in FACES {
        run_as(&node, version);
        let listed = ask(&node, "op=list").await;
        let listed: Vec<String> = serde_json::from_value(listed).expect("keys");
        assert_eq!(
            listed.len(),
            expected.len(),
            "{reader}: each key once: {listed:?}"
        );
        assert_eq!(BTreeSet::from_iter(listed), expected, "{reader}");
        let second = ask(&node, "op=list&store=second").await;
        assert_eq!(
            second.as_array().map(Vec::len),
            Some(FACES.len()),
            "{reader}"
        );
        for (writer, _, extras) in FACES {
            let read = ask(&node, &format!("op=get&key={writer}/k")).await;
            assert_eq!(read, format!("by {writer}"), "{reader}");
            if extras.contains(&"increment") {
                let read = ask(&node, &format!("op=get&key={writer}/increment")).await;
                assert_eq!(read, "7", "{reader}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platforms_own_name_has_all_that_storage_can_do() {
    let node = node_with_all_faces();
    run_as(&node, "0.5.0");

    let first = ask(&node, "op=set-for&key=k&value=a&delta=3600000").await;
    assert_eq!(ask(&node, "op=version&key=k").await, first);
    ask(&node, "op=set&key=k&value=b").await;
    let second = ask(&node, "op=version&key=k").await;
    assert!(second.as_u64() > first.as_u64(), "{first} {second}");
    let refused = refusal(&node, "op=set-for&key=k&value=c&delta=0").await;
    assert!(refused.contains("InvalidArgument"), "{refused}");
    // It lives so shortly that the answer may come before or after its end; later it is gone.
    ask(&node, "op=set-for&key=brief&value=a&delta=1").await;
    while !ask(&node, "op=get&key=brief").await.is_null() {}
    assert_eq!(ask(&node, "op=exists&key=brief").await, false);

    ask(&node, "op=set&key=ada&value=10").await;
    let done = ask(&node, "op=transfer&key=ada&value=bob&delta=4&expected=10").await;
    assert!(done.to_string().contains("Incremented(6)"), "{done}");
    let refused = refusal(&node, "op=transfer&key=ada&value=bob&delta=4&expected=10").await;
    assert!(refused.contains("PreconditionFailed(0)"), "{refused}");
    assert_eq!(
        ask(&node, "op=entries").await,
        json!([["ada", "6"], ["bob", "4"], ["k", "b"]]),
        "the refused transaction changed nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn asynchronous_names_are_refused_where_wasi_0_3_is_off() {
    let node = Node::start_with("[engine]\nwasi_p3 = false");
    for (name, ..) in &FACES[..3] {
        node.publish(&guest(name));
    }
    for (name, ..) in &FACES[3..] {
        let project = guest(name);
        let refused = node.cli(["publish", project.to_str().expect("UTF-8")]);
        assert_eq!(refused.code, 3, "{}", refused.stderr);
        assert!(refused.stderr.contains("0.3"), "{}", refused.stderr);
    }
}
