//! Components of either WASI answer.

use canopy_runtime::{RuntimeSettings, ServeError};

use crate::support::Node;

#[tokio::test(flavor = "multi_thread")]
async fn a_wasi_0_2_component_answers() {
    let node = Node::new();
    let app = node.app("hello-p2-wstd");
    let (status, body) = node.get(&app, "/there").await.expect("answer");
    assert_eq!(
        (status, body.as_str()),
        (200, "hello from WASI 0.2, /there\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wasi_0_3_component_answers_again_and_again() {
    let node = Node::new();
    let app = node.app("hello-p3");
    for path in ["/a", "/b", "/c"] {
        let (status, body) = node.get(&app, path).await.expect("answer");
        assert_eq!(
            (status, body),
            (200, format!("hello from WASI 0.3, {path}\n"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wasi_0_3_component_answers_without_reuse_too() {
    let settings = RuntimeSettings {
        reuse_requests: 1,
        ..RuntimeSettings::default()
    };
    let node = Node::with(settings, |_| {});
    let app = node.app("hello-p3");
    for _ in 0..3 {
        assert_eq!(node.get(&app, "/").await.expect("answer").0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_wasi_0_3_switched_off_its_components_are_refused_and_others_go_on() {
    let node = Node::with(RuntimeSettings::default(), |engine| {
        engine.p3_enabled = false
    });
    assert_eq!(
        node.get(&node.app("hello-p2-wstd"), "/")
            .await
            .expect("answer")
            .0,
        200
    );
    let refused = node.get(&node.app("hello-p3"), "/").await;
    assert!(
        matches!(
            &refused,
            Err(ServeError::Unsupported { .. } | ServeError::Prepare(_))
        ),
        "{refused:?}"
    );
    assert_eq!(
        node.get(&node.app("hello-p2-wstd"), "/")
            .await
            .expect("answer")
            .0,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_at_once() {
    let node = std::sync::Arc::new(Node::new());
    for guest in ["hello-p2-wstd", "hello-p3"] {
        let app = node.app(guest);
        node.get(&app, "/").await.expect("answer");
        let tasks: Vec<_> = (0..12)
            .map(|_| {
                let (node, app) = (node.clone(), app.clone());
                tokio::spawn(async move { node.get(&app, "/").await })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.expect("task").expect("answer").0, 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wasi_0_2_instance_serves_again_only_where_its_package_asks_for_it() {
    let settings = RuntimeSettings {
        reuse_requests: 3,
        ..RuntimeSettings::default()
    };
    let node = Node::with(settings, |_| {});
    let plain = node.app("hello-p2-wstd");
    let mut asking = node.app("hello-p2-wstd");
    asking.spec.component.reuse = true;
    let mut other = node.app("hello-p2-wstd");
    other.spec.component.reuse = true;
    let count = async |app| node.get(app, "/count").await.expect("answer").1;
    for expected in ["1", "2", "3", "1"] {
        assert_eq!(count(&plain).await, "1");
        assert_eq!(count(&asking).await, expected);
    }
    assert_eq!(count(&other).await, "1", "never across installations");
}
